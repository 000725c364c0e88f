from __future__ import annotations

import pytest
import torch
from torch import nn

from llava.model.positions import Positions


class Plain(nn.Module):
    """A position encoding of the user's own."""

    def __init__(self, positions: Positions, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(3, width)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        return self.layer(points)


def test_points_without_depth_get_no_encoding():
    points, valid = torch.rand(2, 3, 3), torch.tensor([[True, False, True], [False, True, True]])
    for kind in ("sin3d", "mlp"):
        encoded = Positions(kind).build_module(24)(points, valid)
        assert encoded.shape == (2, 3, 24)
        assert (encoded[~valid] == 0).all()
        assert (encoded[valid] != 0).any(dim=-1).all()


def test_fresh_encodings_are_of_one_size(kit):
    points = torch.rand(100, 3) * 6 - 3  # a room
    sizes = [kit.make_model(positions={"kind": kind}).positions(points).std().item() for kind in ("sin3d", "mlp")]
    assert 0.3 < sizes[1] / sizes[0] < 3


def test_none_says_nothing():
    assert (Positions("none").build_module(24)(torch.rand(5, 3)) == 0).all()


def test_scale_is_a_factor():
    points = torch.rand(5, 3)
    plain, scaled = (Positions(scale=scale).build_module(24)(points) for scale in (1.0, 0.5))
    assert torch.allclose(scaled, plain / 2)


def test_encoding_of_the_users_own():
    module = Positions(f"{__name__}:Plain").build_module(24)
    assert module(torch.rand(5, 3)).shape == (5, 24)


@pytest.mark.parametrize("kind", ["sine", "a:b:c"])
def test_unknown_kind(kind):
    with pytest.raises(ValueError, match="expected one of none, sin3d, mlp"):
        Positions(kind)


@pytest.mark.parametrize("kind", ["no.such.module:Class", "llava.types:NoSuchClass"])
def test_encoding_that_cannot_be_imported(kind):
    with pytest.raises(ValueError, match="cannot be imported"):
        Positions(kind).build_module(24)


def test_ranges_are_checked():
    with pytest.raises(ValueError, match="lo must lie below hi"):
        Positions(lo=(0, 0, 0), hi=(1, 1, 0))
    with pytest.raises(ValueError, match="voxel_size must be positive"):
        Positions(voxel_size=0)


def test_voxels_are_counted_in_the_precision_that_is_asked_for():
    points = torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) * 8 - 4
    whole, half = (Positions(precision=name).build_module(24)(points) for name in ("float32", "float16"))
    differing = (whole != half).any(dim=1).float().mean()
    assert 0 < differing < 0.3
    assert torch.equal(half, Positions(precision="float16").build_module(24)(points.half()))
    with pytest.raises(ValueError, match="unknown precision 'fp16': expected one of float32, float16, bfloat16"):
        Positions(precision="fp16")
