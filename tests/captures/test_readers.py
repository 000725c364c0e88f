"""Readers: what they read, which frames they drop and why, and what they refuse."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from llava.captures import NO_GRAVITY, open_scene
from llava.captures.gather import Listed, gather
from llava.captures.scannet import read_align, read_data_scene, read_label_table, read_pickle, read_posed_images
from llava.types import Scene

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
FAULTS = [
    "no colour", "no depth", "no pose", "cut colour", "cut depth", "empty colour", "text as colour",
    "other colour size", "other depth size", "8-bit depth", "infinite pose", "mirrored pose", "half a pose",
    "words as pose", "bytes as pose", "folder as colour",
]  # fmt: skip


def test_posed_images(posed_images: Path) -> None:
    scene = open_scene(posed_images)
    assert scene.name == "scannet/scene0000_00"
    assert [frame.name for frame in scene.frames] == ["00000", "00010", "00020", "00030"]
    assert (scene.color_size, scene.depth_size, scene.dropped) == ((64, 48), (32, 24), ())
    assert scene.color_intrinsics.shape == scene.depth_intrinsics.shape == (3, 3)
    assert scene.frames[3].pose[0, 3] == pytest.approx(0.3)


def test_posed_folder(posed_folder: Path) -> None:
    scene = open_scene(posed_folder)
    assert scene.name == "posed/desk"
    assert len(scene.frames) == 4
    np.testing.assert_array_equal(scene.align, np.eye(4))
    # The only intrinsics are those of the depth camera: the picture is twice as large here.
    np.testing.assert_allclose(scene.color_intrinsics[0], scene.depth_intrinsics[0] * 2)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("layout", ["posed_images", "posed_folder"])
def test_a_bad_frame_is_dropped_with_its_reason(fault, layout, damage, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(layout)
    kind, spoil, reason = damage[fault]
    ends = {"posed_images": {"color": "jpg", "depth": "png", "pose": "txt"}}
    name = "00010" if layout == "posed_images" else "frame-000001"
    end = (
        ends[layout][kind] if layout in ends else {"color": "color.jpg", "depth": "depth.png", "pose": "pose.txt"}[kind]
    )
    spoil(folder / f"{name}.{end}")
    scene = open_scene(folder)
    assert len(scene.frames) == 3
    (dropped,) = scene.dropped
    assert dropped.name == name and reason in dropped.reason


def test_poses_may_come_from_one_file_of_all(posed_folder: Path) -> None:
    def listed(name: str, pose: np.ndarray) -> Listed:
        return Listed(name, posed_folder / f"{name}.color.jpg", posed_folder / f"{name}.depth.png", pose)

    moved, mirrored = np.eye(4), np.diag([1.0, 1.0, -1.0, 1.0])
    moved[:3, 3] = (1, 2, 3)
    entries = [listed("frame-000000", moved), listed("frame-000001", mirrored), listed("frame-000002", np.eye(3))]
    gathered = gather(entries, align=np.diag([2.0, 2.0, 2.0, 1.0]))
    (frame,) = gathered.frames
    np.testing.assert_array_equal(frame.pose[:3, 3], (2, 4, 6))
    assert [drop.reason for drop in gathered.dropped] == [
        "the pose is no rigid motion (rotation and translation)", "the pose is 3x3, expected 4x4",
    ]  # fmt: skip


def test_every_fault_is_tried(damage) -> None:
    assert sorted(FAULTS) == sorted(damage)


def test_no_usable_frame_is_an_error(posed_images: Path) -> None:
    for path in posed_images.glob("*.png"):
        path.unlink()
    with pytest.raises(ValueError, match=r"no usable frame .*00000: 00000.png is missing"):
        open_scene(posed_images)


def test_bytes_as_intrinsics(posed_images: Path) -> None:
    (posed_images / "intrinsic.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="intrinsic.txt holds no matrix"):
        open_scene(posed_images)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [("a b c", "holds no numbers"), ("1 0 0 0", "has 4 numbers"), ("nan " * 16, "is not finite")],
)
def test_an_alignment_that_is_none(posed_images: Path, numbers: str, message: str) -> None:
    text = posed_images.parents[1] / "scans/scene0000_00/scene0000_00.txt"
    text.parent.mkdir(parents=True)
    text.write_text(f"axisAlignment = {numbers}\n")
    with pytest.raises(ValueError, match=message):
        open_scene(posed_images)


@pytest.mark.parametrize(
    "content", ["", "a\tb\n1\t2\n", "raw_category\tnyu40id\nchair\t5\ntab", "raw_category\tnyu40id\nx\t\n"]
)
def test_a_damaged_label_table(tmp_path: Path, content: str) -> None:
    path = tmp_path / "labels.tsv"
    path.write_text(content)
    with pytest.raises(ValueError, match="is no label table of ScanNet, or is cut short"):
        read_label_table(path)


@pytest.mark.parametrize("file", ["intrinsic.txt", "depth_intrinsic.txt"])
def test_missing_intrinsics_of_posed_images(posed_images: Path, file: str) -> None:
    (posed_images / file).unlink()
    with pytest.raises(ValueError, match=f"{file} is missing"):
        open_scene(posed_images)


def test_missing_intrinsics_of_a_posed_folder(posed_folder: Path) -> None:
    (posed_folder / "camera-intrinsics.txt").unlink()
    with pytest.raises(ValueError, match="camera-intrinsics.txt is missing"):
        open_scene(posed_folder)


@pytest.mark.parametrize(("scale", "word"), [(2.0, "middle of a 32x24 image"), (np.nan, "finite"), (-1.0, "positive")])
def test_intrinsics_that_do_not_fit(posed_folder: Path, scale: float, word: str) -> None:
    path = posed_folder / "camera-intrinsics.txt"
    np.savetxt(path, np.loadtxt(path) * scale)
    with pytest.raises(ValueError, match=word):
        open_scene(posed_folder)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is nothing at .*absent; expected a capture, one of"):
        open_scene(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"no capture that is known here; looked for\n(.+\n)*.*posed folder"):
        open_scene(tmp_path)
    (tmp_path / "unzipped").mkdir()
    (tmp_path / "unzipped/scene0000_00.sens").touch()
    with pytest.raises(ValueError, match=r"did you mean .*unzipped \(ScanNet video\)\?"):
        open_scene(tmp_path)
    with pytest.raises(ValueError, match=r"must be unpacked to be read: `llava import .*unzipped OUT` first"):
        open_scene(tmp_path / "unzipped")


ALIGN = np.array([[0.0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 0.5], [0, 0, 0, 1]])


def _write_text(root: Path) -> None:
    scans = root / "scannet" / "scans" / "scene0000_00"
    scans.mkdir(parents=True)
    numbers = " ".join(f"{value:.6f}" for value in ALIGN.ravel())
    (scans / "scene0000_00.txt").write_text(f"appVersionId = 1\naxisAlignment = {numbers} \nnumDepthFrames = 4\n")


def _write_infos(root: Path) -> None:
    (root / "embodiedscan").mkdir()
    scans = {"data_list": [{"sample_idx": "scannet/scene0000_00", "axis_align_matrix": ALIGN, "images": []}]}
    (root / "embodiedscan" / "embodiedscan_infos_val.pkl").write_bytes(pickle.dumps(scans))


@pytest.mark.parametrize("write", [_write_text, _write_infos])
def test_the_axis_alignment_turns_the_poses(posed_images: Path, write) -> None:
    raw = open_scene(posed_images)
    np.testing.assert_array_equal(raw.align, np.eye(4))
    write(posed_images.parents[2])
    scene = open_scene(posed_images)
    np.testing.assert_allclose(scene.align, ALIGN)
    assert (scene.up, scene.doubts) == ("ScanNet's alignment", ())
    assert read_data_scene(posed_images.parents[2], "scannet/scene0000_00").name == scene.name
    np.testing.assert_allclose(scene.frames[1].pose, ALIGN @ raw.frames[1].pose)
    given: Scene = read_posed_images(posed_images, align=np.eye(4), name="mine")
    assert given.name == "mine"
    np.testing.assert_allclose(given.frames[1].pose, raw.frames[1].pose)


def test_no_alignment_recorded(posed_images: Path) -> None:
    """A folder on its own may go on, and says so; a scene of a data folder may not, but for a test scan."""
    root = posed_images.parents[2]
    assert read_align(root, "scene0000_00") is None
    assert open_scene(posed_images).doubts == (NO_GRAVITY,)
    with pytest.raises(ValueError, match=r"has no axis alignment: expected .*scene0000_00.txt.*llava doctor"):
        read_data_scene(root, "scannet/scene0000_00")
    lists = root / "scannet/meta_data"
    lists.mkdir()
    (lists / "scannetv2_val.txt").write_text("scene0000_00\n")
    with pytest.raises(ValueError, match="has no axis alignment"):
        read_data_scene(root, "scannet/scene0000_00")
    (lists / "scannetv2_test.txt").write_text("scene0000_00\n")
    np.testing.assert_array_equal(read_data_scene(root, "scannet/scene0000_00").align, np.eye(4))


def test_an_unknown_up_direction_is_doubted(posed_folder: Path) -> None:
    scene = open_scene(posed_folder)
    assert (scene.up, scene.doubts) == (None, (NO_GRAVITY,))
    (posed_folder / "gravity-direction.txt").write_text("0 0 -1")
    scene = open_scene(posed_folder)
    assert (scene.up, scene.doubts) == ("gravity-direction.txt", ())
    np.testing.assert_array_equal(scene.align, np.eye(4))


def test_a_pickle_that_wants_to_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return print, ("owned",)

    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps({"data_list": [Evil()]}))
    with pytest.raises(ValueError, match=r"builtins.print.*not allowed"):
        read_pickle(path)
    path.write_bytes(pickle.dumps({"a": np.arange(9.0)})[:-30])
    with pytest.raises(ValueError, match="cannot be read"):
        read_pickle(path)


@pytest.mark.parametrize(
    "attack",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"(cos\nsystem\nS'true'\no.",
        b"cbuiltins\ngetattr\n(cnumpy\nndarray\nS'__class__'\ntR.",
        b"ccopyreg\n_reconstructor\n(cnumpy\nndarray\ncbuiltins\nobject\nNtR.",
        b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93.",
        b"\x80\x04\x8c\x08builtins\x94\x8c\x04eval\x94\x93\x8c\x011\x85R.",  # names by way of the memo
        b"(dS'data_list'\n((lp0\n(dS'deep'\ncsubprocess\nPopen\n(S'true'\ntRsas.",
        b"cnumpy\nload\n(S'/etc/passwd'\ntR.",
        b"cnumpy.testing._private.utils\nrunstring\n(S'1'\n(dtR.",
        b"\x82\x01.",  # copyreg's extension registry
        b"Pwhatever\n.",  # a persistent id
        b"cnumpy\nndarray\n((I99999999999999\ntS'<f8'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\n(I0\ntS'b'\ntR.",
        b"\x80\x05\x97.",  # a buffer that travels apart
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xff.",
        b"",
        b"\x80\xff.",
    ],
)
def test_no_crafted_pickle_is_more_than_refused(tmp_path: Path, attack: bytes) -> None:
    path = tmp_path / "evil.pkl"
    path.write_bytes(attack)
    with pytest.raises(ValueError, match=r"evil.pkl cannot be read as a pickle of plain data"):
        read_pickle(path)


@pytest.mark.parametrize("align", [np.eye(3), np.full((4, 4), np.nan), 5.0])
def test_an_alignment_of_the_infos_that_is_none(posed_images: Path, align) -> None:
    """Not a finite 4x4 it would move every frame to nowhere, or drop each for a reason of its own."""
    folder = posed_images.parents[2] / "embodiedscan"
    folder.mkdir()
    scans = {"data_list": [{"sample_idx": "scannet/scene0000_00", "axis_align_matrix": align}]}
    (folder / "embodiedscan_infos_val.pkl").write_bytes(pickle.dumps(scans))
    with pytest.raises(ValueError, match="axis_align_matrix of scannet/scene0000_00 is no finite 4x4 matrix"):
        open_scene(posed_images)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickles_of_any_protocol_are_read(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "plain.pkl"
    path.write_bytes(pickle.dumps({"a": np.arange(6.0).reshape(2, 3), "b": [np.float32(1.5), "c", None]}, protocol))
    content = read_pickle(path)
    np.testing.assert_array_equal(content["a"], np.arange(6.0).reshape(2, 3))
    assert content["b"] == [1.5, "c", None]


@pytest.mark.parametrize("text", ["0 0 0", "1 2", "nan 0 1", "down"])
def test_a_gravity_direction_that_is_none(posed_folder: Path, text: str) -> None:
    (posed_folder / "gravity-direction.txt").write_text(text)
    with pytest.raises(ValueError, match="gravity-direction.txt"):
        open_scene(posed_folder)


def test_a_real_capture_stands_upright() -> None:
    folder = SHARED / "real" / "7scenes"
    if not folder.is_dir():
        pytest.skip(f"no real capture at {folder}")
    scene = open_scene(folder)
    assert len(scene.frames) == 30 and scene.dropped == ()
    assert not np.allclose(scene.align, np.eye(4))
    up_in_camera = np.stack([frame.pose[2, :3] for frame in scene.frames])  # world z in camera axes
    assert (up_in_camera[:, 1] < -0.5).all()  # a camera's y points down
