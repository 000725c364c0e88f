"""Answering many questions about one scene: the prefix is computed once and its KV cache serves them all.

Shape letters: P prefix tokens, K questions, L tokens of the longest question, D model width, n objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache

from llava.model.attention import cache_mask
from llava.model.scene_lm import SceneLM
from llava.types import SceneTokens


@dataclass(frozen=True)
class Prefix:
    """What all questions about a scene share."""

    cache: DynamicCache  # of one row
    length: int
    scene: SceneTokens | None  # None: the model sees no scene


@dataclass
class _Questions:
    """A batch of questions on the repeated cache, padded on the left so that every row ends at its last token."""

    cache: DynamicCache
    hidden_KLD: torch.Tensor
    input_ids: torch.Tensor  # (K, L)
    keys: torch.Tensor  # (K, P + L) bool: False is padding
    positions: torch.Tensor  # (K,) of each question's last token


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
    model: SceneLM,
    prefix: Prefix,
    questions: Sequence[torch.Tensor],
    coord_points: Sequence[torch.Tensor | None],
    max_new_tokens: int,
    eos_id: int,
) -> list[list[int]]:
    """Answer the questions, each (L_k,) token ids that follow the prefix, by greedy decoding.

    Args:
        coord_points: for each question the (c, 3) points of its ``<coord>`` tokens, metres, or None.
        max_new_tokens: an answer without ``eos_id`` ends here.

    Returns:
        The new token ids of each question, without ``eos_id``.
    """
    answers: list[list[int]] = [[] for _ in questions]
    if not questions or max_new_tokens < 1:
        return answers
    state = _read(model, prefix, questions, coord_points)
    open_rows = list(range(len(questions)))
    hidden_KD = state.hidden_KLD[:, -1]
    for step in range(max_new_tokens):
        token_K = model.language_model.lm_head(hidden_KD).argmax(dim=-1)
        tokens = token_K.tolist()
        keep = [i for i, token in enumerate(tokens) if token != eos_id]
        for i in keep:
            answers[open_rows[i]].append(tokens[i])
        if not keep or step == max_new_tokens - 1:
            break
        if len(keep) < len(open_rows):
            open_rows = [open_rows[i] for i in keep]
            rows = torch.tensor(keep, device=token_K.device)
            state.cache.batch_select_indices(rows)
            token_K, state.keys, state.positions = token_K[rows], state.keys[rows], state.positions[rows]
        hidden_KD = _advance(model, state, token_K)
    return answers


@torch.no_grad()
def ground(
    model: SceneLM,
    prefix: Prefix,
    questions: Sequence[torch.Tensor],
    objects: torch.Tensor,
    object_masks: torch.Tensor,
    coord_points: Sequence[torch.Tensor | None] | None = None,
) -> torch.Tensor:
    """Score the objects for each question; nothing is generated, the turn with its ``<ground>`` is fed whole.

    Args:
        questions: (L_k,) token ids that follow the prefix, each with exactly one ``<ground>``.
        objects: (n, 6) boxes, metres.
        object_masks: (n, V, H', W') bool, which patch sees which object.
        coord_points: as in `greedy`.

    Returns:
        (K, n + 1) cosine similarities, the zero target last.

    Raises:
        ValueError: a question has none or several ``<ground>`` tokens.
    """
    if not questions:
        return torch.zeros(0, len(objects) + 1, device=model.device)
    state = _read(model, prefix, questions, coord_points or [None] * len(questions))
    at_KL = state.input_ids == model.config.ground_token_id
    counts = at_KL.sum(dim=1).tolist()
    if set(counts) != {1}:
        bad = next(i for i, count in enumerate(counts) if count != 1)
        raise ValueError(f"question {bad} has {counts[bad]} <ground> tokens, expected exactly one")
    features_1nD = model.object_features(prefix.scene, objects.to(model.device)[None], (object_masks.to(model.device),))
    rows_K = torch.zeros(len(questions), dtype=torch.long, device=model.device)
    return model.ground_head(state.hidden_KLD[at_KL], features_1nD, rows_K)


def _read(
    model: SceneLM, prefix: Prefix, questions: Sequence[torch.Tensor], coord_points: Sequence[torch.Tensor | None]
) -> _Questions:
    device = model.device
    # The padding's id is that of no token, so that it is never taken for a placeholder.
    ids_KL = pad_sequence([q.to(device) for q in questions], batch_first=True, padding_value=-1, padding_side="left")
    is_text_KL = ids_KL >= 0
    offset_KL = is_text_KL.cumsum(dim=1) - 1
    keys = torch.cat([is_text_KL.new_ones(len(questions), prefix.length), is_text_KL], dim=1)
    points = [p.to(device) for p in coord_points if p is not None]
    x_KLD = model.embed(ids_KL, None, torch.cat(points) if points else None)
    cache = _repeat(prefix.cache, len(questions), model)
    positions = prefix.length + offset_KL.clamp(min=0)
    hidden_KLD = model.read(x_KLD, positions, cache_mask(keys, ids_KL.shape[1]), cache)
    return _Questions(cache, hidden_KLD, ids_KL, keys, positions[:, -1])


def _advance(model: SceneLM, state: _Questions, token_K: torch.Tensor) -> torch.Tensor:
    """Append one token to every open question; returns its hidden state (K, D)."""
    state.keys = torch.cat([state.keys, state.keys.new_ones(len(token_K), 1)], dim=1)
    state.positions = state.positions + 1
    x_K1D = model.get_input_embeddings()(token_K[:, None])
    return model.read(x_K1D, state.positions[:, None], cache_mask(state.keys, 1), state.cache)[:, 0]


def _repeat(cache: DynamicCache, rows: int, model: SceneLM) -> DynamicCache:
    """A copy of a one-row cache with ``rows`` rows; the original keeps serving later batches."""
    repeated = DynamicCache(config=model.config.text_config)
    for index, layer in enumerate(cache.layers):
        repeated.update(layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1), index)
    return repeated
