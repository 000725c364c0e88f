"""The mean over branches of each branch's own loss, so that a pack of K questions equals K samples.

Shape letters: B packs, T tokens, K branches, L labelled tokens, D model width.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


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
    logits = lm_head(hidden_BTD[row_L, before[row_L, column_L]])
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    loss_L = F.cross_entropy(logits, labels[row_L, column_L], reduction="none")

    slot_L = row_L * (branches + 1) + branch_ids[row_L, column_L]
    slots = len(labels) * (branches + 1)
    total = loss_L.new_zeros(slots).index_add(0, slot_L, loss_L).view(-1, branches + 1)
    count = torch.bincount(slot_L, minlength=slots).view(-1, branches + 1)
    own = count[:, 1:] > 0
    mean = (total[:, 1:] + total[:, :1]) / (count[:, 1:] + count[:, :1]).clamp(min=1)
    return torch.where(own, mean, 0.0), own


def spread_over_branches(
    loss_G: torch.Tensor, row_G: torch.Tensor, branch_G: torch.Tensor, rows: int, branches: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean of each branch's own values: (B, K) losses, zero where there is none, and (B, K) bool."""
    slot_G = row_G * branches + branch_G - 1
    total = loss_G.new_zeros(rows * branches).index_add(0, slot_G, loss_G)
    count = torch.bincount(slot_G, minlength=rows * branches)
    return (total / count.clamp(min=1)).view(rows, branches), (count > 0).view(rows, branches)
