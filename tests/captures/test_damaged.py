"""Bad captures: each gives a message that says what is wrong, and nothing half-written is left."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import tracemalloc
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llava.captures import READERS
from llava.captures.importing import import_scene
from llava.cli import main
from tests.captures.walk import Walk, room_walk

OTHER_K = "525 0 319.5\n0 525 239.5\n0 0 1"


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A good capture of each format, and the path to import in it. Read-only: copy it to spoil it."""
    root, paths = tmp_path_factory.mktemp("captures"), {}
    for name in READERS:
        (root / name).mkdir()
        paths[name] = import_module(f"tests.captures.writers.{name}").write(room_walk(), root / name)[0]
    return paths


@pytest.fixture
def capture(written: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """``capture(format)`` is a copy of a good one, to be spoilt."""

    def copy(name: str) -> Path:
        root = next(parent for parent in (written[name], *written[name].parents) if parent.name == name)
        shutil.copytree(root, tmp_path / name)
        return tmp_path / name / written[name].relative_to(root)

    return copy


def put(name: str, content: str | bytes) -> Callable[[Path], object]:
    content = content.encode() if isinstance(content, str) else content
    return lambda path: (path / name).write_bytes(content)


def changed(name: str, change: Callable[[str], str]) -> Callable[[Path], object]:
    return lambda path: (path / name).write_text(change((path / name).read_text()))


def each(pattern: str, spoil: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda path: [spoil(file) for file in sorted(path.glob(pattern))]


def first(pattern: str, spoil: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda path: spoil(min(path.glob(pattern)))


def camera(**values: float) -> Callable[[Path], object]:
    return changed("camera_primesense.json", lambda text: json.dumps(json.loads(text) | values))


def columns(line: str, change: Callable[[list[str]], list[str]]) -> str:
    return line if line.startswith("#") else " ".join(change(line.split()))


def lines(change: Callable[[list[str]], list[str]]) -> Callable[[str], str]:
    """Changes the words of each line of numbers."""
    return lambda text: "\n".join(columns(line, change) for line in text.splitlines())


def torn(path: Path) -> None:
    """Damage in the middle, which neither the beginning nor the end of the file shows."""
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    path.write_bytes(data)


def dark(path: Path) -> None:
    with Image.open(path) as image:
        Image.fromarray(np.zeros_like(np.asarray(image))).save(path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def sized(side: bytes) -> Callable[[Path], None]:
    """A JPEG that says its sides have so many pixels."""

    def spoil(path: Path) -> None:
        data = bytearray(path.read_bytes())
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = side * 2
        path.write_bytes(data)

    return spoil


def nothing(path: Path) -> None:
    """A PNG that says it has no pixel."""
    data = bytearray(path.read_bytes())
    data[16:24] = bytes(8)
    path.write_bytes(data)


def bomb(path: Path) -> None:
    path.write_bytes(gzip.compress(bytes(1 << 27), 1))


# What no scene can be made of: the format, what happens to a good capture of it, and what the message must say.
HOPELESS = {
    "nothing there": ("tum", shutil.rmtree, "there is nothing at"),
    "an empty folder": ("tum", lambda path: shutil.rmtree(path) or path.mkdir(), "is no capture that is known here"),
    "another format": ("tum", lambda path: (path / "rgb.txt").rename(path / "notes.md"), "is no capture that is known"),
    "pictures of gigabytes": (
        "posed_folder",
        each("*.color.jpg", sized(b"\xff\xff")),
        "no image .*decoded.* exceeds",
    ),
    "pictures of nothing": ("posed_folder", each("*.color.jpg", sized(b"\0\0")), "no usable frame .* 0x0 pixels"),
    "depth of nothing": ("tum", each("depth/*.png", nothing), "no usable frame .* 0x0 pixels"),
    "no picture listed": ("tum", put("rgb.txt", "# timestamp filename\n"), r"rgb.txt lists no image"),
    "no list of poses": ("tum", lambda path: (path / "groundtruth.txt").unlink(), r"groundtruth.txt is missing"),
    "no pose in the list": ("tum", put("groundtruth.txt", "# none\n"), r"groundtruth.txt holds no pose"),
    "clocks that never meet": (
        "tum",
        changed("rgb.txt", lines(lambda words: [str(float(words[0]) - 5000), words[1]])),
        r"no usable frame .*no depth image within 0.02 s, the nearest is 5e\+03 s away",
    ),
    "poses lost throughout": (
        "tum",
        changed("groundtruth.txt", lines(lambda words: [words[0], *["nan"] * 7])),
        "no usable frame .*pose is not finite",
    ),
    "angles for quaternions": (
        "tum",
        changed("groundtruth.txt", lines(lambda words: [*words[:4], "30", "2", "90", "0"])),
        r"groundtruth.txt: the last four columns \(30 2 90 0 ...\) are no unit quaternions",
    ),
    "a column too few": (
        "tum",
        changed("groundtruth.txt", lines(lambda words: words[1:])),
        r"groundtruth.txt, line 3: .*expected lines of 'timestamp tx ty tz qx qy qz qw'",
    ),
    "a column too many": (
        "pose_list",
        changed("pose.txt", lines(lambda words: ["0", *words])),
        r"pose.txt, line 1: .*expected lines of 'tx ty tz qx qy qz qw'",
    ),
    "words for numbers": ("pose_list", changed("pose.txt", lines(lambda words: ["lost"] * 7)), "pose.txt: .*'lost'"),
    "times that are none": ("tum", changed("depth.txt", lambda text: text.replace("13050", "x")), "depth.txt: .*'x311"),
    "bytes for text": ("tum", put("groundtruth.txt", b"\xff\xfe\x00\x01"), "groundtruth.txt is no text"),
    "no intrinsics to guess": (
        "tum",
        lambda path: (path / "camera-intrinsics.txt").unlink(),
        "camera-intrinsics.txt is missing, .* 160x120 pixels",
    ),
    "intrinsics of another size": (
        "pose_list",
        put("camera-intrinsics.txt", OTHER_K),
        r"principal point \(319.5, 239.5\) is far from the middle of a 160x120 image",
    ),
    "a camera of another shape": (
        "redwood",
        changed("camera_primesense.json", lambda text: text.replace("120", "90")),
        "camera_primesense.json is of a camera with 160x90 pixels, the depth images have 160x120",
    ),
    "a camera without pixels": ("redwood", camera(width=0, height=0), "camera-intrinsics.txt is missing"),
    "a camera without end": ("redwood", camera(width=float("inf")), "camera-intrinsics.txt is missing"),
    "a camera too deep": ("redwood", put("camera_primesense.json", "[" * 100_000), "camera-intrinsics.txt is missing"),
    "a trajectory cut short": ("redwood", first("*.log", cut), "trajectory.log is no trajectory"),
    "a trajectory cut between lines": (
        "redwood",
        changed("trajectory.log", lambda text: "\n".join(text.splitlines()[:-2])),
        r"trajectory.log is no trajectory, or is cut short \(58 lines\)",
    ),
    "an empty trajectory": ("redwood", put("trajectory.log", ""), r"trajectory.log is no trajectory"),
    "another program's log": ("redwood", put("trajectory.log", "INFO started\n"), r"trajectory.log is no trajectory"),
    "poses of other images": (
        "redwood",
        lambda path: [file.unlink() for file in sorted(path.glob("*/*"))[::2]],
        "12 poses with the frame numbers 0 to 11, but there are 6 images",
    ),
    "no pictures": ("redwood", lambda path: shutil.rmtree(path / "color"), "has no folder of pictures"),
    "a pose too few": (
        "pose_list",
        changed("pose.txt", lambda text: text[: text.rindex("\n")]),
        "has 11 poses, but .* has 12 images",
    ),
    "an empty folder of depth": ("pose_list", each("depth/*", Path.unlink), r"depth holds no image"),
    "no surface anywhere": ("tum", each("depth/*.png", dark), "no measured surface"),
    "torn images": ("tum", each("depth/*.png", torn), "no image of tum/tum can be decoded; the first: .*png"),
    "a cut video": ("sens_video", cut, "ends inside the frame"),
    "an empty video": ("sens_video", lambda path: path.write_bytes(b""), "ends inside the version"),
    "a video without units": (
        "sens_video",
        lambda path: path.write_bytes(path.read_bytes().replace(np.float32(1000).tobytes(), bytes(4), 1)),
        "0 depth units cannot be a metre",
    ),
    "no video": ("sens_video", lambda path: path.write_text("hello, this is text"), ".sens version"),
    "a stored scene cut short": ("store", first("scene.json", cut), "scene.json is damaged"),
    "a gravity that is none": ("posed_folder", put("gravity-direction.txt", "0 0 0"), "gravity-direction.txt holds"),
}
# What costs frames alone: as above; the message is the reason for which the first frame is left out.
PARTIAL = {
    "a pose lost": ("pose_list", lambda p: put("pose.txt", "nan " * 7 + "\n" + after(p / "pose.txt"))(p), "not finite"),
    "a zero quaternion": (
        "pose_list",
        lambda path: put("pose.txt", "1 2 3 0 0 0 0\n" + after(path / "pose.txt"))(path),
        "not finite",
    ),
    "an image of no bytes": ("tum", first("rgb/*.png", lambda file: file.write_bytes(b"")), "is empty"),
    "a frame listed twice": (
        "tum",
        changed("rgb.txt", lambda text: f"{text}{text.splitlines()[-1]}\n"),
        "an earlier frame has the same name",
    ),
    "an image listed but absent": ("tum", first("depth/*.png", Path.unlink), "is missing"),
    "an image cut short": ("redwood", first("depth/*.png", cut), "truncated"),
    "an image torn inside": ("tum", first("rgb/*.png", torn), "cannot be decoded"),
    "a depth image fewer": ("redwood", first("depth/*.png", Path.unlink), "is missing"),
    "a mirrored pose": (
        "redwood",
        changed("trajectory.log", lambda text: text.replace("1", "-1", 4)),
        "no rigid motion",
    ),
    "a packed image cut short": ("pose_list", first("depth/1.pgm.gz", cut), "cannot be unpacked"),
    "a packed image without end": ("pose_list", first("depth/1.pgm.gz", bomb), "no binary PGM"),
    "a packed text": (
        "pose_list",
        first("depth/1.pgm.gz", lambda file: file.write_bytes(gzip.compress(b"P6 hello"))),
        "no binary PGM",
    ),
    "8 bits of depth": (
        "pose_list",
        first("depth/1.pgm.gz", lambda file: file.write_bytes(gzip.compress(b"P5 160 120 255 " + bytes(19200)))),
        "expected 16 bits",
    ),
}


def after(path: Path) -> str:
    """All lines but the first."""
    return path.read_text().split("\n", 1)[1]


@pytest.mark.parametrize("damage", HOPELESS)
def test_a_hopeless_capture_is_refused(damage: str, capture, tmp_path: Path) -> None:
    name, spoil, message = HOPELESS[damage]
    path = capture(name)
    spoil(path)
    with pytest.raises(ValueError, match=message):
        import_scene(path, tmp_path / "out/scene")
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("damage", PARTIAL)
def test_a_bad_frame_is_left_out_with_its_reason(damage: str, capture, tmp_path: Path) -> None:
    name, spoil, message = PARTIAL[damage]
    path = capture(name)
    spoil(path)
    scene = import_scene(path, tmp_path / "out/scene")
    (dropped,) = scene.dropped
    assert re.search(message, dropped.reason), dropped.reason
    assert len(scene.frames) in (11, 12) and dropped.name <= scene.frames[-1].name
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["scene"]


def test_what_is_there_is_not_overwritten(capture, tmp_path: Path) -> None:
    put("out", "mine")(tmp_path)
    with pytest.raises(ValueError, match="out exists already: name a new folder"):
        import_scene(capture("tum"), tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(ValueError, match="link exists already"):
        import_scene(tmp_path / "tum", tmp_path / "link")


@pytest.mark.parametrize("up", [(0, 0, 0), (np.nan, 0, 1)])
def test_an_up_that_is_none(up, capture, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="up"):
        import_scene(capture("tum"), tmp_path / "out/scene", up)
    assert not (tmp_path / "out").exists(), "told before the work"


def test_depth_in_other_units_is_noticed(capture, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Millimetres in TUM's files, as some recorders leave them: the import goes through, warns, and can be told."""
    path = capture("tum")
    for index, file in enumerate(sorted(path.glob("depth/*.png"))):
        room_walk().save_depth(index, file, units=1000)
    main(["import", str(path), str(tmp_path / "wrong")])
    captured = capsys.readouterr()
    assert "if a metre is 1000 depth units, not 5000 (--depth-units): the capture is read wrongly" in captured.err
    assert "wrong: 12 frames, 0 dropped; up: the motion capture's frame" in captured.out
    main(["import", str(path), str(tmp_path / "right"), "--depth-units", "1000", "--up", "0", "-0.0", "1"])
    captured = capsys.readouterr()
    assert captured.err == "" and "right: 12 frames, 0 dropped; up: --up" in captured.out
    for units in ("-1", "1e-30", "1e300", "nan"):
        with pytest.raises(SystemExit):
            main(["import", str(path), str(tmp_path / "none"), "--depth-units", units])
        assert "depth units cannot be a metre" in capsys.readouterr().err
        assert not (tmp_path / "none").exists()


def test_names_in_any_script(capture, tmp_path: Path) -> None:
    path = capture("tum").rename(tmp_path / "Büro – 部屋 1")
    (path / "rgb").rename(path / "画像 ü")
    text = (path / "rgb.txt").read_text().replace("rgb/", "画像 ü/")
    (path / "rgb.txt").write_text(text, encoding="utf-8")
    scene = import_scene(path, tmp_path / "Szene – 部屋")
    assert scene.name == "tum/Büro – 部屋 1" and len(scene.frames) == 12 and scene.dropped == ()


def test_only_one_imports_into_a_folder(capture, tmp_path: Path) -> None:
    from llava.resumable import only_one

    (tmp_path / ".scene.importing").mkdir()
    path = capture("tum")
    with only_one(tmp_path / ".scene.importing", "is here"), pytest.raises(ValueError, match="another process imports"):
        import_scene(path, tmp_path / "scene")
    import_scene(path, tmp_path / "scene")


@pytest.mark.slow
def test_ten_thousand_frames(tmp_path: Path) -> None:
    """They cost no memory worth a word; all but the copies is done in few passes over the files."""
    walk, step = room_walk(), 4
    small = Walk(walk.color[:, ::step, ::step], walk.depth[:, ::step, ::step], walk.poses, np.eye(3))
    for kind in ("color", "depth"):
        (tmp_path / "scan" / kind).mkdir(parents=True)
    blocks = []
    for index in range(10_000):
        files = [tmp_path / f"scan/{kind}/{index:06d}.png" for kind in ("color", "depth")]
        if index < len(walk.poses):
            small.save_color(index, files[0])
            small.save_depth(index, files[1])
        else:
            for file in files:
                os.link(file.with_name(f"{index % len(walk.poses):06d}.png"), file)
        rows = "\n".join(" ".join(map(str, row)) for row in walk.poses[index % len(walk.poses)])
        blocks.append(f"{index} {index} {index + 1}\n{rows}\n")
    (tmp_path / "scan/trajectory.log").write_text("".join(blocks))
    fx, _, cx = walk.intrinsics[0] / step
    np.savetxt(tmp_path / "scan/camera-intrinsics.txt", [[fx, 0, cx], [0, fx, walk.intrinsics[1, 2] / step], [0, 0, 1]])
    tracemalloc.start()
    scene = import_scene(tmp_path / "scan", tmp_path / "scene")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(scene.frames) == 10_000 and scene.dropped == ()
    assert peak < 100e6
