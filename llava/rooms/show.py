"""`llava rooms show`: a contact sheet of rooms, to look at what a seed gives before making hundreds of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from llava.frames.picture import check_picture_name
from llava.rooms.make import SIZE, check_seed, scene_name, scene_seed

if TYPE_CHECKING:
    from PIL.Image import Image

_LINE = 14  # pixels of a caption
_FARTHEST = 6.0  # metres, black in the depth picture


def preview(out: str | Path, rooms: int = 6, frames: int = 4, seed: int = 0, size: tuple[int, int] = SIZE) -> Path:
    """Write a picture with a row a room: `frames` views, and the last one's sensor depth and instance ids.

    The rooms are the first ones that `make_rooms` would make from the same seed and number of frames. `size` is
    (width, height) of one view. Raises ValueError where there would be nothing to see.
    """
    from PIL import Image, ImageDraw

    out = check_picture_name(Path(out))
    check_seed(seed)
    if rooms < 1 or frames < 1:
        raise ValueError(f"expected at least one room and one frame, found {rooms} and {frames}")
    width, height = size
    sheet = Image.new("RGB", ((frames + 2) * width, rooms * (height + _LINE)), "white")
    draw = ImageDraw.Draw(sheet)
    for row in range(rooms):
        caption, views = _views(row, frames, seed, size)
        top = row * (height + _LINE)
        draw.text((3, top + 1), caption, fill="black")
        for column, view in enumerate(views):
            sheet.paste(view, (column * width, top + _LINE))
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out)
    return out


def _views(index: int, frames: int, seed: int, size: tuple[int, int]) -> tuple[str, list[Image]]:
    """Caption and pictures of one room."""
    from PIL import Image

    from llava.rooms.make import film

    room, _, seen, depth = film(scene_name(index), scene_seed(seed, index), frames, size)
    near = np.where(depth[-1] > 0, np.clip(255 - depth[-1] * (215 / 1000 / _FARTHEST), 40, 255), 0).astype(np.uint8)
    paint = np.random.default_rng(0).integers(40, 256, size=(len(room.items) + 1, 3), dtype=np.uint8)
    paint[-1] = 0  # id -1: nothing there
    things = ", ".join(f"{item.color} {item.label}" for item in room.items if not item.shell)
    pictures = [*seen.color, np.repeat(near[..., None], 3, axis=2), paint[seen.ids[-1]]]
    return f"{room.name} {room.kind}: {things}", [Image.fromarray(picture) for picture in pictures]
