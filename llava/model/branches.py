"""Branches that continue prefixes: a prefix's keys and values are kept once, however many branches look at them.

The language model reads one row of tokens, the new ones of all branches behind each other: nothing is padded but the
small attention of a branch to its own tokens. A softmax runs over the prefix's and the own scores together, so that the
result is that of each branch on its own, but for the order of additions.

Shape letters: K branches, N new tokens of all of them, n new tokens of the branch with most, T own tokens of a branch
so far, P tokens of a prefix, H heads, h key heads, g = H / h, d head width.
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
        self._hidden_K11nT = (future_nT | ~self._own_KT[:, None, :])[:, None, None]
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
        heads, groups = query.shape[1], key.shape[1]
        count, total = self._own_KT.shape
        key_KhTd = self._remember(self._keys, layer, key[0])
        value_KhTd = self._remember(self._values, layer, value[0])
        wide = torch.promote_types(query.dtype, torch.float32)
        query_hgNd = (query[0].to(wide) * scaling).unflatten(0, (groups, heads // groups))

        query_Khgnd = self._padded(query_hgNd).unflatten(2, (count, -1)).permute(2, 0, 1, 3, 4)
        own_KhgnT = (query_Khgnd.flatten(2, 3) @ key_KhTd.transpose(2, 3)).unflatten(2, query_Khgnd.shape[2:4])
        own_KhgnT = own_KhgnT.masked_fill(self._hidden_K11nT, float("-inf"))
        own_hgNT = self._in_row(own_KhgnT.permute(1, 2, 0, 3, 4).flatten(2, 3))

        out_hgNd, own_weights = [], []
        for cache, (start, end) in zip(self.prefixes, self._spans, strict=True):
            shared_key_hPd = cache.layers[layer].keys[0].to(wide)
            shared_value_hPd = cache.layers[layer].values[0].to(wide)
            asked_hMd = query_hgNd[:, :, start:end].flatten(1, 2)
            scores_hgmP = (asked_hMd @ shared_key_hPd.transpose(1, 2)).unflatten(1, (-1, end - start))
            weights_hgmS = torch.cat([scores_hgmP, own_hgNT[:, :, start:end]], dim=-1).softmax(dim=-1)
            shared_hMP = weights_hgmS[..., :-total].flatten(1, 2)
            out_hgNd.append((shared_hMP @ shared_value_hPd).unflatten(1, (-1, end - start)))
            own_weights.append(weights_hgmS[..., -total:])
        weights_KhgnT = self._padded(torch.cat(own_weights, dim=2)).unflatten(2, (count, -1)).permute(2, 0, 1, 3, 4)
        own_Khgnd = (weights_KhgnT.flatten(2, 3) @ value_KhTd).unflatten(2, weights_KhgnT.shape[2:4])
        own_hgNd = self._in_row(own_Khgnd.permute(1, 2, 0, 3, 4).flatten(2, 3))
        out_hgNd = torch.cat(out_hgNd, dim=2) + own_hgNd
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
