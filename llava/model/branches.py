"""Branches that continue prefixes: a prefix's keys and values are kept once, however many branches look at them.

The language model reads one row of tokens, the new ones of all branches behind each other: nothing is padded but the
small attention of a branch to its own tokens. Attention to the prefix and to a branch's own tokens are computed apart
and merged by the logarithms of their softmax's denominators, which is exact (Juravsky et al. 2024, Hydragen).

Shape letters: K branches, N new tokens of all of them, n new tokens of the branch with most, T own tokens of a branch
so far, P tokens of a prefix, M queries, H heads, h key heads, g = H / h, d head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch.nn import functional as F
from transformers import DynamicCache

GROWTH = 32  # tokens by which the branches' own memory grows, so that not every token copies it


class Branches:
    """The own keys and values of branches, which are ordered by prefix, and how their tokens attend.

    It takes the place of the attention mask: announce the next tokens with `extend`, then run the model on them.
    """

    def __init__(self, prefixes: Sequence[DynamicCache], counts: Sequence[int], device: torch.device) -> None:
        """`counts`: how many branches continue each prefix; both in the order of the branches."""
        self.prefixes, self.counts = list(prefixes), list(counts)
        self._keys: dict[int, torch.Tensor] = {}  # layer -> (K, h, T or more, d)
        self._values: dict[int, torch.Tensor] = {}
        self._own_KT = torch.ones(sum(counts), 0, dtype=torch.bool, device=device)  # False: padding, on the left

    def extend(self, lengths: Sequence[int]) -> None:
        """So many tokens come next in each branch, all in one row."""
        device, longest = self._own_KT.device, max(lengths)
        length_K1 = torch.tensor(lengths, device=device)[:, None]
        offset_Kn = torch.arange(longest, device=device) - (longest - length_K1)
        real_Kn = offset_Kn >= 0
        self._own_KT = torch.cat([self._own_KT, real_Kn], dim=1)
        self._even = min(lengths) == longest
        self._places = ((length_K1.cumsum(0) - length_K1) + offset_Kn.clamp(min=0)).flatten()  # padded -> row
        self._filled = real_Kn.flatten().nonzero()[:, 0]  # row -> padded
        total = self._own_KT.shape[1]
        future_nT = torch.ones(longest, total, dtype=torch.bool, device=device).triu(total - longest + 1)
        hidden_K11nT = (future_nT | ~self._own_KT[:, None, :])[:, None, None]
        self._mask_K11nT = torch.zeros(hidden_K11nT.shape, device=device).masked_fill(hidden_K11nT, float("-inf"))
        ends = [0, *accumulate(lengths)]
        bounds = [0, *accumulate(self.counts)]
        self._spans = [(ends[a], ends[b]) for a, b in pairwise(bounds)]

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these branches alone, in their order; prefixes that nobody continues are let go."""
        index = torch.tensor(rows, device=self._own_KT.device)
        bounds = [0, *accumulate(self.counts)]
        counts = [sum(a <= row < b for row in rows) for a, b in pairwise(bounds)]
        self.prefixes = [prefix for prefix, count in zip(self.prefixes, counts, strict=True) if count]
        self.counts = [count for count in counts if count]
        self._own_KT = self._own_KT[index]
        for own in (self._keys, self._values):
            for layer, states in own.items():
                own[layer] = states[index]

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """Attention of the new tokens, which are remembered.

        Args:
            query: (1, H, N, d); key and value: (1, h, N, d).

        Returns:
            (1, N, H, d), in the query's precision; inside at least float32 is used.
        """
        groups = key.shape[1]
        key_KhTd = self._remember(self._keys, layer, key[0])
        value_KhTd = self._remember(self._values, layer, value[0])
        query_hgNd = query[0].unflatten(0, (groups, -1))

        shared = []
        for cache, (start, end) in zip(self.prefixes, self._spans, strict=True):
            prefix = cache.layers[layer]
            asked_1hMd = query_hgNd[None, :, :, start:end].flatten(2, 3)
            # A prefix that was read under autocast has wider keys than values.
            found = look(asked_1hMd, prefix.keys.to(query.dtype), prefix.values.to(query.dtype), scaling)
            shared.append([part[0].unflatten(1, (-1, end - start)) for part in found])
        shared_hgNd, shared_log_hgN = (torch.cat(part, dim=2) for part in zip(*shared, strict=True))

        query_Khgnd = self._padded(query_hgNd.to(key_KhTd)).unflatten(2, (len(self._own_KT), -1)).permute(2, 0, 1, 3, 4)
        inner = query_Khgnd.shape[2:4]
        mask_K1MT = self._mask_K11nT.expand(-1, -1, inner[0], -1, -1).flatten(2, 3)
        own = look(query_Khgnd.flatten(2, 3), key_KhTd, value_KhTd, scaling, mask_K1MT)
        own_Khgnd, own_log_Khgn = (part.unflatten(2, inner) for part in own)
        own_hgNd = self._in_row(own_Khgnd.permute(1, 2, 0, 3, 4).flatten(2, 3))
        own_log_hgN = self._in_row(own_log_Khgn.permute(1, 2, 0, 3).flatten(2, 3))

        share_hgN1 = torch.sigmoid(shared_log_hgN - own_log_hgN)[..., None]  # of the softmax that falls on the prefix
        out_hgNd = torch.lerp(own_hgNd, shared_hgNd.to(own_hgNd), share_hgN1)
        return out_hgNd.flatten(0, 1).transpose(0, 1)[None].to(query.dtype)

    def _remember(self, own: dict[int, torch.Tensor], layer: int, new_hNd: torch.Tensor) -> torch.Tensor:
        """Append to a layer's memory; returns all of it, (K, h, T, d), wide."""
        count, total = self._own_KT.shape
        new_Khnd = self._padded(new_hNd[:, None])[:, 0].unflatten(1, (count, -1)).transpose(0, 1)
        before = total - new_Khnd.shape[2]
        if layer not in own:
            own[layer] = new_Khnd.new_zeros(*new_Khnd.shape[:2], total + GROWTH, new_Khnd.shape[3])
        elif own[layer].shape[2] < total:
            own[layer] = F.pad(own[layer], (0, 0, 0, new_Khnd.shape[2] + GROWTH))
        own[layer][:, :, before:total] = new_Khnd
        return own[layer][:, :, :total].to(torch.promote_types(new_hNd.dtype, torch.float32))

    def _padded(self, x_hgNd: torch.Tensor) -> torch.Tensor:
        """From the row of all tokens to (.., K n, ..)."""
        return x_hgNd if self._even else x_hgNd.index_select(2, self._places)

    def _in_row(self, x_hgPd: torch.Tensor) -> torch.Tensor:
        """The inverse of `_padded`."""
        return x_hgPd if self._even else x_hgPd.index_select(2, self._filled)


def look(
    query_BhMd: torch.Tensor,
    key_BhPd: torch.Tensor,
    value_BhPd: torch.Tensor,
    scaling: float,
    mask_B1MP: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of queries to keys, by torch's kernel where there is one: it keeps no (M, P) scores.

    `F.scaled_dot_product_attention` calls the same kernels, but does not return the second part.

    Args:
        mask_B1MP: float32, added to the scores.

    Returns:
        (B, h, M, d), and (B, h, M) the logarithm of the softmax's denominator, at least float32. What a query that
        may look at nothing gets is undefined.
    """
    states = (query_BhMd, key_BhPd, value_BhPd)
    if query_BhMd.device.type == "cpu":
        mask = None if mask_B1MP is None else mask_B1MP.to(query_BhMd.dtype)
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*states, attn_mask=mask, scale=scaling)[:2]
    if mask_B1MP is None and _has_flash(query_BhMd):
        return torch.ops.aten._scaled_dot_product_flash_attention(*states, scale=scaling)[:2]
    return plain_look(*states, scaling, mask_B1MP)


def _has_flash(query: torch.Tensor) -> bool:
    """Whether PyTorch's flash kernel takes such heads; it runs from Ampere on (A100, RTX 30)."""
    fits = query.dtype.itemsize == 2 and query.shape[-1] % 8 == 0 and query.shape[-1] <= 256
    return query.device.type == "cuda" and fits and torch.cuda.get_device_capability(query.device) >= (8, 0)


def plain_look(
    query_BhMd: torch.Tensor,
    key_BhPd: torch.Tensor,
    value_BhPd: torch.Tensor,
    scaling: float,
    mask_B1MP: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `look`, for any device, in products."""
    wide = torch.promote_types(query_BhMd.dtype, torch.float32)
    with torch.autocast(query_BhMd.device.type, enabled=False):
        scores_BhMP = query_BhMd.to(wide) @ key_BhPd.to(wide).transpose(2, 3) * scaling
        if mask_B1MP is not None:
            scores_BhMP = scores_BhMP + mask_B1MP
        return (scores_BhMP.softmax(-1) @ value_BhPd.to(wide)).to(query_BhMd.dtype), scores_BhMP.logsumexp(-1)
