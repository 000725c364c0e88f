"""A stored scene of version 1, as the docstring of ``llava.captures.store`` and its readers' contract describe it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.captures.walk import SIZE, Walk, moved

OWN = moved((0, 0, 40), (2, -1, 0.5))  # of the capture from which the scene was once made


def write(walk: Walk, folder: Path) -> tuple[Path, np.ndarray]:
    frames = []
    for kind in ("color", "depth"):
        (folder / kind).mkdir()
    for index, pose in enumerate(walk.poses):
        color, depth = f"color/{index}.png", f"depth/{index}.png"
        walk.save_color(index, folder / color)
        walk.save_depth(index, folder / depth, units=4000)
        frames.append({"name": str(index), "color": color, "depth": depth, "pose": pose.tolist()})
    record = {
        **{"format": "llava-scene", "version": 1, "name": "test/walk", "up": "a bubble level", "frames": frames},
        **{"color_size": SIZE, "depth_size": SIZE, "dropped": [], "depth_scale": 4000, "depth_unknown": [0]},
        **{key: walk.intrinsics.tolist() for key in ("color_intrinsics", "depth_intrinsics")},
        "align": np.linalg.inv(OWN).tolist(),
    }
    (folder / "scene.json").write_text(json.dumps(record))
    return folder, OWN
