"""Captures on disk become a ``Scene`` here, one module a format.

A format's module holds
    NAME      what it is called
    LAYOUT    how it looks on disk, in one line
    PACKED    whether its frames must be unpacked (from an archive, a video ...) before they can be read
    fits(path) -> bool            whether a file or folder looks like one, by names alone; never raises
    read(path, scratch) -> Scene  in the conventions of ``llava.types``; a packed format writes its images (JPEG or PNG
                                  colour, 16-bit PNG depth) into the empty folder ``scratch``, others ignore it
and its name stands in ``READERS``.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from llava.captures.near import brought_near

if TYPE_CHECKING:
    from llava.types import Scene

# In the order in which they are tried: the stricter first.
READERS = (
    "store",
    "scannet",
    "tum",
    "pose_list",
    "redwood",
    "posed_folder",
    "sens_video",
    "record3d",
    "stray",
    "arkitscenes",
    "nerfstudio",
)
NO_GRAVITY = (
    "nothing says which way is up: z is taken to be. If it is not, heights and floors are wrong: `llava import` looks "
    "for the floor, or is told with --up X Y Z where up is in the capture's own world"
)
LIKELY_UNITS = (0.001, 1e6)  # depth units in a metre: a unit of a kilometre, of a micrometre
NEAR = 100  # things in a folder of no known format that are tried in its place


def open_scene(path: str | Path) -> Scene:
    """Open a capture of any format that can be read where it lies.

    Frames that cannot be used are left out and listed, with the reason, in ``Scene.dropped``. Where nobody says which
    way is up, ``Scene.doubts`` does; a stored scene brings its doubts along.

    Raises:
        ValueError: there is nothing at ``path``, its format is unknown or packed, or it cannot be used as a whole.
    """
    path = Path(path)
    reader = find_reader(path)
    if reader.PACKED:
        raise ValueError(f"{path} ({reader.NAME}) must be unpacked to be read: `llava import {path} OUT` first")
    scene = brought_near(reader.read(path, path))
    check_units(scene.depth_scale)
    stored = reader.__name__.endswith(".store")
    return scene if scene.up or stored else replace(scene, doubts=(*scene.doubts, NO_GRAVITY))


def check_units(scale: float) -> None:
    """ValueError: no depth camera has so many units in a metre."""
    if not LIKELY_UNITS[0] <= scale <= LIKELY_UNITS[1]:
        raise ValueError(
            f"{scale:g} depth units cannot be a metre: expected {LIKELY_UNITS[0]:g} to {LIKELY_UNITS[1]:g}, "
            "mostly 1000; `llava import --depth-units` sets them"
        )


def find_reader(path: Path) -> ModuleType:
    """The module of the capture's format; ValueError, with all formats, where there is none."""
    if not path.exists():
        raise ValueError(f"there is nothing at {path}; expected a capture, one of\n{formats()}")
    reader = _fitting(path)
    if reader is None:
        inside = sorted(islice(path.glob("*"), NEAR)) if path.is_dir() else []
        near = [f"{each} ({found.NAME})" for each in inside if (found := _fitting(each))]
        hint = f"\ndid you mean {' or '.join(near[:3])}?" if near else ""
        raise ValueError(f"{path} is no capture that is known here; looked for\n{formats()}{hint}")
    return reader


def formats() -> str:
    """The known formats, one a line."""
    modules = [_module(name) for name in READERS]
    width = max(len(module.NAME) for module in modules)
    return "\n".join(f"  {module.NAME:<{width}}  {module.LAYOUT}" for module in modules)


def _fitting(path: Path) -> ModuleType | None:
    return next((module for module in map(_module, READERS) if module.fits(path)), None)


def _module(name: str) -> ModuleType:
    return import_module(f"llava.captures.{name}")
