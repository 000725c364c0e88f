"""Which 3D position encoding a model uses: for patches, box centres and ``<coord>`` alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn

KINDS = ("none", "sin3d", "mlp")
PRECISIONS = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Positions:
    """A choice of position encoding.

    ``kind`` is one of `KINDS` or ``"package.module:Class"``, where ``Class(positions, width)`` is an
    ``nn.Module`` that maps points (..., 3) in metres to (..., width).
    """

    kind: str = "sin3d"
    voxel_size: float = 0.1  # metres; sin3d reads voxel indices
    lo: tuple[float, float, float] = (-15.0, -15.0, -5.0)  # metres; points outside are clipped
    hi: tuple[float, float, float] = (15.0, 15.0, 5.0)
    temperature: float = 10000.0
    scale: float = 1.0  # factor on every encoding
    coord_scale: float = 1.0  # a further factor on the "<coord>" query
    discrete: bool = True  # False: sin3d reads metres, unclipped
    precision: Literal["float32", "float16", "bfloat16"] = "float32"  # in which sin3d counts voxels (quirk Q3)

    def __post_init__(self) -> None:
        if self.kind not in KINDS and self.kind.count(":") != 1:
            raise ValueError(
                f"unknown position encoding {self.kind!r}: expected one of {', '.join(KINDS)} or 'package.module:Class'"
            )
        if self.precision not in PRECISIONS:
            raise ValueError(f"unknown precision {self.precision!r}: expected one of {', '.join(PRECISIONS)}")
        if self.voxel_size <= 0:
            raise ValueError(f"voxel_size must be positive, got {self.voxel_size}")
        if len(self.lo) != 3 or len(self.hi) != 3 or not all(a < b for a, b in zip(self.lo, self.hi, strict=True)):
            raise ValueError(f"lo must lie below hi on all three axes, got lo={self.lo}, hi={self.hi}")
        # A configuration read back from JSON has lists here; equal configurations must compare equal.
        object.__setattr__(self, "lo", tuple(self.lo))
        object.__setattr__(self, "hi", tuple(self.hi))

    def build_module(self, width: int) -> nn.Module:
        """Make the module that maps points (..., 3 p), metres, and an optional bool mask (...) to (..., width)."""
        from llava.model.position_encodings import PositionEncoding

        return PositionEncoding(self, width)
