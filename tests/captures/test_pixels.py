"""Views of a scene: sizes, unknown depth, damaged files, and the reference's frames and coordinates."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llava.captures import open_scene
from llava.captures.pixels import load_color, load_depth, load_views, resized_square
from llava.geometry.camera import project, square_crop


def test_views_put_each_pixel_where_the_camera_saw_it(posed_images: Path) -> None:
    scene = open_scene(posed_images)
    views = load_views(scene, [0, 2], 24)
    assert views.images.shape == views.coords.shape == (2, 24, 24, 3)
    assert views.images.dtype == np.uint8 and views.coords.dtype == np.float32 and views.valid.dtype == bool
    assert views.names == ("00000", "00020")
    uv, _ = project(views.coords[1].astype(float), scene.depth_intrinsics, scene.frames[2].pose)
    expected = np.stack(np.meshgrid(np.arange(4, 28), np.arange(24)), axis=-1)  # 32x24 cropped to its middle
    np.testing.assert_allclose(uv[views.valid[1]], expected[views.valid[1]], atol=0.01)


def test_unknown_depth_is_marked(posed_folder: Path) -> None:
    path = posed_folder / "frame-000000.depth.png"
    raw = np.array(Image.open(path))
    raw[10, 12:20] = 65535
    raw[11, 12:20] = 0
    Image.fromarray(raw).save(path)
    scene = open_scene(posed_folder)
    depth = load_depth(scene, 0)
    assert depth.dtype == np.float32 and not depth[10:12, 12:20].any()
    assert depth[12, 12] == pytest.approx(raw[12, 12] / 1000)
    views = load_views(scene, [0], 24)
    assert not views.valid[0, 10:12, 8:16].any() and views.valid[0, 12:].all()


def test_portrait_pictures_are_cropped_at_top_and_bottom(posed_images: Path) -> None:
    for path in [*posed_images.glob("*.jpg"), *posed_images.glob("*.png")]:
        with Image.open(path) as image:
            turned = image.transpose(Image.Transpose.ROTATE_90)
        turned.save(path)
    for name in ("intrinsic.txt", "depth_intrinsic.txt"):
        k = np.loadtxt(posed_images / name)
        k[[0, 1], [2, 2]] = k[[1, 0], [2, 2]]
        np.savetxt(posed_images / name, k)
    views = load_views(open_scene(posed_images), [0], 24)
    assert views.images.shape == (1, 24, 24, 3) and views.valid.mean() > 0.9


@pytest.mark.parametrize(
    ("color", "depth", "size"),
    [
        *[((1296, 968), (640, 480), 384), ((192, 144), (192, 144), 144), ((968, 1296), (480, 640), 384)],
        *[((333, 222), (64, 48), 24), ((100, 80), (65, 64), 24), ((80, 100), (64, 65), 24), ((50, 50), (30, 30), 24)],
    ],
)
def test_a_picture_is_resized_whole_and_then_cropped(color, depth, size: int) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (color[1], color[0], 3), np.uint8))
    crop = square_crop(*depth, size)
    whole = picture.resize((crop.width, crop.height), Image.Resampling.BICUBIC)
    kept = np.s_[crop.top : crop.top + size, crop.left : crop.left + size]
    np.testing.assert_array_equal(resized_square(picture, crop, size), np.asarray(whole)[kept])


def test_damage_inside_a_file_is_an_error_that_names_it(posed_images: Path) -> None:
    path = posed_images / "00010.png"
    data = bytearray(path.read_bytes())
    data[60:90] = bytes(30)
    path.write_bytes(bytes(data))
    scene = open_scene(posed_images)
    with pytest.raises(ValueError, match=r"00010\.png cannot be decoded"):
        load_views(scene, [0, 1], 24)


def test_an_index_outside_the_scene(posed_images: Path) -> None:
    with pytest.raises(ValueError, match=r"frames 0\.\.3, asked for 4"):
        load_views(open_scene(posed_images), [4], 24)


def test_the_depth_scale_of_a_scene_is_used(posed_images: Path) -> None:
    scene = open_scene(posed_images)
    finer = dataclasses.replace(scene, depth_scale=5000.0)
    np.testing.assert_allclose(load_depth(finer, 0) * 5, load_depth(scene, 0), rtol=1e-6)


def test_grey_pictures_of_16_bits(posed_folder: Path) -> None:
    """An infrared camera's: 65535 is white, as PNG says."""
    values = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    for number in range(4):
        (posed_folder / f"frame-{number:06d}.color.jpg").unlink()
        Image.fromarray(values).save(posed_folder / f"frame-{number:06d}.color.png")
    picture = np.asarray(load_color(open_scene(posed_folder), 0))
    np.testing.assert_array_equal(picture, np.repeat((values >> 8)[..., None], 3, axis=2))
