"""First stage of the base model: the tower learns to tell class and colour of every patch of plain pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from llava.optimizer import MuonAdamW, is_layer_matrix
from llava.pretrain_config import PretrainConfig
from llava.resumable import replaced
from llava.rooms.pictures import Pictures

if TYPE_CHECKING:
    from llava.encoders.siglip import Siglip

SAVE_STEPS = 500  # between two states that a killed run can go on from


def train_tower(
    tower: nn.Module, encoder: Siglip, corpus: Sequence[Pictures], config: PretrainConfig, unfinished: Path
) -> nn.ModuleDict:
    """Teach the tower to tell the class and the colour of what each patch shows.

    A killed run goes on from the file `unfinished`, which is removed at the end, and ends with the same weights.
    Returns the two linear heads that were learnt with it; they serve to measure the tower and are then thrown away.
    """
    images, targets, words = _patch_labels(corpus)
    weights = rarity(targets["label"], len(words["label"]))
    heads = nn.ModuleDict({key: nn.Linear(encoder.hidden_size, len(words[key])) for key in words})
    learning = nn.ModuleDict({"tower": tower, "heads": heads})
    optimizer = MuonAdamW(_groups(learning, config), betas=(0.9, 0.98))
    peaks = [group["lr"] for group in optimizer.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, peaks, config.tower_steps, pct_start=0.05, cycle_momentum=False
    )
    parts, begin = {"learning": learning, "optimizer": optimizer, "schedule": schedule}, 0
    if unfinished.exists():
        saved = torch.load(unfinished, weights_only=True)
        begin = saved.pop("step")
        for name, state in saved.items():
            parts[name].load_state_dict(state)
    bar = tqdm(range(begin, config.tower_steps), desc="tower", initial=begin, total=config.tower_steps, mininterval=10)
    for step in bar:
        rng = np.random.default_rng([config.seed, 4, step])
        chosen = np.sort(rng.integers(len(images), size=config.tower_batch))
        pixels, wanted = _mirrored(images[chosen], {key: target[chosen] for key, target in targets.items()}, rng)
        with torch.autocast("cpu", torch.bfloat16):
            features = tower(pixels).last_hidden_state
            logits = {key: head(features).flatten(0, 1) for key, head in heads.items()}
        losses = sum(F.cross_entropy(logits[key].float(), wanted[key].flatten(), reduction="none") for key in heads)
        loss = (losses * weights[wanted["label"].flatten()]).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}")
        if (step + 1) % SAVE_STEPS == 0:
            with replaced(unfinished) as partial:
                torch.save({name: part.state_dict() for name, part in parts.items()} | {"step": step + 1}, partial)
    unfinished.unlink(missing_ok=True)
    return heads


def _groups(learning: nn.Module, config: PretrainConfig) -> list[dict]:
    matrices, others = [], []
    for name, parameter in learning.named_parameters():
        (matrices if is_layer_matrix(name, parameter) else others).append(parameter)
    return [
        {"params": matrices, "lr": config.tower_lr_matrices, "weight_decay": 0.05, "muon": True},
        {"params": others, "lr": config.tower_lr, "weight_decay": 0.05},
    ]


def rarity(labels: torch.Tensor, count: int) -> torch.Tensor:
    """(count,) weight of each class: one over the root of how common it is, 1 on average over all patches.

    Most patches show walls, floors and a few common things; the rare ones are asked about just as often.
    """
    common = torch.bincount(labels.flatten(), minlength=count).clamp(min=1).float()
    weights = common.rsqrt()
    return weights * common.sum() / (weights * common).sum()


@torch.no_grad()
def patch_accuracy(
    tower: nn.Module, heads: nn.ModuleDict, corpus: Sequence[Pictures], vocabulary: Sequence[Pictures]
) -> dict[str, float]:
    """Share of patches on things (not on walls, floor or ceiling) whose class and colour the heads tell, in percent.

    Args:
        vocabulary: the corpus that the heads were trained on; fixes what their outputs mean.
    """
    words = _words(vocabulary)
    right: dict[str, list[torch.Tensor]] = {key: [] for key in heads}
    for pictures in corpus:
        thing = torch.from_numpy(np.isin(pictures.patches, [i for i, item in pictures.items.items() if not item.shell]))
        features = tower(to_pixels(pictures.images)).last_hidden_state
        for key, target in _labels_of(pictures, words).items():
            right[key].append((heads[key](features).argmax(-1) == target.flatten(1))[thing.flatten(1)])
    return {key: 100 * torch.cat(found).float().mean().item() for key, found in right.items()}


class Pixels:
    """The images (N, S, S, 3) of a corpus by number; they stay on disk until they are asked for."""

    def __init__(self, corpus: Sequence[Pictures]) -> None:
        self.corpus, self.each = corpus, len(corpus[0].images)

    def __len__(self) -> int:
        return len(self.corpus) * self.each

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        return np.stack([self.corpus[n // self.each].images[n % self.each] for n in numbers])


def to_pixels(images: np.ndarray) -> torch.Tensor:
    """uint8 (N, S, S, 3) -> what the tower reads, (N, 3, S, S) in [-1, 1]."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _words(corpus: Sequence[Pictures]) -> dict[str, list[str]]:
    """All classes and colours that occur, in alphabetical order."""
    items = [item for pictures in corpus for item in pictures.items.values()]
    return {key: sorted({vars(item)[key] for item in items}) for key in ("label", "color")}


def _labels_of(pictures: Pictures, words: dict[str, list[str]]) -> dict[str, torch.Tensor]:
    """(F, g, g) number of each patch's class and colour; -100 for a word that is not in `words`."""
    numbers = {}
    for key, known in words.items():
        number = {word: n for n, word in enumerate(known)}
        table = np.full(max(pictures.items) + 1, -100)
        for i, item in pictures.items.items():
            table[i] = number.get(vars(item)[key], -100)
        numbers[key] = torch.from_numpy(table[pictures.patches])
    return numbers


def _patch_labels(corpus: Sequence[Pictures]) -> tuple[Pixels, dict[str, torch.Tensor], dict[str, list[str]]]:
    """All images, class and colour numbers (N, g, g), and the words behind the numbers."""
    words = _words(corpus)
    labels = [_labels_of(pictures, words) for pictures in corpus]
    return Pixels(corpus), {key: torch.cat([found[key] for found in labels]) for key in words}, words


def _mirrored(
    images: np.ndarray, targets: dict[str, torch.Tensor], rng: np.random.Generator
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Pixels with half of the pictures mirrored, and the targets (N, g, g) (N, g * g) mirrored alike."""
    mirrored = torch.from_numpy(rng.random(len(images)) < 0.5)
    pixels = to_pixels(images)
    pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
    return pixels, {k: torch.where(mirrored[:, None, None], t.flip(2), t).flatten(1) for k, t in targets.items()}
