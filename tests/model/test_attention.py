from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.attention.flex_attention import flex_attention

from llava.model.attention import (
    LONG_PREFIX,
    pack_attention,
    pack_block_mask,
    pack_blocks,
    pack_mask,
    pack_visibility,
)


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


LAYOUTS = [
    [[7, 3, 1, 5]],
    [[7, 3, 1, 5], [4, 2, 2]],
    [[3, 4], [6], [2, 1, 1, 1, 1]],  # one branch, none, many
    [[0, 4, 2]],  # no prefix
]


@pytest.mark.parametrize("long_prefix", [0, 4, LONG_PREFIX])  # rows by torch's kernel, by products, or some by each
@pytest.mark.parametrize("rows", LAYOUTS)
def test_blocks_say_the_same_as_the_mask(rng, rows, long_prefix):
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
    for visible in (pack_mask(branch_ids), pack_blocks(branch_ids, long_prefix)):
        out = pack_attention(module, query, key, value, visible, scaling=0.4)[0] * (branch_ids >= 0)[..., None, None]
        results.append([out, *torch.autograd.grad((out * wanted).sum(), (query, key, value))])
    for a, b in zip(*results, strict=True):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rows", LAYOUTS)
def test_block_mask_says_the_same_as_the_mask(rng, rows):
    """FlexAttention as torch runs it without compiling; on a CPU it has no backward pass."""
    branch_ids = _branch_ids(*rows)
    batch, tokens = branch_ids.shape
    query = torch.rand(batch, 4, tokens, 8, generator=rng)
    key, value = (torch.rand(batch, 2, tokens, 8, generator=rng) for _ in range(2))
    flexible = flex_attention(query, key, value, block_mask=pack_block_mask(branch_ids), enable_gqa=True)
    plain = nn.functional.scaled_dot_product_attention(query, key, value, pack_mask(branch_ids), enable_gqa=True)
    assert torch.allclose(flexible, plain, atol=1e-6)


def test_block_mask_skips_other_branches():
    """Of 6 x 6 blocks: the prefix's 3, those between prefix and branches 8, the branches' own 4."""
    branch_ids = torch.arange(5).repeat_interleave(torch.tensor([256, 128, 128, 128, 128]))[None]
    blocks = pack_block_mask(branch_ids)
    computed = blocks.kv_num_blocks + blocks.full_kv_num_blocks
    assert computed.flatten().tolist() == [1, 2, 3, 3, 3, 3]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="FlexAttention has a backward pass on a GPU only")
@pytest.mark.parametrize("rows", [[[300, 60, 31, 77]], [[300, 60, 31, 77], [200, 50, 50]]])
def test_gpu_says_the_same_as_the_mask(rows):
    branch_ids = _branch_ids(*rows).cuda()
    batch, tokens = branch_ids.shape
    query, key, value = (
        torch.randn(batch, heads, tokens, 64, device="cuda", requires_grad=True) for heads in (4, 2, 2)
    )
    module = nn.Module()
    module.num_key_value_groups = 2
    real = (branch_ids >= 0)[..., None, None]
    wanted = torch.randn(batch, tokens, 4, 64, device="cuda") * real
    results = []
    for visible in (pack_mask(branch_ids), pack_visibility(branch_ids)):
        out = pack_attention(module, query, key, value, visible, scaling=0.125)[0]
        results.append([out * real, *torch.autograd.grad((out * wanted).sum(), (query, key, value))])
    for a, b in zip(*results, strict=True):
        assert (a - b).norm() < 5e-3 * a.norm()  # TF32 inside the kernel


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
