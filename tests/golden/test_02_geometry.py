"""Frames, world coordinates, patches and voxels of the recorded capture."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from llava.captures.pixels import load_depth, load_views
from llava.captures.scannet import read_posed_images
from llava.data.scenes import scene_inputs
from llava.encoders.siglip import Siglip
from llava.encoders.siglip_tower import scaled
from llava.frames import uniform_indices
from llava.geometry.camera import nearest_rows_cols, square_crop, unproject
from llava.geometry.voxels import patch_points
from llava.model.position_encodings import discretise
from llava.types import Scene, Views

LOW = {"half": "float16", "bfloat16": "bfloat16"}


@pytest.fixture(scope="module")
def folder(golden) -> Path:
    return golden / "02_geometry"


@pytest.fixture(scope="module")
def meta(folder) -> dict:
    return json.loads((folder / "meta.json").read_text())


@pytest.fixture(scope="module")
def world(folder, arrays) -> dict[str, np.ndarray]:
    return arrays(folder / "world_coords.npz")


@dataclass(frozen=True)
class Capture:
    """The recorded frames as we read them."""

    scene: Scene
    indices: list[int]
    views: Views
    whole: np.ndarray  # (V, H, W, 3) of the depth images in their own size


@pytest.fixture(scope="module")
def capture(folder, meta, world, need) -> Capture:
    scene = read_posed_images(need(folder / Path(meta["frame_files"][0]).parent))
    position = {frame.name: index for index, frame in enumerate(scene.frames)}
    indices = [position[Path(file).stem] for file in meta["frame_files"]]
    whole = [unproject(load_depth(scene, i), scene.depth_intrinsics, scene.frames[i].pose) for i in indices]
    return Capture(scene, indices, load_views(scene, indices, len(world["resize_rows"])), np.stack(whole))


@pytest.fixture(scope="module")
def voxels(meta):
    """Points in metres -> voxel indices, in a precision."""

    def count(points: np.ndarray, precision: str = "float32") -> np.ndarray:
        box = tuple(meta["min_xyz_range"]), tuple(meta["max_xyz_range"])
        dtype = getattr(torch, precision)
        return discretise(torch.as_tensor(points, dtype=torch.float32), meta["voxel_size"], *box, dtype).numpy()

    return count


def strided(recorded: dict[str, np.ndarray], start: str) -> tuple[int, np.ndarray]:
    """The step that a key names, and its values."""
    name = next(name for name in recorded if re.fullmatch(rf"{start}\d+", name))
    return int(name.removeprefix(start)), recorded[name]


def test_unprojection(world):
    for depth, k, pose, expected in zip(
        *(world[f"unproject_{name}"] for name in ("depths", "intrinsics", "poses", "out")), strict=True
    ):
        np.testing.assert_allclose(unproject(depth / 1000, k, pose), expected, atol=1e-4)


def test_resize_maps(world):
    size = len(world["resize_rows"])
    names = [name.removeprefix("rows_") for name in world if name.startswith("rows_")]
    assert names
    for name in names:
        width, height = map(int, name.split("x"))
        rows, cols = nearest_rows_cols(width, height, size)
        assert square_crop(width, height, size).width == world[f"newwidth_{name}"]
        np.testing.assert_array_equal(rows, world[f"rows_{name}"])
        np.testing.assert_array_equal(cols, world[f"cols_{name}"])


def test_resize_map_of_the_capture(world, capture):
    rows, cols = nearest_rows_cols(*capture.scene.depth_size, len(world["resize_rows"]))
    np.testing.assert_array_equal(rows, world["resize_rows"])
    np.testing.assert_array_equal(cols, world["resize_cols"])


def test_whole_depth_images(world, capture):
    step, expected = strided(world, "world_coords_stride")
    np.testing.assert_allclose(capture.whole[:, ::step, ::step], expected, atol=1e-4)
    pixels = capture.whole[0].size // 3
    sums = capture.whole.astype(np.float64)
    np.testing.assert_allclose(sums.sum((1, 2)), world["world_coords_sum"], atol=1e-5 * pixels)
    np.testing.assert_allclose(np.abs(sums).sum((1, 2)), world["world_coords_abs_sum"], atol=1e-5 * pixels)
    flat = capture.whole.reshape(-1, 3)
    np.testing.assert_allclose(np.stack([flat.min(0), flat.max(0)], -1).flatten(), world["boundry"], atol=1e-4)
    unknown = [int((load_depth(capture.scene, i) == 0).sum()) for i in capture.indices]
    assert unknown == world["depth_zero_count"].tolist()


def test_world_coordinates_of_the_views(world, capture):
    step, expected = strided(world, "resized_stride")
    np.testing.assert_allclose(capture.views.coords[:, ::step, ::step], expected, atol=1e-4)
    first = world["resized_frame0"]
    step = -(-len(world["resize_rows"]) // len(first))
    np.testing.assert_allclose(capture.views.coords[0, ::step, ::step], first, atol=1e-4)
    sums, pixels = capture.views.coords.astype(np.float64).sum((1, 2)), len(world["resize_rows"]) ** 2
    np.testing.assert_allclose(sums, world["resized_sum"], atol=1e-5 * pixels)


def test_decoded_frames_to_the_pixel(folder, world, capture):
    (frames,) = [path for path in folder.glob("frames*") if path.is_dir()]
    for number, image in enumerate(capture.views.images):
        np.testing.assert_array_equal(image, np.asarray(Image.open(frames / f"{number}.png")))


def test_pixel_values(world, capture):
    size = len(world["resize_rows"])
    encoder = Siglip(image_size=size)
    pixels = scaled(encoder.build_processor()(capture.views, np.empty((0, 6)))["pixel_values"]).numpy()
    step, expected = strided(world, "pixel_values_stride")
    np.testing.assert_allclose(pixels[:, :, ::step, ::step], expected, atol=1e-5)
    np.testing.assert_allclose(pixels.mean((2, 3)), world["pixel_values_mean"], atol=1e-4)
    np.testing.assert_allclose(pixels.std((2, 3), ddof=1), world["pixel_values_std"], atol=1e-4)


@pytest.mark.parametrize("kind", ["avg", "minmax", "sample9", "sample5", "sample1"])
def test_patches(folder, arrays, capture, voxels, kind):
    """By the published rule pixels without depth count, at the camera's centre."""
    recorded = arrays(folder / "patch_coords.npz")
    expected, cells = recorded[kind], recorded[kind].shape[1]
    coords = capture.views.coords
    points, valid = patch_points(coords, np.ones(coords.shape[:3], bool), cells, coords.shape[1] // cells, kind)
    assert valid.all()
    np.testing.assert_allclose(points.reshape(expected.shape), expected, atol=1e-4)
    np.testing.assert_array_equal(voxels(expected), recorded[f"{kind}_discrete"])
    off = np.abs(voxels(points.reshape(expected.shape)) - recorded[f"{kind}_discrete"])
    assert off.max() <= 1 and (off > 0).mean() < 1e-3


def test_voxels_of_points(folder, arrays, meta, voxels):
    recorded = arrays(folder / "patch_coords.npz")
    np.testing.assert_array_equal(voxels(recorded["points"]), recorded["points_discrete"])
    np.testing.assert_array_equal(voxels(np.array(meta["discrete_point_in"])), meta["discrete_point_out"])


def test_our_patches_leave_unknown_depth_out(folder, arrays, capture):
    views, cells = capture.views, arrays(folder / "patch_coords.npz")["avg"].shape[1]
    cell = views.coords.shape[1] // cells
    ours, known = patch_points(views.coords, views.valid, cells, cell, "avg")
    theirs, _ = patch_points(views.coords, np.ones_like(views.valid), cells, cell, "avg")
    used = views.valid[:, : cells * cell, : cells * cell].reshape(-1, cells, cell, cells, cell)
    whole, part = used.all(axis=(2, 4)), used.any(axis=(2, 4)) & ~used.all(axis=(2, 4))
    np.testing.assert_array_equal(known, used.any(axis=(2, 4)))
    np.testing.assert_allclose(ours[whole], theirs[whole], atol=1e-5)
    if part.any():
        assert np.linalg.norm(theirs - ours, axis=-1)[part].max() > 0.1, "pulled towards the camera"


@pytest.mark.parametrize("name", LOW)
def test_patches_in_low_precision(folder, arrays, capture, voxels, name):
    """The published mode (quirk Q3): coordinates are rounded before the mean is taken, and so is the mean."""
    recorded = arrays(folder / "patch_coords_lowprec.npz")
    expected = recorded[f"avg_{name}"]
    encoder = Siglip(image_size=capture.views.coords.shape[1])
    assert encoder.cells == expected.shape[1]
    read = scene_inputs(encoder.build_processor(), capture.views, np.empty((0, 6), np.float32), False, LOW[name])
    coords = read.inputs["coords"]
    rounded = coords.to(getattr(torch, LOW[name])).float().numpy()
    assert (np.abs(rounded - expected) > 1e-6).mean() < 1e-3
    np.testing.assert_array_equal(voxels(expected, LOW[name]), recorded[f"avg_{name}_discrete"])
    off = np.abs(voxels(coords.numpy(), LOW[name]) - recorded[f"avg_{name}_discrete"])
    assert off.max() <= 1 and (off > 0).mean() < 1e-3


def test_uniform_sampling(folder):
    recorded = json.loads((folder / "uniform_sampling.json").read_text())
    assert recorded
    for key, expected in recorded.items():
        total, count = map(int, key.split("_"))
        assert uniform_indices(total, count) == expected
