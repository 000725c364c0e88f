"""Where each class of furniture is usually put: one function a habit, tried on a floor plan until something fits."""

from __future__ import annotations

import math

import numpy as np

from llava.rooms.furniture import CLUTTER, Design
from llava.rooms.placement import WALL_YAW, FloorPlan, parts_box
from llava.rooms.room import Item
from llava.rooms.seating import mattress

_TURNED_SHARE = 0.25  # of the free-standing objects
_TRIES = 40

# label -> metres kept free before it; all of these have their back to a wall
_AGAINST_WALL = {
    "bed": 0.5,
    "couch": 0.5,
    "desk": 0.75,
    "wardrobe": 0.6,
    "bookshelf": 0.5,
    "cabinet": 0.5,
    "counter": 0.6,
    "refrigerator": 0.6,
    "stove": 0.6,
    "sink": 0.5,
    "toilet": 0.5,
    "bathtub": 0.4,
    "washing machine": 0.5,
}
_HUNG = {
    "window": (0.85, 1.0),
    "picture": (1.15, 1.55),
    "mirror": (1.05, 1.3),
    "whiteboard": (0.9, 1.05),
    "radiator": (0.0, 0.0),
    "tv": (0.85, 1.15),  # where nothing can carry it
}
_BY_WALL = (
    "plant",
    "floor lamp",
    "trash can",
    "backpack",
    "box",
    "stool",
    "chair",
    "nightstand",
    "armchair",
)
_TABLES = ("table", "desk")
_TOPS = {
    "monitor": ("desk", "table"),
    "tv": ("cabinet", "table"),
    "lamp": ("nightstand", "desk", "cabinet", "table"),
    "microwave": ("counter", "table", "cabinet", "desk"),
    "pillow": ("bed",),
    "box": ("wardrobe", "cabinet", "desk", "table"),
    "plant": ("cabinet",),
} | dict.fromkeys(CLUTTER, (*_TABLES, "coffee table", "counter", "nightstand", "cabinet"))


def place(plan: FloorPlan, thing: Design, rng: np.random.Generator) -> bool:
    """Find a place by the class's habits, the most typical first."""
    label = thing.label
    if label == "door":
        return _door(plan, thing, rng)
    if label == "curtain":
        return _curtain(plan, thing, rng)
    if label in _HUNG and label not in _TOPS:
        return _hang(plan, thing, rng)
    if label == "nightstand" and _beside(plan, thing, rng):
        return True
    if label in ("chair", "office chair", "stool") and _seat(plan, thing, rng):
        return True
    if label == "coffee table":
        return _before_couch(plan, thing, rng) or _free(plan, thing, rng)
    if label in _TOPS and (label not in ("box", "plant") or rng.random() < 0.2) and _on_top(plan, thing, rng):
        return True
    if label == "tv":
        return _hang(plan, thing, rng)
    if label in _AGAINST_WALL:
        return _wall(plan, thing, rng)
    if label == "table" or (label == "armchair" and rng.random() < 0.5):
        return _free(plan, thing, rng)
    return label in _BY_WALL and _near_wall(plan, thing, rng)


def _along(plan: FloorPlan, wall: int, width: float, rng: np.random.Generator) -> float:
    """A place along a wall, tidy corners being more likely than chance."""
    room = max(0.0, (plan.wall_length(wall) - width) / 2 - 0.02)
    return float(np.clip(rng.uniform(-1.35, 1.35), -1, 1) * room)


def _door(plan: FloorPlan, thing: Design, rng: np.random.Generator) -> bool:
    wall = int(rng.integers(4))
    width = parts_box(thing.parts, (0, 0, 0), 0.0)[3]
    position, _ = plan.against_wall(thing, wall, _along(plan, wall, width, rng))
    item = plan.add(thing, position, WALL_YAW[wall], wall=wall)
    plan.keep_clear(item, 0.9)
    return True


def _hang(plan: FloorPlan, thing: Design, rng: np.random.Generator) -> bool:
    low, high = _HUNG[thing.label]
    local = parts_box(thing.parts, (0, 0, 0), 0.0)
    for _ in range(_TRIES):
        wall = int(rng.integers(4))
        base = min(float(rng.uniform(low, high)), plan.extent[2] - local[5] - 0.15)
        position, box = plan.against_wall(thing, wall, _along(plan, wall, local[3] + 0.3, rng), base)
        if plan.fits(box, gap=0.04):
            plan.add(thing, position, WALL_YAW[wall], wall=wall)
            return True
    return False


def _curtain(plan: FloorPlan, thing: Design, rng: np.random.Generator) -> bool:
    """Beside a window, hanging from a little above it."""
    local = parts_box(thing.parts, (0, 0, 0), 0.0)
    windows = [i for i in plan.items if i.label == "window"]
    for window in (windows[int(k)] for k in rng.permutation(len(windows))):
        axis = 0 if window.wall in (0, 2) else 1
        for side in rng.permutation([-1, 1]):
            along = window.box[axis] + side * (window.box[3 + axis] / 2 + local[3] / 2 + 0.02)
            base = plan.extent[2] - local[5] - 0.12
            position, box = plan.against_wall(thing, window.wall, float(along), base)
            if plan.fits(box, gap=0.01):
                plan.add(thing, position, WALL_YAW[window.wall], wall=window.wall)
                return True
    return False


def _wall(plan: FloorPlan, thing: Design, rng: np.random.Generator) -> bool:
    width = parts_box(thing.parts, (0, 0, 0), 0.0)[3]
    for _ in range(_TRIES):
        wall = int(rng.integers(4))
        position, box = plan.against_wall(
            thing, wall, _along(plan, wall, width, rng), gap=float(rng.uniform(0.01, 0.05))
        )
        if plan.fits(box, gap=0.05):
            plan.keep_clear(plan.add(thing, position, WALL_YAW[wall], wall=wall), _AGAINST_WALL[thing.label])
            return True
    return False


def _near_wall(plan: FloorPlan, thing: Design, rng: np.random.Generator) -> bool:
    """Small things and spare seats: near a wall, facing the room, sometimes turned."""
    width = parts_box(thing.parts, (0, 0, 0), 0.0)[3]
    for _ in range(_TRIES):
        wall = int(rng.integers(4))
        gap = float(rng.uniform(0.03, 0.25))
        position, box = plan.against_wall(thing, wall, _along(plan, wall, width + 0.2, rng), gap=gap)
        yaw = WALL_YAW[wall]
        if rng.random() < _TURNED_SHARE:
            yaw += float(rng.uniform(-0.7, 0.7))
            box = parts_box(thing.parts, tuple(position), yaw)
        if plan.fits(box, gap=0.04):
            plan.add(thing, position, yaw, wall=wall if yaw == WALL_YAW[wall] and gap < 0.12 else None)
            return True
    return False


def _free(plan: FloorPlan, thing: Design, rng: np.random.Generator) -> bool:
    """In the open, with room to walk around."""
    turned = (
        thing.label not in ("table", "coffee table") and rng.random() < _TURNED_SHARE * 2
    )  # tables stand straight: others make up for it
    around = 0.65 if thing.label in _TABLES else 0.3
    for _ in range(_TRIES):
        yaw = float(rng.uniform(-math.pi, math.pi)) if turned else WALL_YAW[int(rng.integers(4))]
        x, y = (float(rng.uniform(-0.5, 0.5) * (e - 2.0)) for e in plan.extent[:2])
        box = parts_box(thing.parts, (x, y, 0), yaw)
        if plan.fits(box, gap=0.35):
            plan.keep_clear(plan.add(thing, (x, y, 0), yaw), 0.0, around)
            return True
    return False


def _before_couch(plan: FloorPlan, thing: Design, rng: np.random.Generator) -> bool:
    for couch in (i for i in plan.items if i.label == "couch"):
        depth = parts_box(thing.parts, (0, 0, 0), 0.0)[4]
        reach = np.abs(couch.front) @ couch.box[3:5] / 2 + depth / 2 + float(rng.uniform(0.35, 0.5))
        xy = couch.box[:2] + couch.front * reach
        box = parts_box(thing.parts, (*xy, 0), couch.yaw)
        if plan.fits(box, gap=0.2, seat=True):
            plan.keep_clear(plan.add(thing, (*xy, 0), couch.yaw), 0.0, 0.3)
            return True
    return False


def _beside(plan: FloorPlan, thing: Design, rng: np.random.Generator) -> bool:
    """By a bed's head."""
    hosts = [i for i in plan.items if i.label == "bed" and i.wall is not None]
    local = parts_box(thing.parts, (0, 0, 0), 0.0)
    for host in (hosts[int(k)] for k in rng.permutation(len(hosts))):
        axis = 0 if host.wall in (0, 2) else 1
        for side in rng.permutation([-1, 1]):
            along = host.box[axis] + side * (host.box[3 + axis] / 2 + local[3] / 2 + float(rng.uniform(0.03, 0.1)))
            position, box = plan.against_wall(thing, host.wall, float(along), gap=0.03)
            if plan.fits(box, gap=0.01, seat=True):
                plan.add(thing, position, WALL_YAW[host.wall], wall=host.wall)
                return True
    return False


def _seat(plan: FloorPlan, thing: Design, rng: np.random.Generator) -> bool:
    """At a table or desk, facing it."""
    wanted = (
        ("desk",) if thing.label == "office chair" else ("counter", *_TABLES) if thing.label == "stool" else _TABLES
    )
    hosts = [i for i in plan.items if i.label in wanted]
    reach = parts_box(thing.parts, (0, 0, 0), 0.0)
    ahead = reach[1] + reach[4] / 2  # from the seat's origin to its front
    slots = []
    for host in hosts:
        if host.wall is not None:
            slots += [(host, host.yaw, offset) for offset in (0.0, -0.3, 0.3)]
        else:
            slots += [(host, host.yaw + k * math.pi / 2, offset) for k in range(4) for offset in (0.3, -0.3, 0.0)]
    for host, side, offset in (slots[int(k)] for k in rng.permutation(len(slots))):
        out = np.array([-math.sin(side), math.cos(side)])
        yaw = side + math.pi + (float(rng.uniform(-0.35, 0.35)) if rng.random() < _TURNED_SHARE else 0.0)
        edge = float(np.abs(out) @ host.box[3:5] / 2)
        for slack in (0.04, 0.12, 0.22):
            xy = (
                host.box[:2]
                + out * (edge + ahead + slack)
                + np.array([out[1], -out[0]]) * offset * float(np.abs(out[::-1]) @ host.box[3:5])
            )
            box = parts_box(thing.parts, (*xy, 0), yaw)
            if plan.fits(box, gap=0.01, seat=True):
                plan.add(thing, (*xy, 0), yaw)
                return True
    return False


def _on_top(plan: FloorPlan, thing: Design, rng: np.random.Generator) -> bool:
    """On a piece of furniture, facing as it does, not over its edge."""
    hosts = [i for i in plan.items if i.label in _TOPS[thing.label]]
    tall = parts_box(thing.parts, (0, 0, 0), 0.0)[5]
    for host in (hosts[int(k)] for k in rng.permutation(len(hosts))):
        surface = _surface(host)
        for _ in range(12):
            yaw = host.yaw + (float(rng.uniform(-0.4, 0.4)) if thing.label in CLUTTER else 0.0)
            local = parts_box(thing.parts, (0, 0, 0), yaw)
            room = surface[3:5] - local[3:5] - 0.02
            if (room < 0).any() or surface[2] + surface[5] / 2 + tall > plan.extent[2] - 0.1:
                break
            back = -host.front * room / 2 * 0.8 if thing.label in ("monitor", "tv", "microwave") else np.zeros(2)
            play = rng.uniform(-0.5, 0.5, 2) * room * np.where(back == 0, 1.0, 0.2)
            xy = surface[:2] + np.clip(back + play, -room / 2, room / 2) - local[:2]
            position = (*xy, surface[2] + surface[5] / 2)
            if plan.fits(parts_box(thing.parts, position, yaw), support=host.id, gap=0.015):
                plan.add(thing, position, yaw, support=host.id)
                return True
    return False


def _surface(host: Item) -> np.ndarray:
    """Box (6,) whose top carries things: the mattress's head end for a bed, the whole item otherwise."""
    if host.label == "bed":
        return parts_box((mattress(host.parts),), host.position, host.yaw)
    return host.box
