"""ScanNet's ``.sens`` beside the scan's ``<scene>.txt``. The container itself is held against recordings elsewhere."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from llava.captures.sens import write_sens
from tests.captures.walk import SIZE, Walk, moved

RAW = moved((0, 0, 110), (1, 4, -0.2))


def write(walk: Walk, folder: Path) -> tuple[Path, np.ndarray]:
    def frames():
        for index, pose in enumerate(walk.poses):
            jpeg = BytesIO()
            Image.fromarray(walk.color[index]).save(jpeg, "JPEG", quality=95)
            yield jpeg.getvalue(), walk.raw_depth(index), RAW @ pose

    cameras = {f"{kind}_intrinsics": walk.intrinsics for kind in ("color", "depth")}
    write_sens(folder / "scene0001_00.sens", frames(), **cameras, color_size=SIZE, depth_size=SIZE)
    align = " ".join(f"{value:.6f}" for value in np.linalg.inv(RAW).ravel())
    (folder / "scene0001_00.txt").write_text(f"axisAlignment = {align}\n")
    return folder / "scene0001_00.sens", RAW
