"""One scan and one checkpoint, open together: ask, find and describe as often as one likes, in one reading of the scan.

from llava.scan import Scan
scan = Scan("checkpoints/rooms", "my_scan")
print(scan.ask("What color is the chair?"), scan.find("the chair by the window"), scan.describe(1.0, 0.5, 0.4))
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llava.captures import open_scene
from llava.captures.pixels import load_views
from llava.captures.scannet import SPLITS, read_align, read_data_scene
from llava.captures.settle import settle
from llava.captures.upright import upright
from llava.data.boxes import box_array
from llava.data.chat import MARKS
from llava.data.scenes import SceneInputs, no_views, scene_inputs
from llava.frames import read_selection, sample
from llava.loading import load_checkpoint
from llava.metrics.grounding import close_objects, probabilities
from llava.proposals import propose
from llava.session import look
from llava.tasks import TASKS, multi3drefer, scan2cap, scanqa
from llava.tasks.task import read_boxes
from llava.types import Prediction, Sample, Scene, Views

if TYPE_CHECKING:
    from llava.model.decoding import Prefix

MARGIN = 0.5  # metres by which a point to be described may lie outside of what was measured
NO_BOXES = np.empty((0, 6), dtype=np.float32)


@dataclass(frozen=True)
class Found:
    """A box that a description is about."""

    box: np.ndarray  # (6,) world metres
    confidence: float  # 0..1, the share of the probability that falls on it; the rest is on other boxes and on none


class Scan:
    """A scan that a checkpoint has read: its KV cache is kept, so that only the first question waits for it.

    Points and boxes are metres in the world of `scene`, whose walls lie along the axes and whose floor is at 0;
    `to_capture` and `from_capture` turn points into the capture's own world and back.
    """

    def __init__(
        self, checkpoint: str | Path, scene: str | Path, strategy: str | None = None, frames: int | None = None
    ) -> None:
        """Open both; nothing is read by the model before it is asked.

        Args:
            checkpoint: a folder or a hub id.
            scene: a capture of any known format.
            strategy: frame sampling; None: as in training.
            frames: at most so many; None: as in training.

        Raises:
            ValueError: there is no such checkpoint, scene or strategy, or one of them cannot be used.
        """
        self.checkpoint, self.folder = Path(checkpoint), Path(scene)
        self._answerer, self.recipe = load_checkpoint(self.checkpoint)
        looked = look(self.recipe, strategy, frames)
        self._opened = open_settled(self.folder)
        self.scene, selection = self._opened.scene, self._opened.selection
        threads = os.cpu_count() or 1
        self.chosen = sample(self.scene, looked.strategy, looked.max_frames, selection, threads=threads)

    @cached_property
    def views(self) -> Views:
        """What the model is shown: the chosen frames; of a blind one none."""
        size = self.recipe.encoder.image_size
        return no_views(size) if self.recipe.data.blind else load_views(self.scene, self.chosen, size)

    @property
    def about(self) -> dict[str, Any]:
        """What an answer depends on, for JSON: checkpoint, scene, and the names of the frames that are shown."""
        shown = [self.scene.frames[index].name for index in dict.fromkeys(self.chosen)]
        return {"checkpoint": str(self.checkpoint), "scene": str(self.folder), "frames": shown}

    @property
    def boxes_from(self) -> str:
        """Where `boxes` come from: "pred" (a detector), "gt" (the true ones), or "own" proposals."""
        return "own" if self._opened.brought is None else self._opened.brought[0]

    @cached_property
    def boxes(self) -> np.ndarray:
        """(n, 6) float32, world metres: the boxes that are chosen from. Own proposals are made when they are needed."""
        return propose(self.scene) if self._opened.brought is None else self._opened.brought[1]

    def ask(self, question: str) -> str:
        """The answer in words. ValueError: the question is empty, or holds a mark of the prompt's own."""
        check_words(question)
        return self._tell("scanqa", f" {question.strip()}{scanqa.INSTRUCTION}")

    def find(self, description: str) -> list[Found]:
        """The boxes that a description is about, best first: none, one or many.

        Chosen are those about as likely as the best one, unless that there is none is likelier (`close_objects`): the
        published rule would name only one of two sure ones.

        Raises:
            ValueError: as `ask`, or the checkpoint was trained without seeing, or never to find anything.
        """
        check_words(description)
        self.check_finds()
        text = f"{multi3drefer.QUESTION}{description.strip().capitalize()}{multi3drefer.HINT}"
        asked = Sample(0, "multi3drefer", self.scene.name, text, None, boxes=np.empty((0, 6)))
        found = self._answer(self._seen_with_boxes, asked)
        shares = probabilities(found.scores, found.temperature)
        return [Found(self.boxes[i], float(shares[i])) for i in close_objects(found.scores, found.temperature)]

    def describe(self, x: float, y: float, z: float) -> str:
        """What is at a point, world metres, in words.

        Raises:
            ValueError: the point is not finite, or lies outside of what the model was shown of the scan.
        """
        point = np.array([x, y, z], dtype=np.float64)
        self._check_inside(point)
        return self._tell("scan2cap", scan2cap.QUESTION, np.concatenate([point, np.zeros(3)]))

    def check_finds(self) -> None:
        """Raise ValueError for a checkpoint that cannot `find`, before anything is computed."""
        tasks = self.recipe.data.tasks
        if self.recipe.data.blind:
            raise ValueError(
                f"{self.checkpoint} was trained without seeing a scene, it can only guess where things are: find with "
                "a checkpoint that sees"
            )
        if all(name in TASKS and TASKS[name].kind != "box" for name in tasks):  # what is no benchmark trains all parts
            raise ValueError(
                f"{self.checkpoint} was trained on {', '.join(tasks)} alone, its grounding head has learnt nothing: "
                "find with a checkpoint that was trained on scanrefer or multi3drefer as well"
            )

    def to_capture(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) in the capture's own world, metres."""
        return _moved(points, np.linalg.inv(self.scene.align))

    def from_capture(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) of the capture's own world in that of `scene`, metres."""
        return _moved(points, self.scene.align)

    def _tell(self, task: str, text: str, coord: np.ndarray | None = None) -> str:
        return self._answer(self._seen, Sample(0, task, self.scene.name, text, None, coord)).text

    def _answer(self, seen: SceneInputs, asked: Sample) -> Prediction:
        return self._answerer.answer(seen, [asked], self._prefix)[0]

    @cached_property
    def _prefix(self) -> Prefix:
        """The scene as the language model has read it."""
        return self._answerer.read(self._seen)

    @cached_property
    def _seen(self) -> SceneInputs:
        """Without boxes, which only `find` needs."""
        return self._inputs(NO_BOXES)

    @cached_property
    def _seen_with_boxes(self) -> SceneInputs:
        return self._inputs(self.boxes)

    def _inputs(self, boxes: np.ndarray) -> SceneInputs:
        mode, processor = self.recipe.mode, self.recipe.encoder.build_processor()
        return scene_inputs(processor, self.views, boxes, mode.measured, mode.evaluation)

    def _check_inside(self, point: np.ndarray) -> None:
        if not np.isfinite(point).all():
            raise ValueError(f"a point has three finite numbers, metres: got {numbers(point)}")
        known = self.views.coords[self.views.valid]
        if len(known) == 0:
            return
        low, high = known.min(axis=0), known.max(axis=0)
        if (point < low - MARGIN).any() or (point > high + MARGIN).any():
            raise ValueError(
                f"the point {numbers(point)} lies outside of what was seen of the scan, {numbers(low)} to "
                f"{numbers(high)} metres: give one inside"
            )


def check_words(text: str) -> None:
    """Raise ValueError for a text that cannot be asked: an empty one, or one with the prompt's own marks."""
    if text.encode(errors="replace").decode() != text:
        raise ValueError("the question holds bytes that are no text: ask in UTF-8")
    if not text.strip():
        raise ValueError("the question is empty: ask something in words")
    marks = [mark for mark in MARKS if mark in text.lower()]  # `find` writes descriptions in small letters
    if marks:
        raise ValueError(f"{marks[0]} is a mark of the prompt's own, a question cannot hold it: ask in words")


@dataclass(frozen=True)
class Opened:
    """A scene as models expect it, upright, walls on the axes and floor at 0, and what it brings."""

    scene: Scene
    brought: tuple[str, np.ndarray] | None = None  # boxes (n, 6), and whose they are; None: it brings none
    selection: dict[str, Any] | None = None  # of frames, made beforehand


def doubts(scene: Scene) -> tuple[str, ...]:
    """What one should know of a scan before one believes what is said of it."""
    if not scene.dropped:
        return scene.doubts
    lost, count = len(scene.dropped), len(scene.frames) + len(scene.dropped)
    return (*scene.doubts, f"{lost} of {count} frames cannot be used: `llava scene info` says why")


def open_settled(folder: Path) -> Opened:
    """A scan of one's own is turned upright and settled.

    A scene of a prepared data folder that brings boxes, a detector's or else the true ones, stands in their world, and
    is seen as benchmarks see it.
    """
    place = folder.resolve()
    if place.parent.name == "posed_images" and len(place.parents) > 2:
        data, name = place.parents[2], f"{place.parents[1].name}/{place.name}"
        brought = _brought_boxes(data, name)
        if brought is not None and read_align(data, place.name) is not None:
            path = data / "metadata" / "scannet_select_frames.json"
            selection = read_selection(path).get(name) if path.exists() else None
            return Opened(read_data_scene(data, name), brought, selection)
    return Opened(settle(upright(open_scene(folder))))


def _brought_boxes(data: Path, name: str) -> tuple[str, np.ndarray] | None:
    for kind, split in product(("pred", "gt"), SPLITS):
        path = data / "metadata" / f"scannet_{split}_{kind}_box.json"
        if path.exists():
            boxes = read_boxes(data, split, kind).get(name)
            if boxes is not None:
                return kind, box_array(boxes, name, path)
    return None


def _moved(points: np.ndarray, change: np.ndarray) -> np.ndarray:
    return np.asarray(points, dtype=np.float64) @ change[:3, :3].T + change[:3, 3]


def numbers(point: np.ndarray) -> str:
    """A point as one reads it, e.g. "(1.00, -0.50, 0.40)"."""
    return "(" + ", ".join(f"{value:.2f}" for value in point) + ")"
