"""The shared prefix against the plain path: one full forward pass a question and a token."""

from __future__ import annotations

import pytest
import torch

from llava.model.decoding import Question, greedy, ground, prefill


def _asked(model, row) -> list[Question]:
    """The branches of a pack on its prefix."""
    prefix = prefill(model, row.prefix, row.scene)
    return [Question(prefix, branch.ids, branch.coords) for branch in row.branches]


def _row(kit, rng, kinds: str, views: int = 2):
    return kit.make_row(rng, views=views, objects=4, kinds=kinds)


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
    row = _row(kit, rng, "text caption text text caption")
    expected = [_plain_greedy(model, kit, row, branch, 12) for branch in row.branches]
    questions = _asked(model, row)
    assert greedy(model, questions, 12, kit.EOS) == expected
    assert greedy(model, questions[1:2], 12, kit.EOS) == expected[1:2]  # the prefix is unharmed


@torch.no_grad()
def test_questions_about_several_scenes_in_one_batch(kit, rng):
    """Prefixes of several lengths, answers of several lengths: scenes leave the batch, too."""
    model = kit.make_model(seed=3)
    rows = [_row(kit, rng, kinds, views) for kinds, views in (("text caption", 2), ("caption", 1), ("text text", 3))]
    limits = [3, 12, 0, 40, 1]
    branches = [(row, branch) for row in rows for branch in row.branches]
    expected = [
        _plain_greedy(model, kit, row, branch, limit) for (row, branch), limit in zip(branches, limits, strict=True)
    ]
    questions = [question for row in rows for question in _asked(model, row)]
    assert greedy(model, questions, limits, kit.EOS) == expected
    assert [len(answer) for answer in expected] == limits


@torch.no_grad()
def test_finished_rows_leave_the_batch(kit, rng):
    """Take as end of text a token that the answers contain at different places."""
    model = kit.make_model(seed=3)
    questions = _asked(model, _row(kit, rng, "text caption text text caption"))
    whole = greedy(model, questions, 12, eos_id=-1)
    for eos in {token for answer in whole for token in answer}:
        cut = [answer[: answer.index(eos)] if eos in answer else answer for answer in whole]
        assert greedy(model, questions, 12, eos) == cut
    assert all(len(answer) == 12 for answer in whole)


@torch.no_grad()
def test_bf16_autocast_runs_and_stays_near(kit, rng):
    model, row = kit.make_model(), _row(kit, rng, "ground nothing text")
    full = ground(model, _asked(model, row)[:2], row.objects, row.object_masks)
    with torch.autocast("cpu", torch.bfloat16):
        first, second, text = _asked(model, row)
        half = ground(model, [first, second], row.objects, row.object_masks)
        answers = greedy(model, [text, text], 5, eos_id=-1)
    torch.testing.assert_close(half, full, atol=0.03, rtol=0)
    assert answers[0] == answers[1] and len(answers[0]) == 5


@torch.no_grad()
def test_ground_equals_the_plain_path(kit, rng):
    model = kit.make_model()
    row = _row(kit, rng, "ground nothing ground")
    expected = torch.cat([model(**kit.collate([sample])).ground_scores for sample in row.apart()])
    scores = ground(model, _asked(model, row), row.objects, row.object_masks)
    assert scores.shape == (3, 5)
    assert torch.allclose(scores, expected, atol=1e-5)


@torch.no_grad()
def test_blind_model_decodes(kit, rng):
    model = kit.make_model()
    row = kit.make_row(rng, views=0, objects=3, kinds="text ground")
    text, box = _asked(model, row)
    assert greedy(model, [text], 5, kit.EOS) == [_plain_greedy(model, kit, row, row.branches[0], 5)]
    scores = ground(model, [box], row.objects, row.object_masks)
    assert torch.allclose(scores, model(**kit.collate([row])).ground_scores, atol=1e-5)


def test_nothing_to_do(kit, rng):
    model = kit.make_model()
    row = _row(kit, rng, "text")
    questions = _asked(model, row)
    assert greedy(model, [], 5, kit.EOS) == []
    assert greedy(model, questions, 0, kit.EOS) == [[]]
    assert ground(model, [], row.objects, row.object_masks).shape == (0, 5)


def test_a_question_must_have_one_ground_token(kit, rng):
    model = kit.make_model()
    row = _row(kit, rng, "ground text")
    with pytest.raises(ValueError, match="question 1 has 0 <ground> tokens"):
        ground(model, _asked(model, row), row.objects, row.object_masks)


def test_prefix_counts_scene_tokens(kit, rng):
    row = kit.make_row(rng, views=2, objects=1, kinds="text")
    with pytest.raises(ValueError, match="6 scene tokens promised by the text, 12 given"):
        prefill(kit.make_model(), row.prefix[10:], row.scene)
