"""Situations: where somebody may stand or sit in a room, and how he would say it.

The words leave the exact spot open ("next to the bed"), so a situation keeps several stances that its words fit,
and whatever is asked in it has to be true for all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from llava.rooms.referring import Inventory, Query
from llava.rooms.relations import Stance, blocked, on_side
from llava.rooms.room import INWARD, Item
from llava.rooms.walkable import walkable
from llava.rooms.words import chance, phrase, pick, sentence

SEATS = ("chair", "office chair", "armchair", "couch", "stool", "bed")
HUNG = ("window", "picture", "mirror", "whiteboard", "curtain")  # one stands before them, not next to them
MOST = 6  # stances of one situation

TEXTS = {  # {x}: where I am; {y}: what I look at
    "beside": (
        "I am standing next to {x} and facing {y}.",
        "I am standing beside {x}, facing {y}.",
        "I stand by {x} and look at {y}.",
        "Standing next to {x}, I am looking at {y}.",
        "I am next to {x} and {y} is in front of me.",
        "I am close to {x}, looking towards {y}.",
    ),
    "before": (
        "I am standing in front of {x} and facing it.",
        "I am facing {x} and standing right in front of it.",
        "I stand in front of {x} and look at it.",
        "Standing in front of {x}, I am looking at it.",
        "I am looking at {x}, just in front of it.",
    ),
    "back to": (
        "I am standing in front of {x} with my back to it.",
        "I stand right in front of {x}, and it is behind me.",
        "Standing in front of {x}, I am facing away from it.",
        "I am facing the room with {x} right behind me.",
        "I am just in front of {x} and my back is to it.",
    ),
    "sitting": (
        "I am sitting on {x} and facing {y}.",
        "I sit on {x}, looking at {y}.",
        "Sitting on {x}, I am facing {y}.",
        "I just sat down on {x} and I look at {y}.",
        "I am sitting on {x} with {y} in front of me.",
    ),
    "entering": (
        "I am coming in through {x}.",
        "I just entered the room through {x}.",
        "I am standing at {x} and looking into the room.",
        "I have just walked in at {x} and look straight ahead.",
        "I am entering the room, {x} is right behind me.",
    ),
}


@dataclass(frozen=True)
class Situation:
    """Who stands where: a kind (key of TEXTS), what it is told by, and all stances that its words fit."""

    kind: str
    near: Query
    facing: Query | None
    stances: tuple[Stance, ...]
    named: tuple[int, ...]  # ids of the items it is told by

    def tell(self, rng: np.random.Generator, count: int) -> list[str]:
        """``count`` different ways to say it."""
        frames = [TEXTS[self.kind][int(k)] for k in rng.permutation(len(TEXTS[self.kind]))[:count]]
        names = {"x": phrase(rng, self.near), "y": phrase(rng, self.facing) if self.facing else ""}
        return [sentence(frame.format(**names)) for frame in frames]


def situations(inventory: Inventory, rng: np.random.Generator) -> list[Situation]:
    """Situations that this room allows, in random order, one for each place that can be named."""
    cells = _free_cells(inventory)
    found = []
    items = [(item, _name(inventory, item, rng)) for item in inventory.seen()]
    named = [(item, name) for item, name in items if name is not None]
    for item, name in (named[int(k)] for k in rng.permutation(len(named))):
        kinds = [_sitting, _beside] if item.label in SEATS else [_beside]
        if item.wall is not None:
            kinds += [_before, _back_to]
        if item.label == "door":
            kinds = [_entering, _entering, _before]
        made = pick(rng, kinds)(inventory, item, name, named, cells, rng)
        if made is not None:
            found.append(made)
    return found


def _name(inventory: Inventory, item: Item, rng: np.random.Generator) -> Query | None:
    """How a situation calls an item: the shortest name, at times a longer one."""
    names = inventory.names(item)
    return None if not names else pick(rng, names) if chance(rng, 0.25) else names[0]


def _free_cells(inventory: Inventory) -> np.ndarray:
    """Points (n, 2) on the floor where one can stand, metres."""
    floor = walkable(inventory.room.extent, tuple(inventory.items.values()))
    rows, columns = np.nonzero(floor.free)
    return np.stack([floor.xs[columns], floor.ys[rows]], axis=1)


def _beside(inventory, item, name, named, cells, rng) -> Situation | None:
    if item.label in HUNG or item.support is not None:
        return None
    off = np.maximum(np.abs(cells - item.box[:2]) - item.box[3:5] / 2, 0)
    spots = _some(cells[np.hypot(*off.T) <= 0.45], rng)
    others = [(o, n) for o, n in named if o.id != item.id and o.support != item.id]
    for other, facing in (others[int(k)] for k in rng.permutation(len(others))):
        away = np.hypot(*(spots - other.box[:2]).T)
        if len(spots) and away.min() >= 1.2:
            stances = tuple(Stance(float(x), float(y), _towards(x, y, other)) for x, y in spots)
            if not any(blocked(other, s, inventory.items.values()) for s in stances):
                return Situation("beside", name, facing, stances, (item.id, other.id))
    return None


def _before(inventory, item, name, named, cells, rng) -> Situation | None:
    nx, ny = INWARD[item.wall]
    stances = _front_stances(item, cells, rng, yaw=_yaw(-nx, -ny))
    return Situation("before", name, None, stances, (item.id,)) if stances else None


def _back_to(inventory, item, name, named, cells, rng) -> Situation | None:
    stances = _front_stances(item, cells, rng, yaw=_yaw(*INWARD[item.wall]))
    return Situation("back to", name, None, stances, (item.id,)) if stances else None


def _entering(inventory, item, name, named, cells, rng) -> Situation | None:
    nx, ny = INWARD[item.wall]
    stance = Stance(float(item.box[0] + 0.4 * nx), float(item.box[1] + 0.4 * ny), _yaw(nx, ny))
    return Situation("entering", name, None, (stance,), (item.id,))


def _sitting(inventory, item, name, named, cells, rng) -> Situation | None:
    """On a seat, looking where its front looks."""
    stance = Stance(float(item.box[0]), float(item.box[1]), item.yaw)
    rest = [i for i in inventory.items.values() if i.id != item.id]
    ahead = [(o, n) for o, n in named if item.id not in (o.id, o.support) and on_side(o, "in front", stance, -0.6)]
    free = [(o, n) for o, n in ahead if not blocked(o, stance, rest, eye=1.2)]
    if not free:
        return None
    other, facing = pick(rng, free)
    return Situation("sitting", name, facing, (stance,), (item.id, other.id))


def _front_stances(item: Item, cells: np.ndarray, rng: np.random.Generator, yaw: float) -> tuple[Stance, ...]:
    """Free places before an item at a wall, within half its width and about a step away."""
    nx, ny = INWARD[item.wall]
    offset = cells - item.box[:2]
    ahead, aside = offset @ np.array([nx, ny]), offset @ np.array([ny, -nx])
    axis = item.wall % 2
    free = ahead - item.box[4 - axis] / 2
    spots = cells[(free >= 0.2) & (free <= 0.9) & (np.abs(aside) <= max(item.box[3 + axis] / 2 - 0.1, 0.15))]
    return tuple(Stance(float(x), float(y), yaw) for x, y in _some(spots, rng))


def _some(spots: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return spots[rng.permutation(len(spots))[:MOST]]


def _yaw(ahead_x: float, ahead_y: float) -> float:
    """The yaw whose front, as `Item.front` has it, points along a direction."""
    return math.atan2(-ahead_x, ahead_y)


def _towards(x: float, y: float, item: Item) -> float:
    return _yaw(float(item.box[0] - x), float(item.box[1] - y))
