"""Colour and depth images in a folder each, paired by the numbers in their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

COLOR = (".jpg", ".jpeg", ".png")


def first_folder(path: Path, names: Sequence[str]) -> Path | None:
    """The first of the sub-folders ``names`` that is there."""
    return next((path / name for name in names if (path / name).is_dir()), None)


def pairs(color: Path, depth: Path, depth_ends: Sequence[str] = (".png",)) -> list[tuple[str, Path, Path]]:
    """(frame's name, picture, depth image) in order of their numbers; where one of the two is absent, a path to
    where it should be. Files of other kinds are left aside.

    The number is the first in a name (``000012-000000400.jpg`` is the 12th and has a time stamp); where that does not
    tell a folder's files apart, the whole name up to its first dot is taken.

    ValueError: a folder holds no image.
    """
    pictures, depths = _images(color, COLOR), _images(depth, depth_ends)
    key = _number if _tells_apart(pictures) and _tells_apart(depths) else _stem
    by_key = [{key(file): file for file in files} for files in (pictures, depths)]
    found = []
    for at in sorted(by_key[0].keys() | by_key[1].keys()):
        picture, image = (files.get(at) for files in by_key)
        name = _stem(picture or image)
        found.append((name, picture or color / f"{name}{COLOR[0]}", image or depth / f"{name}{depth_ends[0]}"))
    return found


def _images(folder: Path, ends: Sequence[str]) -> list[Path]:
    files = [file for file in folder.glob("[!.]*") if file.name.lower().endswith(tuple(ends))]
    if not files:
        raise ValueError(f"{folder} holds no image: expected files that end with {' or '.join(ends)}")
    return files


def _tells_apart(files: Sequence[Path]) -> bool:
    numbers = {_number(file) for file in files}
    return len(numbers) == len(files) and -1 not in numbers


def _number(file: Path) -> int:
    found = re.search(r"\d+", file.name)
    return int(found[0]) if found else -1


def _stem(file: Path) -> str:
    return file.name.split(".")[0]
