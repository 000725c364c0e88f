"""How well the base model reads pictures that it never saw, and rooms that it was never told of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from llava.data.chat import GROUND, prefix_ids, question_ids
from llava.data.pack import coord_points, ground_target
from llava.model.decoding import Prefix, Question, greedy, ground, prefill
from llava.rooms.pictures import Pictures
from llava.types import Sample

if TYPE_CHECKING:
    from llava.data.scenes import SceneInputs
    from llava.model.scene_lm import SceneLM
    from llava.pretrain.packs import ImagePacks


def picture_scores(model: SceneLM, packs: ImagePacks, corpus: Sequence[Pictures], rounds: int = 2) -> dict[str, float]:
    """Right answers in percent by kind of question about pictures that were never seen; lists are left out."""
    asked = []
    for number, pictures in enumerate(list(corpus) * rounds):
        rng = np.random.default_rng([packs.config.seed, 2, number])
        scene, samples = packs.questions_about(pictures, packs.hung(pictures, rng), rng)
        asked.append((scene, [sample for sample in samples if sample.meta["kind"] != "list"]))
    return _shares(model, packs, asked)


def told_scores(model: SceneLM, packs: ImagePacks, rooms: Sequence[int]) -> dict[str, float]:
    """The same by benchmark about these rooms told in words; captions, which may say anything true, are left out."""
    asked = []
    for index in rooms:
        scene, samples = packs.told_room(index, np.random.default_rng([packs.config.seed, 4, index]))
        asked.append((scene, [sample for sample in samples if sample.meta["kind"] != "scan2cap"]))
    return _shares(model, packs, asked)


@torch.no_grad()
def _shares(
    model: SceneLM, packs: ImagePacks, asked: Sequence[tuple[SceneInputs, Sequence[Sample]]]
) -> dict[str, float]:
    """Right answers in percent by kind of question, greedy and exact.

    A box question counts as right when the best-scoring box (or the zero target) is one of those meant.
    """
    found: dict[str, list[bool]] = {}
    end = packs.tokenizer.convert_tokens_to_ids("<|im_end|>")
    mark = packs.tokenizer.convert_tokens_to_ids(GROUND)
    for scene, samples in asked:
        prefix = prefill(model, torch.tensor(prefix_ids(packs.tokenizer, packs.chat, scene.num_tokens)), scene.inputs)
        texts, boxed = [s for s in samples if s.boxes is None], [s for s in samples if s.boxes is not None]
        questions = [_question(packs, prefix, s) for s in texts]
        for sample, answer in zip(texts, greedy(model, questions, 24, end), strict=True):
            found.setdefault(sample.meta["kind"], []).append(_is_right(sample, packs.tokenizer.decode(answer).strip()))
        questions = [_question(packs, prefix, s, mark) for s in boxed]
        scores = ground(model, questions, torch.from_numpy(scene.objects).float(), scene.object_masks)
        for sample, row in zip(boxed, scores, strict=True):
            target = ground_target(sample, scene.objects)
            found.setdefault(sample.meta["kind"], []).append(bool(target[int(row.argmax())]))
    return {kind: 100 * float(np.mean(right)) for kind, right in sorted(found.items())}


def _question(packs: ImagePacks, prefix: Prefix, sample: Sample, *answer: int) -> Question:
    ids = [*question_ids(packs.tokenizer, sample.question), *answer]
    return Question(prefix, torch.tensor(ids), torch.from_numpy(coord_points(sample).astype(np.float32)))


def _is_right(sample: Sample, answer: str) -> bool:
    if sample.meta["kind"] == "point":  # a caption may add or leave out size and material
        return set(sample.meta["words"]) <= set(answer.lower().replace(".", "").split())
    return answer == sample.answer
