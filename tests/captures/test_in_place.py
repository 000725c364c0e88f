"""What the formats with lists of poses leave open: clocks, numbers, intrinsics, and which way is up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial.transform import Rotation

from llava.captures import find_reader, open_scene
from llava.captures.folders import pairs
from llava.captures.gather import find_intrinsics
from llava.captures.importing import import_scene
from llava.captures.pixels import load_depth
from llava.captures.pose_list import read_pgm
from llava.captures.redwood import read_log
from llava.captures.trajectories import nearest, quaternion_poses, read_table
from tests.captures.walk import Walk, room_walk
from tests.captures.writers import pose_list, posed_folder, redwood, tum

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
SECONDS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20)


@given(SECONDS, SECONDS)
def test_the_nearest_time_is_nearest(times: list[float], wanted: list[float]) -> None:
    times, wanted = np.array(times), np.array(wanted)
    found = nearest(times, wanted)
    np.testing.assert_array_equal(np.abs(times[found] - wanted), np.abs(times[:, None] - wanted).min(axis=0))


def test_quaternions_are_xyzw(tmp_path: Path) -> None:
    turn = Rotation.from_euler("z", 90, degrees=True)
    rows = np.array([[1, 2, 3, *turn.as_quat()], [0, 0, 0, *[np.nan] * 4], [0, 0, 0, 0, 0, 0, 1.0]])
    poses = quaternion_poses(rows, tmp_path)
    np.testing.assert_allclose(poses[0] @ [1, 0, 0, 1], [1, 3, 3, 1], atol=1e-12)
    assert np.isnan(poses[1]).all()
    np.testing.assert_array_equal(poses[2], np.eye(4))


def test_the_last_column_may_hold_spaces(tmp_path: Path) -> None:
    (tmp_path / "rgb.txt").write_text("# time name\n\n1.5 rgb/a picture.png\n", encoding="utf-8-sig")
    assert read_table(tmp_path / "rgb.txt", "timestamp filename") == [["1.5", "rgb/a picture.png"]]


def test_images_are_paired_by_number(tmp_path: Path) -> None:
    for name in (
        "color/2.png",
        "color/10.png",
        "color/1.jpg",
        "color/.hidden.png",
        "color/notes.txt",
        "depth/2-77.png",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = pairs(tmp_path / "color", tmp_path / "depth")
    assert [(name, color.name, depth.name) for name, color, depth in found] == [
        ("1", "1.jpg", "1.png"),
        ("2", "2.png", "2-77.png"),
        ("10", "10.png", "10.png"),
    ]


def test_names_without_telling_numbers_are_paired_whole(tmp_path: Path) -> None:
    for name in ("color/cam0_b.png", "color/cam0_a.png", "depth/cam0_a.png", "depth/cam0_b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [name for name, *_ in pairs(tmp_path / "color", tmp_path / "depth")] == ["cam0_a", "cam0_b"]


def test_names_that_are_times(tmp_path: Path) -> None:
    """With a dot in the middle: their first number says the second alone."""
    pictures, depths = ("9.5.jpg", "9.75.PNG", "10.1.png"), ("9.5.pgm.gz", "9.75.pgm", "10.1.pgm")
    for name in [*(f"color/{file}" for file in pictures), *(f"depth/{file}" for file in depths)]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    ends = (".png", ".pgm", ".pgm.gz")
    found = [
        (name, *(file.name for file in files)) for name, *files in pairs(tmp_path / "color", tmp_path / "depth", ends)
    ]
    assert found == [
        ("9.5", "9.5.jpg", "9.5.pgm.gz"),
        ("9.75", "9.75.PNG", "9.75.pgm"),
        ("10.1", "10.1.png", "10.1.pgm"),  # later than 9.75, which words are not
    ]
    (tmp_path / "color/9.5.png").touch()
    with pytest.raises(ValueError, match="holds two images of one name"):
        pairs(tmp_path / "color", tmp_path / "depth", ends)


def test_names_are_those_of_files_apart(tmp_path: Path) -> None:
    """Numbers behind a first dot, and endings of a camera's own before the last."""
    for folder, kind in (("color", "rgb"), ("depth", "d")):
        for number in (1, 2):
            for sequence in ("numbered", "named"):
                (tmp_path / sequence / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / f"numbered/{folder}/cam.{number}.png").touch()
            (tmp_path / f"named/{folder}/{'ab'[number - 1]}.{kind}.png").touch()
    assert [name for name, *_ in pairs(tmp_path / "numbered/color", tmp_path / "numbered/depth")] == ["cam.1", "cam.2"]
    assert [name for name, *_ in pairs(tmp_path / "named/color", tmp_path / "named/depth")] == ["a", "b"]


@pytest.mark.parametrize("folder", ["rgbd_dataset_freiburg1_xyz", "my_kinect"])
def test_a_known_camera_is_no_doubt(folder: str, tmp_path: Path) -> None:
    """TUM's own recordings have calibrated cameras, known by name; others get the usual Kinect, and a doubt."""
    (tmp_path / folder).mkdir()
    path, _ = tum.write(larger(room_walk()), tmp_path / folder)
    (path / "camera-intrinsics.txt").unlink()
    scene = open_scene(path)
    known = "freiburg1" in folder
    assert scene.depth_intrinsics[0, 0] == (517.3 if known else 525.0)
    assert len(scene.doubts) == (0 if known else 1)
    assert known or "the capture has no intrinsics: fx 525 fy 525 cx 319.5 cy 239.5 are taken" in scene.doubts[0]


def larger(walk: Walk) -> Walk:
    """Two of its frames, at a Kinect's resolution."""
    color, depth = (np.repeat(np.repeat(values[:2], 4, axis=1), 4, axis=2) for values in (walk.color, walk.depth))
    return Walk(color, depth, walk.poses[:2], walk.intrinsics)


def test_seven_scenes_as_it_ships(tmp_path: Path) -> None:
    """Pictures are PNG, and neither intrinsics nor gravity lie beside the frames."""
    path, _ = posed_folder.write(larger(room_walk()), tmp_path)
    for name in ("camera-intrinsics.txt", "gravity-direction.txt"):
        (path / name).unlink()
    for file in path.glob("*.color.jpg"):
        Image.open(file).save(file.with_suffix(".png"))
        file.unlink()
    scene = open_scene(path)
    assert scene.depth_intrinsics[0, 0] == 585 and scene.frames[0].color.suffix == ".png"
    assert scene.up is None and len(scene.doubts) == 2


def test_a_world_made_by_slam_is_not_believed_to_be_upright(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes in TUM's files, too, but is the first camera's."""
    first = np.linalg.inv(room_walk().poses[0])
    monkeypatch.setattr(tum, "MOCAP", first)
    path, own = tum.write(room_walk(), tmp_path)
    assert open_scene(path).up is None
    scene = import_scene(path, tmp_path / "scene")
    assert scene.up.startswith("the floor") and (scene.align @ own)[2, 2] > np.cos(np.radians(1))


def test_told_which_way_is_up(tmp_path: Path) -> None:
    (tmp_path / "capture").mkdir()
    path, own = redwood.write(room_walk(), tmp_path / "capture")
    scene = import_scene(path, tmp_path / "scene", up=own[:3, 2] * 7)
    assert scene.up == "--up" and (scene.align @ own)[2, 2] == pytest.approx(1)


def test_frame_numbers_say_whose_pose_it_is(tmp_path: Path) -> None:
    """Where SLAM has lost some frames, the others' numbers remain; numbers from 1 on are taken in order."""
    path, _ = redwood.write(room_walk(), tmp_path)
    log, whole = path / "trajectory.log", open_scene(path)
    blocks = [log.read_text().splitlines()[at : at + 5] for at in range(0, 60, 5)]
    log.write_text("\n".join(line for block in blocks[:3] + blocks[5:] for line in block))
    scene = open_scene(path)
    assert [drop.reason for drop in scene.dropped] == ["trajectory.log has no pose for it"] * 2
    for frame, expected in zip(scene.frames, whole.frames[:3] + whole.frames[5:], strict=True):
        assert frame.name == expected.name
        np.testing.assert_array_equal(frame.pose, expected.pose)
    for number, block in enumerate(blocks, 1):
        block[0] = f"{number} {number} {number}"
    log.write_text("\n".join(line for block in blocks for line in block))
    assert [frame.name for frame in open_scene(path).frames] == [frame.name for frame in whole.frames]


def test_a_programs_log_makes_no_trajectory(tmp_path: Path) -> None:
    (tmp_path / "capture").mkdir()
    path, _ = pose_list.write(room_walk(), tmp_path / "capture")
    (path / "scanner.log").write_text("INFO started\n")
    assert find_reader(path).NAME == "pose list"
    (path / "pose.txt").unlink()
    (path / "color").rename(path / "pictures")
    with pytest.raises(ValueError, match="no capture that is known"):
        find_reader(path)


def test_a_log_by_hand(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("0\t0 1\n1 0 0 4\n0 1 0 5\n0 0 1 6\n0 0 0 1\n\n")
    numbers, poses = read_log(tmp_path / "a.log")
    assert numbers == [0] and poses[0, :3, 3].tolist() == [4, 5, 6]


def test_pictures_and_depth_of_other_shapes_are_doubted(tmp_path: Path) -> None:
    path, _ = redwood.write(room_walk(), tmp_path)
    for file in path.glob("color/*"):
        Image.open(file).resize((192, 108)).save(file)
    assert any("192x108 and depth images of 160x120 pixels cannot show the same" in d for d in open_scene(path).doubts)


def test_intrinsics_of_a_kinect_at_another_size_are_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the camera of 320x240 pixels is cannot be guessed: write its 3x3"):
        find_intrinsics(tmp_path, (320, 240), (525, 525, 319.5, 239.5))


def test_values_of_a_pgm_are_not_stretched(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 5000\n" + bytes([0x03, 0xE8, 0x13, 0x88]))
    assert read_pgm(tmp_path / "a.pgm").tolist() == [[1000, 5000]]


def test_a_real_pose_list(tmp_path: Path) -> None:
    folder = SHARED / "real" / "slambook2"
    if not folder.is_dir():
        pytest.skip(f"no real capture at {folder}")
    scene = import_scene(folder, tmp_path / "scene")
    assert [frame.name for frame in scene.frames] == ["1", "2", "3", "4", "5"] and scene.dropped == ()
    assert scene.depth_intrinsics.tolist() == [[518, 0, 325.5], [0, 519, 253.5], [0, 0, 1]]
    assert scene.up.startswith("the floor")
    assert 0.5 < np.median(load_depth(scene, 0)[load_depth(scene, 0) > 0]) < 4
    assert all(0.5 < frame.pose[2, 3] < 2.2 for frame in scene.frames)  # held by a person


def test_what_windows_puts_before_a_text(tmp_path: Path) -> None:
    """A mark of the byte order, which its editors write unseen."""
    for name, writer, files in (
        ("posed", posed_folder, ("camera-intrinsics.txt", "gravity-direction.txt", "frame-000003.pose.txt")),
        ("redwood", redwood, ("trajectory.log",)),
    ):
        (tmp_path / name).mkdir()
        path, _ = writer.write(room_walk(), tmp_path / name)
        for file in files:
            (path / file).write_text((path / file).read_text(), encoding="utf-8-sig", newline="\r\n")
        assert open_scene(path).dropped == ()


def test_lists_in_any_order_give_frames_in_time(tmp_path: Path) -> None:
    path, _ = tum.write(room_walk(), tmp_path)
    for name in ("rgb.txt", "depth.txt", "groundtruth.txt"):
        lines = (path / name).read_text().splitlines()
        (path / name).write_text("\n".join(lines[::-1]))
    names = [frame.name for frame in open_scene(path).frames]
    assert len(names) == 12 and names == sorted(names)


def test_links_in_circles_are_no_capture(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(ValueError, match="is no capture that is known here"):
        open_scene(tmp_path)
