"""A ``transforms.json`` as docs.nerf.studio/quickstart/data_conventions.html and Nerfstudio's reader describe it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.captures.walk import Walk, moved
from tests.captures.writers.record3d import LOOKS_BACK

SCANNER = moved((0, 20, 0), (1, 1, 1)) @ moved((-90, 0, 0), (0, 0, 0))  # the scanner's own world, y up
CYCLED = np.array([[0.0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0]])  # what Nerfstudio makes of Polycam's: z up
SCALE = 0.5  # of the poses, not of the depth


def write(walk: Walk, folder: Path) -> tuple[Path, np.ndarray]:
    for name in ("images", "depth"):
        (folder / name).mkdir()
    k = walk.intrinsics
    camera = {"fl_x": k[0, 0], "fl_y": k[1, 1], "w": walk.size[0], "h": walk.size[1]}
    camera |= {"cx": k[0, 2] + 0.5, "cy": k[1, 2] + 0.5}  # from the corner of the first pixel
    frames = []
    for index in reversed(range(len(walk.poses))):
        walk.save_color(index, folder / f"images/frame_{index}.jpg")
        walk.save_depth(index, folder / f"depth/frame_{index}.png", units=5000)
        matrix = np.vstack([CYCLED, [0, 0, 0, 1]]) @ SCANNER @ walk.poses[index] @ LOOKS_BACK
        matrix[:3, 3] *= SCALE
        files = {"file_path": f"./images/frame_{index}.jpg", "depth_file_path": f"depth/frame_{index}.png"}
        frames.append({**files, "transform_matrix": matrix.tolist(), **camera})
    record = {"camera_model": "OPENCV", "orientation_override": "none", "depth_unit_scale_factor": 0.0002}
    record |= {"applied_transform": CYCLED.tolist(), "applied_scale": SCALE, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(record))
    return folder, SCANNER
