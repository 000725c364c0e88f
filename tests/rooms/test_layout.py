"""Rooms as data: places, words and numbers must be true of the geometry."""

import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from llava.rooms.furniture import CATALOGUE, CLASSES, CLUTTER, COLORS, NYU40, choose_color, design
from llava.rooms.kinds import ROOM_KINDS
from llava.rooms.layout import LEAST, MOST, askable, make_room
from llava.rooms.placement import overlaps, parts_box
from llava.rooms.room import INWARD
from llava.rooms.walkable import CELL, walkable

SEEDS = range(60)


@pytest.fixture(scope="module")
def rooms():
    return [make_room(seed, f"scene{seed:04d}_00") for seed in SEEDS]


def furniture(room):
    return [item for item in room.items if not item.shell]


def test_a_seed_gives_one_room_and_another_seed_another():
    assert repr(make_room(5, "a").items) == repr(make_room(5, "a").items)
    assert repr(make_room(5, "a").items) != repr(make_room(6, "a").items)


def test_ids_are_positions_and_the_shell_comes_first(rooms):
    for room in rooms:
        assert [item.id for item in room.items] == list(range(len(room.items)))
        assert [item.label for item in room.items[:6]] == ["floor", "ceiling", "wall", "wall", "wall", "wall"]
        assert [item.shell for item in room.items] == [True] * 6 + [False] * (len(room.items) - 6)


def test_boxes_are_the_boxes_of_the_parts(rooms):
    for room in rooms:
        for item in room.items:
            np.testing.assert_allclose(item.box, parts_box(item.parts, item.position, item.yaw), atol=1e-9)


def test_nothing_leaves_the_room_and_nothing_floats(rooms):
    for room in rooms:
        x, y, z = room.extent
        for item in furniture(room):
            low, high = item.box[:3] - item.box[3:] / 2, item.box[:3] + item.box[3:] / 2
            assert (low > np.array([-x / 2, -y / 2, 0]) - 1e-3).all(), item.label
            assert (high < np.array([x / 2, y / 2, z]) + 1e-3).all(), item.label
            if item.support is not None:
                host = room.items[item.support]
                top = host.box[2] + host.box[5] / 2
                assert low[2] <= top + 1e-6 and low[2] > 0.1
                assert (np.abs(item.box[:2] - host.box[:2]) <= host.box[3:5] / 2 + 1e-6).all()
            elif item.wall is None:
                assert abs(low[2]) < 0.02, (item.label, low[2])


def test_no_two_things_share_space(rooms):
    for room in rooms:
        for a, b in combinations(furniture(room), 2):
            if b.support != a.id and a.support != b.id:
                assert not overlaps(a.box, b.box[None])[0], (room.seed, a.label, b.label)


def test_things_at_a_wall_touch_it_and_face_the_room(rooms):
    for room in rooms:
        for item in furniture(room):
            if item.wall is None:
                continue
            normal = np.array(INWARD[item.wall])
            np.testing.assert_allclose(item.front, normal, atol=1e-9)
            half = np.array(room.extent[:2]) / 2
            back = item.box[:2] - np.abs(normal) * item.box[3:5] / 2 * np.sign(normal)
            assert abs(abs(normal @ back) - np.abs(normal) @ half) < 0.15, item.label
            assert (normal @ item.box[:2]) < 0  # on that wall, not on the one across


def test_doors_windows_and_pictures_hang_on_walls(rooms):
    for room in rooms:
        assert sum(item.label == "door" for item in room.items) >= 1
        for item in furniture(room):
            if item.label in ("door", "window", "picture", "mirror", "whiteboard", "curtain", "radiator"):
                assert item.wall is not None, item.label


def test_what_needs_a_host_comes_with_one(rooms):
    labels = [label for room in rooms for label in {item.label for item in askable(room)}]
    for label in ("tv", "lamp", "monitor", "curtain", "pillow", "nightstand"):
        assert labels.count(label) >= 2, label  # of 60 rooms
    for room in rooms:
        for item in room.items:
            if item.label in ("lamp", "monitor", "pillow", *CLUTTER):
                assert item.support is not None, item.label
            if item.label == "tv":
                assert (item.support is None) != (item.wall is None)


def test_most_chairs_face_their_table(rooms):
    facing = []
    for room in rooms:
        tables = [i for i in room.items if i.label in ("desk", "table")]
        for seat in (i for i in room.items if i.label in ("chair", "office chair")):
            near = [t for t in tables if np.linalg.norm(t.box[:2] - seat.box[:2]) < 1.4]
            if near:
                way = min(near, key=lambda t: np.linalg.norm(t.box[:2] - seat.box[:2])).box[:2] - seat.box[:2]
                facing.append(seat.front @ way / np.linalg.norm(way) > 0.5)
    assert len(facing) > 20 and np.mean(facing) > 0.85


def test_counts_and_repetition(rooms):
    shares = []
    for room in rooms:
        counts = Counter(item.label for item in askable(room))
        assert LEAST <= sum(counts.values()) <= MOST and max(counts.values()) <= 4
        assert 1 <= sum(c > 1 for c in counts.values()) <= 3
        shares.append(sum(c == 1 for c in counts.values()) / sum(counts.values()))
    assert 0.4 < np.mean(shares) < 0.7  # objects that are alone in their class


def test_some_groups_share_a_colour_and_some_do_not(rooms):
    same = []
    for room in rooms:
        for label in {item.label for item in askable(room)} - {"plant", "window", "mirror", "radiator", "whiteboard"}:
            colors = [item.color for item in askable(room) if item.label == label]
            if len(colors) > 1:
                same.append(len(set(colors)) == 1)
    assert 0.25 < np.mean(same) < 0.6


def test_one_can_walk_through_most_of_the_free_floor(rooms):
    for room in rooms:
        floor = walkable(room.extent, room.items)
        assert floor.free.sum() * CELL**2 > 3.0  # square metres


def test_every_kind_and_many_turned_things(rooms):
    assert {room.kind for room in rooms} == set(ROOM_KINDS)
    standing = [i for r in rooms for i in furniture(r) if i.wall is None and i.support is None]
    turned = [abs(math.remainder(i.yaw, math.pi / 2)) > 0.02 for i in standing]
    assert 0.12 < np.mean(turned) < 0.45


def test_words_are_known(rooms):
    assert set(NYU40) == {"wall", "floor", "ceiling", *CATALOGUE} and all(1 <= n <= 40 for n in NYU40.values())
    assert set(CLASSES) | set(CLUTTER) == set(CATALOGUE) and not set(CLASSES) & set(CLUTTER)
    for room in rooms:
        for item in furniture(room):
            assert item.label in CATALOGUE and item.color in COLORS and item.size in ("small", "medium", "large")
            assert item.material in CATALOGUE[item.label].materials


@pytest.mark.parametrize("label", list(CATALOGUE))
def test_size_words_follow_the_volume(label):
    volume = {}
    for size in ("small", "medium", "large"):
        boxes = [
            parts_box(design(label, np.random.default_rng(s), "red", size).parts, (0, 0, 0), 0.0) for s in range(8)
        ]
        volume[size] = np.mean([np.prod(b[3:]) for b in boxes])
    assert volume["small"] < volume["medium"] < volume["large"]


@pytest.mark.parametrize("label", [c for c in CATALOGUE if not CATALOGUE[c].only])
def test_the_class_does_not_give_the_colour_away(label):
    rng = np.random.default_rng(0)
    counts = Counter(choose_color(label, rng) for _ in range(600))
    assert set(counts) == set(COLORS) and max(counts.values()) < 0.5 * 600


def test_a_repainted_model_keeps_its_shape():
    red, blue = (design("chair", np.random.default_rng(3), color) for color in ("red", "blue"))
    assert [p.size for p in red.parts] == [p.size for p in blue.parts]
    assert [p.rgb for p in red.parts] != [p.rgb for p in blue.parts]


@pytest.mark.parametrize("label", ["throne", "dresser"])
def test_a_class_that_nothing_builds_is_refused(label):
    with pytest.raises(ValueError, match=f"'{label}'"):
        design(label, np.random.default_rng(0), "red")


def test_rooms_hold_what_the_catalogue_builds_and_no_more():
    bought = {label for kind in ROOM_KINDS.values() for label in (*kind.core, *kind.several, *kind.once)}
    assert bought | set(CLUTTER) == set(CATALOGUE)
