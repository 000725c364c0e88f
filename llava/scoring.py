"""`llava score`: a benchmark's numbers for a file of answers, whoever wrote it.

A protocol is a choice among the numbers that a task's `score` gives (`Task.protocols`): *published* are those that
Video-3D LLM's scripts print, by their rules; *strict* counts equal answers only, and captions only of boxes that
reach their object; *refined* is LEO's exact match.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llava.answer_files import read_answers
from llava.metrics.answers import says_nothing
from llava.resumable import read_json
from llava.tasks import find_task
from llava.tasks.task import Record, Task

Protocol = Literal["published", "strict", "refined"]
CONDITIONS = ("mode", "boxes", "strategy", "frames", "split", "model")  # of <answers>.run.json, which ours have


@dataclass(frozen=True)
class Scored:
    """A file's scores, times 100, and what one must know to read them; `print` shows it."""

    benchmark: str
    protocol: Protocol
    scores: dict[str, float]
    published: dict[str, float]  # Video-3D LLM's, by score key
    notes: tuple[str, ...]

    def __str__(self) -> str:
        width = max(len(key) for key in self.scores)
        lines = [f"{self.benchmark}, protocol {self.protocol}, times 100"]
        for key, value in self.scores.items():
            beside = f"   (Video-3D LLM: {self.published[key]})" if key in self.published else ""
            lines.append(f"{key + ':':<{width + 1}} {value:.6f}{beside}")
        return "\n".join([*lines, *(f"- {note}" for note in self.notes)])


@dataclass(frozen=True)
class Submitted:
    """A file of answers that nobody but the benchmark's server can score."""

    file: Path
    origin: str
    count: int

    def __str__(self) -> str:
        return f"{self.count} answers of a split whose right answers are not public: submit {self.file} ({self.origin})"


def score_file(
    benchmark: str, answers: Path, data: Path | None = None, protocol: Protocol = "published"
) -> Scored | Submitted:
    """Score a jsonl of answers by a protocol.

    Args:
        benchmark: a name in TASKS.
        answers: one JSON object a line, with the fields that Video-3D LLM's evaluation writes, or ours.
        data: data folder, for what the lines do not say; default: the one that <answers>.run.json names, else `data`.
        protocol: which numbers.

    Raises:
        ValueError: an unknown benchmark, no such file, a line that is no answer to that benchmark, or numbers that need
            a data folder.
    """
    task = find_task(benchmark)
    records = read_answers(answers)
    data = _data_folder(answers) if data is None else data
    try:
        task.check_lines(records)
    except ValueError as error:
        raise ValueError(f"{answers}: {error}") from error
    try:
        submission = task.submit(records, answers)
        if submission is not None:
            return Submitted(submission, task.origin, len(records))
        scores = task.score(records, data)
        notes = tuple(_notes(task, records, answers, data, protocol))
    except KeyError as error:
        raise ValueError(f"{answers}: a line has no {error}: expected answers to {task.name}, found others") from error
    pattern = task.protocols.get(protocol, task.protocols["published"])
    chosen = {key: value for key, value in scores.items() if re.fullmatch(pattern, key)}
    if not chosen:
        raise ValueError(
            f"{answers}: {task.name} has no {protocol} scores without the boxes that were asked at, which "
            f"{task.processed(data, 'val')} would tell: give another folder with --data"
        )
    # Scan2Cap's are called @0.5 for the proposals that its records ask at; the published rule itself has no gate
    published = {key.partition("@")[0]: value for key, value in task.published.items()} | dict(task.published)
    return Scored(task.name, protocol, chosen, published if protocol == "published" else {}, notes)


def _data_folder(answers: Path) -> Path:
    header = answers.with_suffix(".run.json")
    return Path(read_json(header).get("data", "data") if header.exists() else "data")


def _notes(task: Task, records: Sequence[Record], answers: Path, data: Path, protocol: Protocol) -> Iterator[str]:
    header = answers.with_suffix(".run.json")
    if header.exists():
        run = read_json(header)
        yield "made with " + ", ".join(f"{key} {run[key]}" for key in CONDITIONS if key in run)
    else:
        yield f"mode, boxes and frames are not known: there is no {header.name} beside the answers"
    if protocol not in task.protocols:
        yield f"{task.name} has no {protocol} rule of its own: these are the published ones"
    if task.published_split != "val":
        yield f"the published numbers are on the {task.published_split} split"
    empty = sum(says_nothing(line["pred_response"]) for line in records) if task.kind == "text" else 0
    if protocol == "refined" and empty:
        yield f"{empty} answers are empty, and count as hits by this rule: what is empty is within everything"
    yield _coverage(task, records, data)


def _coverage(task: Task, records: Sequence[Record], data: Path) -> str:
    """How many of a split's questions are answered, where the split's records are there to tell."""
    ids = {line["sample_id"] for line in records}
    # ScanQA numbers a question's answers, and its val split holds the first of each
    questions = {re.sub(r"_\d+$", "_0", name) if task.name == "scanqa" else name for name in ids}
    known = {}
    for split in task.splits:
        path = next((path for stem in task.files if (path := task.processed(data, split, stem)).exists()), None)
        if path is not None:
            known[split] = {record["id"] for record in read_json(path)}
    split = max(known, key=lambda name: len(questions & known[name]), default=None)
    said = f"{len(records)} answers" + (f", {len(records) - len(ids)} of them twice" if len(ids) < len(records) else "")
    if split is None or not questions & known[split]:
        return said
    return f"{said}, to {len(questions & known[split])} of the {len(known[split])} questions of {split}"
