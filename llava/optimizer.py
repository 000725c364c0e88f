"""Muon for the matrices inside transformer layers, AdamW for all else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch


class MuonAdamW(torch.optim.Optimizer):
    """Two optimizers that a trainer and its schedule see as one.

    Muon (Jordan et al. 2024) makes the momentum of a matrix orthogonal before it is applied, so that rare directions
    are learnt as fast as common ones; a step has the size that AdamW's has at the same rate (Liu et al. 2025,
    "Muon is Scalable for LLM Training"). Embeddings, norms, biases and heads are AdamW's, as their authors advise.

    Args:
        groups: parameter groups with `lr` and `weight_decay`; those with `muon: True` hold matrices only.
    """

    def __init__(self, groups: Sequence[dict[str, Any]], betas: tuple[float, float] = (0.9, 0.999)) -> None:
        super().__init__([dict(group) for group in groups], {})
        muon = [group for group in self.param_groups if group.get("muon")]
        rest = [group for group in self.param_groups if not group.get("muon")]
        # Each part keeps the very same group objects, so that a schedule's new rate reaches it.
        self.parts: list[torch.optim.Optimizer] = []
        if muon:
            self.parts.append(torch.optim.Muon(muon, adjust_lr_fn="match_rms_adamw"))
        if rest:
            self.parts.append(torch.optim.AdamW(rest, betas=betas, fused=True))
        self._share_groups()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step of both parts; `closure` is called once, before it."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The states of the parts, Muon's first."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share_groups()

    def _share_groups(self) -> None:
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def is_layer_matrix(name: str, parameter: torch.nn.Parameter) -> bool:
    """Whether a parameter is a weight matrix inside a numbered layer, which is what Muon is made for."""
    return parameter.ndim == 2 and ".layers." in f".{name}"
