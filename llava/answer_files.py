"""Files of answers, one line a question: which scenes are answered whole in them, and how several become one.

A scene is the unit. What a kill left of one is not kept but asked again, all of it: questions are answered in batches,
and other batches would give other last digits.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llava.resumable import replaced
from llava.types import Sample


def read_answers(path: Path) -> list[dict[str, Any]]:
    """What the lines of an answers file say, blank ones left out; ValueError: no such file, or a line that is no JSON
    object.
    """
    if not path.is_file():
        raise ValueError(f"there is no answers file {path}")
    return [answer for _, answer in _parsed(path, path.read_bytes())]


def _parsed(path: Path, content: bytes) -> Iterator[tuple[bytes, dict[str, Any]]]:
    for number, line in enumerate(content.splitlines(keepends=True), start=1):
        if not line.strip():
            continue
        try:
            answer = json.loads(line)
        except ValueError as error:  # no JSON, or no text at all
            raise ValueError(
                f"{path}, line {number}, is not valid JSON ({error}): delete that line and evaluate again"
            ) from error
        if not isinstance(answer, dict):
            raise ValueError(f"{path}, line {number}: expected an object, found {type(answer).__name__}")
        yield line, answer


def part_file(out: Path, rank: int) -> Path:
    """Where process `rank` of several answers, until its answers are gathered into `out`."""
    return out.with_name(f".{out.name}.part{rank}")


def part_files(out: Path) -> list[Path]:
    """The parts beside `out`, those of killed runs with another number of processes among them."""
    return sorted(out.parent.glob(f".{out.name}.part[0-9]*"))


def gather(out: Path, by_scene: Mapping[str, Sequence[Sample]]) -> set[str]:
    """Put all whole scenes of `out` and of its parts into `out`, in the order of `by_scene`; the parts are removed.

    Killed at any moment, it loses and doubles nothing: parts go after `out` is there, and a scene counts once.

    Returns:
        the names of the scenes that `out` answers now.
    """
    parts = part_files(out)
    scenes = gathered_scenes([out, *parts], by_scene)
    content = b"".join(scenes[name] for name in by_scene if name in scenes)
    if not out.exists() or out.read_bytes() != content:
        with replaced(out) as partial:
            partial.write_bytes(content)
    for part in parts:
        part.unlink()
    return set(scenes)


def gathered_scenes(files: Iterable[Path], by_scene: Mapping[str, Sequence[Sample]]) -> dict[str, bytes]:
    """The lines of each scene that one of the files answers whole; where several do, of the first.

    Raises ValueError as `read_answers`, but a file may be missing, or cut within its last line.
    """
    whole: dict[str, bytes] = {}
    for path in files:
        lines: dict[str, list[bytes]] = {}
        ids: dict[str, list] = {}
        content = path.read_bytes() if path.exists() else b""
        for line, answer in _parsed(path, content[: content.rfind(b"\n") + 1]):  # what follows, a kill cut
            scene, number = answer.get("scene"), answer.get("sample_id")
            if isinstance(scene, str) and isinstance(number, str | int):  # else it answers nothing that is asked
                lines.setdefault(scene, []).append(line)
                ids.setdefault(scene, []).append(number)
        for name, samples in by_scene.items():
            # Counted, for the wordings of one question may share its id (SQA3D's train split).
            if name in ids and name not in whole and Counter(ids[name]) == Counter(sample.id for sample in samples):
                whole[name] = b"".join(lines[name])
    return whole
