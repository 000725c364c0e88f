"""A patch said in words, by the projector or by what is known about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from llava.pretrain.tower import Pixels, to_pixels
from llava.pretrain_config import PretrainConfig
from llava.rooms.pictures import Pictures
from llava.rooms.room import Item
from llava.types import SceneTokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from llava.model.scene_lm import SceneLM

WORDS = 8  # token ids a thing's colour and class take at most, said twice


def draw_words(model: SceneLM) -> torch.Tensor:
    """Give the model a table of word vectors of length about one, and return a copy: what "said in words" means.

    The copy stays as it is while the model's own table learns.
    """
    table = model.get_input_embeddings().weight
    torch.nn.init.normal_(table, std=table.shape[1] ** -0.5)
    return table.detach().clone()


def align_words(
    model: SceneLM,
    table: torch.Tensor,
    tokenizer: PreTrainedTokenizerBase,
    corpus: Sequence[Pictures],
    config: PretrainConfig,
) -> None:
    """Teach the projector to say a patch in words: its output becomes the sum of the word vectors of colour and class.

    Reading an attribute off a scene token is then a matter of comparing word vectors. Only the projector learns.
    """
    projector, tower = model.encoder.projector, model.encoder.tower
    torch.nn.init.zeros_(projector[-1].weight)
    optimizer = torch.optim.AdamW(projector.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, config.align_steps)
    pixels, rng = Pixels(corpus), np.random.default_rng([config.seed, 3])
    words = [word_ids(pictures.items, tokenizer) for pictures in corpus]
    bar = tqdm(range(config.align_steps), desc="words", mininterval=10)
    for step in bar:
        chosen = rng.integers(len(pixels), size=config.tower_batch)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            features = tower(to_pixels(pixels[chosen])).last_hidden_state.float()
        shown = [(n // pixels.each, corpus[n // pixels.each].patches[n % pixels.each]) for n in chosen]
        wanted = say(torch.stack([words[room][patches] for room, patches in shown]), table)
        loss = F.mse_loss(projector(features), wanted.flatten(1, 2), reduction="sum") / wanted.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            bar.set_postfix(unexplained=f"{loss.item():.3f}")


def word_ids(items: Mapping[int, Item], tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """(items, `WORDS`) token ids of each item's colour and class, by item id, filled up with -1.

    Both as a question names them (after a blank) and as an answer does (at its start).
    """
    ids = torch.full((max(items) + 1, WORDS), -1)
    for i, item in items.items():
        found = [t for text in (f" {item.color} {item.label}", item.color, item.label) for t in _ids(tokenizer, text)]
        ids[i, : len(found)] = torch.tensor(found[:WORDS])
    return ids


def say(ids: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Sum of the word vectors of `ids` (..., WORDS), where -1 stands for no word: (..., D)."""
    return (table[ids.clamp(min=0)] * (ids >= 0)[..., None]).sum(dim=-2)


def tell_words(model: SceneLM, table: torch.Tensor) -> torch.utils.hooks.RemovableHandle:
    """Let the encoder say views in words where the inputs tell the words, instead of what it sees.

    On such views, reading is learnt without the tower's mistakes in the way; views without words follow suit.
    """

    def replace_views(encoder: nn.Module, args: tuple, tokens: SceneTokens) -> SceneTokens:
        words = args[0]["words"]  # (V, g, g, WORDS)
        told = (words >= 0).any(dim=-1).any(dim=-1).any(dim=-1)[:, None, None, None]
        dense = torch.where(told, say(words, table).to(tokens.dense), tokens.dense)
        pooled = F.interpolate(dense.permute(0, 3, 1, 2), size=tokens.tokens.shape[1:3], mode="bilinear")
        return replace(tokens, dense=dense, tokens=pooled.permute(0, 2, 3, 1))

    return model.encoder.register_forward_hook(replace_views)


@lru_cache(maxsize=4096)
def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
