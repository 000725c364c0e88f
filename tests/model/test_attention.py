from __future__ import annotations

import pytest
import torch
from torch import nn

from llava.model.attention import pack_attention, pack_blocks, pack_mask, pack_visibility


def test_pack_mask_by_hand():
    mask = pack_mask(torch.tensor([[0, 0, 1, 1, 2, -1]]))[0, 0].int().tolist()
    assert mask == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]


def test_pack_mask_agrees_with_its_definition(rng):
    branch_ids = torch.randint(-1, 4, (3, 20), generator=rng)
    mask = pack_mask(branch_ids)
    for b, row in enumerate(branch_ids.tolist()):
        for q, query in enumerate(row):
            for k, key in enumerate(row):
                expected = q == k or (k < q and query >= 0 and key in (0, query))
                assert mask[b, 0, q, k] == expected


def _branch_ids(*rows: list[int]) -> torch.Tensor:
    """Rows from the lengths of prefix and branches, padded."""
    ids = [torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths)) for lengths in rows]
    return nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=-1)


@pytest.mark.parametrize(
    "rows",
    [
        [[7, 3, 1, 5]],
        [[7, 3, 1, 5], [4, 2, 2]],
        [[3, 4], [6], [2, 1, 1, 1, 1]],  # one branch, none, many
        [[0, 4, 2]],  # no prefix
    ],
)
def test_blocks_say_the_same_as_the_mask(rng, rows):
    branch_ids = _branch_ids(*rows)
    batch, tokens = branch_ids.shape
    query = torch.rand(batch, 4, tokens, 6, generator=rng, dtype=torch.float64, requires_grad=True)
    key, value = (
        torch.rand(batch, 2, tokens, 6, generator=rng, dtype=torch.float64, requires_grad=True) for _ in range(2)
    )
    module = nn.Module()
    module.num_key_value_groups = 2
    wanted = torch.rand(batch, tokens, 4, 6, generator=rng) * (branch_ids >= 0)[..., None, None]
    results = []
    for visible in (pack_mask(branch_ids), pack_blocks(branch_ids)):
        out = pack_attention(module, query, key, value, visible, scaling=0.4)[0] * (branch_ids >= 0)[..., None, None]
        results.append([out, *torch.autograd.grad((out * wanted).sum(), (query, key, value))])
    for a, b in zip(*results, strict=True):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("row", [[0, 2, 1], [1, 1, 0], [0, -1, 1, 2], [0, 1, 2, 1]])
def test_other_layouts_are_refused(row):
    with pytest.raises(ValueError, match=r"row 0 of the batch is not laid out as \[prefix\]"):
        pack_blocks(torch.tensor([row]))


def test_one_branch_needs_no_mask():
    assert pack_visibility(torch.tensor([[0, 1, 1, -1], [0, 0, 1, 1]])) is None
    assert pack_visibility(torch.tensor([[0, 1, 2, -1]])) is not None


def test_dropout_is_refused():
    with pytest.raises(ValueError, match="set attention_dropout to 0"):
        pack_attention(nn.Module(), *(torch.zeros(1, 1, 1, 1) for _ in range(3)), None, dropout=0.1)
