"""``llava scene info``: what it says about a good capture, and what it notices about bad ones."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from llava.captures import open_scene
from llava.captures.check import check, describe, info
from llava.geometry.camera import invert_pose
from llava.types import Scene

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


@pytest.fixture(scope="module")
def kitchen() -> Scene:
    folder = SHARED / "real" / "7scenes"
    if not folder.is_dir():
        pytest.skip(f"no real capture at {folder}")
    scene = open_scene(folder)
    return dataclasses.replace(scene, frames=scene.frames[:12])


def test_a_good_capture_has_no_warnings(kitchen: Scene) -> None:
    found = check(kitchen)
    assert found.warnings == ()
    assert found.pairs >= 8 and found.disagreement < 0.03
    assert found.depth_range[0] > 0.4 and found.depth_range[2] < 5
    shares = list(found.coverage.values())
    assert list(found.coverage) == [1, 2, 4, 8] and shares == sorted(shares) and 0.2 < shares[0] < 1
    assert "turned by" in describe(found) and "12 usable of 12" in describe(found)


def with_poses(scene: Scene, change) -> Scene:
    frames = [dataclasses.replace(frame, pose=change(frame.pose)) for frame in scene.frames]
    return dataclasses.replace(scene, frames=tuple(frames))


def test_inverted_poses_are_noticed(kitchen: Scene) -> None:
    assert any("world-to-camera" in warning for warning in check(with_poses(kitchen, invert_pose)).warnings)


def test_a_wrong_depth_scale_is_noticed(kitchen: Scene) -> None:
    tiny = check(dataclasses.replace(kitchen, depth_scale=100_000.0))
    assert any("100000 depth units" in warning for warning in tiny.warnings)


def test_a_world_that_is_not_upright_is_noticed(kitchen: Scene) -> None:
    raw = with_poses(kitchen, lambda pose: invert_pose(kitchen.align) @ pose)
    found = check(dataclasses.replace(raw, align=np.eye(4), doubts=("which way is up?",)))
    assert any("z axis up" in warning for warning in found.warnings)
    assert "warning   which way is up?" in describe(found).splitlines()


def test_damaged_and_dropped_frames_are_told(posed_images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (posed_images / "00000.jpg").unlink()
    path = posed_images / "00030.png"
    data = bytearray(path.read_bytes())
    data[60:90] = bytes(30)  # a header and an end that look fine
    path.write_bytes(bytes(data))
    info(posed_images)
    out = capsys.readouterr().out
    assert "2 usable of 4, 2 dropped" in out
    assert "dropped 00000: 00000.jpg is missing" in out and "00030.png cannot be decoded" in out
    assert "warning" in out and "2 frames were dropped" in out


def test_only_some_of_many_frames_are_looked_at(posed_images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llava.captures.check.MOST_FRAMES", 2)
    assert "4 usable of 4, 0 dropped; the images of 2 were looked at" in describe(check(open_scene(posed_images)))


def test_a_capture_without_any_depth_is_described(posed_images: Path) -> None:
    scene = open_scene(posed_images)
    dark = dataclasses.replace(scene, depth_unknown=tuple(range(65536)))
    found = check(dataclasses.replace(dark, frames=dark.frames[:1]))
    assert found.valid_share == 0 and found.disagreement is None
    assert "only 0% of the pixels" in describe(found)


def test_different_fields_of_view_are_noticed(posed_images: Path) -> None:
    scene = open_scene(posed_images)
    wide = dataclasses.replace(scene, color_intrinsics=scene.color_intrinsics * np.array([[0.7], [0.7], [1]]))
    assert any("fields of different size" in warning for warning in check(wide).warnings)


def test_nothing_decodes(posed_images: Path) -> None:
    scene = open_scene(posed_images)
    for frame in scene.frames:
        frame.depth.unlink()
    with pytest.raises(ValueError, match="no image of scene scannet/scene0000_00 can be decoded"):
        check(scene)
