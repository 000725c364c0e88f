"""What lets a command be killed and run again: one process a folder, files whole or not at all, no orphans; and
digests that tell whether what it goes on with is still the same."""

from __future__ import annotations

import fcntl
import glob
import json
import multiprocessing
import os
import shutil
import signal
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any


@contextmanager
def only_one(path: Path, doing: str) -> Iterator[None]:
    """Hold a folder or file against a second process; the lock ends with this process, however it ends.

    Raises ValueError "another process <doing>" where it is held already.
    """
    handle = os.open(path, os.O_RDONLY)
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

    Temporary names of other processes are taken for the remains of killed runs, and removed: two processes must not
    write one path. Should one linger (on another machine, its parent killed), it fails instead of writing into ours.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for remains in path.parent.glob(f".{glob.escape(path.name)}.part-*"):
        _remove(remains)
    partial = path.with_name(f".{path.name}.part-{socket.gethostname()}-{os.getpid()}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        _remove(partial)


def write_json(path: Path, value: Any, indent: int | None = 1) -> None:
    """A JSON file, whole or not at all; with indent=None in one line, for what nobody reads through."""
    with replaced(path) as partial:
        partial.write_text(json.dumps(value, indent=indent) + ("\n" if indent else ""), encoding="utf-8")


def read_json(path: Path) -> Any:
    """The content of a JSON file; ValueError names the file when it is cut short or no JSON."""
    try:
        return json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is not valid JSON ({error}): it may be cut short; delete it, then get or make it again"
        ) from error


def digest(paths: Iterable[Path]) -> str:
    """A short digest of the names and contents of files, in the order given."""
    found = sha256()
    for path in paths:
        found.update(f"{path.name} {path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
    return found.hexdigest()[:16]


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def end_with_parent() -> None:
    """For a worker process to call first: it ends when its parent is killed, else it would wait for work for ever, and
    at Ctrl-C without a traceback of its own.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    def follow() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
