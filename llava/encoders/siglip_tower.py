"""The network behind `siglip.Siglip`.

Shape letters: V views, H' W' rows and columns of patches, h w rows and columns of scene tokens,
E tower width, D language model width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F
from transformers import SiglipVisionConfig, SiglipVisionModel

from llava.types import SceneTokens

if TYPE_CHECKING:
    from llava.encoders.siglip import Siglip


class SiglipEncoder(nn.Module):
    """SigLIP features of each view, projected to the language model's width.

    The features are those of the second-to-last layer without the final norm, which is why the last
    layer does not exist here and the norm does nothing (Video-3D LLM, and LLaVA-NeXT before it).
    """

    def __init__(self, config: Siglip, width: int) -> None:
        super().__init__()
        self.grid = config.grid
        self.cells = config.cells
        self.newline = config.newline
        self.pooled = config.pooled
        self.tower = SiglipVisionModel(
            SiglipVisionConfig(
                image_size=config.image_size,
                patch_size=config.patch_size,
                hidden_size=config.hidden_size,
                intermediate_size=config.intermediate_size,
                num_hidden_layers=config.num_layers - 1,
                num_attention_heads=config.num_heads,
                vision_use_head=False,
            )
        )
        self.tower.post_layernorm = StoredLayerNorm(config.hidden_size)
        self.projector = nn.Sequential(nn.Linear(config.hidden_size, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, inputs: dict[str, torch.Tensor]) -> SceneTokens:
        """Encode the views of one or more scenes: ``inputs`` as the processor made them, concatenated.

        With ``features``, what ``look`` gave for these views, the tower need not look at them again.
        """
        features_VPE = inputs["features"] if "features" in inputs else self.look(inputs)
        dense_VHWD = self.projector(features_VPE).unflatten(1, (self.grid, self.grid))
        # Pooled after projection, bilinear without antialias, whatever stride the config names (quirk Q19).
        pooled_VDhw = F.interpolate(
            dense_VHWD.permute(0, 3, 1, 2), size=(self.cells, self.cells), mode="bilinear", align_corners=False
        )
        tokens_VhwD = pooled_VDhw.permute(0, 2, 3, 1)
        return SceneTokens(
            tokens=tokens_VhwD,
            coords=inputs["coords"],
            valid=inputs["valid"],
            dense=dense_VHWD if self.pooled == "patches" else tokens_VhwD,
            newline=self.newline,
        )

    def look(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """What the tower makes of each view: features (V, P, E) of its P patches."""
        # Contiguous as features that were kept are: products of another layout are rounded otherwise.
        return self.tower(scaled(inputs["pixel_values"])).last_hidden_state.contiguous()


def scaled(pixels: torch.Tensor) -> torch.Tensor:
    """What the tower reads, in [-1, 1], of uint8 pixels; pixels of a floating type are so already."""
    return pixels if pixels.is_floating_point() else (pixels.float() / 255 - 0.5) / 0.5


class StoredLayerNorm(nn.LayerNorm):
    """The tower's last norm, whose weights llava_qwen folders store though nothing applies them: kept for export."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x
