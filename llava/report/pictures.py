"""Pictures of a scene with boxes drawn in: the frame that shows them best, and the room seen from above."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from llava.captures.pixels import load_color, load_depth
from llava.frames import scene_voxels
from llava.frames.floor_map import PAPER_RGB, FloorMap, floor_map
from llava.geometry.boxes import bounds, contains, edges
from llava.geometry.camera import invert_pose, project, scale_intrinsics, unproject

if TYPE_CHECKING:
    from PIL.Image import Image

    from llava.types import Scene

TRUE_COLOR, PREDICTED_COLOR = (38, 132, 255), (255, 122, 26)  # told apart by colour-blind readers too
PICTURE_WIDTH = 448  # pixels; larger frames are made smaller, smaller ones larger
NEAR = 0.05  # metres in front of the camera where edges are cut
SMOOTH = 2  # lines are drawn this many times larger and then made smaller


@dataclass(frozen=True)
class LookAt:
    """Some frames of a scene, read once, to draw any number of boxes into."""

    scene: Scene
    indices: tuple[int, ...]  # frames of the scene, the ones the model was given

    @cached_property
    def depths(self) -> list[np.ndarray]:
        """(H, W) metres a frame, thinned out to at most about 160 columns; 0: unknown."""
        return [load_depth(self.scene, i)[:: self.step, :: self.step] for i in self.indices]

    @cached_property
    def points(self) -> list[np.ndarray]:
        """(H, W, 3) world positions of `depths`, metres."""
        width, height = self.scene.depth_size
        rows, cols = np.arange(0, height, self.step), np.arange(0, width, self.step)
        intrinsics = self.scene.depth_intrinsics
        return [
            unproject(depth, intrinsics, self.scene.frames[i].pose, rows, cols)
            for i, depth in zip(self.indices, self.depths, strict=True)
        ]

    @property
    def step(self) -> int:
        return max(1, self.scene.depth_size[0] // 160)

    def best_frame(self, boxes: np.ndarray) -> int:
        """Position in `indices` of the frame in which most pixels lie in the (n, 6) boxes; the first without any."""
        if len(boxes) == 0:
            return 0
        seen = [
            np.count_nonzero(contains(boxes, points).any(axis=0) & (depth > 0))
            for points, depth in zip(self.points, self.depths, strict=True)
        ]
        return int(np.argmax(seen))

    def frame_with_boxes(self, position: int, true: np.ndarray, predicted: np.ndarray) -> Image:
        """The frame at a position of `indices` with the (m, 6) true and the (p, 6) predicted boxes."""
        return self.frame_with(position, [(true, TRUE_COLOR), (predicted, PREDICTED_COLOR)])

    def frame_with(self, position: int, coloured: Iterable[tuple[np.ndarray, tuple[int, int, int]]]) -> Image:
        """The frame at a position of `indices` with groups of (m, 6) boxes, each in its colour (RGB).

        Edges behind what the depth camera saw are thin and pale.
        """
        from PIL import Image, ImageDraw

        frame = self.scene.frames[self.indices[position]]
        width, height = self.scene.color_size
        size = (PICTURE_WIDTH, round(height * PICTURE_WIDTH / width))
        picture = load_color(self.scene, self.indices[position]).resize(size, Image.Resampling.LANCZOS)
        large = (size[0] * SMOOTH, size[1] * SMOOTH)
        layer = Image.new("RGBA", large)
        draw = ImageDraw.Draw(layer)
        intrinsics = scale_intrinsics(self.scene.color_intrinsics, self.scene.color_size, large)
        for boxes, color in coloured:
            for start, end in _edge_pieces(boxes, frame.pose):
                uv, _ = project(np.stack([start, end]), intrinsics, np.eye(4))
                hidden = self._is_hidden((start + end) / 2, position)
                draw.line(
                    [tuple(uv[0]), tuple(uv[1])],
                    fill=(*color, 110 if hidden else 255),
                    width=SMOOTH * (1 if hidden else 3),
                )
        layer = layer.resize(size, Image.Resampling.LANCZOS)
        picture.paste(layer, mask=layer)
        return picture

    def _is_hidden(self, point: np.ndarray, position: int) -> bool:
        """Whether a point (3,) in camera coordinates lies behind the surface that the depth image shows there."""
        uv, z = project(point, self.scene.depth_intrinsics, np.eye(4))
        col, row = (int(value // self.step) for value in uv)
        depth = self.depths[position]
        if not (0 <= row < depth.shape[0] and 0 <= col < depth.shape[1]) or depth[row, col] == 0:
            return False
        return bool(z > depth[row, col] + 0.08)

    def map_with_boxes(self, true: np.ndarray, predicted: np.ndarray, side: int) -> Image:
        """The room from above (x to the right, y up), in the middle of a square of `side` pixels, with the boxes."""
        from PIL import Image, ImageDraw

        x_low, x_high, y_low, y_high = self._floor.extent
        scale = SMOOTH * side / max(x_high - x_low, y_high - y_low)  # pixels a metre
        size = (round((x_high - x_low) * scale), round((y_high - y_low) * scale))
        picture = Image.new("RGB", (side * SMOOTH, side * SMOOTH), PAPER_RGB)
        left, top = (picture.width - size[0]) // 2, (picture.height - size[1]) // 2
        floor = Image.fromarray(self._floor.image[::-1])
        picture.paste(floor.resize(size, Image.Resampling.BICUBIC), (left, top))
        draw = ImageDraw.Draw(picture)

        def pixel(point: np.ndarray) -> tuple[float, float]:
            return left + (point[0] - x_low) * scale, top + (y_high - point[1]) * scale

        for i in self.indices:
            x, y = pixel(self.scene.frames[i].pose[:2, 3])
            draw.ellipse([x - 7, y - 7, x + 7, y + 7], fill=(255, 255, 255), outline=(22, 32, 44), width=3)
        for boxes, color in ((true, TRUE_COLOR), (predicted, PREDICTED_COLOR)):
            for first, last in zip(*bounds(boxes), strict=True):
                (west, south), (east, north) = pixel(first), pixel(last)
                draw.rectangle([west, north, east, south], outline=color, width=SMOOTH * 3)
        return picture.resize((side, side), Image.Resampling.LANCZOS)

    @cached_property
    def _floor(self) -> FloorMap:
        """The scene from above as all its frames see it."""
        return floor_map(self.scene, range(len(self.scene.frames)), self.voxels)

    @cached_property
    def voxels(self) -> list[np.ndarray]:
        """The voxels that each frame of the scene sees; see `scene_voxels`."""
        return scene_voxels(self.scene)


def _edge_pieces(boxes: np.ndarray, pose: np.ndarray, pieces: int = 16) -> list[tuple[np.ndarray, np.ndarray]]:
    """The edges of (n, 6) boxes as short pieces, (3,) ends in camera coordinates, cut at the near plane."""
    to_camera = invert_pose(pose)
    found = []
    for start, end in edges(np.asarray(boxes, np.float64)).reshape(-1, 2, 3) @ to_camera[:3, :3].T + to_camera[:3, 3]:
        clipped = clip_near(start, end)
        if clipped is not None:
            found.extend(pairwise(np.linspace(*clipped, pieces + 1)))
    return found


def clip_near(start: np.ndarray, end: np.ndarray, near: float = NEAR) -> tuple[np.ndarray, np.ndarray] | None:
    """The part of a segment (camera coordinates) that lies at z >= near; None when none does."""
    if start[2] < near and end[2] < near:
        return None
    if start[2] >= near and end[2] >= near:
        return start, end
    crossing = start + (end - start) * (near - start[2]) / (end[2] - start[2])
    return (crossing, end) if start[2] < near else (start, crossing)


def png(picture: Image, colors: int | None = None) -> bytes:
    """PNG bytes; with `colors`, of a palette of that many, about a third of the size."""
    import io

    from PIL import Image

    if colors:
        picture = picture.quantize(colors, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG)
    buffer = io.BytesIO()
    picture.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def side_by_side(pictures: Sequence[Image], gap: int = 6) -> Image:
    """Pictures of one height in a row."""
    from PIL import Image

    width = sum(p.width for p in pictures) + gap * (len(pictures) - 1)
    row = Image.new("RGB", (width, pictures[0].height), (255, 255, 255))
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width + gap
    return row
