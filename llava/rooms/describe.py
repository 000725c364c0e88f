"""Descriptions that single things out: ScanRefer and Multi3DRefer records of a room."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llava.rooms.furniture import CLASSES, choose_color
from llava.rooms.phrasing import describe, describe_many
from llava.rooms.referring import SUPERLATIVE, VIEWPOINT, Inventory, Query, Relation, said_material
from llava.rooms.room import Item, Room
from llava.rooms.words import chance, pick, tokens

COLOR_SHARE = 0.85  # descriptions that name the colour
RELATION_SHARE = 0.25  # targets that colour or size would single out, singled out by a relation all the same
# How often a kind of relation is chosen where several hold: what people say most comes first.
WEIGHTS = {
    "next to": 4.0,
    "on": 4.0,
    "nearest": 3.0,
    "holds": 2.0,
    "between": 2.0,
    "in front of": 2.0,
    "above": 2.0,
    "below": 2.0,
    "in corner": 1.5,
    "farthest": 1.5,
    "same wall": 0.7,
    "across": 0.7,
    "in middle": 0.7,
    "at wall": 0.4,
}
VIEWPOINT_WEIGHT = 0.35


def scanrefer(room: Room, visible: set[int], rng: np.random.Generator) -> list[dict]:
    """ScanRefer records: 2 to 4 descriptions of every visible item that can be singled out.

    Args:
        room: the room.
        visible: ids of the items that are seen well enough to be asked about.
        rng: the only source of randomness.

    Returns:
        Records with the fields of ``ScanRefer_filtered_<split>.json``.
    """
    return [record for record, _ in described(Inventory(room, visible), rng)]


def described(inventory: Inventory, rng: np.random.Generator) -> list[tuple[dict, Query]]:
    """The ScanRefer records, each with the query that its text was made from."""
    found = []
    for item in inventory.seen():
        said: set[str] = set()
        wanted = int(rng.integers(2, 5))
        for _ in range(3 * wanted):
            query = single_out(inventory, item, rng)
            if query is None or len(said) == wanted:
                break
            text = describe(query, rng)
            if text in said:
                continue
            record = {
                "scene_id": inventory.room.name,
                "object_id": str(item.id),
                "object_name": item.label.replace(" ", "_"),
                "ann_id": str(len(said)),
                "description": text,
                "token": tokens(text),
            }
            said.add(text)
            found.append((record, query))
    return found


def single_out(inventory: Inventory, item: Item, rng: np.random.Generator) -> Query | None:
    """A query that means this item alone, as people would put it; None where nothing singles it out."""
    facts = inventory.relations_of(item)
    query = _by_attributes(inventory, item, rng)
    if query is None or (query != Query(item.label) and chance(rng, RELATION_SHARE)):
        query = _by_relation(inventory, item, facts, rng) or query
    if query is None:
        return None
    if query.color is None and not any(r.kind in SUPERLATIVE for r in query.relations) and chance(rng, COLOR_SHARE):
        query = replace(query, color=item.color)
    if query.material is None and chance(rng, 0.12):
        query = replace(query, material=said_material(item))
    for share in (0.85, 0.15):
        wanted = len(query.relations) < 2 and chance(rng, share if not query.relations else 0.25)
        relation = weighted(facts, rng, skip=query.relations) if wanted else None
        if relation is not None:
            query = query.plus(relation)
    return query


def weighted(facts: list[Relation], rng: np.random.Generator, skip: tuple[Relation, ...] = ()) -> Relation | None:
    """One of the relations: first its kind by WEIGHTS, then its anchors; no kind and no anchor of ``skip``."""
    used = {r.kind for r in skip} | {a.label for r in skip for a in r.anchors}
    free = [f for f in facts if f.kind not in used and not any(a.label in used for a in f.anchors)]
    if not free:
        return None
    kinds = sorted({f.kind for f in free})
    shares = np.array([VIEWPOINT_WEIGHT if k in VIEWPOINT else WEIGHTS[k] for k in kinds])
    kind = kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]
    return pick(rng, [f for f in free if f.kind == kind])


def multi3drefer(room: Room, visible: set[int], rng: np.random.Generator) -> list[dict]:
    """Multi3DRefer records: about 16 with no, one or many targets, with and without distractors of the class.

    Args:
        room, visible, rng: as for `scanrefer`.

    Returns:
        Records with the fields of ``multi3drefer_<split>.json``; ``ann_id`` counts within the room.
    """
    return [record for record, _ in multi_described(Inventory(room, visible), rng)]


def multi_described(inventory: Inventory, rng: np.random.Generator) -> list[tuple[dict, Query]]:
    """The Multi3DRefer records, each with the query that its text was made from."""
    plans = [
        *_many(inventory, rng, 5),
        *_singles(inventory, rng, 4, 3),
        *_none(inventory, rng, 2),
        *_absent(inventory, rng, 2),
    ]
    found, said = [], set()
    for eval_type, query, name in plans:
        targets = sorted(inventory.find(query))
        text = describe_many(query, len(targets), rng) if eval_type == "mt" else describe(query, rng)
        if text in said:
            continue
        said.add(text)
        record = {
            "scene_id": inventory.room.name,
            "object_ids": targets,
            "object_name": name.replace(" ", "_"),
            "ann_id": len(found),
            "description": text,
            "eval_type": eval_type,
            "spatial": bool(query.relations),
            "color": query.color is not None,
            "texture": query.material is not None,
            "shape": query.size is not None,
        }
        found.append((record, query))
    return found


def kin(first: str, second: str) -> bool:
    """Whether one class word may name a thing of the other class ("chair", "office chair")."""
    last = [name.rsplit(" ", 1)[-1] for name in (first, second)]
    return last[0] == last[1] or last[0].endswith(last[1]) or last[1].endswith(last[0])


def _by_attributes(inventory: Inventory, item: Item, rng: np.random.Generator) -> Query | None:
    """Class alone where it suffices, else mostly class and colour."""
    names = inventory.names(item)
    if not names or names[0] == Query(item.label):
        return names[0] if names else None
    colored = [q for q in names if q.color is not None]
    return pick(rng, colored) if colored and chance(rng, 0.8) else pick(rng, names)


def _by_relation(inventory: Inventory, item: Item, facts: list[Relation], rng: np.random.Generator) -> Query | None:
    """A relation that singles the item out among those of its class, or of its class and colour."""
    bases = [Query(item.label), Query(item.label, color=item.color)]
    if chance(rng, COLOR_SHARE) and not inventory.means(bases[1], [item.id]):
        bases.reverse()
    for base in bases:
        telling = [f for f in facts if inventory.means(base.plus(f), [item.id])]
        if telling:
            return base.plus(weighted(telling, rng))
    return None


def _many(inventory: Inventory, rng: np.random.Generator, wanted: int) -> list[tuple[str, Query, str]]:
    """Queries that mean two things or more."""
    tries = []
    for label in dict.fromkeys(i.label for i in inventory.seen()):
        group = [i for i in inventory.seen() if i.label == label]
        tries.append(Query(label))
        tries += [Query(label, color=c) for c in dict.fromkeys(i.color for i in group)]
        tries += [Query(label, material=m) for m in dict.fromkeys(map(said_material, group))]
        facts = (
            dict.fromkeys(r for i in group for r in inventory.relations_of(i) if r.kind not in SUPERLATIVE)
            if len(group) > 1
            else ()
        )
        tries += [Query(label).plus(r) for r in facts]
    tries += [Query(color=c) for c in dict.fromkeys(i.color for i in inventory.seen())]
    tries += [
        Query().plus(Relation(k, (n[0],)))
        for k in ("on", "next to")
        for i in inventory.seen()
        if (n := inventory.names(i))
    ]
    good = [q for q in tries if len(found := inventory.find(q)) > 1 and len(found) <= 8 and inventory.means(q, found)]
    kinds = {"label": [], "attribute": [], "thing": [], "relation": []}
    for q in good:
        kinds[
            "relation"
            if q.relations
            else "thing"
            if q.label is None
            else "attribute"
            if q != Query(q.label)
            else "label"
        ].append(q)
    chosen: list[Query] = []
    pools = [pool for pool in kinds.values() if pool]
    while pools and len(chosen) < wanted:
        pool = pick(rng, pools)
        chosen.append(pool.pop(int(rng.integers(len(pool)))))
        pools = [p for p in pools if p]
    return [("mt", q, q.label or inventory.items[min(inventory.find(q))].label) for q in chosen]


def _singles(inventory: Inventory, rng: np.random.Generator, shared: int, unique: int) -> list[tuple[str, Query, str]]:
    """Queries that mean one thing: of a class with several things (``shared``), and of one with one (``unique``)."""
    items = inventory.seen()
    rng.shuffle(items)
    found: dict[str, list[tuple[str, Query, str]]] = {"st_w_d": [], "st_wo_d": []}
    wanted = {"st_w_d": shared, "st_wo_d": unique}
    for item in items + items:
        several = sum(kin(item.label, o.label) for o in inventory.items.values()) > 1
        eval_type = "st_w_d" if several else "st_wo_d"
        if len(found[eval_type]) == wanted[eval_type]:
            continue
        query = single_out(inventory, item, rng)
        if query is not None:
            found[eval_type].append((eval_type, query, item.label))
    return found["st_w_d"] + found["st_wo_d"]


def _none(inventory: Inventory, rng: np.random.Generator, wanted: int) -> list[tuple[str, Query, str]]:
    """Queries of a class that is there, in a colour or at a place where it is not."""
    items = inventory.seen()
    found = []
    for _ in range(20 * wanted):
        if len(found) == wanted or not items:
            break
        item, other = pick(rng, items), pick(rng, items)
        query = Query(item.label, color=choose_color(item.label, rng))  # one that the class has elsewhere
        if chance(rng, 0.4):
            query = replace(query, color=None if chance(rng, 0.4) else item.color)
        facts = inventory.relations_of(other)
        if facts and (query.color in (None, item.color) or chance(rng, 0.6)):
            query = query.plus(weighted(facts, rng))
        anchors = {a.label for r in query.relations for a in r.anchors}
        if not any(kin(item.label, a) for a in anchors) and inventory.none(query):
            found.append(("zt_w_d", query, item.label))
    return found


def _absent(inventory: Inventory, rng: np.random.Generator, wanted: int) -> list[tuple[str, Query, str]]:
    """Queries of a class that is not there, dressed like any other description."""
    free = [c for c in CLASSES if not any(kin(c, o.label) for o in inventory.items.values())]
    items = inventory.seen()
    found = []
    for label in (free[int(i)] for i in rng.permutation(len(free))[: wanted if items else 0]):
        other = pick(rng, items)
        facts = inventory.relations_of(other)
        query = Query(label, color=choose_color(label, rng) if chance(rng, COLOR_SHARE) else None)
        relation = weighted(facts, rng) if chance(rng, 0.85) else None
        found.append(("zt_wo_d", query if relation is None else query.plus(relation), label))
    return found
