"""Pictures hung up as posters, and boards of words: scenes whose places are made up.

A mark on a poster and the patches of the poster are encoded in one coordinate frame, so a model can learn to look
up what lies at a place without any depth or pose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from llava.data.scenes import SceneInputs
from llava.pretrain.tower import to_pixels
from llava.rooms.pictures import Pictures
from llava.rooms.room import Item

HANGING = ((-3.5, -3.5, 0.2), (3.5, 3.5, 2.4))  # metres, corners of the space where posters hang


@dataclass(frozen=True)
class Posters:
    """Some pictures with a place for each of their patches."""

    images: np.ndarray  # (V, S, S, 3) uint8
    patches: np.ndarray  # (V, g, g) id of the item that a patch shows
    places: np.ndarray  # (V, g, g, 3) metres
    items: dict[int, Item]
    hung: bool = True  # False: the places mean nothing, and the model must not take them for something
    solid: bool = False  # True: the places are those of the things in their room, so these have boxes of their own

    @property
    def seen(self) -> list[Item]:
        """The things that two patches or more show; walls, floor and ceiling are none."""
        ids, counts = np.unique(self.patches, return_counts=True)
        found = [self.items[int(i)] for i, n in zip(ids, counts, strict=True) if n >= 2]
        return [item for item in found if not item.shell]

    def mark(self, item: int, rng: np.random.Generator) -> np.ndarray:
        """(6,) a small box near one patch of the item; a little off, as a box's centre is off its surface."""
        place = self.places[tuple(rng.choice(np.argwhere(self.patches == item)))]
        return np.concatenate([place + rng.normal(0, 0.08, 3), np.full(3, 0.05)])

    def boxes(self, items: Sequence[int]) -> np.ndarray:
        """(n, 6) a box per item: its own if `solid`, else a small one at the middlemost patch of its largest view."""
        if self.solid:
            return np.stack([self.items[item].box for item in items]).astype(np.float32)
        boxes = np.empty((len(items), 6), dtype=np.float32)
        for i, item in enumerate(items):
            own = self.patches == item
            v = int(own.sum(axis=(1, 2)).argmax())
            spots = np.argwhere(own[v])
            row, column = spots[np.abs(spots - spots.mean(axis=0)).sum(axis=1).argmin()]
            boxes[i] = [*self.places[v, row, column], 0.02, 0.02, 0.02]
        if not self.hung:  # all about one point, told apart by their sizes alone: none overlaps another by half
            digits = np.asarray(items, dtype=int)[:, None] // (1, 8, 64) % 8
            boxes[:, :3], boxes[:, 3:] = 0, 0.05 * 2.5**digits
        return boxes

    def scene(self, cells: int) -> SceneInputs:
        """The pictures as the inputs of an encoder with `cells` tokens a side."""
        places = torch.from_numpy(self.places.astype(np.float32)).permute(0, 3, 1, 2)
        ids = [item.id for item in self.seen]
        inputs = {
            "pixel_values": to_pixels(self.images),
            "coords": F.interpolate(places, size=(cells, cells), mode="bilinear").permute(0, 2, 3, 1),
            "valid": torch.full((len(places), cells, cells), self.hung),
        }
        masks = torch.from_numpy(np.stack([self.patches == i for i in ids]))
        return SceneInputs(inputs, len(self.images) * cells * (cells + 1), self.boxes(ids), masks)


def hang(pictures: Pictures, views: np.ndarray, rng: np.random.Generator) -> Posters:
    """Each of the pictures `views` as a flat square somewhere in the room, in a plane of two of its axes."""
    patches, grid = pictures.patches[views], pictures.patches.shape[1]
    planes = np.stack([rng.permutation(3)[:2] for _ in views])  # which two axes each poster spans
    signs = rng.choice([-1.0, 1.0], size=(len(views), 2))
    widths = rng.uniform(1.2, 3.5, size=len(views))
    steps = (np.arange(grid) + 0.5) / grid - 0.5
    places = np.broadcast_to(rng.uniform(*HANGING, (len(views), 1, 1, 3)), (*patches.shape, 3)).copy()
    for v, (right, down) in enumerate(planes):
        places[v, :, :, right] += signs[v, 0] * widths[v] * steps[None, :]
        places[v, :, :, down] += signs[v, 1] * widths[v] * steps[:, None]
    return Posters(pictures.images[views], patches, places, pictures.items)


def board(pictures: Pictures, cells: int, rng: np.random.Generator) -> Posters:
    """A few of the room's things, one in a cell, each thing at a place of its own: the tersest of all pictures.

    There is nothing to see on it; its patches are only ever told in words. Cells are two patches wide.
    """
    things = [item.id for item in pictures.items.values() if not item.shell]
    few = rng.permutation(things)[: int(rng.integers(2, 9))]
    places = rng.uniform(*HANGING, (len(few), 3))
    shown = rng.integers(len(few), size=(1, cells, cells))
    spread = rng.normal(0, 0.15, (*shown.shape, 3))
    grid = pictures.patches.shape[1]
    patches, places = (in_patches(x, grid) for x in (few[shown], places[shown] + spread))
    return Posters(np.zeros_like(pictures.images[:1]), patches, places, pictures.items)


def in_patches(values: np.ndarray, grid: int) -> np.ndarray:
    """(V, c, c, ...) values of cells, two patches wide -> (V, grid, grid, ...) of patches."""
    return values.repeat(2, axis=1).repeat(2, axis=2)[:, :grid, :grid]
