"""Plain pictures of rooms and what is in them: the 2D data that a base model is pretrained on.

The rooms come from seeds of their own (`FIRST_SEED` and up), so no scene of any data set made by
`llava rooms make` is among them. Neither depth nor pose leaves this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from llava.resumable import end_with_parent, read_json, write_json
from llava.rooms.room import Item, Room

FIRST_SEED = 7_000_000_000  # `make_rooms` stays far below it for any sensible --seed


@dataclass(frozen=True)
class Pictures:
    """Square pictures of one room, and which item each patch mostly shows."""

    images: np.ndarray  # (F, S, S, 3) uint8
    patches: np.ndarray  # (F, g, g) int16, item id
    items: dict[int, Item]


def pictures_of(index: int, count: int, size: int, patch: int) -> Pictures:
    """`count` pictures of the room with number `index`, `size` pixels square, labelled in patches of `patch` pixels."""
    from llava.rooms.camera_path import camera_path
    from llava.rooms.render import render

    room = room_of(index)
    poses = camera_path(room, count, np.random.default_rng([room.seed, 1]))
    frames = render(room, poses, size=(size * 4 // 3, size))
    color, ids = frames.color, frames.ids
    left = (color.shape[2] - size) // 2
    color, ids = color[:, :, left : left + size], ids[:, :, left : left + size]
    images = np.stack([_through_jpeg(image) for image in color])
    return Pictures(images, patch_majority(ids, patch), {item.id: item for item in room.items})


def patch_majority(ids: np.ndarray, patch: int) -> np.ndarray:
    """(F, S, S) item ids of pixels -> (F, g, g) the id that most pixels of each patch have; ties to the smaller."""
    views, size = ids.shape[0], ids.shape[1] // patch
    cells = ids[:, : size * patch, : size * patch].reshape(views, size, patch, size, patch)
    cells = cells.transpose(0, 1, 3, 2, 4).reshape(-1, patch * patch)
    low = int(cells.min())
    counts = np.zeros((len(cells), int(cells.max()) - low + 1), dtype=np.int32)
    np.add.at(counts, (np.arange(len(cells))[:, None], cells - low), 1)
    return (counts.argmax(axis=1) + low).astype(np.int16).reshape(views, size, size)


def picture_rooms(
    work: Path, rooms: int, count: int, size: int, patch: int, workers: int | None = None
) -> list[Pictures]:
    """The pictures of rooms 0 .. `rooms` - 1, rendered in parallel once and then kept in the folder `work`.

    They are rendered anew when the rooms' things, or the sizes, are no longer those that they were made with.
    """
    images, patches = work / f"images-{rooms}x{count}.npy", work / f"patches-{rooms}x{count}.npy"
    things = [{item.id: item for item in room_of(index).items} for index in range(rooms)]
    made_as = work / f"pictures-{rooms}x{count}.json"
    wanted = {"size": size, "patch": patch, "things": _digest(things)}
    if not made_as.exists() or read_json(made_as) != wanted:
        work.mkdir(parents=True, exist_ok=True)
        made_as.unlink(missing_ok=True)
        made = list(tqdm(_rendered(rooms, count, size, patch, workers), total=rooms, desc="pictures", mininterval=5))
        np.save(patches, np.stack([m.patches for m in made]))
        np.save(images, np.stack([m.images for m in made]))
        write_json(made_as, wanted)  # last: it says that the others are whole
    drawn = zip(np.load(images, mmap_mode="r"), np.load(patches), things, strict=True)
    return [Pictures(*parts) for parts in drawn]


def _digest(things: list[dict[int, Item]]) -> str:
    words = [(i.id, i.label, i.color, i.material, i.size, i.position, i.yaw) for of in things for i in of.values()]
    return sha256(repr(words).encode()).hexdigest()


def room_of(index: int) -> Room:
    """The room with number `index`."""
    from llava.rooms.layout import make_room

    return make_room(FIRST_SEED + index, f"picture{index:06d}")


def _rendered(rooms: int, count: int, size: int, patch: int, workers: int | None) -> Iterator[Pictures]:
    with ProcessPoolExecutor(workers, mp_context=get_context("forkserver"), initializer=end_with_parent) as pool:
        yield from pool.map(partial(pictures_of, count=count, size=size, patch=patch), range(rooms), chunksize=4)


def _through_jpeg(image: np.ndarray) -> np.ndarray:
    """As a camera would have stored it: the base model should know the artefacts it will meet."""
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=92)
    return np.asarray(Image.open(buffer))
