"""The voxels that a scan's points occupy, and the one file that holds them for all scenes."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

from llava.captures.scannet import read_pickle
from llava.geometry.voxels import unpack_keys, voxel_keys
from llava.prepare.layout import VOXEL_SIZE
from llava.resumable import replaced


def scan_voxels(xyz: np.ndarray) -> np.ndarray:
    """Distinct voxel indices (k, 3) int16, ascending, of points (N, 3) metres; nothing is clipped."""
    voxels = unpack_keys(voxel_keys(xyz, VOXEL_SIZE))
    if np.abs(voxels).max() > np.iinfo(np.int16).max:
        raise ValueError(f"points up to {np.abs(xyz).max():.0f} m away: a scan is expected to fit into 3 km")
    return voxels.astype(np.int16)


def write_voxels(path: Path, voxels: dict[str, np.ndarray]) -> None:
    """{scene: (k, 3)} as a pickle, the reference's file type, with arrays in place of its lists of tuples."""
    # copies share one dtype object: pickle notes down which objects are shared, and the bytes would depend on it
    arrays = {scene: indices.astype(np.int16) for scene, indices in voxels.items()}
    with replaced(path) as partial, partial.open("wb") as file:
        pickle.dump(arrays, file, protocol=4)


def read_voxels(path: Path) -> dict[str, np.ndarray]:
    """{scene: (k, 3) integers} from our file or the reference's; ValueError: damaged, or it would run code."""
    content = read_pickle(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected {{scene: voxels}}, found {type(content).__name__}")
    try:
        return {scene: np.asarray(voxels, np.int16).reshape(-1, 3) for scene, voxels in content.items()}
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: expected voxels of three whole numbers, found others ({error}): delete it and run `llava prepare`"
        ) from error
