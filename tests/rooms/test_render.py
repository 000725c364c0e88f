"""Frames: geometry that can be checked, looks as far as they can, and the same bytes for the same seed."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from llava.rooms.camera_path import camera_path, look
from llava.rooms.furniture import CATALOGUE, COLORS
from llava.rooms.layout import askable, make_room
from llava.rooms.render import FOV, intrinsics, render, sensor


@pytest.fixture(scope="module")
def film():
    room = make_room(3, "scene0003_00")
    poses = camera_path(room, 6, np.random.default_rng(0))
    return room, poses, render(room, poses)


def test_shapes_and_types(film):
    _, _, frames = film
    assert frames.color.shape == (6, 144, 192, 3) and frames.color.dtype == np.uint8
    assert frames.depth.shape == (6, 144, 192) and frames.depth.dtype == np.float32
    assert frames.ids.shape == (6, 144, 192) and frames.ids.dtype == np.int16


def test_a_closed_room_leaves_no_hole(film):
    _, _, frames = film
    assert (frames.ids >= 0).all() and (frames.depth > 0.1).all() and frames.depth.max() < 12


def test_depth_pose_and_intrinsics_put_each_pixel_on_its_item(film):
    room, poses, frames = film
    k = intrinsics((192, 144))
    v, u = np.mgrid[:144, :192]
    for pose, depth, ids in zip(poses, frames.depth, frames.ids, strict=True):
        camera = np.stack([(u - k[0, 2]) / k[0, 0] * depth, (v - k[1, 2]) / k[1, 1] * depth, depth], -1)
        world = camera @ pose[:3, :3].T + pose[:3, 3]
        boxes = np.array([item.box for item in room.items])[ids]
        assert (np.abs(world - boxes[..., :3]) <= boxes[..., 3:] / 2 + 2e-3).all()


def test_a_wall_straight_ahead_is_where_it_is():
    room = make_room(1, "scene0001_00")
    eye = np.array([0.0, 0.0, room.extent[2] - 0.3])
    frames = render(room, look(eye, heading=np.pi / 2, pitch=0.0)[None], size=(33, 25))
    middle = frames.depth[0, 12, 16]
    assert abs(middle - room.extent[1] / 2) < 1e-3 and room.items[frames.ids[0, 12, 16]].label == "wall"
    assert room.items[frames.ids[0, 12, 16]].wall == 0


def test_intrinsics_match_the_field_of_view():
    k = intrinsics((192, 144), FOV)
    assert np.degrees(2 * np.arctan(96 / k[0, 0])) == pytest.approx(FOV)
    assert k[0, 0] == k[1, 1] and k[0, 2] == 95.5 and k[1, 2] == 71.5


def test_the_same_bytes_in_another_process(film):
    room, poses, frames = film
    program = """
import hashlib, numpy as np
from llava.rooms.camera_path import camera_path
from llava.rooms.layout import make_room
from llava.rooms.render import render, sensor
room = make_room(3, "scene0003_00")
frames = render(room, camera_path(room, 6, np.random.default_rng(0)))
raw = sensor(frames.depth, np.random.default_rng(1))
print(hashlib.sha256(b"".join(a.tobytes() for a in (frames.color, frames.depth, frames.ids, raw))).hexdigest())
"""
    command = [sys.executable, "-c", program]
    there = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7", **_path()})
    raw = sensor(frames.depth, np.random.default_rng(1))
    here = hashlib.sha256(b"".join(a.tobytes() for a in (frames.color, frames.depth, frames.ids, raw))).hexdigest()
    assert there.stdout.strip() == here


def _path() -> dict[str, str]:
    from pathlib import Path

    return {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1"}


def test_frames_are_neither_dark_nor_burnt(film):
    _, _, frames = film
    assert 60 < frames.color.mean() < 200
    assert (frames.color.max(-1) == 255).mean() < 0.02


def test_pixels_show_the_colour_word():
    """The colour word's prototype is the nearest one, up to how much light there is, for most objects seen well."""
    names = list(COLORS)
    prototypes = _features(np.array([COLORS[n] for n in names], float))
    right = []
    for seed in range(8):
        room = make_room(seed, "scene0000_00")
        frames = render(room, camera_path(room, 12, np.random.default_rng(seed)))
        for item in askable(room):
            shown = frames.color[frames.ids == item.id]
            if len(shown) < 300 or CATALOGUE[item.label].only:
                continue
            mean = np.median(shown.astype(float), 0)
            scores = [np.linalg.norm(_features(mean * g) - prototypes, axis=1) for g in (1.1, 1.35, 1.6)]
            right.append(item.color in {names[int(k)] for k in np.argmin(scores, axis=1)})
    assert len(right) > 40 and np.mean(right) > 0.85


def _features(rgb: np.ndarray) -> np.ndarray:
    light = rgb.mean(-1, keepdims=True)
    return np.concatenate([rgb - light, 0.6 * light], -1)


def test_the_sensor_has_holes_noise_and_millimetres():
    ramp = np.linspace(0.2, 8.0, 192, dtype=np.float32)
    depth = np.repeat(ramp[None, :], 144, 0)
    raw = sensor(depth, np.random.default_rng(0))
    assert raw.dtype == np.uint16 and raw.shape == depth.shape
    assert (raw[:, ramp > 6] == 0).all() and (raw[:, ramp < 0.35] == 0).all()
    known = (raw > 0) & (depth < 4)
    error = np.abs(raw[known] / 1000 - depth[known])
    assert 0.001 < error.mean() < 0.02 and error.max() < 0.2
    assert np.array_equal(raw, sensor(depth, np.random.default_rng(0)))


def test_the_sensor_keeps_most_of_a_room(film):
    _, _, frames = film
    share = (sensor(frames.depth, np.random.default_rng(0)) > 0).mean()
    assert 0.75 < share < 0.99
