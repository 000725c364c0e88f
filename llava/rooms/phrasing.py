"""Queries as descriptions: the sentence frames of ScanRefer and Multi3DRefer texts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llava.rooms.referring import SUPERLATIVE, Query, Relation
from llava.rooms.words import NUMBERS, article, chance, noun, phrase, pick, place

OPENINGS = (  # {np}: noun phrase; {a}: with "a"
    "this is {a}.",
    "it is {a}.",
    "there is {a}.",
    "you are looking for {a}.",
    "{a}.",
    "find the {np}.",
    "the object is {a}.",
)
COLOR_OPENINGS = ("the {label} is {color}.", "this {label} is {color}.", "this is {a_label}. it is {color}.")
FUSED = (
    "{a} {rel}.",
    "the {np} {rel}.",
    "there is {a} {rel}.",
    "find the {np} {rel}.",
    "this is the {np} {rel}.",
    "you are looking for the {np} {rel}.",
)
FUSED_THE = (
    "the {np} {rel}.",
    "find the {np} {rel}.",
    "this is the {np} {rel}.",
    "it is the {np} {rel}.",
    "look for the {np} {rel}.",
)
CLAUSES = (
    "it is {rel}.",
    "it is located {rel}.",
    "the {label} is {rel}.",
    "you can see it {rel}.",
    "it can be found {rel}.",
)
THE_ONE = (
    "it is the one {rel}.",
    "it is {rel}.",
    "it is the {label} {rel}.",
    "the {label} is {rel}.",
    "you want the one {rel}.",
)
HOLDING = (
    "it has {b} on it.",
    "there is {b} on it.",
    "{b} is on top of it.",
    "you can see {b} on it.",
    "on it there is {b}.",
)
MANY = (
    "all the {nps}{rel}.",
    "all of the {nps}{rel}.",
    "the {nps}{rel}.",
    "the {n} {nps}{rel}.",
    "find all {nps}{rel}.",
    "there are {n} {nps}{rel}.",
    "every {np}{rel}.",
    "these are the {nps}{rel}.",
)


def describe(query: Query, rng: np.random.Generator) -> str:
    """One to three short sentences that say all of a query about one thing."""
    label = noun(rng, Query(query.label))
    np_ = " ".join(w for w in (query.size, query.color, query.material, label) if w)
    words = {"np": np_, "a": article(np_), "label": label, "a_label": article(label), "color": query.color}
    rest = list(query.relations)
    plain = query.size is None and query.material is None and query.color is not None
    if rest and chance(rng, 0.4):
        first = rest.pop(0)
        frames = FUSED_THE if first.kind in SUPERLATIVE else FUSED
        parts = [pick(rng, frames).format(rel=place(rng, first), **words)]
    else:
        parts = [pick(rng, COLOR_OPENINGS if plain and chance(rng, 0.25) else OPENINGS).format(**words)]
    for relation in rest:
        parts.append(_clause(relation, words, rng))
    return " ".join(parts)


def describe_many(query: Query, count: int, rng: np.random.Generator) -> str:
    """One short sentence about all the things that a query means, ``count`` of them."""
    thing = pick(rng, ("object", "thing"))
    rel = "".join(f" {place(rng, r)}" for r in query.relations)
    bare = replace(query, relations=())
    number = NUMBERS[count] if count < len(NUMBERS) else str(count)
    many, one = noun(rng, bare, True, thing), noun(rng, bare, False, thing)
    return pick(rng, MANY).format(nps=many, np=one, n=number, rel=rel)


def _clause(relation: Relation, words: dict[str, str], rng: np.random.Generator) -> str:
    if relation.kind == "holds":
        return pick(rng, HOLDING).format(b=phrase(rng, relation.anchors[0]))
    where = place(rng, relation).removeprefix("that is ")
    return pick(rng, THE_ONE if relation.kind in SUPERLATIVE else CLAUSES).format(rel=where, **words)
