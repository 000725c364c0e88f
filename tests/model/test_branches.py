"""Attention of branches on shared prefixes against that of each branch on its own, in float64."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache

from llava.model.branches import GROWTH, Branches, look, plain_look

HEADS, KEY_HEADS, WIDTH, SCALING = 6, 2, 4, 0.3


def _plain(query_HTd: torch.Tensor, key_hTd: torch.Tensor, value_hTd: torch.Tensor, new: int) -> torch.Tensor:
    """The last `new` tokens of one sequence look at all of it up to themselves; (new, H, d)."""
    groups = HEADS // KEY_HEADS
    key_HTd, value_HTd = key_hTd.repeat_interleave(groups, 0), value_hTd.repeat_interleave(groups, 0)
    scores = query_HTd[:, -new:] @ key_HTd.transpose(1, 2) * SCALING
    future = torch.ones(scores.shape[1:], dtype=torch.bool).triu(scores.shape[2] - new + 1)
    return (scores.masked_fill(future, -torch.inf).softmax(-1) @ value_HTd).transpose(0, 1)


class _Sequence:
    """One branch with a copy of its prefix."""

    def __init__(self, key_hPd: torch.Tensor, value_hPd: torch.Tensor) -> None:
        self.key_hTd, self.value_hTd = key_hPd, value_hPd

    def attend(self, query_HLd: torch.Tensor, key_hLd: torch.Tensor, value_hLd: torch.Tensor) -> torch.Tensor:
        self.key_hTd = torch.cat([self.key_hTd, key_hLd], 1)
        self.value_hTd = torch.cat([self.value_hTd, value_hLd], 1)
        return _plain(query_HLd, self.key_hTd, self.value_hTd, query_HLd.shape[1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_branches_attend_as_if_alone(dtype: torch.dtype) -> None:
    """Three prefixes, uneven questions, one token at a time beyond what memory was made for, branches that end."""
    rng = torch.Generator().manual_seed(0)

    def states(heads: int, tokens: int) -> torch.Tensor:
        return torch.randn(heads, tokens, WIDTH, generator=rng, dtype=torch.float64).to(dtype)

    prefixes, alone = [], []
    for tokens, branches in ((5, 2), (1, 1), (9, 3)):
        cache = DynamicCache()
        for layer in range(2):
            cache.update(states(KEY_HEADS, tokens)[None], states(KEY_HEADS, tokens)[None], layer)
        prefixes.append(cache)
        for _ in range(branches):
            alone.append([_Sequence(layer.keys[0].double(), layer.values[0].double()) for layer in cache.layers])
    together = Branches(prefixes, [2, 1, 3], torch.device("cpu"))
    ending = {3: [0, 1, 3, 5], 7: [0, 2, 3], 9: [1]}  # the second prefix goes first, then all but the last
    for step in range(GROWTH + 12):
        if step in ending:
            together.keep(ending[step])
            alone = [alone[row] for row in ending[step]]
        lengths = [4, 1, 7, 2, 2, 3] if step == 0 else [1] * len(alone)
        together.extend(lengths)
        for layer in range(2):
            new = [(states(HEADS, n), states(KEY_HEADS, n), states(KEY_HEADS, n)) for n in lengths]
            row = [torch.cat(part, 1)[None] for part in zip(*new, strict=True)]
            found = together.attend(layer, *row, SCALING)
            expected = [
                branch[layer].attend(*(part.double() for part in own)) for branch, own in zip(alone, new, strict=True)
            ]
            assert found.dtype == dtype
            tolerance = {torch.float64: 1e-13, torch.float32: 1e-5, torch.bfloat16: 2e-2}[dtype]
            torch.testing.assert_close(found[0].double(), torch.cat(expected), atol=tolerance, rtol=tolerance)
    assert len(together.prefixes) == 1 and together.prefixes[0] is prefixes[2]


KERNELS = [("cpu", torch.float64), ("cpu", torch.float32), ("cpu", torch.bfloat16)]
KERNELS += [("cuda", dtype) for dtype in (torch.bfloat16, torch.float32) if torch.cuda.is_available()]


@pytest.mark.parametrize(("device", "dtype"), KERNELS)
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (7, 300), (200, 45)])
@pytest.mark.parametrize("masked", [False, True])
def test_the_kernel_says_what_the_products_say(
    device: str, dtype: torch.dtype, queries: int, keys: int, masked: bool
) -> None:
    torch.manual_seed(0)
    states = [torch.randn(3, KEY_HEADS, tokens, 24, device=device, dtype=dtype) * 2 for tokens in (queries, keys, keys)]
    hidden = torch.rand(3, 1, queries, keys, device=device) < 0.5
    hidden[..., 0] = False
    mask = torch.zeros(hidden.shape, device=device).masked_fill(hidden, -torch.inf) if masked else None
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 3e-2}[dtype]
    for found, expected in zip(look(*states, SCALING, mask), plain_look(*states, SCALING, mask), strict=True):
        assert found.shape == expected.shape
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance, check_dtype=False)


def test_prefixes_are_not_touched() -> None:
    cache = DynamicCache()
    cache.update(torch.ones(1, KEY_HEADS, 3, WIDTH), torch.ones(1, KEY_HEADS, 3, WIDTH), 0)
    keys, before = cache.layers[0].keys, cache.layers[0].keys.clone()
    branches = Branches([cache], [2], torch.device("cpu"))
    branches.extend([2, 1])
    branches.attend(0, torch.ones(1, HEADS, 3, WIDTH), *(torch.ones(1, KEY_HEADS, 3, WIDTH) for _ in "kv"), SCALING)
    assert cache.layers[0].keys is keys and torch.equal(keys, before)
