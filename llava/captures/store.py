"""The one processed format on disk: ``scene.json`` beside ``color/`` and ``depth/``.

Images are copied byte for byte; ``scene.json`` holds the poses in the conventions of ``llava.types`` and how
to read the depth. A folder appears under its name only when it is whole.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path, PurePosixPath

import numpy as np

from llava.captures.gather import unreadable
from llava.captures.images import color_size, depth_size
from llava.fields import IDS, PIXELS, POSITIVE, TEXT, TEXTS, Field, check_fields, matrix
from llava.resumable import replaced
from llava.types import Dropped, Frame, Scene

NAME = "a stored scene"
LAYOUT = "scene.json, color/, depth/ (what `llava import` writes)"
PACKED = False
FORMAT = "llava-scene"
VERSION = 1
RECORD = {
    **{"name": TEXT, "up": TEXT.or_null(), "doubts": TEXTS, "align": matrix(4)},
    **{"color_size": PIXELS, "depth_size": PIXELS, "color_intrinsics": matrix(3), "depth_intrinsics": matrix(3)},
    **{"depth_scale": POSITIVE, "depth_unknown": IDS},
}
WITHIN = Field("a path within the folder", lambda value: TEXT.holds(value) and _is_within(PurePosixPath(value)))
FRAME = {"name": TEXT, "color": WITHIN, "depth": WITHIN, "pose": matrix(4)}


def fits(path: Path) -> bool:
    return (path / "scene.json").is_file()


def read(path: Path, _scratch: Path) -> Scene:
    return load_scene(path)


def check_new(out: Path) -> None:
    """ValueError: something is there already."""
    if out.exists() or out.is_symlink():  # one that leads nowhere, too
        raise ValueError(f"{out} exists already: name a new folder, or delete it first")


def save_scene(scene: Scene, out: Path, scratch: Path | None = None) -> None:
    """Write ``scene`` to the folder ``out``; images that lie in the folder ``scratch`` are moved, others copied.

    ValueError: something is there already, or a frame's name cannot be a file's.
    """
    out = Path(out)
    check_new(out)
    odd = next((frame.name for frame in scene.frames if Path(frame.name).name != frame.name), None)
    if odd is not None:
        raise ValueError(
            f"scene {scene.name} has a frame {odd!r}: expected a name that a file can have, without a folder"
        )
    with replaced(out) as building:
        for kind in ("color", "depth"):
            (building / kind).mkdir(parents=True)
            for frame in scene.frames:
                source = frame.color if kind == "color" else frame.depth
                moved = scratch is not None and source.is_relative_to(scratch)
                (os.replace if moved else shutil.copyfile)(source, building / kind / f"{frame.name}{source.suffix}")
        (building / "scene.json").write_text(json.dumps(_to_json(scene), indent=1))


def load_scene(folder: Path) -> Scene:
    """Open a folder written by ``save_scene``.

    Frames whose files were lost or cut off since then are dropped with a reason.

    Raises:
        ValueError: no such format, another version, or no usable frame.
    """
    path = Path(folder) / "scene.json"
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing: {folder} is no processed scene") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged ({error}): save the scene again") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        found = record.get("format") if isinstance(record, dict) else type(record).__name__
        raise ValueError(f"{path} has format {found!r}, expected {FORMAT!r}")
    if record.get("version") != VERSION:
        version = record.get("version")
        raise ValueError(f"{path} has version {version}, this program reads {VERSION}: save the scene again")
    try:
        check_fields(record, RECORD)
        for entry in record["frames"]:
            check_fields(entry, FRAME)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}): save the scene again") from error
    try:
        return _from_json(record, path)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}): save the scene again") from error


def _from_json(record: dict, path: Path) -> Scene:
    frames: list[Frame] = []
    dropped = [Dropped(**drop) for drop in record["dropped"]]
    sizes = tuple(record["color_size"]), tuple(record["depth_size"])
    for entry in record["frames"]:
        frame = Frame(
            entry["name"], path.parent / entry["color"], path.parent / entry["depth"], np.array(entry["pose"])
        )
        fault = _fault(frame, *sizes)
        if fault is None:
            frames.append(frame)
        else:
            dropped.append(Dropped(frame.name, fault))
    if not frames:
        raise ValueError(f"{path.parent} has no usable frame: {dropped[0].reason if dropped else 'none was stored'}")
    return Scene(
        name=record["name"],
        frames=tuple(frames),
        color_size=sizes[0],
        depth_size=sizes[1],
        color_intrinsics=np.array(record["color_intrinsics"]),
        depth_intrinsics=np.array(record["depth_intrinsics"]),
        depth_scale=record["depth_scale"],
        depth_unknown=tuple(record["depth_unknown"]),
        align=np.array(record["align"]),
        up=record.get("up"),  # this and the doubts: scenes stored earlier do not tell
        dropped=tuple(dropped),
        doubts=tuple(record.get("doubts", ())),
    )


def _to_json(scene: Scene) -> dict:
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": scene.name,
        "color_size": scene.color_size,
        "depth_size": scene.depth_size,
        "color_intrinsics": scene.color_intrinsics.tolist(),
        "depth_intrinsics": scene.depth_intrinsics.tolist(),
        "depth_scale": scene.depth_scale,
        "depth_unknown": scene.depth_unknown,
        "align": scene.align.tolist(),
        "up": scene.up,
        "frames": [
            {
                "name": frame.name,
                "color": f"color/{frame.name}{frame.color.suffix}",
                "depth": f"depth/{frame.name}{frame.depth.suffix}",
                "pose": frame.pose.tolist(),
            }
            for frame in scene.frames
        ],
        "doubts": scene.doubts,
        "dropped": [{"name": drop.name, "reason": drop.reason} for drop in scene.dropped],
    }


def _is_within(path: PurePosixPath) -> bool:
    return not path.is_absolute() and ".." not in path.parts


def _fault(frame: Frame, color: tuple[int, int], depth: tuple[int, int]) -> str | None:
    try:
        found = color_size(frame.color), depth_size(frame.depth)
    except OSError as error:
        return unreadable(error)
    except ValueError as error:
        return str(error)
    if found != (color, depth):
        return f"images are {found[0]} and {found[1]}, scene.json says {color} and {depth}"
    return None
