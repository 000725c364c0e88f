"""Answering: all questions about a scene share its prefix, and scenes are in flight together, within a given memory.

What is found (boxes) is found in one forward pass a scene; what is told (text) is decoded for several scenes at once,
because a step of decoding takes about as long for one answer as for many.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from llava.data import chat
from llava.data.pack import coord_points
from llava.data.scenes import SceneInputs
from llava.model.decoding import Prefix, Question, greedy, ground, prefill
from llava.tasks import TASKS
from llava.types import Prediction, Sample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from llava.model.scene_lm import SceneLM

KV_MEMORY = 4 << 30
UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}  # powers of two


@dataclass(frozen=True)
class Answerer:
    """A model with all that it needs to be asked about scenes."""

    model: SceneLM
    tokenizer: PreTrainedTokenizerBase
    settings: chat.Chat
    max_new_tokens: int | None = None  # of an answer; None: as the task says
    kv_memory: int = KV_MEMORY  # bytes that keys and values may take; one question at least is asked

    def read(self, scene: SceneInputs) -> Prefix:
        """Encode and read a scene, for any number of calls of `answer`: what is kept of it is not changed by them."""
        return prefill(self.model, self._prefix_ids(scene), scene.inputs)

    def answer(self, scene: SceneInputs, samples: Sequence[Sample], prefix: Prefix | None = None) -> list[Prediction]:
        """Answers to questions of any tasks about one scene, in their order.

        Args:
            prefix: what `read` made of the scene; None: it is read now. The boxes to choose from may be others.
        """
        waiting = _Waiting(self)
        found = self._ask(waiting, scene, self.read(scene) if prefix is None else prefix, samples)
        waiting.tell()
        return found

    @torch.no_grad()
    def answer_scenes(self, asked: Iterable[tuple[SceneInputs, Sequence[Sample]]]) -> list[list[Prediction]]:
        """Answers to questions of any tasks about several scenes, in their order.

        A scene is taken from `asked` when it is its turn.
        """
        found: list[list[Prediction]] = []
        waiting = _Waiting(self)
        for scene, samples in asked:
            waiting.make_room(len(self._prefix_ids(scene)))
            found.append(self._ask(waiting, scene, self.read(scene), samples))
        waiting.tell()
        return found

    def _ask(
        self, waiting: _Waiting, scene: SceneInputs, prefix: Prefix, samples: Sequence[Sample]
    ) -> list[Prediction]:
        """Find what is to be found, and let wait what is to be told; the list holds all answers once that is done."""
        # A question about a place that no proposal gives (Scan2Cap) is answered by "", as published.
        own = [Prediction(sample, text="") for sample in samples]
        boxed = [i for i, sample in enumerate(samples) if sample.boxes is not None]
        room = self.kv_memory - waiting.held - self.kv_bytes(prefix.length)
        scores = self._find(prefix, scene, [samples[i] for i in boxed], room)
        for i, row in zip(boxed, scores, strict=True):
            own[i] = Prediction(samples[i], None, scene.objects, row, self.model.config.ground_temperature)
        prefix = replace(prefix, scene=None)  # texts wait without what boxes are pooled from, which may be large
        for i, sample in enumerate(samples):
            if sample.boxes is None and (chat.COORD not in sample.question or sample.coord is not None):
                waiting.add(self._question(prefix, sample), self.limit(sample), own, i)
        return own

    def _prefix_ids(self, scene: SceneInputs) -> torch.Tensor:
        return torch.tensor(chat.prefix_ids(self.tokenizer, self.settings, scene.num_tokens))

    def limit(self, sample: Sample) -> int:
        """The most tokens that an answer may have."""
        return TASKS[sample.task].max_new_tokens if self.max_new_tokens is None else self.max_new_tokens

    def kv_bytes(self, tokens: int) -> int:
        """Of the keys and values of so many tokens."""
        config, size = self.model.config.text_config, self.model.dtype.itemsize
        width = config.hidden_size // config.num_attention_heads
        return 2 * config.num_hidden_layers * config.num_key_value_heads * width * size * tokens

    def question_bytes(self, question: Question, limit: int) -> int:
        """Of the keys and values of a question with its answer."""
        return self.kv_bytes(len(question.ids) + limit)

    def _question(self, prefix: Prefix, sample: Sample) -> Question:
        ids = chat.question_ids(self.tokenizer, sample.question)
        if sample.boxes is not None:
            ids = [*ids, self.tokenizer.convert_tokens_to_ids(chat.GROUND)]
        return Question(prefix, torch.tensor(ids), torch.from_numpy(coord_points(sample).astype(np.float32)))

    def _find(self, prefix: Prefix, scene: SceneInputs, samples: Sequence[Sample], room: int) -> list[np.ndarray]:
        """(n + 1,) scores for each question, as many at once as there is room for."""
        objects, scores = torch.from_numpy(np.asarray(scene.objects, dtype=np.float32)), []
        questions = [self._question(prefix, sample) for sample in samples]
        for batch in _cut(questions, [self.question_bytes(question, 0) for question in questions], room):
            scores.extend(ground(self.model, batch, objects, scene.object_masks).float().cpu().numpy())
        return scores


@dataclass
class _Waiting:
    """Questions to be answered in words, of one scene or of several, that fit into the memory together."""

    answerer: Answerer
    questions: list[Question] = field(default_factory=list)
    limits: list[int] = field(default_factory=list)
    places: list[tuple[list[Prediction], int]] = field(default_factory=list)  # where each answer goes
    held: int = 0  # bytes of the prefixes
    needed: int = 0  # bytes of the questions with their answers

    def make_room(self, prefix: int) -> None:
        """Before a prefix of so many tokens is computed."""
        size = self.answerer.kv_bytes(prefix)
        if self.held + self.needed + size > self.answerer.kv_memory:
            self.tell()

    def add(self, question: Question, limit: int, predictions: list[Prediction], at: int) -> None:
        """A question whose answer goes into `predictions` at `at`."""
        size = self.answerer.question_bytes(question, limit)
        if self.questions and self.held + self.needed + self._new_bytes(question) + size > self.answerer.kv_memory:
            self.tell()
        self.held += self._new_bytes(question)
        self.needed += size
        self.questions.append(question)
        self.limits.append(limit)
        self.places.append((predictions, at))

    def _new_bytes(self, question: Question) -> int:
        """Of a prefix that no question before shares."""
        shared = self.questions and self.questions[-1].prefix is question.prefix
        return 0 if shared else self.answerer.kv_bytes(question.prefix.length)

    def tell(self) -> None:
        """Answer what waits."""
        tokenizer = self.answerer.tokenizer
        eos = tokenizer.convert_tokens_to_ids("<|im_end|>")
        answers = greedy(self.answerer.model, self.questions, self.limits, eos)
        for (predictions, at), answer in zip(self.places, answers, strict=True):
            text = tokenizer.decode(answer, skip_special_tokens=True).strip()
            predictions[at] = Prediction(predictions[at].sample, text=text)
        self.questions, self.limits, self.places, self.held, self.needed = [], [], [], 0, 0


def _cut(questions: Sequence[Question], sizes: Sequence[int], room: int) -> list[list[Question]]:
    """Batches in order, each of at most so many bytes, or of one question."""
    batches: list[list[Question]] = []
    left = 0
    for question, size in zip(questions, sizes, strict=True):
        if not batches or size > left:
            batches.append([])
            left = room
        batches[-1].append(question)
        left -= size
    return batches


def read_size(text: str) -> int:
    """Bytes from "4GB", "512 MiB", "1.5g" or "1000000"; a unit is a power of 1024.

    Raises ValueError for anything else, and for nothing at all.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE)
    size = int(float(match[1]) * (1 << UNITS[match[2].upper()])) if match else 0
    if size < 1:
        raise ValueError(f"{text!r} is no amount of memory: expected a number with a unit, like 4GB or 512MB")
    return size
