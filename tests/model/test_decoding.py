"""The shared prefix against the plain path: one full forward pass a question and a token."""

from __future__ import annotations

import pytest
import torch

from llava.model.decoding import greedy, ground, prefill


def _questions(kit, rng, kinds: str):
    row = kit.make_row(rng, views=2, objects=4, kinds=kinds)
    return row, [branch.ids for branch in row.branches], [branch.coords for branch in row.branches]


def _plain_greedy(model, kit, row, branch, steps: int) -> list[int]:
    """Feed the whole sequence again for every token."""
    ids, new = branch.ids, []
    for _ in range(steps):
        grown = kit.Branch(ids, torch.full_like(ids, -100), branch.coords)
        batch = kit.collate([kit.Row(**vars(row) | {"branches": (grown,)})])
        token = int(model(**batch | {"labels": None, "ground_targets": None}).logits[0, -1].argmax())
        if token == kit.EOS:
            break
        new.append(token)
        ids = torch.cat([ids, torch.tensor([token])])
    return new


@torch.no_grad()
def test_greedy_equals_the_plain_path(kit, rng):
    model = kit.make_model(seed=3)
    row, questions, coords = _questions(kit, rng, "text caption text text caption")
    expected = [_plain_greedy(model, kit, row, branch, 12) for branch in row.branches]
    prefix = prefill(model, row.prefix, row.scene)
    assert greedy(model, prefix, questions, coords, 12, kit.EOS) == expected
    assert greedy(model, prefix, questions[1:2], coords[1:2], 12, kit.EOS) == expected[1:2]  # the prefix is unharmed


@torch.no_grad()
def test_finished_rows_leave_the_batch(kit, rng):
    """Take as end of text a token that the answers contain at different places."""
    model = kit.make_model(seed=3)
    row, questions, coords = _questions(kit, rng, "text caption text text caption")
    prefix = prefill(model, row.prefix, row.scene)
    whole = greedy(model, prefix, questions, coords, 12, eos_id=-1)
    for eos in {token for answer in whole for token in answer}:
        cut = [answer[: answer.index(eos)] if eos in answer else answer for answer in whole]
        assert greedy(model, prefix, questions, coords, 12, eos) == cut
    assert all(len(answer) == 12 for answer in whole)


@torch.no_grad()
def test_ground_equals_the_plain_path(kit, rng):
    model = kit.make_model()
    row, questions, coords = _questions(kit, rng, "ground nothing ground")
    expected = torch.cat([model(**kit.collate([sample])).ground_scores for sample in row.apart()])
    prefix = prefill(model, row.prefix, row.scene)
    scores = ground(model, prefix, questions, row.objects, row.object_masks, coords)
    assert scores.shape == (3, 5)
    assert torch.allclose(scores, expected, atol=1e-5)


@torch.no_grad()
def test_blind_model_decodes(kit, rng):
    model = kit.make_model()
    row = kit.make_row(rng, views=0, objects=3, kinds="text ground")
    prefix = prefill(model, row.prefix, {})
    assert greedy(model, prefix, [row.branches[0].ids], [None], 5, kit.EOS) == [
        _plain_greedy(model, kit, row, row.branches[0], 5)
    ]
    scores = ground(model, prefix, [row.branches[1].ids], row.objects, row.object_masks)
    assert torch.allclose(scores, model(**kit.collate([row])).ground_scores, atol=1e-5)


def test_nothing_to_do(kit, rng):
    model = kit.make_model()
    row, questions, coords = _questions(kit, rng, "text")
    prefix = prefill(model, row.prefix, row.scene)
    assert greedy(model, prefix, [], [], 5, kit.EOS) == []
    assert greedy(model, prefix, questions, coords, 0, kit.EOS) == [[]]
    assert ground(model, prefix, [], row.objects, row.object_masks).shape == (0, 5)


def test_a_question_must_have_one_ground_token(kit, rng):
    model = kit.make_model()
    row, questions, _ = _questions(kit, rng, "ground text")
    prefix = prefill(model, row.prefix, row.scene)
    with pytest.raises(ValueError, match="question 1 has 0 <ground> tokens"):
        ground(model, prefix, questions, row.objects, row.object_masks)


def test_prefix_counts_scene_tokens(kit, rng):
    row = kit.make_row(rng, views=2, objects=1, kinds="text")
    with pytest.raises(ValueError, match="6 scene tokens promised by the text, 12 given"):
        prefill(kit.make_model(), row.prefix[10:], row.scene)
