import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llava.captures.sens import SensReader, usual_step, write_sens
from llava.prepare.posed_images import extract_frames


@pytest.mark.parametrize(("every", "name"), [(1, "all"), (10, "fast"), (None, "all")])
@pytest.mark.parametrize("compat", [None, "video3d"])
def test_reference_folder(golden, tmp_path, every, name, compat):
    expected = json.loads((golden / "sens/expected.json").read_text())
    arrays = np.load(golden / "sens/expected_arrays.npz")
    sens, out = golden / "sens/in/scene0009_00/scene0009_00.sens", tmp_path / "posed_images/scene0009_00"
    assert extract_frames(sens, out, every, compat) == (2 if every == 10 else 12)
    assert sorted(path.name for path in out.iterdir()) == expected["lists"][name]
    assert [path.name for path in out.parent.iterdir()] == [out.name], "nothing temporary stays"
    for path in out.iterdir():
        wanted = expected["contents"][path.name]
        if path.suffix == ".txt":
            assert path.read_text() == wanted
        elif path.suffix == ".png":
            image = Image.open(path)
            assert image.mode == wanted["mode"]
            np.testing.assert_array_equal(np.asarray(image), arrays[path.name])
        else:
            image = np.asarray(Image.open(path)).astype(int)
            difference = np.abs(image[::4, ::4] - arrays[path.name])
            assert image.shape == tuple(wanted["shape"])
            # our mode copies the JPEG, so it differs by the loss of the reference's second encoding
            assert difference.max() == 0 if compat else difference.mean() < 3


def test_jpeg_bytes_are_copied(golden, tmp_path):
    sens = golden / "sens/in/scene0009_00/scene0009_00.sens"
    extract_frames(sens, tmp_path / "out")
    for frame in SensReader(sens):
        assert (tmp_path / f"out/{frame.index:05d}.jpg").read_bytes() == frame.color


def test_long_videos_are_thinned_out():
    assert [usual_step(n) for n in (16, 319, 320, 2000)] == [1, 1, 10, 10]


def test_a_damaged_or_empty_file_leaves_no_folder(golden, tmp_path):
    broken = tmp_path / "broken.sens"
    broken.write_bytes((golden / "sens/in/scene0009_00/scene0009_00.sens").read_bytes()[:30_000])
    with pytest.raises(ValueError, match="ends inside the frame"):
        extract_frames(broken, tmp_path / "out/scene")
    empty = tmp_path / "empty.sens"
    options = {"color_intrinsics": np.eye(3), "depth_intrinsics": np.eye(3)}
    write_sens(empty, [], color_size=(4, 3), depth_size=(4, 3), **options)
    with pytest.raises(ValueError, match="holds no frame"):
        extract_frames(empty, tmp_path / "out/scene")
    with pytest.raises(ValueError, match="step of 1 or more"):
        extract_frames(empty, tmp_path / "out/scene", every=0)
    assert list((tmp_path / "out").iterdir()) == []


STREAM = """
import runpy
runpy.run_path("scripts/3d/preprocessing/generate_image_scannet.py", run_name="__main__")
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")]
print("peak MB:", int(peak) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def one_frame(path, color, shift=1000.0):
    options = {"color_intrinsics": np.eye(3), "depth_intrinsics": np.eye(3), "color_size": (8, 6), "depth_size": (8, 6)}
    write_sens(path, [(color, np.ones((6, 8), np.uint16), np.eye(4))], depth_shift=shift, **options)
    return path


def test_a_picture_that_is_none_cannot_be_encoded_again(tmp_path):
    with pytest.raises(ValueError, match="frame 0: the colour image cannot be decoded"):
        extract_frames(one_frame(tmp_path / "a.sens", b"no jpeg"), tmp_path / "out", compat="video3d")
    assert [path.name for path in tmp_path.iterdir()] == ["a.sens"]


def test_depth_in_other_units_is_refused(tmp_path):
    """Posed images have nowhere to tell of them, and all distances would be wrong."""
    with pytest.raises(ValueError, match="depth has 5000 units a metre, ScanNet's and posed images have 1000"):
        extract_frames(one_frame(tmp_path / "a.sens", b"", 5000.0), tmp_path / "out")


def test_a_large_file_is_read_frame_by_frame(tmp_path):
    """400 MB of frames in less than 300 MB of memory, all imports of the script included."""
    scene = "scene0000_00"
    sens = tmp_path / f"scannet/scans/{scene}/{scene}.sens"
    lists = tmp_path / "scannet/meta_data"
    lists.mkdir(parents=True)
    (lists / "scannetv2_train.txt").write_text(scene)
    frame = (bytes(1_000_000), np.zeros((6, 8), np.uint16), np.eye(4))
    camera = {"color_intrinsics": np.eye(3), "depth_intrinsics": np.eye(3)}
    write_sens(sens, (frame for _ in range(400)), color_size=(16, 12), depth_size=(8, 6), **camera)
    assert sens.stat().st_size > 400_000_000
    done = subprocess.run(
        [sys.executable, "-c", STREAM, "--data", tmp_path, "--fast"],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "1 made" in done.stdout
    assert len(list((tmp_path / "scannet/posed_images" / scene).glob("*.jpg"))) == 40
    assert int(done.stdout.split()[-1]) < 300, done.stdout
