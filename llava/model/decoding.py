"""Answering many questions about scenes: a scene's prefix is computed once, and its KV cache serves all of them.

Shape letters: P prefix tokens, K questions, N tokens of all of them, D model width, n objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from transformers import DynamicCache

from llava.model.branches import Branches
from llava.model.scene_lm import SceneLM
from llava.types import SceneTokens


@dataclass(frozen=True)
class Prefix:
    """What all questions about a scene share."""

    cache: DynamicCache  # of one row
    length: int
    scene: SceneTokens | None  # None: the model sees no scene


@dataclass(frozen=True)
class Question:
    """What is asked behind a prefix."""

    prefix: Prefix
    ids: torch.Tensor  # (L,) token ids that follow the prefix
    coord_points: torch.Tensor | None = None  # (c, 3) of its "<coord>" tokens, metres


@torch.no_grad()
def prefill(model: SceneLM, input_ids: torch.Tensor, scene: dict[str, torch.Tensor] | None = None) -> Prefix:
    """Run the prefix (P,), i.e. system turn, user header and scene placeholders, and keep its cache.

    Raises:
        ValueError: the text promises another number of scene tokens than the scene has.
    """
    input_ids = input_ids.to(model.device)
    tokens = model.encode({key: value.to(model.device) for key, value in (scene or {}).items()})
    x_1PD = model.embed(input_ids[None], tokens, None)
    cache = DynamicCache(config=model.config.text_config)
    model.read(x_1PD, torch.arange(len(input_ids), device=model.device)[None], None, cache)
    return Prefix(cache, len(input_ids), tokens)


@torch.no_grad()
def greedy(
    model: SceneLM, questions: Sequence[Question], max_new_tokens: int | Sequence[int], eos_id: int
) -> list[list[int]]:
    """Answer the questions by greedy decoding, all in one batch; those of one prefix stand behind each other.

    Args:
        max_new_tokens: an answer without ``eos_id`` ends here; for all questions, or for each.

    Returns:
        The new token ids of each question, without ``eos_id``.
    """
    answers: list[list[int]] = [[] for _ in questions]
    limits = [max_new_tokens] * len(questions) if isinstance(max_new_tokens, int) else list(max_new_tokens)
    asked = [i for i, limit in enumerate(limits) if limit > 0]
    if not asked:
        return answers
    branches, hidden_ND, ends = _read(model, [questions[i] for i in asked])
    hidden_KD = hidden_ND[ends]
    at_K = torch.tensor([questions[i].prefix.length + len(questions[i].ids) for i in asked], device=model.device)
    while True:
        token_K = model.language_model.lm_head(hidden_KD).argmax(dim=-1)
        open_rows = []
        for row, token in enumerate(token_K.tolist()):
            if token != eos_id:
                answers[asked[row]].append(token)
                if len(answers[asked[row]]) < limits[asked[row]]:
                    open_rows.append(row)
        if not open_rows:
            return answers
        if len(open_rows) < len(asked):
            asked = [asked[row] for row in open_rows]
            branches.keep(open_rows)
            token_K, at_K = token_K[open_rows], at_K[open_rows]
        branches.extend([1] * len(asked))
        x_1KD = model.get_input_embeddings()(token_K[None])
        hidden_KD = model.read(x_1KD, at_K[None], branches)[0]
        at_K = at_K + 1


@torch.no_grad()
def ground(
    model: SceneLM, questions: Sequence[Question], objects: torch.Tensor, object_masks: torch.Tensor
) -> torch.Tensor:
    """Score a scene's objects for each question; nothing is generated, the turn with its ``<ground>`` is fed whole.

    Args:
        questions: about one scene, each with exactly one ``<ground>``.
        objects: (n, 6) boxes, metres.
        object_masks: (n, V, H', W') bool, which patch sees which object.

    Returns:
        (K, n + 1) cosine similarities, the zero target last.

    Raises:
        ValueError: a question has none or several ``<ground>`` tokens.
    """
    if not questions:
        return torch.zeros(0, len(objects) + 1, device=model.device)
    is_mark = [question.ids == model.config.ground_token_id for question in questions]
    counts = [int(marks.sum()) for marks in is_mark]
    if set(counts) != {1}:
        bad = next(i for i, count in enumerate(counts) if count != 1)
        raise ValueError(f"question {bad} has {counts[bad]} <ground> tokens, expected exactly one")
    _, hidden_ND, _ = _read(model, questions)
    scene = questions[0].prefix.scene
    features_1nD = model.object_features(scene, objects.to(model.device)[None], (object_masks.to(model.device),))
    rows_K = torch.zeros(len(questions), dtype=torch.long, device=model.device)
    return model.ground_head(hidden_ND[torch.cat(is_mark).to(model.device)], features_1nD, rows_K)


def _read(model: SceneLM, questions: Sequence[Question]) -> tuple[Branches, torch.Tensor, torch.Tensor]:
    """Read the questions; returns the open branches, all hidden states (N, D), and where each question ends there."""
    device = model.device
    of_prefix = [list(same) for _, same in groupby(questions, key=lambda question: id(question.prefix))]
    branches = Branches([same[0].prefix.cache for same in of_prefix], [len(same) for same in of_prefix], device)
    lengths = [len(question.ids) for question in questions]
    branches.extend(lengths)
    points = [question.coord_points for question in questions if question.coord_points is not None]
    ids_1N = torch.cat([question.ids for question in questions])[None].to(device)
    x_1ND = model.embed(ids_1N, None, torch.cat(points).to(device) if points else None)
    starts = [question.prefix.length for question in questions]
    positions = torch.cat([torch.arange(a, a + length) for a, length in zip(starts, lengths, strict=True)])
    hidden_ND = model.read(x_1ND, positions[None].to(device), branches)[0]
    return branches, hidden_ND, torch.tensor(lengths, device=device).cumsum(0) - 1
