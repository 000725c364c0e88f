"""The modules behind `positions.Positions`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from llava.model.positions import Positions


class PositionEncoding(nn.Module):
    """Encodes points in metres; shared by patches, box centres and the ``<coord>`` query."""

    def __init__(self, config: Positions, width: int) -> None:
        super().__init__()
        self.width = width
        self.scale = config.scale
        self.encoding = _encoding(config, width)

    def forward(self, points: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
        """Encode ``points`` (..., 3), metres, as (..., width); points that are not ``valid`` (...) get zeros.

        Where several points p say where a token is, ``points`` are (..., 3 p); only sin3d reads those.
        """
        encoded = self.encoding(points) * self.scale
        return encoded if valid is None else encoded.masked_fill(~valid[..., None], 0)


class Sine3D(nn.Module):
    """Sine encoding of voxel indices (Video-3D LLM, section 3.2)."""

    def __init__(self, config: Positions, width: int) -> None:
        super().__init__()
        self.config = config
        self.width = width

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        config, dtype = self.config, getattr(torch, self.config.precision)
        points = points.unflatten(-1, (points.shape[-1] // 3, 3))
        if config.discrete:
            return sine3d(
                discretise(points, config.voxel_size, config.lo, config.hi, dtype), self.width, config.temperature
            )
        return sine3d(points.to(dtype), self.width, config.temperature)


class MLP3D(nn.Module):
    """A learnt encoding: two layers on metres from the middle of the range, clipped to it."""

    def __init__(self, config: Positions, width: int) -> None:
        super().__init__()
        self.lo, self.hi = config.lo, config.hi
        self.layers = nn.Sequential(nn.Linear(3, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        lo, hi = points.new_tensor(self.lo), points.new_tensor(self.hi)
        centred = points.clamp(lo, hi) - (lo + hi) / 2
        return self.layers(centred.to(self.layers[0].weight.dtype))


class NoPosition(nn.Module):
    """Zeros: the ablation without position encoding."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        return points.new_zeros(*points.shape[:-1], self.width)


def discretise(
    points: torch.Tensor,
    voxel_size: float,
    lo: tuple[float, float, float],
    hi: tuple[float, float, float],
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Clip ``points`` (..., 3) to the box and count voxels from ``lo``, as float32 whole numbers.

    Halves round to even, and the arithmetic is that of ``dtype``: which voxel a point on a border falls into
    must not depend on the precision that the model happens to run in.
    """
    points = points.to(dtype)
    lo, hi = points.new_tensor(lo), points.new_tensor(hi)
    return torch.round((points.clamp(lo, hi) - lo) / voxel_size).float()


def sine3d(coords: torch.Tensor, width: int, temperature: float = 10000.0) -> torch.Tensor:
    """Sine encoding of ``coords`` (..., n, 3), n points a token, as (..., width) float32.

    Each coordinate gets ``width // (3 n)`` channels, sines and cosines in turn, in the order
    [x | y | z] of the first point, then of the next; channels that are left over stay zero.
    """
    points = coords.shape[-2]
    channels = width // (3 * points)
    index = torch.arange(channels, dtype=torch.float32, device=coords.device)
    period = temperature ** (2 * torch.div(index, 2, rounding_mode="floor") / channels)
    angles = coords.float()[..., None] / period
    encoded = torch.empty_like(angles)
    encoded[..., 0::2] = angles[..., 0::2].sin()
    encoded[..., 1::2] = angles[..., 1::2].cos()
    return nn.functional.pad(encoded.flatten(-3), (0, width - 3 * points * channels))


def _encoding(config: Positions, width: int) -> nn.Module:
    if config.kind == "none":
        return NoPosition(width)
    if config.kind == "sin3d":
        return Sine3D(config, width)
    if config.kind == "mlp":
        return MLP3D(config, width)
    module, name = config.kind.split(":")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"position encoding {config.kind!r} cannot be imported: {error}") from error
    return cls(config, width)
