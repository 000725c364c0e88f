"""Relations mean what people mean, whichever way the room is turned, and never fail for more slack."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llava.rooms import relations
from llava.rooms.referring import ALONE, PAIRED, SUPERLATIVE
from llava.rooms.relations import SIDES, Stance
from llava.rooms.room import Item, Room

EXTENT = (6.0, 5.0, 2.6)


def thing(number, center, size, label="chair", **more):
    box = np.array([*center, *size], float)
    more = {"color": "red", "material": "wooden", "size": "medium", "yaw": 0.0} | more
    return Item(id=number, label=label, position=(*center[:2], 0.0), parts=(), box=box, **more)


def room_of(*items):
    return Room("scene0000_00", 0, "office", EXTENT, tuple(items))


# A bed with its head at the y-max wall, a nightstand on either side, a lamp on one, a picture above, a door opposite.
BED = thing(0, (0, 1.45, 0.3), (1.6, 2.0, 0.6), "bed", wall=0)
WEST = thing(1, (-1.1, 2.25, 0.25), (0.4, 0.4, 0.5), "nightstand", wall=0)
EAST = thing(2, (1.1, 2.25, 0.25), (0.4, 0.4, 0.5), "nightstand", wall=0)
LAMP = thing(3, (1.1, 2.25, 0.7), (0.3, 0.3, 0.4), "lamp", support=2)
PICTURE = thing(4, (0, 2.48, 1.5), (0.8, 0.04, 0.6), "picture", wall=0)
DOOR = thing(5, (0.3, -2.45, 1.0), (0.9, 0.1, 2.0), "door", wall=2)
COFFEE_TABLE = thing(6, (0, 0.15, 0.2), (1.2, 0.4, 0.4), "coffee table")
PLANT = thing(7, (2.7, -2.2, 0.5), (0.4, 0.4, 1.0), "plant")
TABLE = thing(8, (-0.1, 0.0, 0.4), (0.9, 0.6, 0.8), "table")
ROOM = room_of(BED, WEST, EAST, LAMP, PICTURE, DOOR, COFFEE_TABLE, PLANT)


@pytest.mark.parametrize(
    ("kind", "item", "anchor", "expected"),
    [
        ("next to", WEST, BED, True),
        ("next to", BED, WEST, True),
        ("next to", LAMP, EAST, False),  # it stands on it
        ("next to", PICTURE, BED, False),  # it hangs above it
        ("next to", PLANT, BED, False),
        ("on", LAMP, EAST, True),
        ("on", LAMP, WEST, False),
        ("holds", EAST, LAMP, True),
        ("above", PICTURE, BED, True),
        ("above", PICTURE, WEST, False),
        ("above", LAMP, EAST, False),  # on it
        ("below", BED, PICTURE, True),
        ("in front of", COFFEE_TABLE, BED, True),
        ("in front of", COFFEE_TABLE, DOOR, False),
        ("left of", WEST, BED, True),  # facing the bed one looks to y max
        ("right of", EAST, BED, True),
        ("right of", WEST, BED, False),
        ("same wall", EAST, PICTURE, True),
        ("same wall", DOOR, PICTURE, False),
        ("across", BED, DOOR, True),
        ("across", PLANT, DOOR, False),
        ("entering left", WEST, DOOR, True),  # entering at y min one looks to y max
        ("entering right", EAST, DOOR, True),
        ("entering right", WEST, DOOR, False),
    ],
)
def test_a_furnished_bedroom(kind, item, anchor, expected):
    for slack in (0.0, 1.0):
        assert PAIRED[kind](item, anchor, ROOM, slack) is expected, (kind, slack)


def test_places_of_a_single_thing():
    assert relations.in_corner(PLANT, ROOM, 0.0) and not relations.in_corner(BED, ROOM, 1.0)
    assert relations.at_wall(WEST, ROOM, 0.0) and not relations.at_wall(COFFEE_TABLE, ROOM, 1.0)
    assert relations.in_middle(TABLE, ROOM, 0.0) and not relations.in_middle(BED, ROOM, 1.0)
    assert relations.wall_gaps(PLANT, ROOM) == pytest.approx((4.5, 0.1, 0.1, 5.5))


def test_between_needs_all_three_on_one_line():
    left, right = thing(10, (-1.2, 0, 0.4), (0.5, 0.5, 0.8)), thing(11, (1.2, 0, 0.4), (0.5, 0.5, 0.8))
    room = room_of(left, right, TABLE)
    assert relations.between(TABLE, left, right, room, 0.0) and relations.between(TABLE, right, left, room, 0.0)
    assert not relations.between(left, TABLE, right, room, 1.0)
    aside = replace(TABLE, box=TABLE.box + np.array([0, 1.2, 0, 0, 0, 0]))
    assert not relations.between(aside, left, right, room, 1.0)


def test_nearest_and_farthest_leave_out_ties():
    first, second, third = (thing(20 + k, (x, 0, 0.4), (0.4, 0.4, 0.8)) for k, x in enumerate((-1.0, -0.9, 2.0)))
    peers = [first, second, third]
    anchor = thing(30, (-2.2, 0, 0.4), (0.4, 0.4, 0.8), "table")
    assert relations.nearest(first, anchor, peers, 0.0)
    assert not relations.nearest(second, anchor, peers, 0.0) and relations.nearest(
        second, anchor, peers, 1.0
    )  # too close to call
    assert relations.farthest(third, anchor, peers, 0.0) and not relations.farthest(second, anchor, peers, 1.0)


@pytest.mark.parametrize(
    ("yaw", "side"), [(0.0, "in front"), (math.pi / 2, "right"), (math.pi, "behind"), (-math.pi / 2, "left")]
)
def test_sides_turn_with_the_viewer(yaw, side):
    ahead = thing(0, (0, 2, 0.5), (0.4, 0.4, 1.0))
    stance = Stance(0.0, 0.0, yaw)
    assert [s for s in SIDES if relations.on_side(ahead, s, stance, 0.0)] == [side]
    assert [s for s in SIDES if relations.on_side(ahead, s, stance, 1.0)] == [side]


def test_front_of_an_item_and_heading_of_a_stance_agree():
    seat = thing(0, (0, 0, 0.4), (0.5, 0.5, 0.8), yaw=0.7)
    target = thing(1, (*(2 * seat.front), 0.4), (0.4, 0.4, 0.4))
    assert relations.bearing(target, Stance(0.0, 0.0, seat.yaw)) == pytest.approx(0.0, abs=1e-9)


def test_a_wardrobe_hides_what_is_behind_it_but_not_what_stands_on_it():
    wardrobe = thing(0, (0, 1.0, 1.0), (1.2, 0.5, 2.0), "wardrobe")
    box = thing(1, (0, 1.0, 2.1), (0.4, 0.4, 0.2), "box", support=0)
    chair = thing(2, (0, 2.0, 0.4), (0.4, 0.4, 0.8))
    stance = Stance(0.0, -1.0, 0.0)
    assert relations.blocked(chair, stance, [wardrobe, box, chair])
    assert not relations.blocked(chair, stance, [chair])
    assert not relations.blocked(box, stance, [wardrobe, box])
    assert not relations.blocked(chair, Stance(2.0, 2.0, 0.0), [wardrobe, box, chair])


sizes = st.tuples(*[st.floats(0.1, 1.5)] * 3)
centers = st.tuples(st.floats(-2.4, 2.4), st.floats(-1.9, 1.9), st.floats(0.1, 1.6))
walls = st.sampled_from([None, 0, 1, 2, 3])
things = st.builds(lambda c, s, w: thing(0, c, s, wall=w), centers, sizes, walls)


@given(st.lists(things, min_size=4, max_size=4), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=150, deadline=None)
def test_more_slack_never_makes_a_relation_false(items, one, two):
    items = [replace(item, id=k) for k, item in enumerate(items)]
    room, low, high = room_of(*items), min(one, two), max(one, two)
    a, b, c, _ = items
    for holds in ALONE.values():
        assert not holds(a, room, low) or holds(a, room, high)
    for holds in PAIRED.values():
        assert not holds(a, b, room, low) or holds(a, b, room, high)
    for holds in SUPERLATIVE.values():
        assert not holds(a, b, items, low) or holds(a, b, items, high)
    assert not relations.between(a, b, c, room, low) or relations.between(a, b, c, room, high)
    for side in SIDES:
        stance = Stance(0.1, -0.2, 6 * one)
        assert not relations.on_side(a, side, stance, low) or relations.on_side(a, side, stance, high)


@given(st.lists(things, min_size=3, max_size=3), st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_turning_the_room_by_a_quarter_changes_nothing(items, slack):
    items = [replace(item, id=k) for k, item in enumerate(items)]
    turned = [_quarter_turn(item) for item in items]
    room, other = room_of(*items), replace(room_of(*turned), extent=(EXTENT[1], EXTENT[0], EXTENT[2]))
    for holds in PAIRED.values():
        assert holds(items[0], items[1], room, slack) == holds(turned[0], turned[1], other, slack)
    for holds in ALONE.values():
        assert holds(items[0], room, slack) == holds(turned[0], other, slack)
    for holds in SUPERLATIVE.values():
        assert holds(items[0], items[1], items, slack) == holds(turned[0], turned[1], turned, slack)


def _quarter_turn(item):
    """Clockwise seen from above: (x, y) -> (y, -x), wall k -> wall k + 1."""
    x, y, z, dx, dy, dz = item.box
    wall = None if item.wall is None else (item.wall + 1) % 4
    return replace(item, box=np.array([y, -x, z, dy, dx, dz]), wall=wall, yaw=item.yaw - math.pi / 2)
