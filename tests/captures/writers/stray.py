"""A Stray Scanner recording as its ``docs/format.md`` and ``OdometryEncoder.swift`` describe it."""

from __future__ import annotations

from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from tests.captures.walk import Walk, moved
from tests.captures.writers.record3d import LARGER, LOOKS_BACK, unsure

Y_UP = moved((0, -80, 0), (-1, 1.5, 0.2)) @ moved((-90, 0, 0), (0, 0, 0))
HALF_TURN = Rotation.from_quat([1, 0, 0, 0])  # q_AC: from ARKit's camera to one that looks along +z


def write(walk: Walk, folder: Path) -> tuple[Path, np.ndarray]:
    for name in ("depth", "confidence"):
        (folder / name).mkdir()
    write_video(folder / "rgb.mp4", [Image.fromarray(each).resize(larger(walk)) for each in walk.color])
    rows = ["timestamp, frame, x, y, z, qx, qy, qz, qw"]
    for index, pose in enumerate(walk.poses):
        depth, sure = unsure(walk.depth[index])
        Image.fromarray(np.nan_to_num(depth * 1000).astype(np.uint16)).save(folder / f"depth/{index:06d}.png")
        Image.fromarray(sure).save(folder / f"confidence/{index:06d}.png")
        arkit = Y_UP @ pose @ LOOKS_BACK
        turn = (Rotation.from_matrix(arkit[:3, :3]) * HALF_TURN).as_quat()
        rows.append(f"{5000 + index / 60}, {index:06d}, {', '.join(map(str, [*arkit[:3, 3], *turn]))}")
    (folder / "odometry.csv").write_text("\n".join(rows) + "\n")
    k = walk.intrinsics * [[LARGER], [LARGER], [1]]
    (folder / "camera_matrix.csv").write_text("\n".join(", ".join(map(str, row)) for row in k))
    (folder / "imu.csv").write_text("timestamp, a_x, a_y, a_z, alpha_x, alpha_y, alpha_z\n")
    return folder, Y_UP


def larger(walk: Walk) -> tuple[int, int]:
    return walk.size[0] * LARGER, walk.size[1] * LARGER


def write_video(path: Path, pictures: list[Image.Image]) -> None:
    quality = ["-crf", "10", "-x265-params", "log-level=none"]
    video = imageio_ffmpeg.write_frames(
        str(path), pictures[0].size, fps=60, codec="libx265", quality=None, output_params=quality
    )
    video.send(None)
    for each in pictures:
        video.send(each.tobytes())
    video.close()
