"""Maximum-coverage frame choice against a scan's voxels (Video-3D LLM, section 3.3), computed ahead for all scenes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from llava.captures.scannet import read_data_scene
from llava.frames import scene_voxels
from llava.geometry.voxels import max_coverage, pack_keys
from llava.prepare.layout import VOXEL_SIZE

MOST_FRAMES = 32


def select_frames(
    folder: Path,
    voxels: np.ndarray,
    limit: int = MOST_FRAMES,
    compat: Literal["video3d"] | None = None,
    threads: int = 1,
) -> dict[str, Any]:
    """The record of a scene in `scannet_select_frames.json`: frames in greedy order, and the new voxels of each.

    Candidates are every second posed image, or all where that leaves fewer than `limit`.

    Args:
        folder: `posed_images/<scene>` in a data folder.
        voxels: (k, 3) distinct voxel indices of the scan; a frame's other voxels do not count.
        limit: frames to choose; fewer only where the scene has fewer.
        compat: "video3d" counts pixels without depth as the camera's own voxel (quirk Q15).
        threads: depth images read at the same time.

    ValueError: the folder holds no usable frame, the scene has no axis alignment, or a depth image is damaged.
    """
    scene = read_data_scene(folder.parents[2], f"scannet/{folder.name}")
    every_second = scene.frames[::2]
    scene = replace(scene, frames=every_second if len(every_second) >= limit else scene.frames)
    targets = np.sort(pack_keys(voxels))
    seen = scene_voxels(scene, VOXEL_SIZE, threads=threads, unknown=compat == "video3d")
    order, gains = max_coverage([np.intersect1d(keys, targets, assume_unique=True) for keys in seen], limit)
    return {
        "video_id": scene.name,
        # always "data/...", wherever the folder lies: readers take the last part, and a moved folder stays valid
        "frame_files": [f"data/scannet/posed_images/{folder.name}/{scene.frames[i].name}.jpg" for i in order],
        "voxel_nums": gains,
        "num_all_voxels": len(targets),
        "num_select_voxels": sum(gains),
    }
