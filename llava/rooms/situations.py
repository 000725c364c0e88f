"""Questions asked from a place in the room: SQA3D records."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from llava.rooms.asking import Fact, ask_situated
from llava.rooms.balance import color_odds, draw, label_odds
from llava.rooms.questions import checks, colors, counts, existence, things
from llava.rooms.referring import Inventory, Query, Relation
from llava.rooms.relations import SIDES, blocked, on_side
from llava.rooms.room import Item, Room
from llava.rooms.stances import Situation, situations
from llava.rooms.words import NUMBERS

SITUATIONS, PER_SITUATION = 4, 2
SHARES = {
    "color": 0.26,
    "what": 0.16,
    "what side": 0.07,
    "count": 0.06,
    "count side": 0.05,
    "direction": 0.08,
    "where": 0.05,
    "is side": 0.07,
    "exists side": 0.04,
    "check": 0.05,
    "can": 0.04,
    "can exist": 0.05,
    "turn": 0.02,
}
COUNT_WEIGHTS = (0.04, 0.15, 1.5, 3.0, 3.0)  # by the answer, zero to four: the larger, the rarer in rooms
SHARED = {
    "color": colors,
    "what": things,
    "count": counts,
    "check": checks,
    "can exist": existence,
}  # need no situation
WALK = {"in front": "forward", "left": "left", "right": "right", "behind": "backward"}


Candidate = tuple[Fact, "str | None", float]  # the fact, the side that its question names, its weight
Pools = dict[str, list[Candidate]]


@dataclass(frozen=True)
class Situated:
    """A question in a situation, before it is put into words."""

    situation: Situation
    fact: Fact  # kind: a key of asking.SITUATED
    side: str | None = None  # a key of SIDES, for the kinds that name one


def sqa3d(room: Room, visible: set[int], rng: np.random.Generator) -> tuple[list[dict], list[dict]]:
    """SQA3D records: about 8 questions in 4 situations.

    Args:
        room: the room; its name gives the question ids, which are unique over scenes.
        visible: ids of the items that are seen well enough to be asked about.
        rng: the only source of randomness.

    Returns:
        Entries of "questions" and of "annotations" of the ``v1_balanced`` files, joined by ``question_id``.
        ``position`` is in the room's aligned world; ``rotation`` turns +y into where one looks, about z.
    """
    made = situated(Inventory(room, visible), rng)
    return [question for question, _, _ in made], [annotation for _, annotation, _ in made]


def situated(inventory: Inventory, rng: np.random.Generator) -> list[tuple[dict, dict, Situated]]:
    """The SQA3D questions and annotations, each with what it asks."""
    shared = {kind: [(replace(f, kind=kind), None, w) for f, w in make(inventory)] for kind, make in SHARED.items()}
    shared["count"] = [(replace(f, answers=(NUMBERS[int(f.answers[0])],)), None, w) for f, _, w in shared["count"]]
    found: list[tuple[dict, dict, Situated]] = []
    first_id = int("".join(c for c in inventory.room.name if c.isdigit()) or 0) * 100
    for situation in situations(inventory, rng):
        if len(found) >= SITUATIONS * PER_SITUATION:
            break
        texts = situation.tell(rng, 3)
        for asked, text in _questions(inventory, situation, shared, rng):
            question_id = first_id + len(found)
            question = {
                "scene_id": inventory.room.name,
                "situation": texts[0],
                "alternative_situation": texts[1:],
                "question": text,
                "question_id": question_id,
            }
            found.append((question, _annotation(inventory, asked, question_id), asked))
    return found


def _annotation(inventory: Inventory, asked: Situated, question_id: int) -> dict:
    stance = asked.situation.stances[0]
    return {
        "scene_id": inventory.room.name,
        "question_type": "N/A",
        "answer_type": "other",
        "question_id": question_id,
        "answers": [{"answer": asked.fact.answers[0], "answer_confidence": "yes", "answer_id": 1}],
        "rotation": {"_x": 0, "_y": 0, "_z": math.sin(stance.yaw / 2), "_w": math.cos(stance.yaw / 2)},
        "position": {"x": stance.x, "y": stance.y, "z": 0},
    }


def _questions(
    inventory: Inventory, situation: Situation, shared: Pools, rng: np.random.Generator
) -> list[tuple[Situated, str]]:
    """PER_SITUATION questions that have one answer wherever in the situation one stands."""
    pools = {kind: pool for kind, pool in _pools(inventory, situation, shared).items() if pool}
    found: list[tuple[Situated, str]] = []
    while pools and len(found) < PER_SITUATION:
        kinds = list(pools)
        kind = kinds[draw([(k, SHARES[k]) for k in kinds], rng)]
        pool = pools.pop(kind)  # a kind once a situation
        fact, side, _ = pool[draw([(None, weight) for *_, weight in pool], rng)]
        found.append((Situated(situation, fact, side), ask_situated(fact, side, rng)))
    return found


def _pools(inventory: Inventory, situation: Situation, shared: Pools) -> Pools:
    """All candidates by kind: (fact, side that the question names, weight)."""
    here = Here(inventory, situation)
    told = {i for i in situation.named if here.told_color(i)}
    pools = {
        kind: [e for e in shared[kind] if not (set(e[0].targets) & (set(situation.named) if kind == "what" else told))]
        for kind in shared
    }
    pools |= {kind: [v for entry in pools[kind] for v in here.placed(entry)] for kind in ("color", "what")}
    pools["color"] += here.colors_by_side(told)
    pools["what side"] = here.things_by_side()
    pools["count side"] = here.counts_by_side()
    pools["direction"] = here.ways("direction", WALK)
    pools["where"] = here.ways("where", {side: side for side in SIDES})
    pools["is side"] = here.is_side()
    pools["exists side"] = here.exists_side()
    pools["can"] = here.in_sight("can", seen="yes")
    pools["turn"] = here.in_sight("turn", seen="no")
    return pools


class Here:
    """What is where for somebody in a situation: only what holds from all of its stances."""

    def __init__(self, inventory: Inventory, situation: Situation):
        self.inventory, self.situation, self.stances = inventory, situation, situation.stances
        self.sides = {i.id: side for i in inventory.seen() if (side := self._side(i)) is not None}
        asked = [i for i in inventory.seen() if i.id in self.sides and i.id not in situation.named]
        self.named = [(i, names[0]) for i in asked if (names := inventory.names(i))]

    def told_color(self, item_id: int) -> bool:
        """Whether the situation's words say this item's colour."""
        queries = [q for q in (self.situation.near, self.situation.facing) if q is not None and q.color is not None]
        return any(item_id in self.inventory.find(q) for q in queries)

    def placed(self, entry: Candidate) -> list[Candidate]:
        """A fact about one thing, half of the times with the side on which it is."""
        fact, _, weight = entry
        side = self.sides.get(fact.targets[0]) if len(fact.targets) == 1 else None
        if side is None or fact.query.relations:
            return [entry]
        return [(fact, None, weight / 2), (replace(fact, query=fact.query.plus(Relation(side))), None, weight / 2)]

    def colors_by_side(self, told: set[int]) -> list[Candidate]:
        """Colours of things that only their side tells from others of their class."""
        found = []
        for item in self.inventory.seen():
            odds = color_odds(item.label, item.color)
            if item.id in told or item.id not in self.sides or odds > 0.5 or self._means(Query(item.label), [item.id]):
                continue
            query = Query(item.label).plus(Relation(self.sides[item.id]))
            if self._means(query, [item.id]):
                found.append((Fact("color", query, (item.color,), (item.id,)), None, 0.3 / odds))
        return found

    def things_by_side(self) -> list[Candidate]:
        found = []
        for side in SIDES:
            query = Query().plus(Relation(side))
            ids = self.inventory.find(query, 0.0, self.stances)
            labels = {self.inventory.items[i].label for i in ids}
            if len(labels) == 1 and not ids & set(self.situation.named) and self._means(query, ids):
                fact = Fact("what side", query, (min(labels),), tuple(sorted(ids)))
                found.append((fact, side, 1 / label_odds(min(labels))))
        return found

    def counts_by_side(self) -> list[Candidate]:
        found = []
        for label in dict.fromkeys(i.label for i in self.inventory.seen()):
            for side in SIDES:
                query = Query(label).plus(Relation(side))
                ids = self.inventory.find(query, 0.0, self.stances)
                if len(ids) < len(COUNT_WEIGHTS) and self._means(query, ids):
                    fact = Fact("count side", query, (NUMBERS[len(ids)],), tuple(sorted(ids)))
                    found.append((fact, side, COUNT_WEIGHTS[len(ids)]))
        return found

    def ways(self, kind: str, words: dict[str, str]) -> list[Candidate]:
        """Where things are; each side is asked for as often as any other."""
        counts = {side: sum(self.sides[i.id] == side for i, _ in self.named) for side in SIDES}
        return [
            (Fact(kind, name, (words[self.sides[item.id]],), (item.id,)), None, 1 / counts[self.sides[item.id]])
            for item, name in self.named
        ]

    def is_side(self) -> list[Candidate]:
        found = []
        for side in SIDES:
            yes = [(i, n) for i, n in self.named if self.sides[i.id] == side]
            no = [(i, n) for i, n in self.named if not self._maybe(i, side)]
            found += _evenly("is side", side, yes, no)
        return found

    def exists_side(self) -> list[Candidate]:
        found = []
        items = list({i.label: i for i in self.inventory.seen() if i.id not in self.situation.named}.values())
        for side in SIDES:
            queries = [(i, Query(i.label).plus(Relation(side))) for i in items]
            yes = [(i, q) for i, q in queries if self._seen_among(self.inventory.find(q, 0.0, self.stances))]
            no = [(i, q) for i, q in queries if self.inventory.none(q, self.stances)]
            found += _evenly("exists side", side, yes, no)
        return found

    def in_sight(self, kind: str, seen: str) -> list[Candidate]:
        """Things straight ahead with nothing before them (the answer is `seen`), and things behind one's back."""
        ahead = [(i, n) for i, n in self.named if self.sides[i.id] == "in front" and not self._blocked(i)]
        back = [(i, n) for i, n in self.named if self.sides[i.id] == "behind"]
        yes, no = (ahead, back) if seen == "yes" else (back, ahead)
        return _evenly(kind, None, yes, no)

    def _side(self, item: Item) -> str | None:
        return next((side for side in SIDES if all(on_side(item, side, s, 0.0) for s in self.stances)), None)

    def _maybe(self, item: Item, side: str) -> bool:
        return any(on_side(item, side, s, 1.0) for s in self.stances)

    def _blocked(self, item: Item) -> bool:
        return any(blocked(item, s, self.inventory.items.values()) for s in self.stances)

    def _means(self, query: Query, ids: Iterable[int]) -> bool:
        return self.inventory.means(query, ids, self.stances)

    def _seen_among(self, ids: frozenset[int]) -> bool:
        return bool(ids & set(self.inventory.visible))


def _evenly(kind: str, side: str | None, yes: list, no: list) -> list[Candidate]:
    """Both answers as often for the same words; nothing where one of them cannot be asked."""
    found = []
    for answer, entries, others in (("yes", yes, no), ("no", no, yes)):
        if others:
            found += [(Fact(kind, q, (answer,), (i.id,)), side, 1 / len(entries)) for i, q in entries]
    return found
