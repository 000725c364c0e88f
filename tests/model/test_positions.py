from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from llava.model.position_encodings import discretise, sine3d
from llava.model.positions import Positions


class Plain(nn.Module):
    """A position encoding of the user's own."""

    def __init__(self, positions: Positions, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(3, width)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        return self.layer(points)


@pytest.mark.parametrize("width", [3584, 96, 100, 64])
@pytest.mark.parametrize("points", [1, 2])
@pytest.mark.parametrize("kind", ["int", "float"])
def test_sine_agrees_with_the_reference(golden, width, points, kind):
    arrays = np.load(golden("01_position_encoding") / "pe_sine3d.npz")
    coords = torch.from_numpy(arrays[f"coords_n{points}_{kind}"])
    coords = coords.view(*coords.shape[:2], points, 3)
    expected = torch.from_numpy(arrays[f"pe_E{width}_n{points}_{kind}"])
    assert torch.allclose(sine3d(coords, width), expected, atol=1e-5, rtol=0)


def test_discretise_agrees_with_the_reference(golden):
    arrays = np.load(golden("02_geometry") / "patch_coords.npz")
    for name in ("points", "avg"):
        voxel = discretise(torch.from_numpy(arrays[name]), 0.1, (-15, -15, -5), (15, 15, 5))
        assert torch.equal(voxel, torch.from_numpy(arrays[f"{name}_discrete"]))
    meta = json.loads((golden("02_geometry") / "meta.json").read_text())
    halves = discretise(torch.tensor(meta["discrete_point_in"]), 0.1, (-15, -15, -5), (15, 15, 5))
    assert halves.tolist() == meta["discrete_point_out"]


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
