"""SigLIP as Video-3D LLM uses it: one tower for all views, a projector, 2x2 pooling.

Grid of an image: ``image_size // patch_size`` patches a side (27 for 384/14), of which the language
model reads ``ceil(grid / 2)`` cells a side (14). Pixels beyond the last whole patch are not used.
The network itself is in `siglip_tower`, so that a configuration costs no torch import.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from llava.types import Views

if TYPE_CHECKING:
    import torch

    from llava.encoders.siglip_tower import SiglipEncoder


@dataclass(frozen=True)
class Siglip:
    """Sizes of a SigLIP vision tower; the defaults are so400m-patch14-384."""

    image_size: int = 384
    patch_size: int = 14
    hidden_size: int = 1152
    intermediate_size: int = 4304
    num_layers: int = 27  # of the full tower; the last one is left out, as in the reference
    num_heads: int = 16
    # Where a cell is: the mean of its points, their lowest and highest corner, or 1, 5 or 9 of them.
    points: Literal["avg", "minmax", "sample1", "sample5", "sample9"] = "avg"
    newline: Literal["grid", "frame", "one_token", "no_token"] = "grid"  # after each row, each view, all views, never
    pooled: Literal["patches", "cells"] = "patches"  # what the grounding head pools over a box

    def __post_init__(self) -> None:
        for name in ("patch_size", "hidden_size", "intermediate_size", "num_heads"):
            if vars(self)[name] < 1:
                raise ValueError(f"{name} must be at least 1, got {vars(self)[name]}")
        if self.image_size < self.patch_size:
            raise ValueError(f"image_size {self.image_size} holds no patch of {self.patch_size} pixels")
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}")
        if self.num_layers < 2:
            raise ValueError(
                f"num_layers counts the dropped last layer, so it must be at least 2, got {self.num_layers}"
            )

    @property
    def grid(self) -> int:
        """Patches along a side: what the grounding head pools."""
        return self.image_size // self.patch_size

    @property
    def cells(self) -> int:
        """Scene tokens along a side: what the language model reads."""
        return -(-self.grid // 2)

    def debug(self) -> Siglip:
        """The same encoder small enough for a test: 4x4 patches, 2x2 tokens, two layers of width 32."""
        return replace(
            self, image_size=56, patch_size=14, hidden_size=32, intermediate_size=64, num_layers=3, num_heads=4
        )

    def build_processor(self) -> SiglipProcessor:
        return SiglipProcessor(self)

    def build_module(self, width: int) -> SiglipEncoder:
        """Make the network; ``width`` is that of the language model."""
        from llava.encoders.siglip_tower import SiglipEncoder

        return SiglipEncoder(self, width)


@dataclass(frozen=True)
class SiglipProcessor:
    """Turns views into the encoder's inputs; runs in data workers, on the CPU."""

    config: Siglip

    def __call__(self, views: Views, boxes: np.ndarray) -> dict[str, torch.Tensor]:
        """Prepare the views of one scene and find which patches see which object.

        A patch belongs to a box that holds half of its pixels, a cell to one that holds a quarter of them.

        Args:
            views: V square views of ``image_size`` pixels.
            boxes: (n, 6) objects, metres; n may be 0.

        Returns:
            ``pixel_values`` (V, 3, H, W) uint8, scaled by the module (a quarter of the bytes to keep and to move);
            ``coords`` (V, h, w, 3 p) float32, metres, the p points of each cell; ``valid`` (V, h, w) bool;
            ``object_masks`` (n, V, H', W') bool over what the grounding head pools.

        Raises:
            ValueError: the views have another size than the encoder reads.
        """
        import torch

        from llava.geometry.voxels import object_masks, patch_points

        config, size = self.config, self.config.image_size
        if views.images.shape[1:] != (size, size, 3):
            raise ValueError(
                f"the encoder reads views of {size}x{size}x3, got {views.images.shape[1:]}: "
                "load them with load_views(scene, indices, size=image_size)"
            )
        used = config.grid * config.patch_size
        cell = used // config.cells
        seen, known = views.coords[:, :used, :used], views.valid[:, :used, :used]
        coords, valid = patch_points(seen, known, config.cells, cell, config.points)
        boxes = np.asarray(boxes, np.float32).reshape(-1, 6)
        looked = (config.patch_size, config.grid, 0.5) if config.pooled == "patches" else (cell, config.cells, 0.25)
        masks = object_masks(seen, boxes, *looked, known)
        return {
            "pixel_values": torch.from_numpy(np.ascontiguousarray(views.images.transpose(0, 3, 1, 2))),
            "coords": torch.as_tensor(coords, dtype=torch.float32),
            "valid": torch.as_tensor(valid),
            "object_masks": torch.as_tensor(masks),
        }

    def num_tokens(self, inputs: dict[str, torch.Tensor]) -> int:
        """How many scene tokens the model will make of ``inputs``: V * h * w and the newlines."""
        views, rows, columns = inputs["valid"].shape
        newlines = {"grid": views * rows, "frame": views, "one_token": min(views, 1), "no_token": 0}
        return views * rows * columns + newlines[self.config.newline]
