"""A phone held upright writes pictures that lie on their side: an import sets them upright, and nothing moves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llava.captures import open_scene
from llava.captures.importing import import_scene
from llava.captures.picture_turn import pictures_upright
from llava.captures.pixels import load_color
from llava.types import Scene
from tests.captures.test_formats import assert_same
from tests.captures.walk import Walk, room_walk
from tests.captures.writers import nerfstudio


def on_its_side(walk: Walk) -> Walk:
    """The same walk with the camera rolled by a quarter turn: its x axis is the old y axis, its y axis the old -x."""
    k, width = walk.intrinsics, walk.size[0]
    rolled = np.array([[k[1, 1], 0, k[1, 2]], [0, k[0, 0], width - 1 - k[0, 2]], [0, 0, 1]])
    x, y, z, place = (walk.poses[:, :, column] for column in range(4))
    return Walk(
        color=np.ascontiguousarray(np.rot90(walk.color, axes=(1, 2))),
        depth=np.ascontiguousarray(np.rot90(walk.depth, axes=(1, 2))),
        poses=np.stack([y, -x, z, place], axis=2),
        intrinsics=rolled,
    )


@pytest.mark.parametrize("rolls", [1, 2, 3])
def test_pictures_on_their_side_are_set_upright(rolls, tmp_path):
    walk = rolled = room_walk()
    for _ in range(rolls):
        rolled = on_its_side(rolled)
    np.testing.assert_allclose(rolled.points(0), np.rot90(walk.points(0), rolls), atol=1e-4)
    capture = tmp_path / "capture"
    capture.mkdir()
    path, own = nerfstudio.write(rolled, capture)
    scene = import_scene(path, tmp_path / "scene")
    assert_same(scene, walk, own)
    assert scene.color_size == walk.size
    assert not list((tmp_path / "scene").glob("*/turned-*"))


def test_upright_pictures_and_worlds_without_up_are_left_alone(tmp_path):
    capture = tmp_path / "capture"
    capture.mkdir()
    scene = nerfstudio_scene(room_walk(), capture)
    assert pictures_upright(scene, tmp_path) is scene
    rolled = tmp_path / "rolled"
    rolled.mkdir()
    scene = replace(nerfstudio_scene(on_its_side(room_walk()), rolled), up=None)
    assert pictures_upright(scene, tmp_path) is scene
    assert load_color(pictures_upright(replace(scene, up="gravity"), tmp_path), 0).size == (160, 120)


def nerfstudio_scene(walk: Walk, folder: Path) -> Scene:
    nerfstudio.write(walk, folder)
    return open_scene(folder)
