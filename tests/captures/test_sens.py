import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llava.captures.sens import SensFrame, SensReader, write_sens

CAMERA = np.array([[100.0, 0, 4], [0, 100, 3], [0, 0, 1]])


def make(path, count=3, **changes):
    rng = np.random.default_rng(0)
    frames = [
        (bytes([i]) * (i + 1), rng.integers(0, 65536, (6, 8), dtype=np.uint16), np.eye(4) * (i + 1))
        for i in range(count)
    ]
    options = {"color_size": (16, 12), "depth_size": (8, 6)} | changes
    written = write_sens(path, iter(frames), color_intrinsics=CAMERA, depth_intrinsics=CAMERA / 2, **options)
    assert written == count
    return frames


@settings(deadline=None, max_examples=10)
@given(count=st.integers(0, 5), every=st.integers(1, 4))
def test_what_is_written_is_read(tmp_path_factory, count, every):
    path = tmp_path_factory.mktemp("sens") / "a.sens"
    frames = make(path, count, sensor="rooms")
    reader = SensReader(path)
    assert len(reader) == count and reader.sensor == "rooms" and reader.depth_shift == 1000.0
    assert reader.color_size == (16, 12) and reader.depth_size == (8, 6)
    np.testing.assert_array_equal(reader.color_intrinsics[:3, :3], CAMERA.astype(np.float32))
    got = list(reader.frames(every))
    assert [frame.index for frame in got] == list(range(0, count, every))
    for frame in got:
        color, depth, pose = frames[frame.index]
        assert frame.color == color
        np.testing.assert_array_equal(frame.depth(), depth)
        np.testing.assert_array_equal(frame.pose, pose)
    assert len(list(reader)) == count, "a reader can be iterated again"


def test_a_cut_file_says_where_it_ends(tmp_path):
    path = tmp_path / "a.sens"
    make(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    with pytest.raises(ValueError, match="ends inside the frame 2 of 3"):
        list(SensReader(path))
    path.write_bytes(whole[:100])
    with pytest.raises(ValueError, match="ends inside the header"):
        SensReader(path)
    path.write_bytes(b"ply\nformat binary")
    with pytest.raises(ValueError, match="only version 4"):
        SensReader(path)


def test_cut_anywhere_it_is_an_error_of_ours(tmp_path):
    path = tmp_path / "a.sens"
    make(path, 2)
    whole = path.read_bytes()[:-8]  # without the count of inertial measurements, which nothing reads
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"a\.sens: .*(ends inside|no \.sens file)"):
            list(SensReader(path))


@pytest.mark.parametrize("count", [4, 1 << 32, (1 << 64) - 1])
def test_a_count_of_frames_that_the_file_cannot_hold(tmp_path, count):
    path = tmp_path / "a.sens"
    make(path)
    content = bytearray(path.read_bytes())
    start = 4 + 8 + len("StructureSensor") + 4 * 64 + 28
    content[start : start + 8] = count.to_bytes(8, "little")
    path.write_bytes(content)
    with pytest.raises(ValueError, match="ends inside the frame [0-9] of"):
        list(SensReader(path))


@pytest.mark.parametrize("sizes", [{"depth_size": (0, 0)}, {"color_size": (0, 12)}, {"color_size": (1 << 31, 12)}])
def test_sizes_that_no_image_has(tmp_path, sizes):
    path = tmp_path / "a.sens"
    make(path, 0, **sizes)
    with pytest.raises(ValueError, match=r"a header with colour of \(.* is damaged"):
        SensReader(path)


def test_depth_that_unpacks_to_gigabytes_does_not(tmp_path):
    bomb = zlib.compress(bytes(1 << 26), 9)
    frame = SensFrame(0, b"", bomb, np.eye(4), (8, 6), "zlib_ushort")
    tracemalloc.start()
    with pytest.raises(ValueError, match="frame 0: depth has more than 96 bytes, expected 96"):
        frame.depth()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 22


def test_a_failed_write_leaves_nothing(tmp_path):
    def frames():
        yield b"x", np.zeros((6, 8), np.uint16), np.eye(4)
        yield b"x", np.zeros((6, 8), np.float32), np.eye(4)

    with pytest.raises(ValueError, match="frame 1: depth is float32"):
        write_sens(
            tmp_path / "a.sens",
            frames(),
            color_intrinsics=CAMERA,
            depth_intrinsics=CAMERA,
            color_size=(16, 12),
            depth_size=(8, 6),
        )
    assert list(tmp_path.iterdir()) == []


def test_reference_container(golden):
    folder = golden("07_preprocessing/sens")
    reader = SensReader(folder / "in/scene0009_00/scene0009_00.sens")
    expected = np.load(folder / "expected_arrays.npz")
    assert len(reader) == 12 and reader.color_size == (160, 120) and reader.sensor == "StructureSensor"
    for frame in reader:
        np.testing.assert_array_equal(frame.depth(), expected[f"{frame.index:05d}.png"])
        assert np.isneginf(frame.pose).all() == (frame.index == 4)
