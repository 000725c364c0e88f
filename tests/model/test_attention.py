from __future__ import annotations

import pytest
import torch

from llava.model.attention import cache_mask, for_qwen2, is_plainly_causal, pack_mask


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


def test_pack_mask_agrees_with_its_definition():
    generator = torch.Generator().manual_seed(1)
    branch_ids = torch.randint(-1, 4, (3, 20), generator=generator)
    mask = pack_mask(branch_ids)
    for b, row in enumerate(branch_ids.tolist()):
        for q, query in enumerate(row):
            for k, key in enumerate(row):
                expected = q == k or (k < q and query >= 0 and key in (0, query))
                assert mask[b, 0, q, k] == expected


def test_cache_mask_hides_padding_and_future():
    keys = torch.tensor([[True, True, False, True, True]])
    assert cache_mask(keys, 3)[0, 0].int().tolist() == [[1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [1, 1, 0, 1, 1]]


def test_one_branch_needs_no_mask():
    assert is_plainly_causal(torch.tensor([[0, 1, 1, -1], [0, 0, 1, 1]]))
    assert not is_plainly_causal(torch.tensor([[0, 1, 2, -1]]))


def test_other_attention_implementations_are_refused():
    with pytest.raises(ValueError, match="'flash_attention_2'"):
        for_qwen2(None, "flash_attention_2")
