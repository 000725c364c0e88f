"""A pose list as slambook2 has it: images 1, 2, ... 12 (not 1, 10, 11 ...), depth as packed PGM."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from tests.captures.walk import SIZE, Walk, moved

FIRST = moved((-95, 8, 30), (0.5, -1, 2))


def write(walk: Walk, folder: Path) -> tuple[Path, np.ndarray]:
    for kind in ("color", "depth"):
        (folder / kind).mkdir()
    lines = []
    for index, pose in enumerate(walk.poses):
        walk.save_color(index, folder / f"color/{index + 1}.png")
        values = walk.raw_depth(index).astype(">u2").tobytes()
        header = f"P5\n# by hand\n{SIZE[0]} {SIZE[1]}\n20000\n".encode()
        (folder / f"depth/{index + 1}.pgm.gz").write_bytes(gzip.compress(header + values))
        own = FIRST @ pose
        lines.append(" ".join(f"{x:.6g}" for x in [*own[:3, 3], *Rotation.from_matrix(own[:3, :3]).as_quat()]))
    (folder / "pose.txt").write_text("\n".join(lines))
    np.savetxt(folder / "camera-intrinsics.txt", walk.intrinsics)
    return folder, FIRST
