"""Frames of maximum coverage, from files to the order of frames, against the plain way of benchmarks/baselines."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial.transform import Rotation

from llava.captures.pixels import scene_voxels
from llava.frames import sample
from llava.geometry.voxels import max_coverage, pack_keys, union, unpack_keys
from llava.types import Frame, Scene

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SIZE = (8, 6)  # few pixels, so that frames often gain alike and ties are met


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("baselines.sampling")


def small_scene(folder: Path, seed: int, count: int, holes: float) -> Scene:
    """A few noisy surfaces seen from around the origin; some frames twice, some far away, some without any depth."""
    rng = np.random.default_rng(seed)
    k = np.array([[rng.uniform(3, 30), 0, 3.4], [0, rng.uniform(3, 30), 2.6], [0, 0, 1]])
    frames: list[Frame] = []
    for index in range(count):
        kind = rng.random()
        if frames and kind < 0.3:
            frames.append(Frame(f"{index}", Path("none.jpg"), frames[-1].depth, frames[rng.integers(len(frames))].pose))
            continue
        depth = rng.uniform(0.2, 5) + rng.normal(0, rng.choice([0, 0.02, 0.3]), SIZE[::-1])
        depth[rng.random(depth.shape) < (1.0 if kind > 0.95 else holes)] = 0
        path = folder / f"{index}.png"
        Image.fromarray((depth.clip(0) * 1000).astype(np.uint16)).save(path)
        pose = np.eye(4)
        pose[:3, :3] = Rotation.random(rng=rng).as_matrix()
        pose[:3, 3] = rng.uniform(-1, 1, 3) * rng.choice([0.1, 3, 3000])
        frames.append(Frame(f"{index}", Path("none.jpg"), path, pose))
    return Scene("test/small", tuple(frames), SIZE, SIZE, k, k)


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 12),
    holes=st.sampled_from([0, 0.1, 0.6]),
    unknown=st.booleans(),
    scanned=st.sampled_from([1.0, 0.5, 0.0]),
    limit=st.integers(1, 14),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_order_and_gains_equal_the_plain_way(plain, tmp_path, seed, count, holes, unknown, scanned, limit) -> None:
    scene = small_scene(tmp_path, seed, count, holes)
    seen = scene_voxels(scene, unknown=unknown)
    every = union(seen)
    scan = every[np.random.default_rng(seed).random(len(every)) < scanned]
    order, gains = max_coverage([np.intersect1d(keys, scan) for keys in seen], limit)
    files, poses = [frame.depth for frame in scene.frames], [frame.pose for frame in scene.frames]
    voxels = {tuple(row) for row in unpack_keys(scan).tolist()}
    assert (order, gains) == plain.select_frames(files, poses, scene.depth_intrinsics, voxels, limit, unknown)


def test_threads_change_nothing(tmp_path: Path) -> None:
    scene = small_scene(tmp_path, 3, 12, 0.1)
    one, four = scene_voxels(scene), scene_voxels(scene, threads=4)
    assert len(one) == len(four) == 12
    assert all(np.array_equal(a, b) for a, b in zip(one, four, strict=True))
    assert sample(scene, "mc", 5) == sample(scene, "mc", 5, threads=4) == sample(scene, "mc", 5, voxels=one)


def test_a_damaged_depth_image_is_named_from_any_thread(tmp_path: Path) -> None:
    scene = small_scene(tmp_path, 3, 12, 0.1)
    scene.frames[0].depth.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"0\.png cannot be decoded"):
        scene_voxels(scene, threads=4)


def test_a_pixel_of_detail_is_not_lost(tmp_path: Path) -> None:
    """The voxel of one pixel of a large depth image counts: no thinned grid would see it."""
    depth = np.full((480, 640), 2000, np.uint16)
    depth[201, 303] = 1000
    Image.fromarray(depth).save(tmp_path / "0.png")
    k = np.array([[500.0, 0, 303], [0, 500, 201], [0, 0, 1]])
    scene = Scene("test/one", (Frame("0", Path("none.jpg"), tmp_path / "0.png", np.eye(4)),), *[(640, 480)] * 2, k, k)
    (keys,) = scene_voxels(scene)
    assert pack_keys(np.array([0, 0, 10])) in keys
