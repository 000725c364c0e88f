"""TUM RGB-D: three clocks that do not tick together, poses of the motion capture between those of the frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from tests.captures.walk import Walk, moved

MOCAP = moved((0, 0, 25), (1, 2, 0))  # z up
START = 1305031102.175304


def write(walk: Walk, folder: Path) -> tuple[Path, np.ndarray]:
    for kind in ("rgb", "depth"):
        (folder / kind).mkdir()
    rgb, depth, truth = (["# a comment", "# another"] for _ in range(3))
    for index, pose in enumerate(walk.poses):
        time = START + index / 30
        color_name, depth_name = f"rgb/{time:.6f}.png", f"depth/{time + 0.011:.6f}.png"
        walk.save_color(index, folder / color_name)
        walk.save_depth(index, folder / depth_name, units=5000)
        rgb.append(f"{time:.6f} {color_name}")
        depth.append(f"{time + 0.011:.6f} {depth_name}")
        own = MOCAP @ pose
        numbers = [*own[:3, 3], *Rotation.from_matrix(own[:3, :3]).as_quat()]  # x y z w
        truth.append(f"{time + 0.0133:.4f} " + " ".join(f"{number:.4f}" for number in numbers))
        truth.append(f"{time + 0.0208:.4f} 9 9 9 0 0 0 1")  # nearer to no frame
    for name, lines in (("rgb", rgb), ("depth", depth), ("groundtruth", truth)):
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    np.savetxt(folder / "camera-intrinsics.txt", walk.intrinsics)  # the format has none of its own
    return folder, MOCAP
