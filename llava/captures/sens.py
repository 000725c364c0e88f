"""ScanNet's ``.sens`` container, version 4: read and written as a stream, one frame in memory at a time.

The layout follows the public ScanNet SensReader: a header (camera models, sizes, compression), then for
each frame its pose, two time stamps, the JPEG bytes and the zlib-packed depth. All little-endian.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from llava.resumable import replaced

VERSION = 4
COLOR_CODECS = {0: "raw", 1: "png", 2: "jpeg"}
DEPTH_CODECS = {0: "raw_ushort", 1: "zlib_ushort", 2: "occi_ushort"}
_SIZES = struct.Struct("<iiIIIIf")  # codecs, colour width and height, depth width and height, depth shift
_COUNT = struct.Struct("<Q")
_FRAME = struct.Struct("<16f4Q")  # pose, two time stamps in microseconds, colour bytes, depth bytes
SAMPLED_EVERY = 10  # ScanNet films at 30 Hz; its users keep 3 frames a second
LONG = 320  # frames from which a video is thinned out: 32 frames must be left to choose from
_LONGEST_NAME = 4096
_LARGEST_SIDE = 1 << 14  # pixels


def usual_step(frames: int) -> int:
    """Every 10th frame of a long video, every frame of a short one."""
    return SAMPLED_EVERY if frames >= LONG else 1


@dataclass(frozen=True)
class SensFrame:
    """One frame as it lies in the file; the depth is unpacked on demand."""

    index: int
    color: bytes  # JPEG
    packed_depth: bytes  # zlib or raw uint16
    pose: np.ndarray  # (4, 4) float32, camera to world, metres; -inf where tracking was lost
    depth_size: tuple[int, int]  # (width, height)
    depth_codec: str

    def depth(self) -> np.ndarray:
        """Raw depth (H, W) uint16, ``depth_shift`` units a metre, 0 = unknown. ValueError: damaged bytes."""
        width, height = self.depth_size
        size, data = width * height * 2, self.packed_depth
        if self.depth_codec == "zlib_ushort":
            try:
                # one byte more than an image has, and not the gigabytes that damaged ones may unpack to
                data = zlib.decompressobj().decompress(data, size + 1)
            except zlib.error as error:
                raise ValueError(f"frame {self.index}: the depth cannot be unpacked ({error})") from error
        if len(data) != size:
            found = len(data) if len(data) < size else f"more than {size}"
            raise ValueError(f"frame {self.index}: depth has {found} bytes, expected {size} ({width}x{height})")
        return np.frombuffer(data, "<u2").reshape(height, width)


class SensReader:
    """Iterate over the frames of a ``.sens`` file without loading it.

    ``SensReader(path)`` reads the header only; ``for frame in reader`` and ``reader.frames(every=10)``
    open the file anew, so that a reader can be iterated twice. ValueError where the file is no version 4
    container, uses a codec other than JPEG with zlib or raw depth, or ends too early.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._bytes = self.path.stat().st_size
        with self.path.open("rb") as file:
            (version,) = struct.unpack("<I", self._read(file, 4, "version"))
            if version != VERSION:
                raise ValueError(f"{self.path}: .sens version {version}, only version {VERSION} can be read")
            (length,) = _COUNT.unpack(self._read(file, 8, "header"))
            if length > _LONGEST_NAME:
                raise ValueError(f"{self.path}: no .sens file (a sensor name of {length} bytes)")
            self.sensor = self._read(file, length, "header").decode("utf-8", "replace")
            cameras = np.frombuffer(self._read(file, 256, "header"), "<f4").reshape(4, 4, 4)
            self.color_intrinsics, self.color_extrinsics = cameras[0], cameras[1]  # (4, 4) float32 each
            self.depth_intrinsics, self.depth_extrinsics = cameras[2], cameras[3]
            values = _SIZES.unpack(self._read(file, _SIZES.size, "header"))
            self.color_codec = COLOR_CODECS.get(values[0], f"unknown ({values[0]})")
            self.depth_codec = DEPTH_CODECS.get(values[1], f"unknown ({values[1]})")
            self.color_size: tuple[int, int] = values[2:4]  # (width, height)
            self.depth_size: tuple[int, int] = values[4:6]
            self.depth_shift: float = values[6]  # depth units a metre
            (self._count,) = _COUNT.unpack(self._read(file, 8, "header"))
            self._start = file.tell()
        self._check_header()

    def _check_header(self) -> None:
        sides = (*self.color_size, *self.depth_size)
        if not 0 < min(sides) <= max(sides) <= _LARGEST_SIDE:
            raise ValueError(
                f"{self.path}: a header with colour of {self.color_size} and depth of {self.depth_size} pixels is "
                "damaged; copy or download the file again"
            )
        most = (self._bytes - self._start) // _FRAME.size
        if self._count > most:
            raise ValueError(
                f"{self.path}: the header tells of {self._count} frames, but the file ends inside the frame {most} of "
                f"them at the latest ({self._bytes} bytes); copy or download it again"
            )
        if self.color_codec != "jpeg" or self.depth_codec not in ("zlib_ushort", "raw_ushort"):
            raise ValueError(
                f"{self.path}: colour is {self.color_codec}, depth is {self.depth_codec}; "
                "expected jpeg and zlib_ushort or raw_ushort"
            )

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[SensFrame]:
        return self.frames()

    def frames(self, every: int = 1) -> Iterator[SensFrame]:
        """Frames 0, every, 2*every, ...; what lies between is skipped unread."""
        with self.path.open("rb") as file:
            file.seek(self._start)
            for index in range(self._count):
                what = f"frame {index} of {self._count}"
                *pose, _, _, color_bytes, depth_bytes = _FRAME.unpack(self._read(file, _FRAME.size, what))
                if index % every:
                    self._expect(file, color_bytes + depth_bytes, what)
                    file.seek(color_bytes + depth_bytes, os.SEEK_CUR)
                    continue
                color = self._read(file, color_bytes, what)
                packed = self._read(file, depth_bytes, what)
                matrix = np.array(pose, np.float32).reshape(4, 4)
                yield SensFrame(index, color, packed, matrix, self.depth_size, self.depth_codec)

    def _read(self, file: BinaryIO, count: int, what: str) -> bytes:
        self._expect(file, count, what)
        return file.read(count)

    def _expect(self, file: BinaryIO, count: int, what: str) -> None:
        # asked before reading, so that a damaged length is an error and not an allocation of petabytes
        if file.tell() + count > self._bytes:
            raise ValueError(
                f"{self.path}: the file ends inside the {what} ({self._bytes} bytes); copy or download it again"
            )


def write_sens(
    path: str | Path,
    frames: Iterable[tuple[bytes, np.ndarray, np.ndarray]],
    *,
    sensor: str = "StructureSensor",
    color_intrinsics: np.ndarray,
    depth_intrinsics: np.ndarray,
    color_size: tuple[int, int],
    depth_size: tuple[int, int],
    depth_shift: float = 1000.0,
    interval_us: int = 33_000,
) -> int:
    """Write a version 4 ``.sens`` file and return its number of frames.

    ``frames`` yields (JPEG bytes, depth (H, W) uint16, camera-to-world pose (4, 4)) and is consumed one
    by one; intrinsics are (3, 3), sizes (width, height). The file appears whole or not at all.
    """
    path = Path(path)
    name = sensor.encode()
    cameras = np.stack([_widened(color_intrinsics), np.eye(4), _widened(depth_intrinsics), np.eye(4)])
    with replaced(path) as partial, partial.open("wb") as file:
        file.write(struct.pack("<IQ", VERSION, len(name)) + name + cameras.astype("<f4").tobytes())
        file.write(_SIZES.pack(2, 1, *color_size, *depth_size, depth_shift))
        count_at = file.tell()
        file.write(_COUNT.pack(0))  # filled in below: an iterator does not know its length
        count = 0
        for color, depth, pose in frames:
            if depth.shape != depth_size[::-1] or depth.dtype != np.uint16:
                raise ValueError(
                    f"frame {count}: depth is {depth.dtype} {depth.shape}, expected uint16 {depth_size[::-1]}"
                )
            packed = zlib.compress(np.ascontiguousarray(depth, "<u2").tobytes(), 1)
            values = np.asarray(pose, np.float32).reshape(16).tolist()
            stamp = count * interval_us
            file.write(_FRAME.pack(*values, stamp, stamp, len(color), len(packed)))
            file.write(color)
            file.write(packed)
            count += 1
        file.write(_COUNT.pack(0))  # no inertial measurements
        file.seek(count_at)
        file.write(_COUNT.pack(count))
    return count


def _widened(intrinsics: np.ndarray) -> np.ndarray:
    wide = np.eye(4)
    wide[:3, :3] = intrinsics
    return wide
