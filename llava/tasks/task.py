"""What a benchmark is to the rest of the program, and how its files are read.

A benchmark's raw annotations are converted once to LLaVA-style records (`convert`), from which training and
evaluation take their samples (`samples`); each answer becomes one line of a jsonl (`answer_record`), and scores
are made from such lines alone (`score`), or what the benchmark's server takes where it keeps the answers (`submit`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from llava.fields import NAME, TEXT, Field, check_fields
from llava.resumable import read_json, write_json
from llava.types import Prediction, Sample

PLACEHOLDER = "<image>"
Record = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """One benchmark."""

    name: str  # key in TASKS, and Sample.task
    dataset: str  # its name in records and answer lines
    kind: Literal["text", "box"]
    splits: tuple[str, ...]
    origin: str  # where its raw annotations can be had
    annotations: tuple[str, ...]  # their files in data/benchmark, "{}" standing for the split
    files: tuple[str, ...]  # stems of data/processed/<stem>_<split>_llava_style.json; the first is written
    max_new_tokens: int  # 0 for a box task: nothing is generated
    headline: Mapping[str, str]  # score keys that print first -> column title
    published: Mapping[str, float]  # Video-3D LLM, 32 uniform frames, by score key, made by the same rule
    convert: Callable[[Path, str], list[Record] | None]  # raw annotations -> records; None: the split is not there
    answer: Callable[[Prediction], Record]  # the fields of an answer line that are the benchmark's own
    score: Callable[[Sequence[Record], Path | None], dict[str, float]]  # answer lines -> numbers, times 100
    fields: Mapping[str, Field]  # of an answer line, those that are the benchmark's own
    published_split: str = "val"
    # protocol -> regular expression of the score keys that belong to it; one that is left out is as "published"
    protocols: Mapping[str, str] = field(default_factory=lambda: {"published": ".*"})
    annotated: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)  # split -> annotations, scans
    recorded: Mapping[str, int] = field(default_factory=dict)  # split -> records made from them
    # answer lines of a split whose answers nobody has -> what the benchmark's server takes; None: it has no such split
    submission: Callable[[Sequence[Record]], list | dict] | None = None
    record_boxes: Mapping[str, str] = field(default_factory=dict)  # split -> whose boxes its records ask at: gt | pred
    enrich: Callable[[Path, str, list[Sample]], list[Sample]] = field(default=lambda data, split, samples: samples)

    def samples(self, data: Path, split: str) -> list[Sample]:
        """The split's samples, in file order.

        Raises ValueError when the benchmark has no such split, when the file is missing or empty, when a record is
        not as expected, or when it names a scene that a prepared data folder lacks.
        """
        if split not in self.splits:
            raise ValueError(f"{self.name} has no split {split!r}: choose one of {', '.join(self.splits)}")
        paths = [self.processed(data, split, stem) for stem in self.files]
        path = next((p for p in paths if p.exists()), None)
        if path is None:
            raise ValueError(f"{paths[0]} is missing: run `llava prepare {data}` (or process_{self.name}.py)")
        records = read_json(path)
        if not records:
            raise ValueError(f"{path} holds no sample: the {split} split of {self.name} is empty; convert it again")
        known = known_scenes(data)
        try:
            for record in records:
                check_scene(record["video"], known, path, record["id"])
            samples = [self._sample(record, path) for record in records]
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: a record is not as expected ({error!r}); convert it again") from error
        return self.enrich(data, split, samples)

    def boxes(self, split: str, offered: str) -> str:
        """Whose boxes the answers depend on, where boxes `offered` can be chosen from."""
        return offered if self.kind == "box" else self.record_boxes.get(split, "none")

    def answer_record(self, prediction: Prediction, model_id: str, prompt: str) -> Record:
        """One line of an answers file: the reference's fields, then what scoring and the report need besides."""
        sample = prediction.sample
        fields = self.answer(prediction)
        extra = {"scene": sample.scene, "question": sample.question.strip(), **fields.pop("extra", {})}
        return {
            "dataset": self.dataset,
            "sample_id": sample.id,
            "prompt": prompt,
            **fields,
            "model_id": model_id,
            "question_type": sample.meta.get("question_type", "unknow"),
            **extra,
        }

    def check_lines(self, records: Sequence[Record]) -> None:
        """Raise ValueError for the first line that answers another benchmark, or holds what nothing can be made of.

        What lines lack is not looked for: it depends on what is to be made of them.
        """
        fields = {"sample_id": NAME, "question_type": TEXT, "scene": TEXT, **self.fields}
        for number, line in enumerate(records, start=1):
            try:
                if line.get("dataset", self.dataset) != self.dataset:
                    raise ValueError(f"it is one to {line['dataset']!r}, expected answers to {self.dataset!r}")
                check_fields(line, fields)
            except ValueError as error:
                raise ValueError(
                    f"answer {number} of {len(records)} (sample_id {line.get('sample_id')}): {error}"
                ) from error

    def submit(self, records: Sequence[Record], answers: Path) -> Path | None:
        """Write what the benchmark's server takes beside the answers file.

        Returns None, having written nothing, where a line has a gold answer or there is no line.
        """
        if self.submission is None or not records or any(line["gt_response"] is not None for line in records):
            return None
        out = answers.with_suffix(".submission.json")
        write_json(out, self.submission(records))
        return out

    def raw(self, data: Path, split: str) -> list[Path]:
        """Where the split's annotations are."""
        return [data / "benchmark" / pattern.format(split) for pattern in self.annotations]

    def processed(self, data: Path, split: str, stem: str | None = None) -> Path:
        """Where the split's records are."""
        return data / "processed" / f"{stem or self.files[0]}_{split}_llava_style.json"

    def process(self, data: Path, split: str) -> Path | None:
        """Convert a split and write its records; None when its raw annotations are not there.

        Raises ValueError as `convert` does, and when the split is empty or its annotations have other fields.
        """
        try:
            records = self.convert(data, split)
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            files = ", ".join(pattern.format(split) for pattern in self.annotations)
            raise ValueError(
                f"{data / 'benchmark'}: {files} is not as {self.name} ships it ({error!r}): get it from {self.origin}"
            ) from error
        if records is None:
            return None
        if not records:
            raise ValueError(f"the {split} split of {self.name} in {data / 'benchmark'} holds no annotation")
        out = self.processed(data, split)
        write_json(out, records, indent=None)
        return out

    def _sample(self, record: Record, path: Path) -> Sample:
        turns = {turn["from"]: turn["value"] for turn in record["conversations"]}
        question = turns.get("human", "")
        if not question.startswith(PLACEHOLDER):
            raise ValueError(
                f"{path}: the question of record {record['id']} must start with {PLACEHOLDER}: {question!r}"
            )
        meta = dict(record["metadata"])
        for key in ("annotations", "gt_box"):
            if key in record:
                meta[key] = record[key]
        return Sample(
            id=record["id"],
            task=self.name,
            scene=record["video"],
            question=question.removeprefix(PLACEHOLDER),
            answer=turns.get("gpt"),
            coord=_boxes(record["box_input"], path, record["id"])[0] if record.get("box_input") else None,
            boxes=_boxes(record["box"] or [], path, record["id"]) if self.kind == "box" else None,
            meta=meta,
        )


def _boxes(values: list, path: Path, sample_id: str | int) -> np.ndarray:
    """(m, 6) float64 from one box or a list of boxes."""
    boxes = np.array(values, dtype=np.float64)
    if boxes.size == 0:
        return boxes.reshape(0, 6)
    boxes = boxes.reshape(-1, boxes.shape[-1])
    if boxes.shape[1] != 6:
        raise ValueError(f"{path}: record {sample_id} has a box of {boxes.shape[1]} numbers, expected 6 (centre, size)")
    return boxes


def record(
    sample_id: str | int,
    scene_id: str,
    question: str,
    answer: str | None,
    metadata: Record,
    fields: Record | None = None,
    after: Record | None = None,
) -> Record:
    """A LLaVA-style record; `fields` stand before the metadata and `after` behind it, as the reference writes them."""
    turns = [{"value": PLACEHOLDER + question, "from": "human"}]
    if answer is not None:
        turns.append({"value": answer, "from": "gpt"})
    return {
        "id": sample_id,
        "video": f"scannet/{scene_id}",
        "conversations": turns,
        **(fields or {}),
        "metadata": metadata,
        **(after or {}),
    }


def read_boxes(data: Path, split: str, kind: str) -> dict[str, list]:
    """{"scannet/<scene>": boxes} of `kind` "gt" or "pred"; ValueError when the file is missing."""
    path = data / "metadata" / f"scannet_{split}_{kind}_box.json"
    if not path.exists():
        raise ValueError(f"{path} is missing: run `llava prepare {data}` (or extract_{kind}_box.py) first")
    return read_json(path)


def read_objects(data: Path, split: str) -> dict[str, dict[int, list[float]]]:
    """{"scannet/<scene>": {object id: its ground-truth box}}.

    A scene that scannet_<split>_gt_object_ids.json does not tell of has the ids 0, 1, .. in the order of its boxes,
    as in files made by the reference. Raises ValueError when the boxes are missing, or are not those of the ids.
    """
    path = data / "metadata" / f"scannet_{split}_gt_object_ids.json"
    ids = read_json(path) if path.exists() else {}
    objects = {}
    for scene, boxes in read_boxes(data, split, "gt").items():
        known = ids.get(scene, range(len(boxes)))
        if len(known) != len(boxes):
            raise ValueError(
                f"{path} tells {len(known)} ids for {scene}, which has {len(boxes)} ground-truth boxes: delete this "
                f"file and scannet_{split}_gt_box.json, then run `llava prepare {data}`"
            )
        objects[scene] = dict(zip(known, boxes, strict=True))
    return objects


def object_box(
    objects: dict[str, dict[int, list[float]]], scene_id: str, object_id: int | str, source: Path, sample_id: Any
) -> list[float]:
    """The box of an annotated object; ValueError names the annotation when scene or object is unknown."""
    scene = f"scannet/{scene_id}"
    if scene not in objects:
        raise ValueError(
            f"{source}: annotation {sample_id} names scene {scene_id!r}, which has no ground-truth boxes: get and "
            "prepare that scan (`llava doctor` says what is missing), or remove the annotation"
        )
    if int(object_id) not in objects[scene]:
        raise ValueError(
            f"{source}: annotation {sample_id} names object {object_id} of {scene_id}, which has the objects "
            f"{list(objects[scene])}: the annotation and the scan do not belong together"
        )
    return objects[scene][int(object_id)]


def known_scenes(data: Path) -> set[str] | None:
    """Names ("scannet/<scene>") of the scenes in a data folder; None when it holds no scenes at all."""
    folders = [data / "scannet" / name for name in ("posed_images", "scans")]
    names = {f"scannet/{entry.name}" for folder in folders if folder.is_dir() for entry in os.scandir(folder)}
    return names or None


def check_scene(scene: str, known: set[str] | None, source: Path, sample_id: Any) -> None:
    """Raise ValueError for an annotation about a scene that is not among the known ones."""
    if known is not None and scene not in known:
        raise ValueError(
            f"{source}: annotation {sample_id} names scene {scene!r}, which is neither in scannet/posed_images nor in "
            "scannet/scans: get that scan (`llava doctor` says what is missing), or remove the annotation"
        )


def percent(hits: Sequence[float | bool]) -> float:
    """Mean times 100."""
    return 100.0 * sum(hits) / len(hits)


def check_gold(records: Sequence[Record]) -> None:
    """Raise ValueError when there is nothing to score or an answer is unknown (a test split)."""
    if not records:
        raise ValueError("there are no answers to score: the answers file is empty")
    unknown = [r["sample_id"] for r in records if r["gt_response"] is None]
    if unknown:
        raise ValueError(
            f"{len(unknown)} of {len(records)} answers have no gold answer to score against: {unknown[:3]}"
        )
