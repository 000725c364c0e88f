"""Is an image file whole, and how large is it? Answered from its first and last bytes, without decoding.

A reader asks this of thousands of files when it opens a scene. It finds what happens to captures: files that
are missing, empty, cut off by a full disk or a killed copy, or of another size or kind. Damage in the middle
of a file is found when the file is decoded, by a ValueError of ``llava.captures.pixels``.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_END = b"IEND\xaeB`\x82"
JPEG_START = b"\xff\xd8"
JPEG_END = b"\xff\xd9"
PNG_HEAD = 33  # signature and IHDR chunk
TAIL = 64  # some cameras pad the end of a JPEG


def color_size(path: Path) -> tuple[int, int]:
    """``(width, height)`` of a whole JPEG or PNG colour image; ValueError says what is wrong with it."""
    with path.open("rb") as file:
        head, tail, length = _ends(file, path)
        if head.startswith(PNG_START):
            return _not_empty(_png_header(path, head, tail, length)[0], path)
        if not head.startswith(JPEG_START):
            raise ValueError(f"colour image {path.name} is neither JPEG nor PNG")
        if JPEG_END not in tail:
            raise ValueError(f"colour image {path.name} is truncated ({length} bytes, no end marker)")
        return _not_empty(_jpeg_size(file, path), path)


def depth_size(path: Path) -> tuple[int, int]:
    """``(width, height)`` of a whole 16-bit grey PNG depth image; ValueError says what is wrong with it."""
    with path.open("rb") as file:
        head, tail, length = _ends(file, path)
    if not head.startswith(PNG_START):
        raise ValueError(f"depth image {path.name} is no PNG")
    size, bits, kind = _png_header(path, head, tail, length)
    if (bits, kind) != (16, 0):
        raise ValueError(f"depth image {path.name} has {bits} bits of PNG colour type {kind}, expected 16-bit grey")
    return _not_empty(size, path)


def _not_empty(size: tuple[int, int], path: Path) -> tuple[int, int]:
    """The size. ValueError: it has no pixel."""
    if 0 in size:
        raise ValueError(f"image {path.name} says that it has {size[0]}x{size[1]} pixels, expected at least 1x1")
    return size


def _ends(file: BinaryIO, path: Path) -> tuple[bytes, bytes, int]:
    head = file.read(PNG_HEAD)
    length = file.seek(0, os.SEEK_END)
    if length == 0:
        raise ValueError(f"image {path.name} is empty")
    file.seek(max(0, length - TAIL))
    return head, file.read(), length


def _png_header(path: Path, head: bytes, tail: bytes, length: int) -> tuple[tuple[int, int], int, int]:
    if len(head) < PNG_HEAD or PNG_END not in tail:
        raise ValueError(f"image {path.name} is truncated ({length} bytes, no IEND chunk)")
    width, height, bits, kind = struct.unpack_from(">IIBB", head, 16)
    return (width, height), bits, kind


def _jpeg_size(file: BinaryIO, path: Path) -> tuple[int, int]:
    """Walk the segments to the start-of-frame, which holds the size (ITU T.81, annex B)."""
    at = len(JPEG_START)
    while True:
        file.seek(at)
        segment = file.read(9)
        if len(segment) < 9 or segment[0] != 0xFF:
            raise ValueError(f"colour image {path.name} has no JPEG frame header")
        marker = segment[1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", segment, 5)
            return width, height
        # A second 0xFF is a fill byte; every other segment says how long it is.
        at += 1 if marker == 0xFF else 2 + struct.unpack_from(">H", segment, 2)[0]
