"""The picture of a choice: it draws what it should, and the map from above is where the points are."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llava.frames import frames_picture, sample_to_picture, scene_voxels
from llava.frames.floor_map import MISSED, PAPER_RGB, floor_map
from llava.types import Frame, Scene

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
K = np.array([[32.0, 0, 32], [0, 32, 24], [0, 0, 1]])
DOWN = np.array([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 2]])  # 2 m above the floor, looking at it


@pytest.fixture
def floor(tmp_path: Path) -> Scene:
    """Two cameras over a green floor, 4 m apart, so that each sees its own 4 x 3 m of it."""
    Image.new("RGB", (64, 48), (40, 200, 60)).save(tmp_path / "color.png")
    Image.fromarray(np.full((48, 64), 2000, np.uint16)).save(tmp_path / "depth.png")
    frames = []
    for index, x in enumerate((0.0, 4.0)):
        pose = np.eye(4)
        pose[:3] = DOWN
        pose[0, 3] = x
        frames.append(Frame(f"{index:05d}", tmp_path / "color.png", tmp_path / "depth.png", pose))
    return Scene("test/floor", tuple(frames), (64, 48), (64, 48), K, K)


def test_the_map_keeps_the_colours_of_what_is_seen_and_hatches_the_rest(floor: Scene) -> None:
    made = floor_map(floor, [0], scene_voxels(floor))
    x_low, x_high, y_low, y_high = made.extent
    assert x_low == pytest.approx(-2.1, abs=0.1) and x_high == pytest.approx(6.1, abs=0.1)
    assert y_high - y_low == pytest.approx(3.2, abs=0.15)
    middle = round((2 - x_low) / (x_high - x_low) * made.image.shape[1])
    seen, missed = made.image[:, : middle - 6].reshape(-1, 3), made.image[:, middle + 6 :].reshape(-1, 3)
    assert {(40, 200, 60), PAPER_RGB} == {tuple(pixel) for pixel in seen.tolist()}
    assert (missed == MISSED).all(axis=1).any() and not (missed == (40, 200, 60)).all(axis=1).any()


def test_everything_chosen_leaves_nothing_hatched(floor: Scene) -> None:
    assert not (floor_map(floor, [0, 1], scene_voxels(floor)).image == MISSED).all(axis=-1).any()


@pytest.mark.parametrize("chosen", [[0], [1, 0], [0, 0, 1]])
def test_a_picture_of_any_choice(floor: Scene, chosen: list[int]) -> None:
    picture = frames_picture(floor, chosen, "uniform")
    assert picture.size == (1600, 900) and picture.mode == "RGB"
    assert (np.asarray(picture) == (40, 200, 60)).all(axis=-1).sum() > 20_000


def test_a_name_is_drawn_as_it_is(floor: Scene) -> None:
    named = dataclasses.replace(floor, name="posed/50$ or $x_^{")
    assert frames_picture(named, [0]).size == (1600, 900)


def test_a_scene_without_any_depth_is_drawn_all_the_same(floor: Scene) -> None:
    dark = dataclasses.replace(floor, depth_unknown=(0, 2000))
    assert frames_picture(dark, [0]).size == (1600, 900)


def test_nothing_chosen(floor: Scene) -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        frames_picture(floor, [])


def test_a_real_capture_is_sampled_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = SHARED / "real" / "7scenes"
    if not folder.is_dir():
        pytest.skip(f"no real capture at {folder}")
    sample_to_picture(folder, "mc", 8, tmp_path / "new" / "picks.png")
    assert "8 of 30 frames by mc" in capsys.readouterr().out
    with Image.open(tmp_path / "new" / "picks.png") as picture:
        assert picture.size == (1600, 900)
