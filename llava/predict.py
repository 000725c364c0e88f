"""Evaluation: one pass over the scenes, in which the questions of all benchmarks about a scene are answered together.

Answers are appended to a jsonl a benchmark as they come, one line a question, so that a killed run goes on where it
stopped.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tqdm import tqdm

from llava import processes
from llava.answer_files import gather, gathered_scenes, part_file, part_files, read_answers
from llava.answering import Answerer
from llava.data.scenes import SceneInputs, SceneSource
from llava.resumable import only_one, read_json, write_json
from llava.tasks import TASKS
from llava.types import Prediction, Sample

TOGETHER = 128  # scenes are answered together until they have so many questions
AHEAD = 2  # scenes that are read from disk while others are answered

ByScene = dict[str, list[Sample]]


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
class Benchmark:
    """A benchmark's questions, and the file that their answers go to."""

    task: str
    samples: Sequence[Sample]
    run: Run
    out: Path

    @property
    def by_scene(self) -> ByScene:
        found: ByScene = {}
        for sample in self.samples:
            found.setdefault(sample.scene, []).append(sample)
        return found

    def is_finished(self) -> bool:
        """Whether a command before this one has answered and scored all of it."""
        header = self.out.with_suffix(".run.json")
        if not (header.exists() and read_json(header) == vars(self.run) and self.out.with_suffix(".json").exists()):
            return False
        by_scene = self.by_scene
        return gathered_scenes([self.out], by_scene).keys() == by_scene.keys()

    def record(self, prediction: Prediction, prompt: str) -> str:
        """A line of the file."""
        text = f"{prompt}\n{prediction.sample.question}"
        return json.dumps(TASKS[self.task].answer_record(prediction, self.run.model, text)) + "\n"


def evaluate(answerer: Answerer, source: SceneSource, benchmarks: Sequence[Benchmark]) -> None:
    """Answer all questions of the benchmarks, going on where an earlier run of the same kind stopped.

    Several processes share the scenes out: each answers its own into files beside `out`, and the first puts them
    together. Whatever was killed before, in however many processes, each `out` ends as one undisturbed process leaves
    it: what is answered together depends on the questions alone, and together it is answered again.

    An `out` that another run made (other weights, data, frames, boxes ...) is kept as `<out>.old`, with its scores.
    Raises ValueError where another command is answering into an `out`, or where a process' answers are not to be seen.
    """
    with ExitStack() as locks:
        if processes.is_first():
            for benchmark in benchmarks:
                _begin(benchmark, locks)
        processes.wait()
        left = [benchmark for benchmark in benchmarks if not benchmark.is_finished()]
        _answer_scenes(answerer, source, left)
        processes.wait()
        if processes.is_first():
            for benchmark in left:
                _finish(benchmark)
        processes.wait()


def _begin(benchmark: Benchmark, locks: ExitStack) -> None:
    """Hold the file against other commands, and leave in it what this one would answer alike."""
    out = benchmark.out
    out.parent.mkdir(parents=True, exist_ok=True)
    lock = out.with_name(f".{out.name}.lock")  # not `out` itself, which may be set aside
    lock.touch()
    locks.enter_context(only_one(lock, f"is answering into {out}"))
    if not benchmark.is_finished():
        _resume(out, benchmark.run)
        gather(out, benchmark.by_scene)


def _finish(benchmark: Benchmark) -> None:
    """Put together what all processes answered."""
    by_scene = benchmark.by_scene
    missing = sorted(by_scene.keys() - gather(benchmark.out, by_scene))
    if missing:
        raise ValueError(
            f"the answers about {len(missing)} scenes ({missing[0]} ...) are not in {benchmark.out.parent}: all "
            "machines must see the same results folder"
        )


def _answer_scenes(answerer: Answerer, source: SceneSource, benchmarks: Sequence[Benchmark]) -> None:
    """Append the answers of this process's scenes to the files."""
    asked: dict[str, list[tuple[Benchmark, list[Sample]]]] = {}
    for benchmark in benchmarks:
        for scene, samples in benchmark.by_scene.items():
            asked.setdefault(scene, []).append((benchmark, samples))
    answered = {benchmark.out: gathered_scenes([benchmark.out], benchmark.by_scene) for benchmark in benchmarks}

    def is_left(scene: str) -> bool:
        return any(scene not in answered[benchmark.out] for benchmark, _ in asked[scene])

    groups = _groups({scene: sum(len(samples) for _, samples in of_scene) for scene, of_scene in asked.items()})
    left = [group for group in groups if any(map(is_left, group))]
    mine = left[processes.rank() :: processes.count()]
    if not mine:
        return
    answerer.model.eval()
    total = sum(len(samples) for group in mine for scene in group for _, samples in asked[scene])
    with ExitStack() as stack:
        # One process writes behind what is there, so that its answers can be read as they come.
        alone, rank = processes.count() == 1, processes.rank()
        files = {
            b.out: stack.enter_context((b.out if alone else part_file(b.out, rank)).open("a", encoding="utf-8"))
            for b in benchmarks
        }
        title = ", ".join(benchmark.task for benchmark in benchmarks)
        bar = stack.enter_context(tqdm(total=total, desc=title, unit=" questions", disable=not processes.is_first()))
        scenes = stack.enter_context(_loading(source, [scene for group in mine for scene in group]))
        for group in mine:
            samples = {scene: [s for _, of_task in asked[scene] for s in of_task] for scene in group}
            found = answerer.answer_scenes((next(scenes), samples[scene]) for scene in group)
            for scene, predictions in zip(group, found, strict=True):
                rest = iter(predictions)
                for benchmark, of_task in asked[scene]:
                    lines = [benchmark.record(next(rest), answerer.settings.instruction) for _ in of_task]
                    if scene not in answered[benchmark.out]:
                        files[benchmark.out].writelines(lines)
                bar.update(len(predictions))
            for file in files.values():
                file.flush()


def _groups(counts: Mapping[str, int]) -> list[list[str]]:
    """Scenes that are answered together, by how many questions each has; whatever is answered of them already."""
    groups: list[list[str]] = []
    questions = TOGETHER
    for scene, asked in counts.items():
        if questions >= TOGETHER:
            groups.append([])
            questions = 0
        groups[-1].append(scene)
        questions += asked
    return groups


@contextmanager
def _loading(source: SceneSource, names: Sequence[str]) -> Iterator[Iterator[SceneInputs]]:
    """The scenes in order; a thread reads some ahead, which is mostly waiting and decoding of pictures."""
    with ThreadPoolExecutor(1) as reader:

        def scenes() -> Iterator[SceneInputs]:
            ahead = deque(reader.submit(source.load, name) for name in names[:AHEAD])
            for number in range(len(names)):
                scene = ahead.popleft().result()
                ahead.extend(reader.submit(source.load, name) for name in names[number + AHEAD : number + AHEAD + 1])
                yield scene

        try:
            yield scenes()
        finally:
            reader.shutdown(cancel_futures=True)


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
