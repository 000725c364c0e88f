"""The walk: where the camera is, where it looks, and what it gets to see."""

import numpy as np
import pytest

from llava.rooms.camera_path import camera_path, look
from llava.rooms.layout import askable, make_room
from llava.rooms.render import render

SEEDS = range(12)


@pytest.fixture(scope="module")
def walks():
    return [
        (room, camera_path(room, 16, np.random.default_rng(room.seed))) for room in (make_room(s, "r") for s in SEEDS)
    ]


def test_poses_are_rigid_and_repeatable(walks):
    room, poses = walks[0]
    rotations = poses[:, :3, :3]
    np.testing.assert_allclose(rotations @ rotations.transpose(0, 2, 1), np.tile(np.eye(3), (16, 1, 1)), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(rotations), 1)
    assert np.array_equal(poses, camera_path(room, 16, np.random.default_rng(room.seed)))


def test_look_follows_opencv_axes():
    pose = look(np.zeros(3), heading=np.pi / 2, pitch=0.0)
    np.testing.assert_allclose(pose[:3, :3], np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]), atol=1e-12)
    assert look(np.zeros(3), 0.0, -0.5)[2, 2] < 0  # downwards


def test_the_camera_is_in_the_room_at_eye_height_and_in_no_furniture(walks):
    for room, poses in walks:
        eyes = poses[:, :3, 3]
        assert (np.abs(eyes[:, :2]) < np.array(room.extent[:2]) / 2 - 0.2).all()
        assert (eyes[:, 2] > 1.1).all() and (eyes[:, 2] < 1.8).all()
        for item in room.items[6:]:
            assert not (np.abs(eyes - item.box[:3]) < item.box[3:] / 2).all(1).any(), item.label


def test_the_camera_looks_down_a_little(walks):
    pitch = np.degrees([np.arcsin(pose[2, 2]) for _, poses in walks for pose in poses])
    assert -25 < pitch.mean() < -12 and pitch.max() < 20 and pitch.min() > -60


def test_nearly_everything_is_seen(walks):
    seen = []
    for room, poses in walks:
        ids = render(room, poses).ids
        seen += [max((frame == item.id).sum() for frame in ids) >= 60 for item in askable(room)]
    assert np.mean(seen) >= 0.95


def test_few_frames_stare_at_something_near(walks):
    depth = np.concatenate([render(room, poses, size=(32, 24)).depth for room, poses in walks])
    assert (np.median(depth, axis=(1, 2)) < 1.0).mean() < 0.03


def test_a_long_walk_moves_in_small_steps_and_stays_out_of_furniture():
    room = make_room(2, "r")
    poses = camera_path(room, 120, np.random.default_rng(0))
    steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    assert poses.shape == (120, 4, 4) and steps.max() < 1.0
    for item in room.items[6:]:
        eyes = poses[:, :3, 3]
        assert not (np.abs(eyes - item.box[:3]) < item.box[3:] / 2).all(1).any(), item.label


@pytest.mark.parametrize("frames", [1, 2, 5, 17])
def test_any_number_of_frames(frames):
    assert camera_path(make_room(0, "r"), frames, np.random.default_rng(0)).shape == (frames, 4, 4)


def test_no_frames_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        camera_path(make_room(0, "r"), 0, np.random.default_rng(0))
