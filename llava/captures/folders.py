"""Colour and depth images in a folder each, paired by the numbers in their names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

COLOR = (".jpg", ".jpeg", ".png")


def first_folder(path: Path, names: Sequence[str]) -> Path | None:
    """The first of the sub-folders ``names`` that is there."""
    return next((path / name for name in names if (path / name).is_dir()), None)


def pairs(color: Path, depth: Path, depth_ends: Sequence[str] = (".png",)) -> list[tuple[str, Path, Path]]:
    """(frame's name, picture, depth image) in order of their numbers; where one of the two is absent, a path to
    where it should be. Files of other kinds are left aside.

    The number is the first in a name (``000012-000000400.jpg`` is the 12th and has a time stamp); where that does not
    tell a folder's files apart, the name up to its first dot is taken, then the whole (``1305031102.175304.png``).

    ValueError: a folder holds no image, or two of one name.
    """
    pictures, depths = _images(color, COLOR), _images(depth, depth_ends)
    whole = partial(_whole, (*COLOR, *depth_ends))
    telling = [key for key in (_number, _stem, whole) if all(_tells_apart(key, some) for some in (pictures, depths))]
    if not telling:
        raise ValueError(
            f"{color} or {depth} holds two images of one name (000001.jpg beside 000001.png): which one is meant is "
            "unknown; keep one"
        )
    key, name_of = telling[0], next(key for key in telling if key is not _number)
    by_key = [{key(file): file for file in files} for files in (pictures, depths)]
    found = []
    for at in sorted(by_key[0].keys() | by_key[1].keys(), key=lambda key: natural_order(str(key))):
        picture, image = (files.get(at) for files in by_key)
        name = name_of(picture or image)
        found.append((name, picture or color / f"{name}{COLOR[0]}", image or depth / f"{name}{depth_ends[0]}"))
    return found


def natural_order(name: str) -> tuple[list[tuple[str, int, str, str]], str]:
    """To sort names as a person does: frame_9, frame_10; and times by their decimals: 9.5, 10.1, 17.25, 17.5."""
    parts = re.findall(r"([^0-9]*)0*([0-9]*)((?:\.[0-9]+)?)", name)
    # By length first: Python refuses to read numbers of thousands of digits.
    return [(words, len(whole), whole, decimals) for words, whole, decimals in parts], name


def _images(folder: Path, ends: Sequence[str]) -> list[Path]:
    files = [file for file in folder.glob("[!.]*") if file.name.lower().endswith(tuple(ends))]
    if not files:
        raise ValueError(f"{folder} holds no image: expected files that end with {' or '.join(ends)}")
    return files


def _tells_apart(key: Callable[[Path], str | int], files: Sequence[Path]) -> bool:
    keys = {key(file) for file in files}
    return len(keys) == len(files) and -1 not in keys


def _number(file: Path) -> int:
    found = re.search(r"\d+", file.name)
    return int(found[0]) if found else -1


def _stem(file: Path) -> str:
    return file.name.split(".")[0]


def _whole(ends: Sequence[str], file: Path) -> str:
    """The name without its ending."""
    return file.name[: -max(len(end) for end in ends if file.name.lower().endswith(end))]
