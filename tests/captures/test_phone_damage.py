"""What befalls recordings of phones: told clearly, with nothing half-written; one bad frame costs that frame alone."""

from __future__ import annotations

import json
import shutil
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import lzfse
import numpy as np
import pytest
from PIL import Image

from llava.captures import find_reader
from llava.captures.importing import import_scene
from llava.types import Scene
from tests.captures.walk import FRAMES, room_walk
from tests.captures.writers import arkitscenes, nerfstudio, record3d, stray

WRITERS = {"record3d": record3d, "stray": stray, "arkitscenes": arkitscenes, "nerfstudio": nerfstudio}
MIDDLE = 5  # a frame
Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each format's capture, as its writer makes it."""
    made = {}
    for name, writer in WRITERS.items():
        folder = tmp_path_factory.mktemp(name) / "capture"
        folder.mkdir()
        made[name] = writer.write(room_walk(), folder)[0]
    return made


def copied(capture: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / capture.name
    if capture.is_dir():
        shutil.copytree(capture, copy)
    else:
        shutil.copyfile(capture, copy)
    return copy


def read(path: Path) -> Scene:
    scratch = path.parent / "scratch"
    scratch.mkdir()
    return find_reader(path).read(path, scratch)


def rezipped(change: Callable[[dict[str, bytes]], object]) -> Damage:
    """The archive with its members changed."""

    def damage(path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        change(members)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)

    return damage


def with_metadata(**values: object) -> Damage:
    def change(members: dict[str, bytes]) -> None:
        record = json.loads(members["metadata"]) | values
        members["metadata"] = json.dumps({key: value for key, value in record.items() if value is not None}).encode()

    return rezipped(change)


def with_member(name: str, content: bytes) -> Damage:
    return rezipped(lambda members: members.update({name: content}))


def with_json(**values: object) -> Damage:
    def damage(path: Path) -> None:
        file = path / "transforms.json"
        record = json.loads(file.read_text()) | values
        file.write_text(json.dumps({key: value for key, value in record.items() if value is not None}))

    return damage


def each_frame(change: Callable[[dict], object], only: int | None = None) -> Damage:
    """Changes the frames of transforms.json, or the one of this number."""

    def damage(path: Path) -> None:
        record = json.loads((path / "transforms.json").read_text())
        for frame in record["frames"]:
            if only is None or frame["file_path"].endswith(f"_{only}.jpg"):
                change(frame)
        (path / "transforms.json").write_text(json.dumps(record))

    return damage


def text(name: str, content: str) -> Damage:
    return lambda path: (path / name).write_text(content)


def cut(name: str, share: float = 0.5) -> Damage:
    def damage(path: Path) -> None:
        file = path / name
        content = file.read_bytes()
        file.write_bytes(content[: int(len(content) * share)])

    return damage


def replaced_lines(name: str, change: Callable[[list[str]], object]) -> Damage:
    def damage(path: Path) -> None:
        lines = (path / name).read_text().splitlines()
        change(lines)
        (path / name).write_text("\n".join(lines) + "\n")

    return damage


def all_small(folder: str) -> Damage:
    def damage(path: Path) -> None:
        for file in (path / folder).iterdir():
            Image.fromarray(np.full((6, 8), 2, np.uint8)).save(file)

    return damage


def deep(path: Path) -> None:
    (path / "transforms.json").write_text("[" * 100_000)


LOST = [float("nan")] * 7
BOMB = bytes(100 << 20)  # zeros, which zip packs to a thousandth
LZFSE_BOMB = lzfse.compress(bytes(1 << 20)).removesuffix(b"bvx$") * 100 + b"bvx$"


def patched(path: Path) -> None:
    """The first member is said to be a patch of another file, which zipfile cannot read."""
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 0x20
    path.write_bytes(data)


SEVEN = ", ".join(["x"] * 7)
TOTAL = {
    "truncated zip": ("record3d", cut("", 0.5), "no whole zip archive"),
    "empty file": ("record3d", lambda path: path.write_bytes(b""), "no whole zip archive"),
    "text as zip": ("record3d", lambda path: path.write_text("hello"), "no whole zip archive"),
    "absolute path": ("record3d", with_member("/etc/cron.d/x", b""), "'/etc/cron.d/x', a path out of its folder"),
    "parent path": ("record3d", with_member("rgbd/../../x", b""), "a path out of its folder"),
    "backslash path": ("record3d", with_member("rgbd\\..\\..\\x", b""), "a path out of its folder"),
    "drive path": ("record3d", with_member("C:/x", b""), "a path out of its folder"),
    "zip bomb": ("record3d", with_member("rgbd/0.depth", BOMB), "would unpack to 10[0-9],[0-9,]+, which no recording"),
    "patch in the zip": ("record3d", patched, "is encrypted or packed unusually"),
    "no metadata": ("record3d", rezipped(lambda members: members.pop("metadata")), "metadata is missing"),
    "metadata of text": ("record3d", with_member("metadata", b"hello"), "metadata are no use"),
    "metadata of bytes": ("record3d", with_member("metadata", b"\xff\xfe\x00"), "metadata are no use"),
    "metadata too deep": ("record3d", with_member("metadata", b"[" * 100_000), "metadata are no use"),
    "metadata a list": ("record3d", with_member("metadata", b"[]"), "a list, expected an object"),
    "no poses": ("record3d", with_metadata(poses=None), "has no poses"),
    "poses an object": ("record3d", with_metadata(poses={"0": 1}), "expected a list of lists"),
    "0 poses": ("record3d", with_metadata(poses=[]), "not one of 0 poses"),
    "all poses NaN": ("record3d", with_metadata(poses=[LOST] * FRAMES), "not one of 12 poses is 7 finite numbers"),
    "poses of words": ("record3d", with_metadata(poses=[["x"] * 7] * FRAMES), "not one of 12 poses"),
    "front camera": (
        "record3d",
        with_metadata(poses=[[0, 0, 0, 1, 0, 0, 0]] * FRAMES),
        "the front camera records none",
    ),
    "K of 4": ("record3d", with_metadata(K=[1, 2, 3, 4]), "K has 4 numbers, expected 9"),
    "K NaN": ("record3d", with_metadata(K=[float("nan")] * 9), "K is .* expected a list of finite numbers"),
    "K of a large picture": (
        *("record3d", with_metadata(K=[1e3, 0, 0, 0, 1e3, 0, 960, 720, 1], perFrameIntrinsicCoeffs=None)),
        "seem to be for about 1920x1440",
    ),
    "negative size": ("record3d", with_metadata(w=-3), "w is -3, expected a whole number above 0"),
    "huge depth": ("record3d", with_metadata(dw=1 << 20), "are too large"),
    "depth of other size": ("record3d", with_metadata(dw=64, dh=48), r"rgbd/0\.depth: it unpacks to 76800 .* 12288"),
    "no pictures": (
        *("record3d", rezipped(lambda m: [m.pop(name) for name in list(m) if name.endswith(".jpg")])),
        r"no usable frame of 12 \(000000: rgbd/0.jpg is missing in the archive\)",
    ),
    "empty video": ("stray", text("rgb.mp4", ""), r"rgb\.mp4 cannot be decoded"),
    "text as video": ("stray", text("rgb.mp4", "hello" * 1000), r"rgb\.mp4 cannot be decoded"),
    "truncated video": ("stray", cut("rgb.mp4"), r"rgb\.mp4 cannot be decoded"),
    "short video": (
        "stray",
        lambda path: stray.write_video(path / "rgb.mp4", [Image.new("RGB", (320, 240))] * 6),
        "has 6 pictures but odometry.csv 12 poses",
    ),
    "no odometry row": (
        "stray",
        replaced_lines("odometry.csv", lambda lines: lines.__delitem__(slice(1, None))),
        "no pose",
    ),
    "one frame twice": (
        *("stray", replaced_lines("odometry.csv", lambda lines: lines.__setitem__(3, lines[2]))),
        "several poses for one frame",
    ),
    "empty odometry": ("stray", text("odometry.csv", ""), "has no column 'frame'"),
    "no header": ("stray", replaced_lines("odometry.csv", lambda lines: lines.pop(0)), "has no column 'frame'"),
    "odometry of words": (
        *("stray", replaced_lines("odometry.csv", lambda lines: lines.__setitem__(3, "a, b, c"))),
        r"odometry\.csv .*'b'",
    ),
    "no pose at all": (
        "stray",
        text(
            "odometry.csv", "\n".join(["timestamp,frame,x,y,z,qx,qy,qz,qw", *[f"0, {i}, {SEVEN}" for i in range(12)]])
        ),
        "pose is not finite",
    ),
    "odometry of bytes": ("stray", lambda path: (path / "odometry.csv").write_bytes(b"\xff\xfe\x00\n"), "odometry.csv"),
    "no camera": ("stray", lambda path: (path / "camera_matrix.csv").unlink(), r"camera_matrix\.csv is missing"),
    "camera of words": ("stray", text("camera_matrix.csv", "a, b"), "holds no matrix"),
    "camera 2x2": ("stray", text("camera_matrix.csv", "1, 2\n3, 4\n"), r"shape \(2, 2\), expected 3x3"),
    "camera of another video": (
        *("stray", text("camera_matrix.csv", "1400, 0, 960\n0, 1400, 720\n0, 0, 1\n")),
        "seem to be for about 1920x1440",
    ),
    "no depth folder": ("stray", lambda path: shutil.rmtree(path / "depth"), r"depth/000000\.png is missing"),
    "confidence of other size": ("stray", all_small("confidence"), "the confidence is 8x6, expected .* 160x120"),
    "depth of 8 bits": ("arkitscenes", all_small("lowres_depth"), "the confidence is 160x120, expected .* 8x6"),
    "empty trajectory": ("arkitscenes", text("lowres_wide.traj", ""), "has no pose"),
    "trajectory of words": (
        "arkitscenes",
        text("lowres_wide.traj", "a b c\n"),
        "expected lines of 'seconds rx ry rz tx ty tz'",
    ),
    "trajectory of bytes": (
        *("arkitscenes", lambda path: (path / "lowres_wide.traj").write_bytes(b"\xff\x00" * 99)),
        "is no text",
    ),
    "another clock": (
        *("arkitscenes", text("lowres_wide.traj", "7.5 0 0 0 0 0 0\n")),
        "no usable frame of 1 .*no file within 5 ms of this pose",
    ),
    "lost camera": ("arkitscenes", text("lowres_wide.traj", "3385.2 nan 0 0 0 0 0\n"), "pose is not finite"),
    "no lowres_depth": ("arkitscenes", lambda path: shutil.rmtree(path / "lowres_depth"), "lowres_depth/ has no file"),
    "no pincam": (
        "arkitscenes",
        lambda path: shutil.rmtree(path / "lowres_wide_intrinsics"),
        "_intrinsics/ has no file",
    ),
    "JSON of text": ("nerfstudio", text("transforms.json", "hello"), "is no file of Nerfstudio's"),
    "JSON a list": ("nerfstudio", text("transforms.json", "[]"), 'it has no "frames"'),
    "JSON too deep": ("nerfstudio", deep, "is no file of Nerfstudio's"),
    "cut JSON": ("nerfstudio", cut("transforms.json"), "is no file of Nerfstudio's"),
    "0 frames": ("nerfstudio", with_json(frames=[]), "frames is .*, expected a list of frames"),
    "frames of text": ("nerfstudio", with_json(frames=["a"]), "a frame is no object"),
    "fisheye": ("nerfstudio", with_json(camera_model="OPENCV_FISHEYE"), "only pinhole cameras"),
    "no depth named": ("nerfstudio", each_frame(lambda frame: frame.pop("depth_file_path")), "names no depth images"),
    "zero scale": ("nerfstudio", with_json(applied_scale=0), "applied_scale is 0, expected a number above 0"),
    "mirroring": (
        "nerfstudio",
        with_json(applied_transform=[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 0]]),
        "no rigid motion",
    ),
    "transform of words": ("nerfstudio", with_json(applied_transform="x"), "applied_transform holds no 3x4 numbers"),
    "matrices of words": ("nerfstudio", each_frame(lambda f: f.update(transform_matrix="x")), "holds no 4x4 numbers"),
    "matrices 2x2": (
        "nerfstudio",
        each_frame(lambda f: f.update(transform_matrix=[[1, 0], [0, 1]])),
        r"shape \(2, 2\)",
    ),
    "no intrinsics": ("nerfstudio", each_frame(lambda frame: frame.pop("fl_x")), r"has no intrinsics \(fl_x\)"),
    "a depth unit of light years": (
        "nerfstudio",
        with_json(depth_unit_scale_factor=1e16),
        "1e-16 depth units cannot be a metre",
    ),
    "names of endless numbers": (
        *("nerfstudio", each_frame(lambda frame: frame.update(file_path="9" * 5000))),
        "File name too long",
    ),
    "negative focal length": ("nerfstudio", each_frame(lambda f: f.update(fl_x=-1)), "fl_x is -1, expected"),
    "no depth image": ("nerfstudio", lambda path: shutil.rmtree(path / "depth"), "frame_0.png is missing"),
}


@pytest.mark.parametrize("what", TOTAL)
def test_a_useless_capture_is_told_and_leaves_nothing(what: str, whole: dict[str, Path], tmp_path: Path) -> None:
    name, damage, message = TOTAL[what]
    path = copied(whole[name], tmp_path / "in")
    damage(path)
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match=message):
        import_scene(path, tmp_path / "out/scene")
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "x").exists()


def crc(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo(f"rgbd/{MIDDLE}.jpg")
    content = bytearray(path.read_bytes())
    content[member.header_offset + 200] ^= 0xFF
    path.write_bytes(content)


def pose_lost(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        poses = json.loads(archive.read("metadata"))["poses"]
    poses[MIDDLE] = LOST
    with_metadata(poses=poses)(path)


def another_lens(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        cameras = json.loads(archive.read("metadata"))["perFrameIntrinsicCoeffs"]
    cameras[MIDDLE] = [2 * value for value in cameras[MIDDLE][:2]] + cameras[MIDDLE][2:]
    with_metadata(perFrameIntrinsicCoeffs=cameras)(path)


def small_depth(path: Path) -> None:
    Image.fromarray(np.full((6, 8), 1500, np.uint16)).save(path / f"depth/frame_{MIDDLE}.png")


SECONDS = f"{3385.2 + MIDDLE / 10:.3f}"
ONE = {
    "depth of other size": ("record3d", with_member(f"rgbd/{MIDDLE}.depth", lzfse.compress(bytes(999))), "999 bytes"),
    "LZFSE bomb": (
        *("record3d", with_member(f"rgbd/{MIDDLE}.depth", LZFSE_BOMB)),
        "unpacks to 104857600 bytes, expected 76800",
    ),
    "depth of text": ("record3d", with_member(f"rgbd/{MIDDLE}.depth", b"hello"), "no LZFSE data, or cut short"),
    "empty depth": ("record3d", with_member(f"rgbd/{MIDDLE}.depth", b""), "no LZFSE data, or cut short"),
    "confidence of other size": (
        "record3d",
        with_member(f"rgbd/{MIDDLE}.conf", lzfse.compress(bytes(9))),
        r"\.conf: it",
    ),
    "no picture": (
        "record3d",
        rezipped(lambda members: members.pop(f"rgbd/{MIDDLE}.jpg")),
        "is missing in the archive",
    ),
    "empty picture": ("record3d", with_member(f"rgbd/{MIDDLE}.jpg", b""), "is empty"),
    "damaged member": ("record3d", crc, "is damaged in the archive"),
    "lost camera": ("record3d", pose_lost, "not finite"),
    "another lens": ("record3d", another_lens, "differ from most other frames' by [0-9]+% of the width"),
    "cut depth": ("stray", cut(f"depth/{MIDDLE:06d}.png"), "cannot be decoded"),
    "no confidence": ("stray", lambda path: (path / f"confidence/{MIDDLE:06d}.png").unlink(), "is missing"),
    "lost phone": (
        *(
            "stray",
            replaced_lines("odometry.csv", lambda lines: lines.__setitem__(MIDDLE + 1, f"0, {MIDDLE}, {SEVEN}")),
        ),
        "not finite",
    ),
    "half a row": (
        *("stray", replaced_lines("odometry.csv", lambda lines: lines.__setitem__(MIDDLE + 1, f"0, {MIDDLE}, 1, 2"))),
        "not finite",
    ),
    "colourful depth": (
        *("stray", lambda path: Image.new("RGB", (160, 120)).save(path / f"depth/{MIDDLE:06d}.png")),
        "has 3 channels",
    ),
    "words as pincam": (
        *("arkitscenes", text(f"lowres_wide_intrinsics/{arkitscenes.SCAN}_{float(SECONDS) - 0.001:.3f}.pincam", "a b")),
        "is not: width height fx fy cx cy",
    ),
    "cut colour": ("arkitscenes", cut(f"lowres_wide/{arkitscenes.SCAN}_{SECONDS}.png"), "truncated"),
    "small depth": ("nerfstudio", small_depth, "depth image is 8x6"),
    "NaN matrix": (
        *("nerfstudio", each_frame(lambda f: f["transform_matrix"][0].__setitem__(0, float("nan")), MIDDLE)),
        "not finite",
    ),
    "no such picture": ("nerfstudio", lambda path: (path / f"images/frame_{MIDDLE}.jpg").unlink(), "is missing"),
    "odd digits": ("nerfstudio", each_frame(lambda f: f.update(file_path="images/²½.jpg"), MIDDLE), "is missing"),
    "path a number": ("nerfstudio", each_frame(lambda f: f.update(depth_file_path=3), MIDDLE), "is 3, expected a text"),
}


@pytest.mark.parametrize("what", ONE)
def test_a_useless_frame_is_dropped_with_the_reason(what: str, whole: dict[str, Path], tmp_path: Path) -> None:
    name, damage, reason = ONE[what]
    path = copied(whole[name], tmp_path)
    damage(path)
    scene = read(path)
    assert len(scene.frames) == FRAMES - 1 and len(scene.dropped) == 1
    with pytest.raises(ValueError, match=reason):
        raise ValueError(scene.dropped[0].reason)


def test_pictures_beyond_the_poses_are_reported(whole: dict[str, Path], tmp_path: Path) -> None:
    path = copied(whole["record3d"], tmp_path)
    with zipfile.ZipFile(path) as archive:
        poses = json.loads(archive.read("metadata"))["poses"]
    with_metadata(poses=poses[:-2])(path)
    scene = read(path)
    assert len(scene.frames) == FRAMES - 2
    assert [drop.name for drop in scene.dropped] == ["000010", "000011"]
    assert "10 poses, none for this picture" in scene.dropped[0].reason


@pytest.mark.parametrize("name", WRITERS)
def test_names_of_any_script(name: str, whole: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "Büro – 会議室 🪑"
    path = copied(whole[name], folder)
    path = path.rename(path.with_name(f"сканирование {path.suffix}"))
    assert len(import_scene(path, folder / "מיובא").frames) == FRAMES


def test_two_poses_of_one_moment_are_one_frame(whole: dict[str, Path], tmp_path: Path) -> None:
    path = copied(whole["arkitscenes"], tmp_path)
    replaced_lines("lowres_wide.traj", lambda lines: lines.insert(3, lines[3]))(path)
    assert len(import_scene(path, tmp_path / "scene").frames) == FRAMES


@pytest.mark.parametrize("name", ["stray", "arkitscenes"])
def test_without_confidence_the_scene_says_so(name: str, whole: dict[str, Path], tmp_path: Path) -> None:
    path = copied(whole[name], tmp_path)
    shutil.rmtree(path / "confidence")
    assert any("how sure it is of its depth" in doubt for doubt in read(path).doubts)


def test_a_recording_relative_to_its_first_camera_does_not_say_where_up_is(
    whole: dict[str, Path], tmp_path: Path
) -> None:
    path = copied(whole["record3d"], tmp_path)
    with zipfile.ZipFile(path) as archive:
        poses = json.loads(archive.read("metadata"))["poses"]
    with_metadata(poses=[[0, 0, 0, 1, *poses[0][4:]], *poses[1:]])(path)
    assert read(path).up is None


@pytest.mark.slow
def test_ten_thousand_frames_in_bounded_memory(tmp_path: Path) -> None:
    path, count, size = tmp_path / "long.r3d", 10_000, (16, 12)
    picture = record3d.picture(np.zeros((12, 16, 3), np.uint8), size)
    depth = lzfse.compress(np.full(size[::-1], 1.5, "<f4").tobytes())
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(count):
            archive.writestr(f"rgbd/{index}.jpg", picture)
            archive.writestr(f"rgbd/{index}.depth", depth)
        poses = [[0.1, 0, 0, 0.99, index / 1000, 0, 0] for index in range(count)]
        record = {"w": 16, "h": 12, "dw": 16, "dh": 12, "K": [12, 0, 0, 0, 12, 0, 8, 6, 1], "poses": poses}
        archive.writestr("metadata", json.dumps(record))
    tracemalloc.start()
    scene = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(scene.frames) == count // 10, "a long recording is thinned"
    assert peak < 64 << 20
