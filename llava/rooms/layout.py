"""From a seed to a furnished room: which objects, and what they look like. Where they go is a matter of `habits`."""

from __future__ import annotations

import numpy as np

from llava.rooms.furniture import CATALOGUE, CLASSES, CLUTTER, Design, choose_color, design
from llava.rooms.habits import place
from llava.rooms.kinds import ROOM_KINDS
from llava.rooms.placement import FloorPlan
from llava.rooms.room import Item, Room
from llava.rooms.shell import build_shell
from llava.rooms.walkable import walkable

LEAST, MOST = 8, 13  # askable objects of a room
_SAME_COLOR_SHARE = 0.4  # of the groups of one class
_ATTEMPTS = 40
# What has no place without one of these: the room gets the first that its kind can have.
_NEEDS = {"curtain": ("window",), "monitor": ("desk",), "lamp": ("nightstand", "desk", "cabinet", "table")}

# Big things first: what comes later finds its place among them.
_ORDER = (
    "door",
    "bed",
    "couch",
    "counter",
    "bathtub",
    "stove",
    "refrigerator",
    "toilet",
    "sink",
    "whiteboard",
    "table",
    "desk",
    "wardrobe",
    "coffee table",
    "bookshelf",
    "washing machine",
    "cabinet",
    "nightstand",
    "office chair",
    "chair",
    "window",
    "curtain",
    "armchair",
    "tv",
    "monitor",
    "microwave",
    "lamp",
    "mirror",
    "picture",
    "radiator",
    "stool",
    "floor lamp",
    "plant",
    "trash can",
    "backpack",
    "box",
    "pillow",
    *CLUTTER,
)


def make_room(seed: int, name: str) -> Room:
    """The room of `seed`: same seed, same room, to the last bit.

    Metres; z up, floor at 0, x and y centred on 0. The first six items are the shell.
    """
    rng = np.random.default_rng([0x7200, seed])
    kind = tuple(ROOM_KINDS)[int(rng.integers(len(ROOM_KINDS)))]
    for _ in range(_ATTEMPTS):
        plan = _furnish(kind, rng)
        if plan is not None:
            return Room(name, seed, kind, plan.extent, tuple(plan.items))
    raise AssertionError(f"no room of kind {kind!r} came out of seed {seed} in {_ATTEMPTS} tries")


def askable(room: Room) -> list[Item]:
    """The objects that sentences may be about: neither shell nor clutter."""
    return [item for item in room.items if not item.shell and item.label in CLASSES]


def _furnish(kind: str, rng: np.random.Generator) -> FloorPlan | None:
    """One attempt; None if it came out too empty, too full, or hard to walk in."""
    side = ROOM_KINDS[kind].side
    extent = (round(rng.uniform(*side), 2), round(rng.uniform(*side), 2), round(rng.uniform(2.5, 3.0), 2))
    plan = FloorPlan(extent)
    build_shell(plan, rng)
    for label, count in _shopping_list(kind, rng):
        for thing in _group(label, count, rng):
            place(plan, thing, rng)
    objects = [i.label for i in plan.items if not i.shell and i.label not in CLUTTER]
    counts = [objects.count(label) for label in dict.fromkeys(objects)]
    repeated = sum(c > 1 for c in counts)
    if not (
        LEAST <= len(objects) <= MOST
        and 1 <= repeated <= 3
        and max(counts) <= 4
        and all(c in objects for c in ROOM_KINDS[kind].core)
    ):
        return None
    return plan if walkable(extent, plan.items).share > 0.25 else None


def _shopping_list(kind: str, rng: np.random.Generator) -> list[tuple[str, int]]:
    """What to buy: (label, how many), in the order of placing."""
    spec = ROOM_KINDS[kind]
    want = dict.fromkeys(spec.core, 1)
    groups = [str(g) for g in rng.permutation(list(spec.several))[: int(rng.choice([1, 2, 3], p=[0.3, 0.45, 0.25]))]]
    for label in groups:
        low, high = spec.several[label]
        want[label] = int(rng.integers(low, high + 1))
    total = int(rng.integers(LEAST + 1, MOST + 2))  # one more than wanted: some will find no place
    for label in rng.permutation(list(spec.once)):
        if sum(want.values()) >= total:
            break
        want.setdefault(str(label), 1)
    for label, hosts in _NEEDS.items():
        offered = [h for h in hosts if h in spec.once or h in spec.several]
        if label in want and offered and not any(h in want for h in hosts):
            want[offered[0]] = 1
    for label in rng.permutation(list(CLUTTER))[: int(rng.integers(0, 4))]:
        want[str(label)] = 1
    return sorted(want.items(), key=lambda pair: _ORDER.index(pair[0]))


def _group(label: str, count: int, rng: np.random.Generator) -> list[Design]:
    """`count` instances of a class: mostly one model, and in some groups one colour."""
    model_seed = int(rng.integers(2**31))
    same_model, same_color = rng.random() < 0.6, rng.random() < _SAME_COLOR_SHARE
    colors = [choose_color(label, rng)]
    while len(colors) < count:
        color = colors[0] if same_color else choose_color(label, rng)
        if same_color or color not in colors or CATALOGUE[label].only:
            colors.append(color)
    seeds = [model_seed if same_model else model_seed + i for i in range(count)]
    return [design(label, np.random.default_rng(s), color) for s, color in zip(seeds, colors, strict=True)]
