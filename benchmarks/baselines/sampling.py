"""Maximum coverage the plain way: every frame in memory, rows of numbers as voxels, every frame recounted every round.

What a straightforward script does, and the published one does (Video-3D LLM, section 3.3; golden 07 holds its output):
unproject all depth images, round to voxels, `torch.unique` over rows, Python sets of tuples, greedy choice by counting.
Nothing here is imported by llava. Arithmetic is float32 in the order of `llava.geometry.camera.unproject`, so that a
point on the border of two voxels falls to the same side and results can be compared exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

VOXEL_SIZE = 0.1  # metres

Voxel = tuple[int, int, int]


def select_frames(
    depth_files: Sequence[Path],
    poses: Sequence[np.ndarray],
    intrinsics: np.ndarray,
    voxels: set[Voxel],
    limit: int,
    unknown: bool = True,
) -> tuple[list[int], list[int]]:
    """Greedy choice among all frames.

    Args:
        depth_files: one PNG a frame, uint16 millimetres, 0 where nothing was measured.
        poses: (4, 4) camera to world, of each frame.
        intrinsics: (3, 3) of the depth images.
        voxels: of the scan; others do not count.
        limit: frames to choose.
        unknown: pixels without depth count, as the camera's own voxel (the published way, quirk Q15).

    Returns:
        Chosen frames in order, and how many new voxels each one added.
    """
    depths = [torch.from_numpy(np.array(Image.open(file), np.float32)) / 1000 for file in depth_files]
    points = torch.stack([unproject(d, intrinsics, p) for d, p in zip(depths, poses, strict=True)])
    indices = torch.round(points / VOXEL_SIZE).to(torch.int32)
    seen = []
    for depth, frame in zip(depths, indices, strict=True):
        rows = frame.reshape(-1, 3) if unknown else frame[depth > 0]
        seen.append({tuple(row) for row in torch.unique(rows, dim=0).tolist()} & voxels)
    return greedy(seen, limit)


def unproject(depth: torch.Tensor, intrinsics: np.ndarray, pose: np.ndarray) -> torch.Tensor:
    """World points (H, W, 3) of depth (H, W) in metres."""
    height, width = depth.shape
    v, u = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    x = ((u - intrinsics[0, 2]) / intrinsics[0, 0]).float()
    y = ((v - intrinsics[1, 2]) / intrinsics[1, 1]).float()
    pose = torch.from_numpy(np.asarray(pose, np.float32))
    axes = [((x * p[0] + p[2]) + y * p[1]) * depth + p[3] for p in pose[:3]]
    return torch.stack(axes, dim=-1)


def greedy(seen: Sequence[set], limit: int) -> tuple[list[int], list[int]]:
    """Again and again the set that adds most, the first of equals; order and gains."""
    covered: set = set()
    left = list(range(len(seen)))
    order, gains = [], []
    while left and len(order) < limit:
        added = [len(seen[frame] - covered) for frame in left]
        gains.append(max(added))
        order.append(left.pop(added.index(gains[-1])))
        covered |= seen[order[-1]]
    return order, gains
