"""A posed folder as 7-Scenes has it, in a world that is not z up, with the direction of gravity beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.captures.walk import Walk, moved

TILTED = moved((100, 20, 5), (0.3, 1, -2))


def write(walk: Walk, folder: Path) -> tuple[Path, np.ndarray]:
    for index, pose in enumerate(walk.poses):
        walk.save_color(index, folder / f"frame-{index:06d}.color.jpg")
        raw = walk.raw_depth(index)
        raw[0, :3] = (0, 65535, 65535)  # both mean "not measured"
        Image.fromarray(raw).save(folder / f"frame-{index:06d}.depth.png")
        np.savetxt(folder / f"frame-{index:06d}.pose.txt", TILTED @ pose, "%.8e")
    np.savetxt(folder / "camera-intrinsics.txt", walk.intrinsics)
    down = -TILTED[:3, 2]
    (folder / "gravity-direction.txt").write_text(" ".join(map(str, down)))
    return folder, TILTED
