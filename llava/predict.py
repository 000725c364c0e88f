"""Evaluation: a task's questions about a scene share one prefix, and are answered in batches from its cache.

Answers are appended to a jsonl as they come, one line a question, so that a killed run goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import tqdm

from llava import processes
from llava.answer_files import gather, gathered_scenes, part_file, part_files, read_answers
from llava.data import chat
from llava.data.pack import coord_points
from llava.data.scenes import SceneInputs, SceneSource
from llava.model.decoding import Prefix, greedy, ground, prefill
from llava.resumable import only_one, read_json, write_json
from llava.tasks import TASKS
from llava.types import Prediction, Sample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from llava.model.scene_lm import SceneLM

QUESTIONS = 32  # answered at once


@dataclass(frozen=True)
class Run:
    """What a file of answers depends on; stored beside it, so that answers of different runs never mix."""

    model: str  # name of the checkpoint folder
    weights: str  # digest of the weights
    data: str  # data folder
    contents: str  # digest of what that folder says about the split
    split: str
    strategy: str
    frames: int
    boxes: str
    mode: str  # "ours" | "video3d"
    blind: bool = False


@dataclass(frozen=True)
class Answerer:
    """A model with all that it needs to be asked about a scene."""

    model: SceneLM
    tokenizer: PreTrainedTokenizerBase
    settings: chat.Chat
    max_new_tokens: int | None = None  # of an answer; None: as the task says

    @torch.no_grad()
    def answer(self, scene: SceneInputs, samples: Sequence[Sample], max_new_tokens: int) -> list[Prediction]:
        """Answers in the order of `samples`, which are all of one kind: to be found (boxes), or to be told (text)."""
        prefix_ids = chat.prefix_ids(self.tokenizer, self.settings, scene.num_tokens)
        prefix = prefill(self.model, torch.tensor(prefix_ids), scene.inputs)
        found: list[Prediction] = []
        for start in range(0, len(samples), QUESTIONS):
            some = samples[start : start + QUESTIONS]
            ask = self._find if some[0].boxes is not None else self._tell
            found.extend(ask(prefix, scene, some, max_new_tokens))
        return found

    def _tell(self, prefix: Prefix, scene: SceneInputs, samples: Sequence[Sample], limit: int) -> Iterator[Prediction]:
        askable = [s for s in samples if chat.COORD not in s.question or s.coord is not None]
        ids = [torch.tensor(chat.question_ids(self.tokenizer, s.question)) for s in askable]
        points = [torch.from_numpy(coord_points(s).astype(np.float32)) for s in askable]
        eos = self.tokenizer.convert_tokens_to_ids("<|im_end|>")
        answers = greedy(self.model, prefix, ids, points, limit, eos)
        said = [self.tokenizer.decode(answer, skip_special_tokens=True).strip() for answer in answers]
        texts = {id(s): text for s, text in zip(askable, said, strict=True)}
        # A question about a place that no proposal gives (Scan2Cap) is answered by "", as published.
        return (Prediction(s, text=texts.get(id(s), "")) for s in samples)

    def _find(self, prefix: Prefix, scene: SceneInputs, samples: Sequence[Sample], limit: int) -> Iterator[Prediction]:
        mark = self.tokenizer.convert_tokens_to_ids(chat.GROUND)
        ids = [torch.tensor([*chat.question_ids(self.tokenizer, s.question), mark]) for s in samples]
        objects = torch.from_numpy(np.asarray(scene.objects, dtype=np.float32))
        scores = ground(self.model, prefix, ids, objects, scene.object_masks).float().cpu().numpy()
        temperature = self.model.config.ground_temperature
        return (Prediction(s, None, scene.objects, row, temperature) for s, row in zip(samples, scores, strict=True))


def evaluate(
    answerer: Answerer,
    source: SceneSource,
    task_name: str,
    samples: Sequence[Sample],
    run: Run,
    out: Path,
) -> Path:
    """Answer all `samples` of a task into the jsonl `out`, going on where an earlier run of the same kind stopped.

    Several processes share the scenes out: each answers its own into a file beside `out`, and the first puts them
    together. Whatever was killed before, in however many processes, `out` ends as one undisturbed process leaves it.

    An `out` that another run made (other weights, data, frames, boxes ...) is kept as `<out>.old`, with its scores.
    Raises ValueError where another command is answering into `out`, or where a process' answers are not to be seen.
    """
    by_scene: dict[str, list[Sample]] = {}
    for sample in samples:
        by_scene.setdefault(sample.scene, []).append(sample)
    out.parent.mkdir(parents=True, exist_ok=True)
    lock = out.with_name(f".{out.name}.lock")  # not `out` itself, which may be set aside
    lock.touch()
    with only_one(lock, f"is answering into {out}") if processes.is_first() else nullcontext():
        if processes.is_first():
            _resume(out, run)
            gather(out, by_scene)
        processes.wait()
        answered = gathered_scenes([out], by_scene)
        left = {scene: asked for scene, asked in by_scene.items() if scene not in answered}
        mine = {scene: left[scene] for scene in list(left)[processes.rank() :: processes.count()]}
        # One process writes behind what is there, so that its answers can be read as they come.
        into = out if processes.count() == 1 else part_file(out, processes.rank())
        _answer_scenes(answerer, source, task_name, mine, into, run.model)
        processes.wait()
        if processes.is_first():
            missing = sorted(by_scene.keys() - gather(out, by_scene))
            if missing:
                raise ValueError(
                    f"the answers about {len(missing)} scenes ({missing[0]} ...) are not in {out.parent}: all machines "
                    "must see the same results folder"
                )
        processes.wait()
    return out


def _answer_scenes(
    answerer: Answerer,
    source: SceneSource,
    task_name: str,
    by_scene: Mapping[str, Sequence[Sample]],
    out: Path,
    model_id: str,
) -> None:
    """Append the answers to all these questions, scene by scene."""
    task = TASKS[task_name]
    limit = task.max_new_tokens if answerer.max_new_tokens is None else answerer.max_new_tokens
    answerer.model.eval()
    prompt = answerer.settings.instruction
    with (
        out.open("a", encoding="utf-8") as lines,
        tqdm(total=sum(map(len, by_scene.values())), desc=task_name, disable=not processes.is_first()) as bar,
    ):
        for scene, asked in by_scene.items():
            predictions = answerer.answer(source.load(scene), asked, limit)
            for prediction in predictions:
                text = f"{prompt}\n{prediction.sample.question}"
                lines.write(json.dumps(task.answer_record(prediction, model_id, text)) + "\n")
            lines.flush()
            bar.update(len(asked))


def score(task_name: str, answers: Path, run: Run, data: Path) -> dict:
    """Score a file of answers; writes `<answers>.json` beside it: the scores, and what they were measured on.

    Where nobody has the right answers, what the benchmark's server takes is written in place of scores.
    """
    records = read_answers(answers)
    task = TASKS[task_name]
    submission = task.submit(records, answers)
    if submission is not None:
        print(f"{task.name} {run.split}: its answers are not public; to be submitted to {task.origin}: {submission}")
        return {**vars(run), "submission": str(submission), "count": len(records)}
    scores = task.score(records, data)
    result = {**scores, **vars(run), "count": len(records), "scenes": len({r["scene"] for r in records})}
    write_json(answers.with_suffix(".json"), result)
    return result


def _resume(out: Path, run: Run) -> None:
    """Note down what is going to be answered into `out`, and set aside what is not of that kind.

    Scores are deleted: they would not be those of the answers that are about to come.
    """
    header = out.with_suffix(".run.json")
    if out.exists() and (not header.exists() or read_json(header) != vars(run)):
        print(f"{out} was made by another run; kept as {_set_aside(out)}")
        for part in part_files(out):
            part.unlink()
    out.with_suffix(".json").unlink(missing_ok=True)
    write_json(header, vars(run))


def _set_aside(out: Path) -> str:
    """Rename a file of answers, and what lies beside it, by an ending that nothing has yet; returns its new name."""
    files = [path for path in (out, out.with_suffix(".run.json"), out.with_suffix(".json")) if path.exists()]
    endings = (f".old{number}" if number > 1 else ".old" for number in count(1))
    ending = next(ending for ending in endings if not any(_ended(path, ending).exists() for path in files))
    for path in files:
        path.replace(_ended(path, ending))
    return out.name + ending


def _ended(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)
