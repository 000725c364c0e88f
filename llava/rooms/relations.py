"""Geometric predicates on the items of a room: what "next to", "behind me" or "in the corner" mean here.

Each predicate is a pure function of boxes and poses and takes a ``slack`` from 0 to 1. At 0 it holds only
where everybody would say so; at 1 also where somebody might. It never turns false as the slack grows, so
"true at 0" and "false at 1" leave the doubtful cases out: a description singles out its target when nothing
else fits at slack 1.

Walls count as in ``Item.wall``: 0 is y max, then clockwise seen from above (1: x max, 2: y min, 3: x min).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from llava.rooms.room import INWARD, Item, Room

SIDES = {"in front": 0.0, "left": math.pi / 2, "behind": math.pi, "right": -math.pi / 2}  # bearings, radians


@dataclass(frozen=True)
class Stance:
    """Where somebody stands and where he looks: metres on the floor plane, heading in radians as ``Item.yaw``."""

    x: float
    y: float
    yaw: float


def gap(a: Item, b: Item) -> float:
    """Distance between two items' boxes on the floor plane, metres; 0 where they overlap."""
    return math.hypot(*(max(abs(a.box[i] - b.box[i]) - (a.box[i + 3] + b.box[i + 3]) / 2, 0.0) for i in (0, 1)))


def distance(a: Item, b: Item) -> float:
    """Distance between two items' centres on the floor plane, metres."""
    return math.hypot(a.box[0] - b.box[0], a.box[1] - b.box[1])


def bottom(item: Item) -> float:
    return float(item.box[2] - item.box[5] / 2)


def top(item: Item) -> float:
    return float(item.box[2] + item.box[5] / 2)


def shared_height(a: Item, b: Item) -> float:
    """Length of the height interval that both items fill, metres; negative: the free height between them."""
    return min(top(a), top(b)) - max(bottom(a), bottom(b))


def wall_gaps(item: Item, room: Room) -> tuple[float, float, float, float]:
    """Distance from the item's box to each of the four walls, metres."""
    x, y = room.extent[0] / 2, room.extent[1] / 2
    cx, cy, _, dx, dy, _ = item.box.tolist()
    return y - cy - dy / 2, x - cx - dx / 2, y + cy - dy / 2, x + cx - dx / 2


def on(item: Item, anchor: Item, room: Room, slack: float) -> bool:
    return item.support == anchor.id


def holds(item: Item, anchor: Item, room: Room, slack: float) -> bool:
    """The anchor lies or stands on the item."""
    return anchor.support == item.id


def next_to(item: Item, anchor: Item, room: Room, slack: float) -> bool:
    if anchor.id in (item.id, item.support) or anchor.support == item.id:
        return False
    return gap(item, anchor) <= 0.45 + 0.4 * slack and shared_height(item, anchor) >= 0.05 - 0.25 * slack


def above(item: Item, anchor: Item, room: Room, slack: float) -> bool:
    if anchor.id in (item.id, item.support) or bottom(item) < top(anchor) - 0.03 - 0.1 * slack:
        return False
    aside = [max(abs(item.box[i] - anchor.box[i]) - anchor.box[i + 3] / 2, 0.0) for i in (0, 1)]
    return math.hypot(*aside) <= 0.15 + 0.25 * slack and bottom(item) - top(anchor) <= 1.4 + 0.4 * slack


def below(item: Item, anchor: Item, room: Room, slack: float) -> bool:
    return above(anchor, item, room, slack)


def in_front_of(item: Item, anchor: Item, room: Room, slack: float) -> bool:
    """Before the side that an anchor standing against a wall turns to the room."""
    if anchor.wall is None or anchor.id in (item.id, item.support) or anchor.support == item.id:
        return False
    ahead, aside = _along_wall(item, anchor)
    half_width, half_depth = (float(anchor.box[3 + k]) / 2 for k in (anchor.wall % 2, 1 - anchor.wall % 2))
    return (
        ahead >= half_depth - 0.1 * slack
        and abs(aside) <= half_width + 0.3 * slack
        and gap(item, anchor) <= 0.9 + 0.6 * slack
    )


def left_of(item: Item, anchor: Item, room: Room, slack: float) -> bool:
    """Left of an anchor standing against a wall, for somebody who faces it."""
    return _beside(item, anchor, slack, sign=1.0)


def right_of(item: Item, anchor: Item, room: Room, slack: float) -> bool:
    """Right of an anchor standing against a wall, for somebody who faces it."""
    return _beside(item, anchor, slack, sign=-1.0)


def same_wall(item: Item, anchor: Item, room: Room, slack: float) -> bool:
    """Against the wall that the anchor stands against or hangs on."""
    return anchor.wall is not None and anchor.id != item.id and wall_gaps(item, room)[anchor.wall] <= 0.15 + 0.3 * slack


def across(item: Item, anchor: Item, room: Room, slack: float) -> bool:
    """Against the opposite wall and roughly face to face."""
    if anchor.wall is None or wall_gaps(item, room)[(anchor.wall + 2) % 4] > 0.15 + 0.3 * slack:
        return False
    ahead, aside = _along_wall(item, anchor)
    return abs(aside) <= 0.6 + 3.0 * slack and ahead >= 1.5 - 0.4 * slack


def between(item: Item, first: Item, second: Item, room: Room, slack: float) -> bool:
    if len({item.id, first.id, second.id}) < 3 or {item.support, first.support, second.support} != {None}:
        return False
    span = distance(first, second)
    if not 0.8 <= span <= 4.0 + slack:
        return False
    ux, uy = (second.box[0] - first.box[0]) / span, (second.box[1] - first.box[1]) / span
    px, py = item.box[0] - first.box[0], item.box[1] - first.box[1]
    share = (px * ux + py * uy) / span
    low = min(shared_height(item, first), shared_height(item, second))
    astray = abs(px * uy - py * ux)
    return abs(share - 0.5) <= 0.22 + 0.25 * slack and astray <= 0.3 + 0.6 * slack and low >= -0.2 * slack


def in_corner(item: Item, room: Room, slack: float) -> bool:
    north, east, south, west = wall_gaps(item, room)
    return max(min(north, south), min(east, west)) <= 0.3 + 0.4 * slack


def at_wall(item: Item, room: Room, slack: float) -> bool:
    return min(wall_gaps(item, room)) <= 0.15 + 0.25 * slack


def in_middle(item: Item, room: Room, slack: float) -> bool:
    off_x, off_y = (abs(float(item.box[k])) / room.extent[k] for k in (0, 1))
    return max(off_x, off_y) <= 0.15 + 0.1 * slack and min(wall_gaps(item, room)) >= 0.8 - 0.4 * slack


def entering_left(item: Item, door: Item, room: Room, slack: float) -> bool:
    """On the left of somebody who comes in through the door and looks straight ahead."""
    return _entering(item, door, slack, sign=-1.0)


def entering_right(item: Item, door: Item, room: Room, slack: float) -> bool:
    """On the right of somebody who comes in through the door and looks straight ahead."""
    return _entering(item, door, slack, sign=1.0)


def nearest(item: Item, anchor: Item, among: Iterable[Item], slack: float) -> bool:
    """No other of ``among`` is closer to the anchor, by centres and by gaps alike."""
    others = [o for o in among if o.id not in (item.id, anchor.id)]
    if item.id == anchor.id:
        return False
    near, close = distance(item, anchor) - 0.4 * slack, gap(item, anchor) - 0.3 * slack
    return all(near <= distance(o, anchor) and close <= gap(o, anchor) for o in others)


def farthest(item: Item, anchor: Item, among: Iterable[Item], slack: float) -> bool:
    """No other of ``among`` is farther from the anchor, by centres and by gaps alike."""
    others = [o for o in among if o.id not in (item.id, anchor.id)]
    if item.id == anchor.id:
        return False
    far, wide = distance(item, anchor) + 0.4 * slack, gap(item, anchor) + 0.3 * slack
    return all(far >= distance(o, anchor) and wide >= gap(o, anchor) for o in others)


def bearing(item: Item, stance: Stance) -> float:
    """Direction of the item's centre from the stance, radians in (-pi, pi]; 0 straight ahead, positive to the left."""
    ahead = (-math.sin(stance.yaw), math.cos(stance.yaw))
    dx, dy = item.box[0] - stance.x, item.box[1] - stance.y
    return math.atan2(ahead[0] * dy - ahead[1] * dx, ahead[0] * dx + ahead[1] * dy)


def on_side(item: Item, side: str, stance: Stance, slack: float) -> bool:
    """Whether the item lies in the quarter "in front", "left", "behind" or "right" of the stance."""
    if math.hypot(item.box[0] - stance.x, item.box[1] - stance.y) < 0.3 - 0.3 * slack:
        return False
    off = bearing(item, stance) - SIDES[side]
    return abs(math.atan2(math.sin(off), math.cos(off))) <= math.radians(36 + 22 * slack)


def blocked(item: Item, stance: Stance, others: Iterable[Item], eye: float = 1.5) -> bool:
    """Whether another item's box cuts the line from the eye (metres above the floor) to the item's centre."""
    start = (stance.x, stance.y, eye)
    step = [float(item.box[i]) - start[i] for i in range(3)]
    return any(o.id not in (item.id, item.support) and _cuts(o, start, step) for o in others)


def _cuts(item: Item, start: tuple[float, float, float], step: list[float]) -> bool:
    """Slab test: whether the segment from ``start`` to ``start + step`` passes through the item's box."""
    enter, leave = 0.0, 1.0
    for i in range(3):
        low, high = item.box[i] - item.box[i + 3] / 2 - start[i], item.box[i] + item.box[i + 3] / 2 - start[i]
        if abs(step[i]) < 1e-9:
            if low > 0 or high < 0:
                return False
            continue
        first, second = sorted((low / step[i], high / step[i]))
        enter, leave = max(enter, first), min(leave, second)
    return enter < leave


def _along_wall(item: Item, anchor: Item) -> tuple[float, float]:
    """Centre offset from an anchor at a wall: metres into the room, metres to the left of one who faces the anchor."""
    nx, ny = INWARD[anchor.wall]
    dx, dy = (item.box - anchor.box).tolist()[:2]
    return nx * dx + ny * dy, ny * dx - nx * dy


def _beside(item: Item, anchor: Item, slack: float, sign: float) -> bool:
    if anchor.wall is None or anchor.id in (item.id, item.support) or anchor.support == item.id:
        return False
    ahead, aside = _along_wall(item, anchor)
    axis = anchor.wall % 2  # the wall runs along x for walls 0 and 2, along y for 1 and 3
    reach = ((anchor.box + item.box) / 2).tolist()
    free, depth = sign * aside - reach[3 + axis], abs(ahead) - reach[4 - axis]
    # with slack nearly all of that half of the room: who reads "left of the bed" may look far
    return -0.6 * slack <= free <= 1.2 + 5.0 * slack and depth <= 5.0 * slack


def _entering(item: Item, door: Item, slack: float, sign: float) -> bool:
    if door.wall is None or item.id == door.id:
        return False
    ahead, aside = _along_wall(item, door)  # one who enters looks the other way: left and right change places
    return sign * aside >= 0.6 - 0.6 * slack and ahead >= -0.1
