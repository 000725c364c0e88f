"""A ``.r3d`` as its author describes it (github.com/marek-simonik/record3d, issues 7, 33, 36, 81, 93, 99, 108)."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import lzfse
import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from tests.captures.walk import Walk, moved

Y_UP = moved((0, 35, 0), (0.4, 1.3, -2)) @ moved((-90, 0, 0), (0, 0, 0))  # ARKit's world: y up, any heading
LOOKS_BACK = np.diag([1.0, -1, -1, 1])  # OpenGL's camera has y up and looks along -z
LARGER = 2  # pictures than depth


def write(walk: Walk, folder: Path) -> tuple[Path, np.ndarray]:
    path = folder / "2026-11-21--12-30.r3d"
    width, height = walk.size
    with ZipFile(path, "w") as archive:
        poses = []
        for index, pose in enumerate(walk.poses):
            archive.writestr(f"rgbd/{index}.jpg", picture(walk.color[index], (width * LARGER, height * LARGER)))
            depth, sure = unsure(walk.depth[index])
            archive.writestr(f"rgbd/{index}.depth", lzfse.compress(depth.astype("<f4").tobytes()))
            archive.writestr(f"rgbd/{index}.conf", lzfse.compress(sure.tobytes()))
            own = Y_UP @ pose @ LOOKS_BACK
            poses.append([*Rotation.from_matrix(own[:3, :3]).as_quat(), *own[:3, 3]])
        k = walk.intrinsics * [[LARGER], [LARGER], [1]]
        record = {"w": width * LARGER, "h": height * LARGER, "dw": width, "dh": height, "fps": 30, "poses": poses}
        record |= {"K": k.T.ravel().tolist(), "initPose": poses[0]}
        record["perFrameIntrinsicCoeffs"] = [[k[0, 0], k[1, 1], k[0, 2], k[1, 2]]] * len(poses)
        archive.writestr("metadata", json.dumps(record))
        archive.writestr("icon", picture(walk.color[0], (30, 20)))
    return path, Y_UP


def picture(color: np.ndarray, size: tuple[int, int]) -> bytes:
    jpeg = BytesIO()
    Image.fromarray(color).resize(size).save(jpeg, "JPEG", quality=95)
    return jpeg.getvalue()


def unsure(depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth (H, W) of which some is unknown or wrong, and ARKit's confidence, which says so."""
    depth, sure = depth.copy(), np.full(depth.shape, 2, np.uint8)
    depth[:2], sure[:2] = 9.0, 0
    depth[2:4], sure[2:4] = depth[2:4] + 0.3, 1
    depth[5, :4] = np.nan
    return depth, sure
