"""What was computed of a scene, kept on disk: shared by all processes, written whole or not at all.

    <cache>/entries/<key>.safetensors   tensors; the key is a digest of all that they were computed from
    <cache>/seen/<stamp>.json           which key a folder of frames had when its files' sizes and times were these

An entry that is cut short, whose bytes have changed, or whose own words name another key, is as good as none. Nothing
here is ever needed: a disk that is full or read-only costs time, not the run.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    import torch

FOLDER = ".cache"  # of a data folder
FORMAT = "llava-cache-2"  # raised when an entry is laid out in another way
USUAL_GB = 100.0
HEADER = 512  # bytes about, beside the tensors
SPARE = 2 * 10**9  # bytes of a disk that are left free
IDLE = 24 * 3600.0  # seconds after which an entry that nothing has read may make room for another
WRITING = 600.0  # seconds within which a file that has no name yet may still be written
ENTRIES, NOTES = "entries/*.safetensors", "seen/*.json"
REMAINS = ("entries/.*.part", "seen/.*.part")  # of killed processes, or being written


@dataclass(frozen=True)
class Entry:
    """What a cache holds under one key."""

    path: Path
    bytes: int
    used: float  # when it was last read, seconds since 1970
    about: dict[str, str]  # what it says of itself: "scene", "look", "frames" ...


@dataclass(frozen=True)
class Cache:
    """One cache folder; it appears with the first entry."""

    folder: Path
    most_bytes: int  # 0: nothing is read and nothing kept

    def read(self, key: str) -> dict[str, torch.Tensor] | None:
        """The tensors under that key, mapped from the file; None where there is no whole entry."""
        from safetensors import SafetensorError, safe_open

        path = self._path(key)
        if not self.most_bytes:
            return None
        try:
            with safe_open(path, framework="pt") as file:  # checks that the file is as long as it should be
                about = file.metadata() or {}
                if (about.get("format"), about.get("key")) != (FORMAT, key):
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        except (OSError, SafetensorError):
            return None
        # Of the length that it should have, it may still hold zeros: what an interrupted copy leaves of a cache.
        if about.get("sum") != _checksum(tensors):
            return None
        _touch(path)
        return tensors

    def write(self, key: str, tensors: Mapping[str, torch.Tensor], about: Mapping[str, str]) -> bool:
        """Keep the tensors under that key; False, and a word on stderr, where the disk or the bound does not let it.

        Several processes may write one key at a time: each its own file, and the last to be renamed stays.
        """
        from safetensors.torch import save

        if not self.most_bytes:
            return False
        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
        stated = {**about, "format": FORMAT, "key": key, "sum": _checksum(tensors)}
        try:
            full = self._make_room(sum(tensor.nbytes for tensor in tensors.values()) + HEADER)
            if full:
                _tell(self.folder, full)
                return False
            with _replacing(self._path(key)) as partial:
                partial.write_bytes(save(tensors, stated))  # `save_file` would leave files of its own when it is killed
        except OSError as error:
            _tell(self.folder, f"cannot be written ({error}): set LLAVA_CACHE to a folder that can")
            return False
        return True

    def recall(self, stamp: str) -> dict[str, str] | None:
        """What was noted for that stamp; None where there is nothing, or nothing whole."""
        path = self._note_path(stamp)
        try:
            note = json.loads(path.read_bytes()) if self.most_bytes else None
        except (OSError, ValueError):
            return None
        if not (isinstance(note, dict) and note.pop("format", None) == FORMAT):
            return None
        _touch(path)
        return note if all(isinstance(value, str) for value in note.values()) else None

    def note(self, stamp: str, note: Mapping[str, str]) -> None:
        """Note something down for a stamp, where the disk lets it."""
        try:
            if self.most_bytes:
                with _replacing(self._note_path(stamp)) as partial:
                    partial.write_text(json.dumps({**note, "format": FORMAT}))
        except OSError as error:
            _tell(self.folder, f"cannot be written ({error}): set LLAVA_CACHE to a folder that can")

    def entries(self) -> list[Entry]:
        """All whole entries, the longest unused first."""
        from safetensors import SafetensorError, safe_open

        found = []
        for path, status in self._files(ENTRIES):
            try:
                with safe_open(path, framework="numpy") as file:
                    about = file.metadata() or {}
            except (OSError, SafetensorError):
                about = {}
            if about.get("format") == FORMAT:
                found.append(Entry(path, status.st_size, status.st_mtime, about))
        return found

    def clear(self, idle: float = 0.0) -> int:
        """Remove what nothing has read for ``idle`` seconds; returns the bytes that this frees.

        What another process has mapped stays readable to it.
        """
        now, freed = time.time(), 0
        written = {path for path, status in self._files(*REMAINS) if status.st_mtime > now - WRITING}
        for path, status in self._files(ENTRIES, NOTES, *REMAINS):
            if status.st_mtime <= now - idle and path not in written:
                path.unlink(missing_ok=True)
                freed += status.st_size
        return freed

    def _make_room(self, wanted: int) -> str | None:
        """Remove what nothing has read for long, oldest first, so that so many bytes fit; returns why they do not."""
        files = self._files(ENTRIES, NOTES, *REMAINS)
        room = self.most_bytes - sum(status.st_size for _, status in files) - wanted
        free = shutil.disk_usage(_existing(self.folder)).free - SPARE - wanted
        idle = [(path, status.st_size) for path, status in files if status.st_mtime <= time.time() - IDLE]
        if min(room, free) + sum(size for _, size in idle) < 0:
            if free < room:
                return f"is on a disk of which the last {SPARE / 1e9:g} GB are left free: make room on it"
            return "is full: `llava cache clear` empties it, LLAVA_CACHE_GB bounds it"
        for path, size in idle:
            if min(room, free) >= 0:
                break
            path.unlink(missing_ok=True)
            room, free = room + size, free + size
        return None

    def _files(self, *patterns: str) -> list[tuple[Path, os.stat_result]]:
        """The oldest first."""
        found = []
        for path in (path for pattern in patterns for path in self.folder.glob(pattern)):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # another process has removed or renamed it meanwhile
            if stat.S_ISREG(status.st_mode):
                found.append((path, status))
        return sorted(found, key=lambda file: file[1].st_mtime)

    def _path(self, key: str) -> Path:
        return self.folder / "entries" / f"{key}.safetensors"

    def _note_path(self, stamp: str) -> Path:
        return self.folder / "seen" / f"{stamp}.json"


def open_cache(data: Path) -> Cache:
    """The cache for a data folder.

    It lies in ``LLAVA_CACHE`` where that is set, else in ``.cache`` of the data folder, or where that cannot be written
    in ``llava`` of the user's own cache folder. ``LLAVA_CACHE_GB`` bounds it (default: 100; 0: no cache).

    ValueError: the bound is no number of gigabytes, or the folder that of a user who is not known.
    """
    words = os.environ.get("LLAVA_CACHE_GB") or str(USUAL_GB)
    try:
        most_bytes = int(float(words) * 1e9)
    except (ValueError, OverflowError):
        most_bytes = -1
    if most_bytes < 0:
        raise ValueError(f"LLAVA_CACHE_GB is {words!r}: expected gigabytes, e.g. 50, or 0 for no cache")
    folder = os.environ.get("LLAVA_CACHE")
    if folder:
        try:
            return Cache(Path(folder).expanduser(), most_bytes)
        except RuntimeError:
            raise ValueError(f"LLAVA_CACHE is {folder!r}, but there is no such home folder: name another") from None
    near = data / FOLDER
    return Cache(near if os.access(_existing(near), os.W_OK) else _of_user(), most_bytes)


def find_caches(data: Path | None) -> list[Cache]:
    """The cache of a data folder, or without one all that were filled here: those of data folders, and the user's own.

    ValueError: there is no such data folder.
    """
    if data is not None:
        if not data.is_dir():
            raise ValueError(f"there is no data folder {data}: name one, or none for all caches of the folders here")
        return [open_cache(data)]
    usual = open_cache(Path())
    folders = {usual.folder, _of_user(), Path(FOLDER)}  # the last for who stands in a data folder
    folders |= {entries.parent for entries in Path().glob(f"*/{FOLDER}/entries")}
    return [Cache(folder, usual.most_bytes) for folder in sorted(folders) if (folder / "entries").is_dir()]


def listing(caches: Sequence[Cache]) -> str:
    """What caches hold, as a text: their sizes, and for each way of looking at scenes how many were looked at so."""
    lines = []
    for cache in caches:
        looks: dict[str, list[Entry]] = {}
        for entry in cache.entries():
            looks.setdefault(entry.about.get("look", "?"), []).append(entry)
        total = sum(entry.bytes for entries in looks.values() for entry in entries)
        lines.append(f"{cache.folder}: {total / 1e6:.1f} MB, at most {cache.most_bytes / 1e9:g} GB")
        for look, entries in sorted(looks.items()):
            size, days = sum(e.bytes for e in entries) / 1e6, (time.time() - max(e.used for e in entries)) / 86400
            scenes = f"{len(entries)} scenes" if len(entries) > 1 else entries[0].about.get("scene", "1 scene")
            lines.append(f"  {size:9.1f} MB  {scenes}: {look}; last read {max(days, 0):.1f} days ago")
    return "\n".join(lines) or "nothing is kept of any scene here"


def _of_user() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "llava"


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())


def _checksum(tensors: Mapping[str, torch.Tensor]) -> str:
    """Of the names and bytes of contiguous tensors."""
    import torch

    found = 0
    for name in sorted(tensors):
        found = crc32(tensors[name].flatten().view(torch.uint8).numpy(), crc32(name.encode(), found))
    return f"{found:08x}"


def _touch(path: Path) -> None:
    """Note that a file was read, by its time; a disk that is read-only has none to note."""
    try:
        os.utime(path)
    except OSError:
        return


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A file to write, which becomes ``path`` when it is whole and on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not `resumable.replaced`, which takes what another process writes to the same path for a killed one's remains; and
    # not `tempfile`, whose files nobody else may read, whatever the user's umask says.
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())  # else a power cut may leave the name without the content
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


_told: set[Path] = set()


def _tell(folder: Path, why: str) -> None:
    """Once a folder: why nothing more goes into it may name another file for every scene."""
    if folder not in _told:
        _told.add(folder)
        print(f"no more scenes are kept: {folder} {why}", file=sys.stderr)
