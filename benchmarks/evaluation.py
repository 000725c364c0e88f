"""Evaluation: questions together on the cache of their scene, against one by one with a full forward pass for each.

    python benchmarks/evaluation.py --checkpoint checkpoints/rooms --data data-rooms-560

Two models: the one trained on rooms, and the reference's recorded tiny model with 32 frames, whose answers have twelve
tokens. Questions are of all five benchmarks in turns. Writes benchmarks/evaluation.json and .md.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from baselines.evaluation import answer_one_by_one
from measure import check_counts, growth_exponent, in_child, interleaved, table, write

from llava.answering import Answerer
from llava.complaints import run_script
from llava.data.chat import Chat
from llava.data.marks import match_marks
from llava.data.scenes import SceneInputs, SceneSource, scene_inputs
from llava.data.tokenizer import train_tokenizer
from llava.loading import load_checkpoint
from llava.model.checkpoint import load_model
from llava.model.scene_lm import encoder_config
from llava.tasks import TASKS
from llava.train import scene_source
from llava.types import Prediction, Sample, Views

GOLDEN = Path(__file__).parents[2] / "shared/golden/04_tiny_model"
LEARNED = 593  # entries of the tiny model's vocabulary before the turn marks, so that <ground> is 597 as recorded
WAYS = ("together", "one by one")
ANSWER = 12  # tokens, as recorded; random weights end no answer


@dataclass(frozen=True)
class Where:
    """What is measured."""

    checkpoint: Path = Path("checkpoints/rooms")
    data: Path = Path("data-rooms-560")
    golden: Path = GOLDEN  # folder of the tiny model


@dataclass(frozen=True)
class Subject:
    """A model, and how its scenes are read."""

    answerer: Answerer
    load: Callable[[str, int], SceneInputs]  # a scene's name and how many frames


@cache
def rooms(where: Where) -> Subject:
    """The trained model on held-out rooms, whose files are read anew each time."""
    answerer, recipe = load_checkpoint(where.checkpoint)

    @cache
    def source(frames: int) -> SceneSource:
        looked = replace(recipe, data=replace(recipe.data, max_frames=frames))
        return scene_source(where.data, "val", looked, recipe.data.eval_boxes, recipe.mode.evaluation)

    return Subject(answerer, lambda name, frames: copy.copy(source(frames)).load(name))  # a copy remembers no scene


@cache
def golden(where: Where) -> Subject:
    """The tiny model, and its two recorded frames again and again, moved to the side a little each time."""
    model = load_model(where.golden).eval()
    texts = (f"{s.question}\n{s.answer}" for task in TASKS.values() for s in task.samples(where.data, "val"))
    tokenizer = train_tokenizer(texts, LEARNED)
    match_marks(model, tokenizer)
    processor = encoder_config(model.config).build_processor()
    recorded = np.load(where.golden / "io.npz")
    pictures, coords = recorded["images_uint8"], recorded["world_coords_int16_x256"].astype(np.float32) / 256

    def load(name: str, frames: int) -> SceneInputs:
        order = range(frames)
        moved = [[np.roll(of[i % 2], 8 * i, axis=1) for i in order] for of in (pictures, coords)]
        views = Views(*map(np.stack, moved), np.ones((frames, *coords.shape[1:3]), bool), tuple(map(str, order)))
        return scene_inputs(processor, views, recorded["objects"])

    return Subject(Answerer(model, tokenizer, Chat(), ANSWER), load)


SUBJECTS = {"rooms": rooms, "tiny": golden}


@cache
def questions_in_turns(where: Where) -> dict[str, list[Sample]]:
    """The questions of each held-out scene that all benchmarks ask about, the benchmarks taking turns."""
    of_tasks = []
    for task in TASKS.values():
        of_tasks.append({})
        for sample in task.samples(where.data, "val"):
            of_tasks[-1].setdefault(sample.scene, []).append(sample)
    scenes = [scene for scene in of_tasks[0] if all(scene in of_task for of_task in of_tasks)]
    turns = {}
    for scene in scenes:
        longest = max(len(of_task[scene]) for of_task in of_tasks)
        turns[scene] = [of_task[scene][i] for i in range(longest) for of_task in of_tasks if i < len(of_task[scene])]
    return turns


@dataclass(frozen=True)
class Work:
    """So many questions about so many scenes of so many frames."""

    where: Where
    subject: str
    frames: int
    scenes: int = 1
    questions: int = 16  # about each

    def asked(self) -> list[tuple[str, list[Sample]]]:
        some = list(questions_in_turns(self.where).items())[: self.scenes]
        if len(some) < self.scenes or any(len(samples) < self.questions for _, samples in some):
            raise ValueError(f"{self.where.data} has no {self.scenes} scenes of {self.questions} questions each")
        return [(scene, samples[: self.questions]) for scene, samples in some]


def answer(work: Work, way: Literal["together", "one by one"], read: bool = True) -> list[list[Prediction]]:
    """Answer it all; `read`: and read the scenes' files, once or, as the published system does, for each question."""
    subject = SUBJECTS[work.subject](work.where)
    answerer, load = subject.answerer, subject.load if read else _remembered(work)
    if way == "together":
        return answerer.answer_scenes((load(scene, work.frames), samples) for scene, samples in work.asked())
    return [
        [prediction for s in samples for prediction in answer_one_by_one(answerer, load(scene, work.frames), [s])]
        for scene, samples in work.asked()
    ]


@cache
def _remembered(work: Work) -> Callable[[str, int], SceneInputs]:
    return cache(SUBJECTS[work.subject](work.where).load)


def seconds(work: Work, repeats: int, read: bool = False) -> dict[str, float]:
    """Median seconds of each way, with everything warm."""
    answer(work, "together", read)
    taken = interleaved({way: lambda way=way: answer(work, way, read) for way in WAYS}, repeats)
    return {way: median(found) for way, found in taken.items()}


def compare(work: Work) -> dict[str, float]:
    """Whether both ways answer alike; and how near the nearest two tokens were that one could have been taken for."""
    gaps = []
    head = SUBJECTS[work.subject](work.where).answerer.model.language_model.lm_head
    together = [p for of_scene in answer(work, "together", read=False) for p in of_scene]
    hook = head.register_forward_hook(lambda _m, _i, logits: gaps.append(logits.topk(2).values.diff().abs().item()))
    alone = [p for of_scene in answer(work, "one by one", read=False) for p in of_scene]
    hook.remove()
    told = [(a.text, b.text) for a, b in zip(together, alone, strict=True) if a.sample.boxes is None]
    found = [(a.scores, b.scores) for a, b in zip(together, alone, strict=True) if a.sample.boxes is not None]
    return {
        "texts": len(told),
        "same texts": sum(a == b for a, b in told),
        "boxes": len(found),
        "same boxes": sum((np.argsort(a) == np.argsort(b)).all().item() for a, b in found),
        "largest difference of a score": max((float(np.abs(a - b).max()) for a, b in found), default=0.0),
        "nearest two tokens": min(gaps, default=float("inf")),
    }


def _forget(work: Work, way: Literal["together", "one by one"]) -> None:
    """For a process of its own, whose memory is watched."""
    torch.set_num_threads(1)
    answer(work, way)


def main(
    where: Annotated[Where, tyro.conf.arg(name="")] = Where(),
    repeats: int = 5,
    questions: tuple[int, ...] = (1, 4, 16, 64),
    scenes: tuple[int, ...] = (1, 2, 4, 8),
    frames: tuple[int, ...] = (2, 4, 8, 16),
    tiny_frames: int = 32,
    together: int = 8,
    each: int = 16,
) -> None:
    """Measure, print and write.

    Args:
        repeats: of each measurement; the median counts.
        questions: a scene, where they vary.
        scenes: where they vary; 1 elsewhere.
        frames: of rooms, where they vary; the last but one elsewhere.
        tiny_frames: of the tiny model's scene.
        together: scenes of rooms in the comparison with the plain way.
        each: questions a scene, where they do not vary.
    """
    counts = {"questions": questions, "scenes": scenes, "frames": frames, "together": together, "each": each}
    check_counts(**counts, repeats=repeats, tiny_frames=tiny_frames)
    if not (where.golden / "io.npz").is_file():
        raise ValueError(f"{where.golden} holds no recorded model (io.npz): name its folder with --golden")
    torch.set_num_threads(1)
    os.environ["LLAVA_CACHE_GB"] = "0"  # neither way is spared the reading of a scene
    room = Work(where, "rooms", frames[-2:][0], questions=each)
    against_plain = {
        f"rooms, {room.frames} frames": replace(room, scenes=together),
        f"rooms, {frames[-1]} frames": replace(room, scenes=together, frames=frames[-1]),
        f"tiny model, {tiny_frames} frames": Work(where, "tiny", tiny_frames, questions=each),
    }
    varied = {
        "questions": [replace(room, questions=count) for count in questions],
        "scenes": [replace(room, scenes=count) for count in scenes],
        "frames": [replace(room, frames=count) for count in frames],
    }
    for work in (*against_plain.values(), *(work for works in varied.values() for work in works)):
        work.asked()  # what is not there is told now, and not after half of the measuring
    rows, compared = [], {}
    for name, work in against_plain.items():
        compared[name], lines = _ratios(name, work, repeats)
        rows += lines
    columns = [f"{each} questions a scene", "one by one /s", "together /s", "ratio", "MB", "MB together", "alike"]
    text = [f"Questions a second, medians of {repeats}.\n\n{table(columns, rows)}"]
    numbers = {"compared": compared}
    for what, works in varied.items():
        if len(works) > 1:
            numbers[what], rows = _growth(what, works, repeats)
            text.append(f"Rooms, by {what}.\n\n{table([what, 'together /s', 'one by one /s', 'MB together'], rows)}")
    write(Path(__file__), "Evaluation: together or one by one", "\n\n".join(text), numbers)


def _ratios(name: str, work: Work, repeats: int) -> tuple[dict, list[list[str]]]:
    """Numbers and lines: the model alone; then with the reading of scenes, memory, and whether answers are alike."""
    found = {
        "model": seconds(work, repeats),
        "with reading": seconds(work, repeats, read=True),
        "peak MB": {way: in_child(_forget, work, way).peak_mb for way in WAYS},
        "same": compare(work),
    }
    lines, asked, same = [], work.scenes * work.questions, found["same"]
    for kind in ("model", "with reading"):
        slow, fast = found[kind]["one by one"], found[kind]["together"]
        lines.append(
            [f"{name}, {kind}", f"{asked / slow:.2f}", f"{asked / fast:.2f}", f"{slow / fast:.1f}", "", "", ""]
        )
    alike = f"{same['same texts']}/{same['texts']} texts, {same['same boxes']}/{same['boxes']} boxes"
    lines[-1][4:] = [*(f"{found['peak MB'][way]:.0f}" for way in ("one by one", "together")), alike]
    return found, lines


def _growth(what: str, works: Sequence[Work], repeats: int) -> tuple[dict, list[list[object]]]:
    """Numbers and lines of works that differ in one field, and with which power of it the cost grows."""
    sizes = [vars(work)[what] for work in works]
    taken = [{**seconds(work, repeats), "peak MB": in_child(_forget, work, "together").peak_mb} for work in works]
    lines: list[list[object]] = []
    for size, work, own in zip(sizes, works, taken, strict=True):
        speeds = [f"{work.questions * work.scenes / own[way]:.2f}" for way in WAYS]
        lines.append([size, *speeds, f"{own['peak MB']:.0f}"])
    grown = {name: growth_exponent(sizes, [own[name] for own in taken]) for name in taken[0]}
    lines.append(["cost grows with the power", *(f"{value:.2f}" for value in grown.values())])
    return {**dict(zip(sizes, taken, strict=True)), "exponents": grown}, lines


if __name__ == "__main__":
    run_script(main, __doc__)
