"""A scan's mesh, segments and labels -> aligned points with instances, classes and object boxes.

The file `<scene>.pth` holds, for N vertices and m objects, in the axis-aligned world (metres):
xyz (N, 3) float32, rgb (N, 3) uint8, normal (N, 3) float32, sem_labels (N,) int8 (index into NYU40_IDS, -1 none),
instance_ids (N,) int16 (ScanNet's objectId, -1 none), aabb_obj_ids (m,) int16, aabb_corner_xyz (m, 8, 3) float32.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from llava.captures.scannet import data_align
from llava.prepare.layout import Layout
from llava.resumable import read_json, replaced

# ScanNet's 20 benchmark classes; the last, "otherfurniture", takes what is in no other
NYU40_IDS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39)
UNKNOWN_LABEL_ID = 40  # "otherprop"
KEYS = ("xyz", "rgb", "normal", "sem_labels", "instance_ids", "aabb_obj_ids", "aabb_corner_xyz")


def read_mesh(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices (N, 3) float32, colours (N, 3) uint8 and triangles (M, 3) int64 of a PLY; ValueError: damaged."""
    from plyfile import PlyData, PlyElementParseError, PlyHeaderParseError

    try:
        ply = PlyData.read(str(path), known_list_len={"face": {"vertex_indices": 3}})
        vertex, faces = ply["vertex"], np.asarray(ply["face"]["vertex_indices"], np.int64)
        vertices = np.stack([vertex[axis] for axis in "xyz"], axis=1).astype(np.float32)
        colors = np.stack([vertex[channel] for channel in ("red", "green", "blue")], axis=1).astype(np.uint8)
    except (PlyElementParseError, PlyHeaderParseError) as error:
        raise ValueError(f"{path} cannot be read ({error}): copy or download it again") from error
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path}: expected coloured vertices and triangles, found otherwise ({error})") from error
    if not np.isfinite(vertices).all():
        raise ValueError(f"{path}: expected finite vertices, found others; copy or download it again")
    if len(vertices) == 0 or (len(faces) and not 0 <= faces.min() <= faces.max() < len(vertices)):
        raise ValueError(f"{path}: {len(vertices)} vertices do not fit its faces; copy or download it again")
    return vertices, colors, faces.reshape(-1, 3)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(N, 3) float32 unit normals: the mean of the adjoining triangles' weighted by their areas, zero for none."""
    corners = vertices.astype(np.float64)[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sums = [np.bincount(faces.ravel(), np.repeat(column, 3), minlength=len(vertices)) for column in normals.T]
    summed = np.stack(sums, axis=1)
    lengths = np.linalg.norm(summed, axis=1, keepdims=True)
    return (summed / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def read_scan(layout: Layout, scene: str, labels: dict[str, int], labelled: bool = True) -> dict[str, np.ndarray]:
    """The arrays described above. `labelled=False`: a scan without segments (a test split) has points only.

    ValueError: a file or the axis alignment is missing or damaged, or the segments belong to another mesh.
    """
    if not layout.mesh(scene).exists():
        raise ValueError(f"{layout.mesh(scene)} is missing")
    vertices, colors, faces = read_mesh(layout.mesh(scene))
    align = data_align(layout.data, scene)
    xyz = (vertices.astype(np.float64) @ align[:3, :3].T + align[:3, 3]).astype(np.float32)
    instances = np.full(len(xyz), -1, np.int16)
    classes = np.full(len(xyz), -1, np.int8)
    parts = (layout.segments(scene), layout.aggregation(scene))
    if labelled or all(path.exists() for path in parts):
        for path in parts:
            if not path.exists():
                raise ValueError(f"{path} is missing")
        try:
            _label_vertices(parts, labels, instances, classes)
        except (AttributeError, KeyError, OverflowError, TypeError) as error:
            names = f"{parts[0]} or {parts[1].name}"
            raise ValueError(f"{names} is not as ScanNet ships it ({error!r}): get both again") from error
    ids, boxes = object_corners(xyz, instances)
    normals = vertex_normals(xyz, faces)
    return dict(zip(KEYS, (xyz, colors, normals, classes, instances, ids, boxes), strict=True))


def _label_vertices(
    parts: tuple[Path, Path], labels: dict[str, int], instances: np.ndarray, classes: np.ndarray
) -> None:
    """Fill in object ids and classes; where two objects claim a segment, the later one has it."""
    segments = np.array(read_json(parts[0])["segIndices"], np.int64)
    if segments.shape != instances.shape:
        raise ValueError(
            f"{parts[0]}: {segments.size} segment ids for a mesh of {instances.size} vertices; they belong to "
            "different versions of the scan"
        )
    owners: dict[int, tuple[int, int]] = {}
    for group in read_json(parts[1])["segGroups"]:
        nyu40 = labels.get(group["label"], UNKNOWN_LABEL_ID)
        label = NYU40_IDS.index(nyu40) if nyu40 in NYU40_IDS else len(NYU40_IDS) - 1
        owners.update(dict.fromkeys(group["segments"], (int(group["objectId"]), label)))
    names, vertex_segment = np.unique(segments, return_inverse=True)
    owned = np.array([owners.get(name, (-1, -1)) for name in names.tolist()])[vertex_segment]
    instances[:], classes[:] = owned[:, 0], owned[:, 1]


def object_corners(xyz: np.ndarray, instances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ids (m,) int16 ascending and box corners (m, 8, 3) float32 of the objects that have points.

    Corners run y fastest, then x, then z, and the upper bound is `low + (high - low)` in float32, both as the
    reference stores them: ground-truth boxes derive from them to the last bit.
    """
    order = np.argsort(instances, kind="stable")
    ids, starts = np.unique(instances[order], return_index=True)
    low = np.minimum.reduceat(xyz[order], starts) if len(ids) else np.empty((0, 3), np.float32)
    high = np.maximum.reduceat(xyz[order], starts) if len(ids) else low
    ids, low, high = ids[ids >= 0], low[ids >= 0], high[ids >= 0]
    bounds = np.stack([low, low + (high - low)], axis=1)  # (m, 2, 3)
    corners = [np.stack([bounds[:, x, 0], bounds[:, y, 1], bounds[:, z, 2]], -1) for z, x, y in np.ndindex(2, 2, 2)]
    return ids.astype(np.int16), np.stack(corners, axis=1)


def write_points(path: Path, points: dict[str, np.ndarray]) -> None:
    """Store the arrays as tensors, which `torch.load(weights_only=True)` accepts."""
    import torch

    with replaced(path) as partial, partial.open("wb") as file:  # given a path, `torch.save` would store its name
        torch.save({key: torch.from_numpy(value) for key, value in points.items()}, file)


def read_points(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a `.pth`, ours or the reference's (which holds numpy arrays); ValueError: damaged or another file.

    Arrays are mapped from the file where possible: what is not touched is not read.
    """
    import pickle

    import torch

    try:
        with torch.serialization.safe_globals(_numpy_globals()):
            points = torch.load(path, weights_only=True, mmap=True, map_location="cpu")
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} cannot be read ({reason}): delete it and run `llava prepare` again") from error
    if not isinstance(points, dict) or not set(KEYS) <= set(points):
        raise ValueError(f"{path}: expected the entries {', '.join(KEYS)}; delete it and run `llava prepare` again")
    return {key: np.asarray(points[key]) for key in KEYS}


def _numpy_globals() -> list:
    """What a pickled numpy array of numbers is made of, and nothing else."""
    import _codecs

    rebuild = np.empty(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in ("f4", "f8", "u1", "i1", "i2", "i4", "i8", "?")]
    names = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")  # numpy 1 and 2
    return [*((rebuild, name) for name in names), np.ndarray, np.dtype, *kinds, (_codecs.encode, "_codecs.encode")]
