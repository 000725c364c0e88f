"""What was found in a scan, for other programs and for the eye: JSON, boxes as a mesh, and frames that show them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llava.geometry.boxes import FACES, corners, edges
from llava.geometry.camera import project, scale_intrinsics
from llava.report.pictures import NEAR, LookAt, png, side_by_side
from llava.resumable import write_json
from llava.scan import Found, Scan, numbers

if TYPE_CHECKING:
    from PIL.Image import Image

# Okabe and Ito's, which colour-blind readers tell apart; the best box has the first, and the ninth has it again.
COLORS = (
    *((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66)),
    *((0, 114, 178), (213, 94, 0), (204, 121, 167), (255, 255, 255)),
)
EDGE = 0.015  # metres, thickness of an edge in the mesh
MOST_PICTURES = 3
LISTED = "found.json"
DRAWN = ("found.png", "world.ply", "capture.ply")


def color_of(number: int) -> tuple[int, int, int]:
    """RGB of the box of that number, 0 being the best, in every picture and mesh."""
    return COLORS[number % len(COLORS)]


def check_ours(out: Path) -> None:
    """ValueError: a picture or mesh that `write_found` would write is there, and not from an earlier search."""
    taken = next((out / name for name in DRAWN if (out / name).exists()), None)
    if taken is not None and not (out / LISTED).exists():
        raise ValueError(
            f"{taken} would be overwritten, and no {LISTED} beside it says that it is ours: move it, or name another "
            "folder"
        )


def write_found(scan: Scan, description: str, found: Sequence[Found], out: Path) -> dict[str, Any]:
    """Write found.json, and where anything was found found.png, world.ply and capture.ply, into the folder ``out``.

    Those of an earlier search go. Returns what found.json holds. ValueError: as `check_ours` says.
    """
    check_ours(out)
    out.mkdir(parents=True, exist_ok=True)
    listed, picture, world, capture = (out / name for name in (LISTED, *DRAWN))
    for path in (picture, world, capture):
        path.unlink(missing_ok=True)
    files = {"json": str(listed)}
    if found:
        files |= {"picture": str(picture), "world": str(world), "capture": str(capture)}
    content = {**record(scan, description, found), "files": files}
    write_json(listed, content)  # first: it says whose the others are, should this be stopped
    if found:
        picture.write_bytes(png(draw(scan, found)))
        vertices, faces, colors = edge_mesh(np.stack([one.box for one in found]))
        write_mesh(world, vertices, faces, colors)
        write_mesh(capture, scan.to_capture(vertices), faces, colors)
    return content


def record(scan: Scan, description: str, found: Sequence[Found]) -> dict[str, Any]:
    """What was found as JSON holds it: corners in the scan's world and in the capture's own, x changing fastest."""
    return {
        **scan.about,
        "boxes_from": scan.boxes_from,
        "boxes_offered": len(scan.boxes),
        "description": description,
        "found": [
            {
                "confidence": one.confidence,
                "box": one.box.tolist(),
                "corners": corners(one.box).tolist(),
                "capture_corners": scan.to_capture(corners(one.box)).tolist(),
                "color": color_of(number),
            }
            for number, one in enumerate(found)
        ],
    }


def draw(scan: Scan, found: Sequence[Found]) -> Image:
    """The frames that show the boxes best, side by side, with all boxes numbered and in their colours."""
    look = LookAt(scan.scene, tuple(dict.fromkeys(scan.chosen)))
    positions = dict.fromkeys(look.best_frame(one.box[None]) for one in found)
    coloured = [(one.box[None], color_of(number)) for number, one in enumerate(found)]
    pictures = []
    for position in list(positions)[:MOST_PICTURES]:
        picture = look.frame_with(position, coloured)
        pose = scan.scene.frames[look.indices[position]].pose
        intrinsics = scale_intrinsics(scan.scene.color_intrinsics, scan.scene.color_size, picture.size)
        for number, one in enumerate(found):
            uv, z = project(corners(one.box), intrinsics, pose)
            if (z > NEAR).all():
                _label(picture, uv, f"{number + 1}: {one.confidence:.0%}", color_of(number))
        pictures.append(picture)
    return side_by_side(pictures)


def _label(picture: Image, uv: np.ndarray, text: str, color: tuple[int, int, int]) -> None:
    """Write above a box whose corners are at the pixels (8, 2), unless all of it is outside of the picture."""
    from PIL import ImageDraw, ImageFont

    (left, top), (right, bottom) = uv.min(axis=0), uv.max(axis=0)
    if right < 0 or bottom < 0 or left > picture.width or top > picture.height:
        return
    brush, font = ImageDraw.Draw(picture), ImageFont.load_default(size=15)
    width, height = (round(side) + 6 for side in brush.textbbox((0, 0), text, font)[2:])
    x = float(np.clip((left + right - width) / 2, 0, picture.width - width))
    y = float(np.clip(top - height, 0, picture.height - height))
    brush.rectangle([x, y, x + width, y + height], fill=color)
    brush.text((x + 3, y + 2), text, fill=(0, 0, 0), font=font)


def edge_mesh(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The edges of boxes (n, 6) as thin solid bars, which every viewer of meshes shows.

    Returns:
        Vertices (n 96, 3) metres, triangles (n 144, 3) and colours (n 96, 3) uint8, those of `color_of`.
    """
    bars = []
    for ends in edges(np.asarray(boxes, np.float64)).reshape(-1, 2, 3):
        low, high = ends.min(axis=0) - EDGE / 2, ends.max(axis=0) + EDGE / 2
        bars.append(corners(np.concatenate([(low + high) / 2, high - low])))
    vertices = np.concatenate(bars)
    faces = (FACES + 8 * np.arange(len(bars))[:, None, None]).reshape(-1, 3)
    colors = np.array([color_of(number) for number in range(len(boxes))], np.uint8)
    return vertices, faces, np.repeat(colors, len(vertices) // len(boxes), axis=0)


def write_mesh(path: Path, vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray) -> None:
    """A binary PLY of vertices (p, 3) metres, triangles (f, 3) and colours (p, 3) uint8."""
    from plyfile import PlyData, PlyElement

    # Double precision: a capture's own world may be a map's, whose origin is 5,000 km away.
    fields = [(axis, "<f8") for axis in "xyz"] + [(color, "u1") for color in ("red", "green", "blue")]
    points = np.empty(len(vertices), fields)
    for (name, _), values in zip(fields, [*vertices.T, *colors.T], strict=True):
        points[name] = values
    triangles = np.empty(len(faces), [("vertex_indices", "<i4", (3,))])
    triangles["vertex_indices"] = faces
    elements = [PlyElement.describe(points, "vertex"), PlyElement.describe(triangles, "face")]
    PlyData(elements, byte_order="<").write(str(path))


def nothing(scan: Scan) -> str:
    """Why a search found nothing, in words."""
    if len(scan.boxes) == 0:
        return "no object was made out in the scan, so that there is nothing to choose from"
    return "nothing in the scan is like that"


def told(scan: Scan, found: Sequence[Found]) -> str:
    """What was found in words, a line each."""
    if not found:
        return nothing(scan)
    lines = []
    for number, one in enumerate(found, start=1):
        sides = " x ".join(f"{side:.2f}" for side in one.box[3:])
        lines.append(f"{number}: {one.confidence:.0%}, at {numbers(one.box[:3])}, {sides} m")
    return "\n".join(lines)
