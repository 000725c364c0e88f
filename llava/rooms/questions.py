"""Questions about a room: ScanQA records, balanced so that the words of a question do not give the answer away."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llava.rooms.asking import Fact, ask
from llava.rooms.balance import color_odds, draw, label_odds, material_odds
from llava.rooms.furniture import CATALOGUE, COLORS
from llava.rooms.referring import Inventory, Query, Relation, said_material
from llava.rooms.room import Item, Room
from llava.rooms.words import STUFF, SYNONYMS

PER_ROOM = 12
SHARES = {
    "color": 0.32,
    "what": 0.26,
    "what place": 0.12,
    "count": 0.08,
    "where": 0.08,
    "material": 0.03,
    "size": 0.03,
    "exists": 0.05,
    "check": 0.03,
}
COUNT_WEIGHTS = {1: 0.06, 2: 0.25, 3: 0.9, 4: 1.5}  # by the answer: things that come in threes are rarer
PLACE_ANSWERS = {  # kind of relation -> how it is answered
    "on": "on the {a}",
    "next to": "next to the {a}",
    "in corner": "in the corner",
    "in middle": "in the middle of the room",
    "below": "under the {a}",
    "above": "above the {a}",
    "in front of": "in front of the {a}",
}


def scanqa(room: Room, visible: set[int], rng: np.random.Generator, split: str) -> list[dict]:
    """ScanQA records: about 12 questions about what is seen in the room, with all the answers that are right.

    Args:
        room: the room.
        visible: ids of the items that are seen well enough to be asked about.
        rng: the only source of randomness.
        split: "train" or "val", the first word of the question ids.

    Returns:
        Records with the fields of ``ScanQA_v1.0_<split>.json``.
    """
    return [record for record, _ in asked(Inventory(room, visible), rng, split)]


def asked(inventory: Inventory, rng: np.random.Generator, split: str) -> list[tuple[dict, Fact]]:
    """The ScanQA records, each with the fact that it asks for."""
    pools = {kind: make(inventory) for kind, make in MAKERS.items()}
    found: list[tuple[dict, Fact]] = []
    said: set[str] = set()
    name = inventory.room.name
    while any(pools.values()) and len(found) < PER_ROOM:
        kinds = [k for k in pools if pools[k]]
        kind = kinds[draw([(k, SHARES[k]) for k in kinds], rng)]
        fact, _ = pools[kind].pop(draw(pools[kind], rng))
        text = ask(fact, rng)
        if text in said:
            continue
        said.add(text)
        record = {
            "scene_id": name,
            "question": text,
            "question_id": f"{split}-{name.rsplit('_', 1)[0]}-{len(found)}",
            "answers": list(fact.answers),
            "object_ids": list(fact.targets),
            "object_names": [inventory.items[i].label for i in fact.targets],
        }
        found.append((record, fact))
    return found


def with_synonym(label: str) -> tuple[str, ...]:
    return (label, SYNONYMS[label]) if label in SYNONYMS else (label,)


def references(inventory: Inventory, item: Item, hide: str) -> list[tuple[Query, float]]:
    """Queries that single the item out without its attribute ``hide``, with how readily each is used."""
    found = [q for q in inventory.names(item) if replace(q, **{hide: None}) == q]
    if found:
        return [(found[0], 1.0)]
    placed = [Query(item.label).plus(r) for r in inventory.relations_of(item) if len(r.anchors) < 2]
    placed = [q for q in placed if inventory.means(q, [item.id])]
    return [(q, 0.15 / len(placed)) for q in placed]


def colors(inventory: Inventory) -> list[tuple[Fact, float]]:
    found = []
    for item in inventory.seen():
        odds = color_odds(item.label, item.color)
        weight = (1 - _best_odds(item.label)) / odds
        if weight > 0:
            found += [
                (Fact("color", q, (item.color,), (item.id,)), w * weight)
                for q, w in references(inventory, item, "color")
            ]
    for label in dict.fromkeys(i.label for i in inventory.seen()):
        group = inventory.find(Query(label))
        shades = {inventory.items[i].color for i in group}
        if len(group) > 1 and len(shades) == 1 and _best_odds(label) < 1 and inventory.means(Query(label), group):
            color = min(shades)
            weight = 0.5 * (1 - _best_odds(label)) / color_odds(label, color)
            found.append((Fact("color", Query(label), (color,), tuple(sorted(group))), weight))
    return found


def things(inventory: Inventory) -> list[tuple[Fact, float]]:
    found = []
    for item in inventory.seen():
        color = Query(color=item.color)
        tries = [
            (color, 1.0),
            (replace(color, material=said_material(item)), 0.2 * material_odds(item.label, item.material)),
        ]
        facts = [r for r in inventory.relations_of(item) if len(r.anchors) < 2]
        tries += [(color.plus(r), 0.1 / len(facts)) for r in facts]
        good = [(q, w) for q, w in tries if inventory.means(q, [item.id])]
        weight = 1 / (label_odds(item.label) * color_odds(item.label, item.color))
        if good and good[0][0] == color:
            good = good[:1]
        found += [(Fact("what", q, with_synonym(item.label), (item.id,)), w * weight) for q, w in good]
    return found


def things_at(inventory: Inventory) -> list[tuple[Fact, float]]:
    found = []
    places = [Relation("in corner"), Relation("in middle")]
    for anchor in inventory.seen():
        kinds = ("on", "next to", "next to", "nearest", "below", "above", "in front of", "left of", "right of")
        places += [Relation(kind, (name,)) for name in inventory.names(anchor)[:1] for kind in kinds]
    for place_ in dict.fromkeys(places):
        ids = inventory.find(Query().plus(place_))
        labels = sorted({inventory.items[i].label for i in ids})
        if 1 <= len(labels) <= 2 and inventory.means(Query().plus(place_), ids):
            answers = tuple(word for label in labels for word in with_synonym(label))
            weight = 1 / max(label_odds(label) for label in labels)
            found.append((Fact("what place", Query().plus(place_), answers, tuple(sorted(ids))), weight))
    return found


def counts(inventory: Inventory) -> list[tuple[Fact, float]]:
    seen = inventory.seen()
    queries = (
        [Query(i.label) for i in seen] + [Query(color=i.color) for i in seen] + [Query(i.label, i.color) for i in seen]
    )
    found = []
    for query in dict.fromkeys(queries):
        ids = inventory.find(query)
        if inventory.means(query, ids):
            found.append((Fact("count", query, (str(len(ids)),), tuple(sorted(ids))), COUNT_WEIGHTS[min(len(ids), 4)]))
    return found


def wheres(inventory: Inventory) -> list[tuple[Fact, float]]:
    found = []
    for item in inventory.seen():
        facts = reversed(inventory.relations_of(item))  # what tells more first: corners are common
        short = [r for r in facts if all(a == Query(a.label) for a in r.anchors)]
        answers = [
            PLACE_ANSWERS[r.kind].format(a=r.anchors[0].label if r.anchors else "")
            for r in short
            if r.kind in PLACE_ANSWERS
        ]
        for query in inventory.names(item)[:1]:
            if answers:
                weight = 0.3 if "in the corner" in answers else 1.0
                found.append((Fact("where", query, tuple(answers), (item.id,)), weight))
    return found


def materials(inventory: Inventory) -> list[tuple[Fact, float]]:
    found = []
    for item in inventory.seen():
        if len(set(CATALOGUE[item.label].materials)) > 1:
            answers = (STUFF[item.material], item.material) if item.material in STUFF else (item.material,)
            weight = 1 / material_odds(item.label, item.material)
            found += [
                (Fact("material", q, answers, (item.id,)), w * weight)
                for q, w in references(inventory, item, "material")
            ]
    return found


def sizes(inventory: Inventory) -> list[tuple[Fact, float]]:
    return [
        (Fact("size", q, (item.size,), (item.id,)), w)
        for item in inventory.seen()
        for q, w in references(inventory, item, "size")
    ]


def existence(inventory: Inventory) -> list[tuple[Fact, float]]:
    """Whether there is a thing of this class and colour; the class is always there, so that it tells nothing."""
    return [
        entry
        for label in dict.fromkeys(i.label for i in inventory.seen())
        for entry in yes_no(inventory, "exists", label)
    ]


def checks(inventory: Inventory) -> list[tuple[Fact, float]]:
    """Whether the one thing of a class has this colour."""
    single = [i.label for i in inventory.seen() if inventory.means(Query(i.label), [i.id])]
    return [entry for label in single for entry in yes_no(inventory, "check", label)]


def yes_no(inventory: Inventory, kind: str, label: str) -> list[tuple[Fact, float]]:
    """Weights are such that over many rooms "yes" and "no" come equally often for each class and colour."""
    found = []
    for color in COLORS:
        query, odds = Query(label, color), color_odds(label, color)
        ids = inventory.find(query)
        if ids and ids <= set(inventory.visible) and odds < 1:
            found.append((Fact(kind, query, ("yes",), tuple(sorted(ids)[:1])), 1 - odds))
        elif inventory.none(query) and odds > 0:
            group = [i.id for i in inventory.seen() if i.label == label]
            found.append((Fact(kind, query, ("no",), tuple(group[:1])), odds))
    return found


def _best_odds(label: str) -> float:
    """How often guessing the most frequent colour of the class is right."""
    return max(color_odds(label, color) for color in COLORS)


MAKERS = {
    "color": colors,
    "what": things,
    "what place": things_at,
    "count": counts,
    "where": wheres,
    "material": materials,
    "size": sizes,
    "exists": existence,
    "check": checks,
}
