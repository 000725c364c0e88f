"""A scan of ARKitScenes as its ``DATA.md``, ``raw/README.md`` and ``tenFpsDataLoader.py`` describe it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from tests.captures.walk import Walk, moved
from tests.captures.writers.record3d import unsure

WORLD = moved((0, 0, 130), (2, 3, 1))  # z up, any heading
SCAN = "41069021"


def write(walk: Walk, folder: Path) -> tuple[Path, np.ndarray]:
    folder = folder / SCAN
    for name in ("lowres_wide", "lowres_depth", "confidence", "lowres_wide_intrinsics"):
        (folder / name).mkdir(parents=True)
    (width, height), k = walk.size, walk.intrinsics
    lines = []
    for index, pose in enumerate(walk.poses):
        seconds = 3385.2 + index / 10
        depth, sure = unsure(walk.depth[index])
        images = {"lowres_wide": walk.color[index], "confidence": sure}
        images["lowres_depth"] = np.rint(np.nan_to_num(depth) * 1000).astype(np.uint16)
        for between in (0, 1 / 60):  # pictures are taken 60 times a second, poses are given 10 times
            for name, image in images.items():
                shown = image if between == 0 else image[::-1]
                Image.fromarray(shown).save(folder / name / f"{SCAN}_{seconds + between:.3f}.png")
            camera = f"{width} {height} {k[0, 0]} {k[1, 1]} {k[0, 2]} {k[1, 2]}"
            name = f"{SCAN}_{seconds + between - 0.001:.3f}.pincam"  # intrinsics may be a millisecond off
            (folder / "lowres_wide_intrinsics" / name).write_text(camera)
        to_camera = np.linalg.inv(WORLD @ pose)
        turn = Rotation.from_matrix(to_camera[:3, :3]).as_rotvec()
        lines.append(" ".join(map(str, [f"{seconds + 0.0003:.8f}", *turn, *to_camera[:3, 3]])))
    (folder / "lowres_wide.traj").write_text("\n".join(lines) + "\n")
    return folder, WORLD
