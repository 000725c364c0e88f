"""ScanNet's posed images in a data folder, with the axis alignment in the scan's ``<scene>.txt``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.captures.walk import Walk, moved

RAW = moved((0, 0, -73), (-3, 2, 0.1))  # ScanNet's raw worlds are z up, their walls at any angle


def write(walk: Walk, folder: Path) -> tuple[Path, np.ndarray]:
    images, scan = folder / "scannet/posed_images/scene0000_00", folder / "scannet/scans/scene0000_00"
    images.mkdir(parents=True)
    scan.mkdir(parents=True)
    for index, pose in enumerate(walk.poses):
        walk.save_color(index, images / f"{index:05d}.jpg")
        walk.save_depth(index, images / f"{index:05d}.png")
        np.savetxt(images / f"{index:05d}.txt", RAW @ pose, "%.6f")
    wide = np.eye(4)
    wide[:3, :3] = walk.intrinsics
    for name in ("intrinsic.txt", "depth_intrinsic.txt"):
        np.savetxt(images / name, wide, "%.6f")
    align = " ".join(f"{value:.6f}" for value in np.linalg.inv(RAW).ravel())
    (scan / "scene0000_00.txt").write_text(f"appVersionId = 1\naxisAlignment = {align} \nnumDepthFrames = 12\n")
    return images, RAW
