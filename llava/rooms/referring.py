"""Referring to things: a `Query` says which items are meant, an `Inventory` finds them in one room.

Sentences and questions are realised from queries, and whatever an annotation claims is what its query
finds in the room; so the truth of a text can be re-checked without reading it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace

from llava.rooms import relations
from llava.rooms.furniture import CLUTTER
from llava.rooms.relations import SIDES, Stance
from llava.rooms.room import Item, Room

ALONE = {"in corner": relations.in_corner, "at wall": relations.at_wall, "in middle": relations.in_middle}
PAIRED = {
    "on": relations.on,
    "holds": relations.holds,
    "next to": relations.next_to,
    "above": relations.above,
    "below": relations.below,
    "in front of": relations.in_front_of,
    "left of": relations.left_of,
    "right of": relations.right_of,
    "same wall": relations.same_wall,
    "across": relations.across,
    "entering left": relations.entering_left,
    "entering right": relations.entering_right,
}
SUPERLATIVE = {"nearest": relations.nearest, "farthest": relations.farthest}
VIEWPOINT = ("left of", "right of", "entering left", "entering right")  # true only for who stands right
KINDS_OF = {"armchair": ("chair",), "couch": ("sofa",), "bookshelf": ("shelf",), "cup": ("mug",), "mug": ("cup",)}


@dataclass(frozen=True)
class Relation:
    """A relation ("next to") to none, one or two anchors, each meant to be one item."""

    kind: str  # a key of ALONE, PAIRED, SUPERLATIVE, SIDES, or "between"
    anchors: tuple[Query, ...] = ()


@dataclass(frozen=True)
class Query:
    """All that is said about the things meant; None: nothing is said."""

    label: str | None = None
    color: str | None = None
    size: str | None = None
    material: str | None = None
    relations: tuple[Relation, ...] = ()

    def plus(self, *more: Relation) -> Query:
        return replace(self, relations=self.relations + more)


def fits_label(item: Item, label: str, slack: float) -> bool:
    """Whether the class word names the item; with slack, "chair" also an office chair."""
    if item.label == label:
        return True
    return slack > 0 and (item.label.endswith(" " + label) or label in KINDS_OF.get(item.label, ()))


def said_material(item: Item) -> str | None:
    """The item's material unless it only repeats the class: nobody says "plant plant"."""
    return None if item.material == item.label else item.material


class Inventory:
    """What can be said about a room: its items without the shell, and which of them are seen well enough.

    Args:
        room: the room.
        visible: ids of the items that may be asked about; shell items among them and clutter are left out.

    Raises:
        ValueError: if ``visible`` names an id that the room does not have.
    """

    def __init__(self, room: Room, visible: set[int]):
        unknown = visible - {item.id for item in room.items}
        if unknown:
            raise ValueError(
                f"visible names items {sorted(unknown)}, {room.name} has none such; pass ids of room.items"
            )
        self.room = room
        self.items = {item.id: item for item in room.items if not item.shell}
        self.visible = sorted(i for i in visible & self.items.keys() if self.items[i].label not in CLUTTER)
        self._found: dict[tuple, frozenset[int]] = {}

    def seen(self) -> list[Item]:
        return [self.items[i] for i in self.visible]

    def find(self, query: Query, slack: float = 0.0, stances: tuple[Stance, ...] = ()) -> frozenset[int]:
        """Ids of all items, seen or not, that the query fits: for all stances at slack 0, for any of them above."""
        key = (query, slack, stances)
        if key not in self._found:
            fits = [i for i in self.items.values() if self._fits_attributes(i, query, slack)]
            ids = [i.id for i in fits if all(self._holds(i, r, query, slack, stances) for r in query.relations)]
            self._found[key] = frozenset(ids)
        return self._found[key]

    def means(self, query: Query, targets: Iterable[int], stances: tuple[Stance, ...] = ()) -> bool:
        """Whether the query means exactly these items and all of them are seen; false where somebody might doubt it."""
        wanted = frozenset(targets)
        exact = self.find(query, 0.0, stances) == wanted == self.find(query, 1.0, stances)
        return exact and wanted <= set(self.visible)

    def the(self, query: Query, stances: tuple[Stance, ...] = ()) -> Item | None:
        """The one seen item that the query means, else None."""
        found = self.find(query, 0.0, stances)
        return self.items[min(found)] if len(found) == 1 and self.means(query, found, stances) else None

    def none(self, query: Query, stances: tuple[Stance, ...] = ()) -> bool:
        """Whether there is nothing in the room that the query might mean."""
        return not self.find(query, 1.0, stances)

    def names(self, item: Item) -> list[Query]:
        """The ways to single out an item without a relation, the shortest first; may be empty."""
        if item.id not in self.visible:
            return []
        label, size = Query(item.label), None if item.size == "medium" else item.size
        tries = [
            label,
            replace(label, color=item.color),
            replace(label, size=size),
            replace(label, material=said_material(item)),
            replace(label, color=item.color, size=size),
        ]
        return [q for q in dict.fromkeys(tries) if self.means(q, [item.id])]

    def relations_of(self, item: Item) -> list[Relation]:
        """Every relation that surely holds for the item, its anchors named as shortly as possible."""
        found = [Relation(kind) for kind, holds in ALONE.items() if holds(item, self.room, 0.0)]
        anchors = [(o, names[0]) for o in self.seen() if o.id != item.id and (names := self.names(o))]
        peers = [o for o in self.items.values() if fits_label(o, item.label, 1.0)]
        for anchor, name in anchors:
            for kind, holds in PAIRED.items():
                entering = kind.startswith("entering")
                if (not entering or anchor.label == "door") and holds(item, anchor, self.room, 0.0):
                    found.append(Relation(kind, (name,)))
            if len(peers) > 1 and anchor not in peers:
                found += [Relation(k, (name,)) for k, best in SUPERLATIVE.items() if best(item, anchor, peers, 0.0)]
        for (a, first), (b, second) in itertools.combinations(anchors, 2):
            if relations.between(item, a, b, self.room, 0.0):
                found.append(Relation("between", (first, second)))
        return found

    def _fits_attributes(self, item: Item, query: Query, slack: float) -> bool:
        return (
            (query.label is None or fits_label(item, query.label, slack))
            and query.color in (None, item.color)
            and query.size in (None, item.size)
            and query.material in (None, item.material)
        )

    def _holds(self, item: Item, relation: Relation, query: Query, slack: float, stances: tuple[Stance, ...]) -> bool:
        if relation.kind in SIDES:
            quantify = any if slack else all
            return quantify(relations.on_side(item, relation.kind, s, slack) for s in stances)
        anchors = [self.the(a) for a in relation.anchors]
        if None in anchors:
            return False
        if relation.kind in ALONE:
            return ALONE[relation.kind](item, self.room, slack)
        if relation.kind == "between":
            return relations.between(item, *anchors, self.room, slack)
        if relation.kind in SUPERLATIVE:
            # among all of the class, so that "the red chair nearest to" is true in either reading
            peers = [o for o in self.items.values() if query.label is None or fits_label(o, query.label, 1.0)]
            return SUPERLATIVE[relation.kind](item, anchors[0], peers, slack)
        return PAIRED[relation.kind](item, anchors[0], self.room, slack)
