"""The benchmarks' annotations -> LLaVA-style records in data/processed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llava.prepare.layout import Layout
from llava.prepare.steps import Outcome
from llava.prepare.workers import Workers
from llava.resumable import read_json, write_json
from llava.tasks import TASKS, find_task


def records(layout: Layout, workers: Workers, tasks: Sequence[str] = tuple(TASKS)) -> Outcome:
    """Convert every split of the tasks whose annotations are there.

    Records are made again when the annotations or boxes they derive from have changed since. Records that were
    put in place by somebody else (downloaded ones, say) are left alone.
    """
    note = layout.data / "processed" / ".made_from.json"
    made_from = read_json(note) if note.exists() else {}
    done, there, without, problems = 0, 0, 0, []
    for task in map(find_task, tasks):
        for split in task.splits:
            sources = _fingerprint(layout, split)
            found = [path for stem in task.files if (path := task.processed(layout.data, split, stem)).exists()]
            if found and made_from.get(found[0].name, sources) == sources:
                there += 1
                continue
            if not all(path.exists() for path in task.raw(layout.data, split)):
                without += split in ("train", "val")  # who has no test split misses nothing
                continue
            name = task.processed(layout.data, split).name
            _note(note, made_from, name, None)  # what is killed before the next note is made again
            try:
                made = task.process(layout.data, split)
            except ValueError as error:
                problems.append(f"{task.name} {split}: {error}")
                continue
            if made is not None:
                _note(note, made_from, name, sources)
                done += 1
    return Outcome(done, there, without, "annotations", tuple(problems))


def _note(path: Path, made_from: dict, name: str, sources: dict | None) -> None:
    made_from[name] = sources
    write_json(path, made_from, indent=None)


def _fingerprint(layout: Layout, split: str) -> dict[str, list[int]]:
    """Size and time of change of what a split's records may derive from."""
    sources = [layout.boxes(split, "gt"), layout.boxes(split, "pred")]
    sources += sorted((layout.data / "benchmark").rglob(f"*_{split}*.json"))
    return {_name(layout, path): [stat.st_size, stat.st_mtime_ns] for path in sources if (stat := _stat(path))}


def _name(layout: Layout, path: Path) -> str:
    return path.relative_to(layout.data).as_posix()


def _stat(path: Path):
    return path.stat() if path.exists() else None
