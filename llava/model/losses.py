"""The mean over branches of each branch's own loss, so that a pack of K questions equals K samples.

Shape letters: B packs, T tokens, K branches, L labelled tokens, D model width.
"""

from __future__ import annotations

import importlib.util

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers.integrations import is_deepspeed_zero3_enabled

LOGITS = 2**25  # that are held at once: 128 MiB in float32, and as much again for their gradient


def predictors(branch_ids: torch.Tensor) -> torch.Tensor:
    """Index of the token whose hidden state predicts each token (B, T); -1 where there is none.

    That is the token before, but for the first token of a branch the last one of the prefix.
    """
    length = branch_ids.shape[1]
    before = torch.arange(-1, length - 1, device=branch_ids.device).expand_as(branch_ids)
    starts = torch.ones_like(branch_ids, dtype=torch.bool)
    starts[:, 1:] = branch_ids[:, 1:] != branch_ids[:, :-1]
    prefix_end = (branch_ids == 0).sum(dim=1, keepdim=True) - 1
    first = torch.where(branch_ids > 0, prefix_end, -1)
    return torch.where(starts, first, before)


def text_losses(
    hidden_BTD: torch.Tensor, lm_head: nn.Module, labels: torch.Tensor, branch_ids: torch.Tensor, branches: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean cross-entropy of each branch over its labelled tokens.

    Labels of the prefix (only the published prompt has any) count in every branch that has labels of
    its own, as they would if each branch were a sample of its own. Logits are made for labelled
    positions only.

    Returns:
        (B, K) losses, zero for a branch without labels, and (B, K) bool: which branches have labels.
    """
    before = predictors(branch_ids)
    row_L, column_L = ((labels != -100) & (before >= 0)).nonzero(as_tuple=True)
    loss_L = token_losses(hidden_BTD[row_L, before[row_L, column_L]], lm_head, labels[row_L, column_L])

    slot_L = row_L * (branches + 1) + branch_ids[row_L, column_L]
    slots = len(labels) * (branches + 1)
    total = loss_L.new_zeros(slots).index_add(0, slot_L, loss_L).view(-1, branches + 1)
    count = torch.bincount(slot_L, minlength=slots).view(-1, branches + 1)
    own = count[:, 1:] > 0
    mean = (total[:, 1:] + total[:, :1]) / (count[:, 1:] + count[:, :1]).clamp(min=1)
    return torch.where(own, mean, 0.0), own


def token_losses(
    hidden_LD: torch.Tensor, lm_head: nn.Linear, targets_L: torch.Tensor, logits: int = LOGITS
) -> torch.Tensor:
    """Cross-entropy (L,) of each token, in float32 at least.

    Where it would take more than so many ``logits``, they are made piece by piece, and anew in the backward pass:
    a vocabulary of 150,000 would else cost more memory for a pack's answers than all of a small model's layers. Not so
    under ZeRO-3.
    """
    rows = max(logits // lm_head.out_features, 1)
    # ZeRO-3 gathers the head anew for each call, by all processes at once, of which each would have its own number.
    if len(hidden_LD) <= rows or is_deepspeed_zero3_enabled():
        return _cross_entropy(hidden_LD, lm_head, targets_L)
    pieces = zip(hidden_LD.split(rows), targets_L.split(rows), strict=True)
    return torch.cat(
        [
            checkpoint(_cross_entropy, hidden, lm_head, targets, use_reentrant=False, preserve_rng_state=False)
            for hidden, targets in pieces
        ]
    )


def _cross_entropy(hidden_LD: torch.Tensor, lm_head: nn.Linear, targets_L: torch.Tensor) -> torch.Tensor:
    logits = lm_head(hidden_LD)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if logits.is_cuda and importlib.util.find_spec("liger_kernel"):
        # Not Liger's form that holds the head too: its weight gradient cannot tell tokens of different weight apart.
        from liger_kernel.transformers.functional import liger_cross_entropy

        return liger_cross_entropy(logits, targets_L, reduction="none")
    return F.cross_entropy(logits, targets_L, reduction="none")


def spread_over_branches(
    loss_G: torch.Tensor, row_G: torch.Tensor, branch_G: torch.Tensor, rows: int, branches: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean of each branch's own values: (B, K) losses, zero where there is none, and (B, K) bool."""
    slot_G = row_G * branches + branch_G - 1
    total = loss_G.new_zeros(rows * branches).index_add(0, slot_G, loss_G)
    count = torch.bincount(slot_G, minlength=rows * branches)
    return (total / count.clamp(min=1)).view(rows, branches), (count > 0).view(rows, branches)
