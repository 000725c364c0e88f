"""``llava scene info`` and ``check``: what they say about a good capture, and what they notice about bad ones."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from llava.captures import open_scene
from llava.captures.check import check
from llava.captures.telling import as_json, coverage, describe, verdict
from llava.cli import main
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
    assert (found.warnings, found.faults, verdict(found)) == ((), (), "usable")
    assert found.overlap.pairs >= 20 and found.overlap.error < 0.015
    assert found.depth_range[0] > 0.4 and found.depth_range[2] < 5
    shares = list(coverage(found).values())
    assert list(coverage(found)) == [1, 2, 4, 8] and shares == sorted(shares) and 0.2 < shares[0] < 1
    assert "turned by" in describe(found) and "12 usable of 12" in describe(found)
    assert "gravity-direction.txt; the floor is" in describe(found)


def with_poses(scene: Scene, change) -> Scene:
    frames = [dataclasses.replace(frame, pose=change(frame.pose)) for frame in scene.frames]
    return dataclasses.replace(scene, frames=tuple(frames))


def test_a_wrong_depth_scale_is_noticed(kitchen: Scene) -> None:
    tiny = check(dataclasses.replace(kitchen, depth_scale=100_000.0))
    (fault,) = tiny.faults
    assert fault.endswith("mm if a metre is 1000 depth units, not 100000 (--depth-units): the capture is read wrongly")
    assert f"\nfault     {fault}" in describe(tiny) and verdict(tiny).startswith("not usable")


def test_an_impossible_depth_is_noticed_where_no_frames_overlap(posed_images: Path) -> None:
    scene = open_scene(posed_images)
    (fault,) = check(dataclasses.replace(scene, frames=scene.frames[:1], depth_scale=10.0)).faults
    assert fault == "the median depth is 201 m: is a metre 10 depth units?"


def raw(scene: Scene) -> Scene:
    """As it was captured, in a world where nobody says what is up."""
    world = with_poses(scene, lambda pose: invert_pose(scene.align) @ pose)
    return dataclasses.replace(world, align=np.eye(4), up=None)


def test_a_world_that_is_not_upright_is_noticed(kitchen: Scene) -> None:
    found = check(dataclasses.replace(raw(kitchen), doubts=("which way is up?",)))
    assert any("up is 11" in warning and "by the floor" in warning for warning in found.warnings)
    assert "warning   which way is up?" in describe(found).splitlines()
    assert found.usable  # `llava import` turns it


def test_gravity_that_the_floor_contradicts_is_a_finding(kitchen: Scene) -> None:
    found = check(dataclasses.replace(raw(kitchen), up="gravity-direction.txt"))
    (warning,) = found.warnings
    assert "degrees from what gravity-direction.txt says by the floor (confidence 0." in warning


def test_cameras_without_a_floor_may_lie_on_their_side(posed_images: Path) -> None:
    scene = open_scene(posed_images)  # it looks along z, at a board
    assert any("z axis up" in warning for warning in check(scene).warnings)


def test_damaged_and_dropped_frames_are_told(posed_images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (posed_images / "00000.jpg").unlink()
    path = posed_images / "00030.png"
    data = bytearray(path.read_bytes())
    data[60:90] = bytes(30)  # a header and an end that look fine
    path.write_bytes(bytes(data))
    main(["scene", "info", str(posed_images)])
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
    assert found.valid_share == 0 and found.overlap.error is None
    assert "only 0% of the pixels" in describe(found) and not found.usable


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


def test_the_command_says_whether_it_is_usable(
    posed_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["scene", "check", str(posed_images), "--out", str(tmp_path / "new/check.png")])
    said = capsys.readouterr().out
    assert "\nusable, with the warnings above\n" in said and (tmp_path / "new/check.png").is_file()
    for path in sorted(posed_images.glob("0*.txt"))[:3]:
        path.write_text("lost")
    with pytest.raises(SystemExit) as ended:
        main(["scene", "check", str(posed_images), "--json"])
    assert ended.value.code == 1
    found = json.loads(capsys.readouterr().out)
    assert found["usable"] is False and found["faults"] == ["3 of 4 frames were dropped, see the reasons above"]
    assert [drop["name"] for drop in found["frames"]["dropped"]] == ["00000", "00010", "00020"]
    assert found["reprojection"] == {"median_error": None, "pairs": 0, "score": 0.0}


def test_json_holds_what_the_text_does(kitchen: Scene) -> None:
    found = check(kitchen)
    told = json.loads(json.dumps(as_json(found)))
    assert told["usable"] and told["better_reading"] is None and told["readings"][0]["reading"] == "as it was read"
    assert told["reprojection"]["median_error"] == found.overlap.error and told["up"] == "gravity-direction.txt"
    assert told["floor"]["tilt"] == found.tilt and told["coverage"]["8"] > told["coverage"]["1"]
