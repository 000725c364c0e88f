"""Low-rank adapters on the language model (LoRA, Hu et al. 2022), by peft; merged into the weights on saving."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from llava.model.scene_lm import SceneLM

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
NAME = "default"  # peft's, of the one adapter there is


def add_adapters(model: SceneLM, rank: int, alpha: float) -> None:
    """Put adapters, which change nothing yet, beside every projection of the language model's layers."""
    from peft import LoraConfig, inject_adapter_in_model  # takes seconds, and only some recipes need it

    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(PROJECTIONS))
    inject_adapter_in_model(config, model.language_model, adapter_name=NAME)


def is_adapter(parameter: str) -> bool:
    """Whether a parameter of that name belongs to an adapter."""
    return ".lora_A." in parameter or ".lora_B." in parameter


def merged(weights: dict[str, torch.Tensor], scale: float) -> dict[str, torch.Tensor]:
    """The same weights with every adapter added to the matrix it stands beside; names as without adapters.

    Args:
        scale: lora_alpha / lora_rank; not used where there is no adapter.
    """
    plain = {}
    for name, value in weights.items():
        if is_adapter(name):
            continue
        if name.endswith(".base_layer.weight"):
            stem = name.removesuffix(".base_layer.weight")
            down, up = weights[f"{stem}.lora_A.{NAME}.weight"], weights[f"{stem}.lora_B.{NAME}.weight"]
            value = (value.float() + scale * (up.float() @ down.float())).to(value.dtype)
        plain[name.replace(".base_layer.", ".")] = value
    return plain
