"""The picture of a check: drawn whatever was found, also of captures that are no use."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llava.captures import open_scene
from llava.captures.check import check
from llava.frames.check_picture import check_picture
from llava.geometry.camera import invert_pose
from llava.types import Scene
from tests.captures.walk import room_walk
from tests.captures.writers import posed_folder


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return open_scene(posed_folder.write(room_walk(), tmp_path_factory.mktemp("walk"))[0])


BROKEN = {
    "no depth": lambda scene: replace(scene, depth_scale=np.inf),
    "one frame": lambda scene: replace(scene, frames=scene.frames[:1]),
    "kilometres": lambda scene: replace(scene, depth_scale=1.0),
    "inverted": lambda scene: replace(
        scene, frames=tuple(replace(frame, pose=invert_pose(frame.pose)) for frame in scene.frames)
    ),
}


def drawn(scene: Scene) -> np.ndarray:
    return np.asarray(check_picture(check(scene)), int)


def test_a_good_scene_is_drawn(walk: Scene) -> None:
    picture = drawn(walk)
    assert picture.shape == (900, 1600, 3)
    green, red = (15, 157, 138), (222, 78, 58)
    assert np.any(np.all(picture[:80, 1200:] == green, axis=-1))
    assert not np.any(np.all(picture[:80, 1200:] == red, axis=-1))
    assert picture[100:500, 20:980].std() > 40 and picture[100:600, 1050:1560].std() > 30  # frames, and the map


@pytest.mark.parametrize("what", BROKEN)
def test_a_bad_scene_is_drawn_too(walk: Scene, what: str) -> None:
    picture = drawn(BROKEN[what](walk))
    red = np.all(picture[:80, 1200:] == (222, 78, 58), axis=-1)
    assert red.any() == (what != "one frame")  # of which nothing says that it is wrong
