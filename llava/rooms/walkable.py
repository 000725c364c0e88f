"""Where a person can walk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llava.rooms.room import Item

CELL = 0.15  # metres
_SHOULDER = 0.22  # metres a walker keeps from furniture
_ANKLE, _EYE = 0.05, 1.75  # only what is between these heights is in the way


@dataclass(frozen=True)
class FreeFloor:
    """The largest connected part of the floor that a walker's middle can reach."""

    free: np.ndarray  # (rows along y, columns along x) bool
    xs: np.ndarray  # (columns,) metres
    ys: np.ndarray  # (rows,) metres

    @property
    def share(self) -> float:
        """Of the floor."""
        return float(self.free.mean())


def walkable(extent: tuple[float, float, float], items: Sequence[Item]) -> FreeFloor:
    """Grid of the free floor of a room of `extent` metres with `items` in it."""
    from scipy import ndimage

    xs, ys = (np.arange(-e / 2 + CELL / 2, e / 2, CELL) for e in extent[:2])
    free = (np.abs(xs)[None] < extent[0] / 2 - 0.3) & (np.abs(ys)[:, None] < extent[1] / 2 - 0.3)
    for item in items:
        low, high = item.box[:3] - item.box[3:] / 2, item.box[:3] + item.box[3:] / 2
        if item.shell or high[2] < _ANKLE or low[2] > _EYE:
            continue
        in_x = (xs > low[0] - _SHOULDER) & (xs < high[0] + _SHOULDER)
        in_y = (ys > low[1] - _SHOULDER) & (ys < high[1] + _SHOULDER)
        free &= ~(in_y[:, None] & in_x[None])
    pieces, n = ndimage.label(free)
    if n:
        free = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    return FreeFloor(free, xs, ys)
