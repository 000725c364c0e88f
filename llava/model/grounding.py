"""Choosing objects: pooled patches of each offered box against the hidden state at ``<ground>``.

Shape letters: B packs, n objects of a pack, G grounding queries, V views, H' W' patches, D model width,
E head width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F


class GroundHead(nn.Module):
    """Cosine similarity of queries and objects, with one learnt "object" that means "none of them"."""

    def __init__(self, width: int, hidden: int, input_norm: bool = False) -> None:
        super().__init__()
        self.input_norm = nn.LayerNorm(width) if input_norm else nn.Identity()
        self.object = _mlp(width, hidden)
        self.query = _mlp(width, hidden)
        self.zero_target = nn.Parameter(torch.empty(width).normal_(std=width**-0.5))

    def forward(self, queries_GD: torch.Tensor, objects_BnD: torch.Tensor, rows_G: torch.Tensor) -> torch.Tensor:
        """Score every object of a query's own pack.

        Args:
            queries_GD: hidden states at the ``<ground>`` tokens.
            objects_BnD: object features of each pack.
            rows_G: which pack each query belongs to.

        Returns:
            (G, n + 1) cosine similarities, the zero target last; at least float32.
        """
        zero_B1D = self.zero_target.to(objects_BnD.dtype).expand(len(objects_BnD), 1, -1)
        candidates_BnD = torch.cat([objects_BnD, zero_B1D], dim=1)
        keys_BnE = _normalised(self.object(self.input_norm(candidates_BnD)))
        queries_GE = _normalised(self.query(queries_GD))
        with torch.autocast(queries_GE.device.type, enabled=False):
            return torch.einsum("ge,gne->gn", queries_GE, keys_BnE[rows_G])


def pool_objects(dense_VHWD: torch.Tensor, masks: Sequence[torch.Tensor], count: int) -> torch.Tensor:
    """Mean over the patches of each object; an object that no patch sees gets zeros.

    Args:
        dense_VHWD: patches of the views of all packs, one pack after the other.
        masks: a pack each, (n, V, H', W') bool, n at most ``count``.
        count: objects of the largest pack; the rest is padding.

    Returns:
        (B, count, D)

    Raises:
        ValueError: the masks describe another number of views than there are.
    """
    views = [mask.shape[1] for mask in masks]
    if sum(views) != len(dense_VHWD):
        raise ValueError(f"object_masks describe {views} views, but the encoder gave {len(dense_VHWD)}")
    pooled = dense_VHWD.new_zeros(len(masks), count, dense_VHWD.shape[-1])
    rows = []
    for mask_nVHW, own_VHWD in zip(masks, dense_VHWD.split(views), strict=True):
        mask_nP = mask_nVHW.flatten(1).to(dense_VHWD.dtype)
        # max(): a mean over no patch is zero, not NaN.
        mean_nD = mask_nP @ own_VHWD.flatten(0, 2) / mask_nP.sum(1, keepdim=True).clamp(min=1)
        rows.append(F.pad(mean_nD, (0, 0, 0, count - len(mean_nD))))
    return torch.stack(rows).to(pooled.dtype) if rows else pooled


def info_nce(
    scores: torch.Tensor, targets: torch.Tensor, valid: torch.Tensor, temperature: float = 0.07
) -> torch.Tensor:
    """Minus log of the share of the softmax that the targets get (van den Oord et al. 2018, several positives).

    Args:
        scores: (G, n + 1) similarities, the zero target last.
        targets: (G, n + 1) bool; a row without any means the zero target.
        valid: (G, n) bool, False for padding among the objects.

    Returns:
        (G,) losses.
    """
    zero = ~targets.any(dim=1, keepdim=True)
    targets = torch.cat([targets[:, :-1], targets[:, -1:] | zero], dim=1)
    logits = mask_padding(scores, valid) / temperature
    return logits.logsumexp(dim=1) - logits.masked_fill(~targets, float("-inf")).logsumexp(dim=1)


def mask_padding(scores: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Scores (G, n + 1) with minus infinity where the object (G, n) is padding."""
    return scores.masked_fill(F.pad(~valid, (0, 1), value=False), float("-inf"))


def _mlp(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.LayerNorm(hidden), nn.Linear(hidden, hidden))


def _normalised(x: torch.Tensor) -> torch.Tensor:
    """Unit vectors in at least float32: half precision would blur similarities that are divided by 0.07."""
    return F.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1)
