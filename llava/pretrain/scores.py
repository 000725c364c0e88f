"""How well the base model reads pictures that it never saw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from llava.data.chat import GROUND, prefix_ids, question_ids
from llava.data.pack import coord_points, ground_target
from llava.model.decoding import greedy, ground, prefill
from llava.rooms.pictures import Pictures

if TYPE_CHECKING:
    from llava.model.scene_lm import SceneLM
    from llava.pretrain.packs import ImagePacks


@torch.no_grad()
def picture_scores(model: SceneLM, packs: ImagePacks, corpus: Sequence[Pictures], rounds: int = 2) -> dict[str, float]:
    """Right answers in percent by kind of question, greedy and exact, about pictures that were never seen.

    Lists are left out: they may come in any order. A box question counts as right when the best-scoring box (or
    the zero target) is one of those meant.
    """
    found: dict[str, list[bool]] = {}
    end = packs.tokenizer.convert_tokens_to_ids("<|im_end|>")
    mark = packs.tokenizer.convert_tokens_to_ids(GROUND)
    for number, pictures in enumerate(list(corpus) * rounds):
        rng = np.random.default_rng([packs.config.seed, 2, number])
        scene, samples = packs.questions_about(pictures, packs.hung(pictures, rng), rng)
        samples = [sample for sample in samples if sample.meta["kind"] != "list"]
        prefix = prefill(model, torch.tensor(prefix_ids(packs.tokenizer, packs.chat, scene.num_tokens)), scene.inputs)
        told, boxed = [s for s in samples if s.boxes is None], [s for s in samples if s.boxes is not None]
        asked = [torch.tensor(question_ids(packs.tokenizer, s.question)) for s in told]
        points = [torch.from_numpy(coord_points(s).astype(np.float32)) for s in told]
        for sample, ids in zip(told, greedy(model, prefix, asked, points, 24, end), strict=True):
            answer = packs.tokenizer.decode(ids).strip()
            right = answer == sample.answer
            if sample.meta["kind"] == "point":  # a caption may add or leave out size and material
                right = set(sample.meta["words"]) <= set(answer.lower().replace(".", "").split())
            found.setdefault(sample.meta["kind"], []).append(right)
        asked = [torch.tensor([*question_ids(packs.tokenizer, s.question), mark]) for s in boxed]
        scores = ground(model, prefix, asked, torch.from_numpy(scene.objects).float(), scene.object_masks)
        for sample, row in zip(boxed, scores, strict=True):
            target = ground_target(sample, scene.objects)
            found.setdefault(sample.meta["kind"], []).append(bool(target[int(row.argmax())]))
    return {kind: 100 * float(np.mean(right)) for kind, right in sorted(found.items())}
