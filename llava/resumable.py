"""What lets a command be killed and run again: one process a folder, files whole or not at all, no orphans."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def only_one(folder: Path, doing: str) -> Iterator[None]:
    """Hold `folder` against a second process; the lock ends with this process, however it ends.

    Raises ValueError "another process <doing>" where it is held already.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another process {doing}: wait for it, or stop it") from None
        yield
    finally:
        os.close(handle)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary file or folder to write, renamed to `path` when the block ends well and removed when it fails.

    What lies at the temporary name is taken for the remains of a killed run: two processes must not write one path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    _remove(partial)
    try:
        yield partial
        os.replace(partial, path)
    finally:
        _remove(partial)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def end_with_parent() -> None:
    """For a worker process to call first: it ends when its parent is killed, else it would wait for work for ever."""

    def follow() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
