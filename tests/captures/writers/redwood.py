"""Open3D's folder: trajectory and camera are written by Open3D itself, in the world of the first camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open3d as o3d

from tests.captures.walk import SIZE, Walk


def write(walk: Walk, folder: Path) -> tuple[Path, np.ndarray]:
    first = np.linalg.inv(walk.poses[0])
    (focal_x, _, centre_x), (_, focal_y, centre_y), _ = walk.intrinsics
    camera = o3d.camera.PinholeCameraIntrinsic(*SIZE, focal_x, focal_y, centre_x, centre_y)
    parameters = []
    for kind in ("color", "depth"):
        (folder / kind).mkdir()
    for index, pose in enumerate(walk.poses):
        walk.save_color(index, folder / f"color/{index:06d}-{index * 33333:012d}.jpg")
        walk.save_depth(index, folder / f"depth/{index:06d}-{index * 33333 + 4000:012d}.png")
        one = o3d.camera.PinholeCameraParameters()
        one.intrinsic, one.extrinsic = camera, np.linalg.inv(first @ pose)
        parameters.append(one)
    trajectory = o3d.camera.PinholeCameraTrajectory()
    trajectory.parameters = parameters
    assert o3d.io.write_pinhole_camera_trajectory(str(folder / "trajectory.log"), trajectory)
    assert o3d.io.write_pinhole_camera_intrinsic(str(folder / "camera_primesense.json"), camera)
    return folder, first
