"""One room's raw files, laid out as a ScanNet download is.

Everything written is in the raw world of the scan, which lies turned and shifted to the room's own: a reader
comes back by the `axisAlignment` of `<scene>.txt`. Files are written in place; `make.py` renames whole folders.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np

from llava.captures.sens import write_sens
from llava.rooms.room import Room
from llava.rooms.scan import Scan

JPEG_QUALITY = 92
_VERTEX = np.dtype([("xyz", "<f4", 3), ("rgba", "u1", 4)])
_FACE = np.dtype([("count", "u1"), ("vertices", "<i4", 3)])


def draw_alignment(rng: np.random.Generator) -> np.ndarray:
    """A random raw-to-room transform (4, 4): any yaw, a shift of up to 4 m and a floor that is not quite at 0.

    Rounded to the six decimals of `<scene>.txt`, so that what is read back is exactly what was applied.
    """
    yaw = rng.uniform(np.radians(10), np.radians(350))
    align = np.eye(4)
    align[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    align[:3, 3] = rng.uniform((-4, -4, -0.15), (4, 4, 0.15))
    return np.round(align, 6)


def write_scan(folder: Path, room: Room, scan: Scan, align: np.ndarray) -> None:
    """Mesh, over-segmentation and aggregation of a scan, under ScanNet's names."""
    write_ply(folder / f"{room.name}_vh_clean_2.ply", scan, align)
    write_segments(folder / f"{room.name}_vh_clean_2.0.010000.segs.json", room, scan)
    write_aggregation(folder / f"{room.name}.aggregation.json", room, scan)


def write_ply(path: Path, scan: Scan, align: np.ndarray) -> None:
    """The mesh as binary PLY with coloured vertices, in the raw world (metres)."""
    raw = np.linalg.inv(align)
    vertices = np.zeros(len(scan.vertices), _VERTEX)
    vertices["xyz"] = scan.vertices.astype(np.float64) @ raw[:3, :3].T + raw[:3, 3]
    vertices["rgba"][:, :3] = scan.rgb
    vertices["rgba"][:, 3] = 255
    faces = np.zeros(len(scan.faces), _FACE)
    faces["count"] = 3
    faces["vertices"] = scan.faces
    properties = [f"property float {axis}" for axis in "xyz"]
    properties += [f"property uchar {channel}" for channel in ("red", "green", "blue", "alpha")]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}", *properties]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header", ""]
    path.write_bytes("\n".join(header).encode() + vertices.tobytes() + faces.tobytes())


def write_segments(path: Path, room: Room, scan: Scan) -> None:
    """The over-segmentation: a segment id for each vertex of the mesh."""
    params = {"kThresh": "0.0001", "segMinVerts": "20"}
    record = {"params": params, "sceneId": f"scannet.{room.name}", "segIndices": scan.segments.tolist()}
    path.write_text(json.dumps(record, separators=(",", ":")))


def write_aggregation(path: Path, room: Room, scan: Scan) -> None:
    """Which segments make up which object, and its label; objects include walls, floor and ceiling."""
    groups = []
    for item in sorted(room.items, key=lambda item: item.id):
        segments = np.unique(scan.segments[scan.items == item.id]).tolist()
        groups.append({"id": item.id, "objectId": item.id, "segments": segments, "label": item.label})
    record = {
        "sceneId": f"scannet.{room.name}",
        "appId": "Aggregator.v2",
        "segGroups": groups,
        "segmentsFile": f"scannet.{room.name}_vh_clean_2.0.010000.segs.json",
    }
    path.write_text(json.dumps(record, separators=(",", ":")))


def write_scan_txt(
    path: Path, room: Room, align: np.ndarray, intrinsics: np.ndarray, size: tuple[int, int], frames: int
) -> None:
    """The scan's key-value file: axis alignment, cameras (colour and depth share one), frame counts, room type."""
    (fx, _, cx), (_, fy, cy) = intrinsics[:2]
    values: dict[str, object] = {
        "appVersionId": 2,
        "axisAlignment": " ".join(f"{value:.6f}" for value in align.flat) + " ",
        "colorHeight": size[1],
        "colorToDepthExtrinsics": " ".join(f"{value:.6f}" for value in np.eye(4).flat) + " ",
        "colorWidth": size[0],
        "depthHeight": size[1],
        "depthWidth": size[0],
    }
    for name, value in (("fx", fx), ("fy", fy), ("mx", cx), ("my", cy)):
        values[f"{name}_color"] = values[f"{name}_depth"] = f"{value:.6f}"
    values |= {"numColorFrames": frames, "numDepthFrames": frames, "numIMUmeasurements": 0}
    values["sceneType"] = room.kind.capitalize()
    path.write_text("".join(f"{key} = {value}\n" for key, value in values.items()))


def write_video(path: Path, color: np.ndarray, depth: np.ndarray, poses: np.ndarray, intrinsics: np.ndarray) -> None:
    """The `.sens` file: colour (F, H, W, 3) uint8, depth (F, H, W) uint16 mm, poses (F, 4, 4) to the raw world."""
    from PIL import Image

    def jpeg(image: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY)
        return buffer.getvalue()

    size = (color.shape[2], color.shape[1])
    write_sens(
        path,
        ((jpeg(image), millimetres, pose) for image, millimetres, pose in zip(color, depth, poses, strict=True)),
        color_intrinsics=intrinsics,
        depth_intrinsics=intrinsics,
        color_size=size,
        depth_size=size,
    )


def write_masks(path: Path, masks: list[np.ndarray], vertices: int) -> None:
    """Proposal masks as `scipy.sparse.save_npz` stores a CSR matrix (proposals, vertices) of ones (uint8)."""
    counts = [len(mask) for mask in masks]
    np.savez_compressed(
        path,
        indices=np.concatenate([np.empty(0, np.int32), *masks]).astype(np.int32),
        indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        format=np.array(b"csr"),
        shape=np.array([len(masks), vertices], np.int64),
        data=np.ones(sum(counts), np.uint8),
    )
