"""A capture of any format becomes a stored scene: recognised, unpacked, checked, upright, settled, written whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from llava.captures import check_units, find_reader
from llava.captures.near import brought_near
from llava.captures.picture_turn import pictures_upright
from llava.captures.pixels import load_color, load_depth
from llava.captures.settle import settle
from llava.captures.store import check_new, load_scene, save_scene
from llava.captures.upright import direction, upright
from llava.resumable import only_one
from llava.types import Dropped, Scene


def import_scene(
    path: str | Path, out: str | Path, up: Sequence[float] | None = None, depth_units: float | None = None
) -> Scene:
    """Write the capture at ``path`` to the new folder ``out`` and open it there.

    Every image is decoded once: frames with one that cannot be are left out, as are those that the format's reader
    found useless. ``out`` appears whole or not at all; what a killed import leaves beside it, the next one removes.

    Args:
        path: a capture of any known format, a file or a folder.
        out: must not exist.
        up: where up is in the capture's own world; None: what the capture says, else what its floor does.
        depth_units: of the depth images, a metre; None: what the format says.

    Raises:
        ValueError: ``out`` exists, another process writes it, the capture is of no known format or no use, or ``up``
            or ``depth_units`` is none.
    """
    path, out = Path(path), Path(out)
    check_new(out)
    if depth_units is not None:
        check_units(depth_units)
    if up is not None:
        direction(up)  # before the work, not after it
    reader = find_reader(path)
    with _scratch(out) as scratch:
        scene = brought_near(reader.read(path, scratch))
        if depth_units is not None:
            scene = replace(scene, depth_scale=depth_units)
        check_units(scene.depth_scale)
        scene = settle(pictures_upright(upright(decodable(scene), up), scratch))
        save_scene(scene, out, scratch)
    return load_scene(out)


def decodable(scene: Scene) -> Scene:
    """The scene without the frames that have an image which cannot be decoded. ValueError: none is left."""

    def fault(index: int) -> str | None:
        try:
            load_color(scene, index)
            load_depth(scene, index)
        except ValueError as error:
            return str(error)
        return None

    threads = os.cpu_count() or 1  # decoding lets go of Python's lock
    with ThreadPoolExecutor(threads) as pool:
        indices = range(len(scene.frames))
        faults = list(tqdm(pool.map(fault, indices), "frames", len(indices), leave=False, disable=None))
    frames = tuple(frame for frame, reason in zip(scene.frames, faults, strict=True) if reason is None)
    dropped = [Dropped(f.name, reason) for f, reason in zip(scene.frames, faults, strict=True) if reason is not None]
    if not frames:
        raise ValueError(f"no image of {scene.name} can be decoded; the first: {dropped[0].reason}")
    return replace(scene, frames=frames, dropped=(*scene.dropped, *dropped))


@contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """An empty folder beside ``out``, gone afterwards; of a fixed name, so that what a killed run left is found."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = out.with_name(f".{out.name}.importing")
    folder.mkdir(exist_ok=True)
    with only_one(folder, f"imports into {out}"):
        try:
            for remains in folder.iterdir():
                shutil.rmtree(remains) if remains.is_dir() else remains.unlink()
            yield folder
        finally:
            shutil.rmtree(folder)
