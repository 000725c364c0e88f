"""Boxes (cx, cy, cz, dx, dy, dz) of the objects of a scene, from its labels and from a detector's masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile

import numpy as np

MAX_PROPOSALS = 50


def object_boxes(corners: np.ndarray) -> np.ndarray:
    """(m, 6) float64 boxes from corners (m, 8, 3)."""
    corners = corners.astype(np.float64)
    return np.concatenate([corners.mean(axis=1), np.ptp(corners, axis=1)], axis=1)


def has_gap(ids: Sequence[int]) -> bool:
    """Whether object ids are other than 0..m-1, so that an object's id is not its place in the list of boxes."""
    return not np.array_equal(ids, range(len(ids)))


def proposal_boxes(
    xyz: np.ndarray, masks, limit: int = MAX_PROPOSALS, compat: Literal["video3d"] | None = None
) -> tuple[np.ndarray, list[int]]:
    """Boxes (k, 6) float64 around the first `limit` masks, and the rows of those among them that are empty.

    `masks` is a scipy CSR matrix (proposals, vertices). An empty mask has no box and is left out; with
    `compat="video3d"` the first empty one ends the list, as in the reference (quirk Q13). ValueError: the masks
    were made for another mesh.
    """
    if masks.shape[1] != len(xyz):
        raise ValueError(
            f"masks over {masks.shape[1]} vertices for a scan of {len(xyz)}: they were made for another mesh"
        )
    boxes, empty = [], []
    for row in range(min(limit, masks.shape[0])):
        inside = masks.indices[masks.indptr[row] : masks.indptr[row + 1]]
        inside = inside[masks.data[masks.indptr[row] : masks.indptr[row + 1]] != 0]
        if len(inside) == 0:
            empty.append(row)
            if compat == "video3d":
                break
            continue
        points = xyz[inside]
        low, high = points.min(axis=0).astype(np.float64), points.max(axis=0).astype(np.float64)
        boxes.append(np.concatenate([(low + high) / 2, high - low]))
    return np.array(boxes).reshape(-1, 6), empty


def read_masks(path: Path):
    """The scipy CSR matrix of `<scene>.mask.npz`; ValueError: no such file, or a damaged one."""
    import zlib

    from scipy.sparse import csr_matrix, load_npz

    try:
        return csr_matrix(load_npz(path))
    except (BadZipFile, ValueError, KeyError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read as a scipy sparse matrix ({error}): get it again") from error
