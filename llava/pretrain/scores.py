"""How well the base model reads pictures that it never saw, and rooms that it was never told of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from llava.answering import Answerer
from llava.data.pack import ground_target
from llava.rooms.pictures import Pictures
from llava.types import Prediction, Sample

if TYPE_CHECKING:
    from llava.data.scenes import SceneInputs
    from llava.model.scene_lm import SceneLM
    from llava.pretrain.packs import ImagePacks

LONGEST = 24  # tokens of an answer


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


def _shares(
    model: SceneLM, packs: ImagePacks, asked: Sequence[tuple[SceneInputs, Sequence[Sample]]]
) -> dict[str, float]:
    """Right answers in percent by kind of question, greedy and exact.

    A box question counts as right when the best-scoring box (or the zero target) is one of those meant.
    """
    answerer = Answerer(model, packs.tokenizer, packs.chat, LONGEST)
    found: dict[str, list[bool]] = {}
    for scene, samples in asked:
        for prediction in answerer.answer(scene, samples):
            found.setdefault(prediction.sample.meta["kind"], []).append(_is_right(prediction, scene.objects))
    return {kind: 100 * float(np.mean(right)) for kind, right in sorted(found.items())}


def _is_right(prediction: Prediction, objects: np.ndarray) -> bool:
    sample, answer = prediction.sample, prediction.text
    if prediction.scores is not None:
        return bool(ground_target(sample, objects)[prediction.scores.argmax()])
    if sample.meta["kind"] == "point":  # a caption may add or leave out size and material
        return set(sample.meta["words"]) <= set(answer.lower().replace(".", "").split())
    return answer == sample.answer
