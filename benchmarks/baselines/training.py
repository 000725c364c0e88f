"""Gradients of many questions about one scene, the plain ways: sample by sample, on a repeated cache, by a dense mask.

Shape letters: P prefix tokens, K questions, L tokens of a question, D model width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F
from transformers import DynamicCache

from llava.model.attention import pack_mask
from llava.model.losses import text_losses
from llava.model.scene_lm import SceneLM


@dataclass(frozen=True)
class Scene:
    """A prefix, and questions of one length about it; only the last tokens of a question are labelled."""

    prefix: torch.Tensor  # (P,) token ids
    questions: torch.Tensor  # (K, L) token ids
    labels: torch.Tensor  # (K, L) token ids or -100
    views: dict[str, torch.Tensor] | None = None  # what the encoder takes; None: the prefix is text alone

    def pack(self) -> dict:
        """The same as one scene pack: the fields of `types.Batch` that text needs."""
        (count, length), start = self.questions.shape, len(self.prefix)
        own = torch.arange(1, count + 1).repeat_interleave(length)
        return {
            "input_ids": torch.cat([self.prefix, self.questions.flatten()])[None],
            "position_ids": torch.cat([torch.arange(start), start + torch.arange(length).repeat(count)])[None],
            "branch_ids": torch.cat([torch.zeros(start, dtype=torch.long), own])[None],
            "labels": torch.cat([torch.full((start,), -100), self.labels.flatten()])[None],
            "scene": self.views,
        }


def learn_apart(model: SceneLM, scene: Scene) -> float:
    """A sample a question: prefix and question, ordinary causal attention, its own backward pass. Returns the loss."""
    total, start = 0.0, len(scene.prefix)
    for question, labels in zip(scene.questions, scene.labels, strict=True):
        x_1TD = model.embed(torch.cat([scene.prefix, question])[None], model.encode(scene.views), None)
        hidden_1TD = model.read(x_1TD, torch.arange(x_1TD.shape[1])[None], None)
        loss = _loss(model, hidden_1TD[0, start:], labels) / len(scene.questions)
        loss.backward()
        total += loss.item()
    return total


def learn_on_a_cache(model: SceneLM, scene: Scene) -> float:
    """The prefix into a KV cache that keeps its gradient, then all questions as one batch on the repeated cache."""
    (count, length), start = scene.questions.shape, len(scene.prefix)
    cache = DynamicCache(config=model.config.text_config)
    x_1PD = model.embed(scene.prefix[None], model.encode(scene.views), None)
    model.read(x_1PD, torch.arange(start)[None], None, cache)
    cache.batch_repeat_interleave(count)
    mask_LS = torch.ones(length, start + length, dtype=torch.bool).tril(start)
    positions_KL = (start + torch.arange(length)).expand(count, -1)
    hidden_KLD = model.read(model.embed(scene.questions, None, None), positions_KL, mask_LS[None, None], cache)
    losses = [_loss(model, hidden, labels) for hidden, labels in zip(hidden_KLD, scene.labels, strict=True)]
    loss = torch.stack(losses).mean()
    loss.backward()
    return loss.item()


def learn_by_dense_mask(model: SceneLM, scene: Scene) -> float:
    """One packed sequence under a mask of its squared length."""
    pack = scene.pack()
    x_1TD = model.embed(pack["input_ids"], model.encode(scene.views), None)
    hidden_1TD = model.read(x_1TD, pack["position_ids"], pack_mask(pack["branch_ids"]))
    losses, _ = text_losses(
        hidden_1TD, model.language_model.lm_head, pack["labels"], pack["branch_ids"], len(scene.questions)
    )
    loss = losses.mean()
    loss.backward()
    return loss.item()


def _loss(model: SceneLM, hidden_LD: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of a question's labelled tokens, none of which is its first."""
    at = (labels != -100).nonzero()[:, 0]
    return F.cross_entropy(model.language_model.lm_head(hidden_LD[at - 1]), labels[at])
