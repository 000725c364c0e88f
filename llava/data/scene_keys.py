"""By what a scene's computed inputs are known again: digests of all that they depend on.

The *key* is of the content: the bytes of the chosen frames, poses, cameras, boxes, settings, and the code that reads
them. The *stamp* is what the content had when it was read: names, sizes and times of the files. It saves reading
them, as in git's index, and is believed only where no file has changed just now.
"""

from __future__ import annotations

import inspect
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, is_dataclass
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from llava.resumable import digest
from llava.types import Scene

SETTLED = 2.0  # seconds; a file written since then may be written again within one tick of the file system's clock
PACKAGE = Path(__file__).resolve().parents[1]
PROPOSING = ("captures/*.py", "geometry/*.py", "proposals/*.py")
CODE = ("captures/*.py", "frames/*.py", "geometry/*.py", "data/scenes.py", "data/scene_keys.py")


def settings_digest(processor: Callable, look: dict[str, Any]) -> str | None:
    """A digest of how a scene is looked at, and of the code that does it.

    None where the processor's own settings or code cannot be told: it is no dataclass of plain values, or was
    written in no file.
    """
    kind = type(processor)
    if not is_dataclass(processor):
        return None
    try:
        source = inspect.getfile(kind)
        settings = json.dumps([f"{kind.__module__}.{kind.__qualname__}", asdict(processor), look], sort_keys=True)
    except (OSError, TypeError):
        return None
    return _digest(settings.encode(), _code_digest(source).encode(), f"{PIL.__version__} {np.__version__}".encode())


def proposing_digest() -> str:
    """A digest of the code that proposes boxes for a scene."""
    versions = " ".join([PIL.__version__, np.__version__, version("scipy")])
    return _digest(
        digest(sorted(path for pattern in PROPOSING for path in PACKAGE.glob(pattern))).encode(), versions.encode()
    )


def folder_stamp(settings: str, folder: Path, parts: Sequence[bytes]) -> str | None:
    """The stamp of a folder of frames looked at in one way; None where a file in it was changed a moment ago.

    Args:
        settings: `settings_digest`.
        parts: what the scene depends on besides.

    Raises:
        OSError: no such folder.
    """
    listed = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        place = os.path.realpath(entry.path) if entry.is_symlink() else entry.name
        try:
            status = entry.stat()
        except OSError:  # a link that leads nowhere, which readers leave out
            listed.append(f"{entry.name} {place}")
            continue
        if abs(time.time() - status.st_mtime) < SETTLED:
            return None  # it could be changed again, and show the same time
        # The inode's time as well: archives may give every file one date, and poses written alike have one size.
        listed.append(f"{entry.name} {place} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}")
    return _digest(settings.encode(), str(folder.resolve()).encode(), "\n".join(listed).encode(), *parts)


def content_key(settings: str, scene: Scene, chosen: Sequence[int], objects: np.ndarray, pool: Executor) -> str:
    """The key of a scene of which the frames `chosen` are shown, with the boxes (n, 6) to choose from."""
    frames = [scene.frames[index] for index in chosen]
    camera = json.dumps([scene.depth_size, scene.depth_scale, scene.depth_unknown, [frame.name for frame in frames]])
    numbers = [scene.depth_intrinsics, *(frame.pose for frame in frames), objects]
    # Sizes and types too: the same bytes could be cut otherwise into arrays.
    arrays = [f"{array.dtype} {array.shape} ".encode() + np.ascontiguousarray(array).tobytes() for array in numbers]
    files = pool.map(_file_digest, [path for frame in frames for path in (frame.color, frame.depth)])
    return _digest(settings.encode(), camera.encode(), *arrays, *files)


def _file_digest(path: Path) -> bytes:
    return sha256(path.read_bytes()).digest()


def _digest(*parts: bytes) -> str:
    found = sha256()
    for part in parts:
        found.update(f"{len(part)} ".encode() + part)
    return found.hexdigest()[:32]


@lru_cache
def _code_digest(source: str) -> str:
    paths = sorted(path for pattern in CODE for path in PACKAGE.glob(pattern))
    return digest([*paths, Path(source)])
