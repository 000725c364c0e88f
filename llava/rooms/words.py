"""Words for queries: noun phrases, relation phrases and the small closed vocabulary of all annotations."""

from __future__ import annotations

import re

import numpy as np

from llava.rooms.referring import Query, Relation

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
SYNONYMS = {"couch": "sofa", "sofa": "couch", "trash can": "bin", "tv": "television", "refrigerator": "fridge"}
IRREGULAR = {"shelf": "shelves", "bookshelf": "bookshelves"}
STUFF = {"wooden": "wood"}  # an adjective of material -> what a thing is made of

# {a}, {b}: anchors with their article. These follow a noun ("the chair beside the bed") or "it is".
PLACES = {
    "in corner": (
        "in the corner",
        "in the corner of the room",
        "in a corner",
        "in one corner of the room",
        "in a corner of the room",
    ),
    "at wall": ("against the wall", "by the wall", "along the wall", "up against the wall", "against a wall"),
    "in middle": (
        "in the middle of the room",
        "in the center of the room",
        "near the center of the room",
        "in the middle",
        "around the middle of the room",
    ),
    "on": ("on {a}", "on top of {a}", "up on {a}", "on the top of {a}", "right on {a}"),
    "holds": (
        "with {a} on it",
        "that has {a} on it",
        "with {a} on top of it",
        "that has {a} on top",
        "with {a} on top",
    ),
    "next to": ("next to {a}", "beside {a}", "right next to {a}", "by {a}", "close to {a}", "near {a}"),
    "above": ("above {a}", "over {a}", "right above {a}", "up above {a}", "higher up above {a}"),
    "below": ("below {a}", "under {a}", "underneath {a}", "right below {a}", "right under {a}"),
    "in front of": (
        "in front of {a}",
        "right in front of {a}",
        "just in front of {a}",
        "before {a}",
        "at the front of {a}",
    ),
    "left of": (
        "to the left of {a} when you face it",
        "on the left side of {a} when you face it",
        "left of {a} as you face it",
        "on the left of {a} if you look at it",
        "to the left of {a} if you stand facing it",
    ),
    "right of": (
        "to the right of {a} when you face it",
        "on the right side of {a} when you face it",
        "right of {a} as you face it",
        "on the right of {a} if you look at it",
        "to the right of {a} if you stand facing it",
    ),
    "same wall": (
        "at the same wall as {a}",
        "along the same wall as {a}",
        "on the same side of the room as {a}",
        "against the wall with {a}",
        "by the wall with {a}",
    ),
    "across": (
        "across the room from {a}",
        "opposite {a}",
        "on the other side of the room from {a}",
        "across from {a}",
        "at the wall opposite {a}",
    ),
    "entering left": (
        "on the left when you enter the room through {a}",
        "on your left as you come in through {a}",
        "to the left when you walk in at {a}",
        "on the left side when you come in at {a}",
        "on your left when you stand with your back to {a}",
    ),
    "entering right": (
        "on the right when you enter the room through {a}",
        "on your right as you come in through {a}",
        "to the right when you walk in at {a}",
        "on the right side when you come in at {a}",
        "on your right when you stand with your back to {a}",
    ),
    "between": (
        "between {a} and {b}",
        "in between {a} and {b}",
        "in the middle between {a} and {b}",
        "halfway between {a} and {b}",
        "right between {a} and {b}",
    ),
    "nearest": ("closest to {a}", "nearest to {a}", "that is closest to {a}", "that is nearest to {a}", "nearest {a}"),
    "farthest": (
        "farthest from {a}",
        "farthest away from {a}",
        "that is farthest from {a}",
        "furthest from {a}",
        "furthest away from {a}",
    ),
    "in front": ("in front of me", "ahead of me"),
    "behind": ("behind me", "at my back"),
    "left": ("on my left", "to my left"),
    "right": ("on my right", "to my right"),
}


def pick(rng: np.random.Generator, choices):
    """One of the choices (a list or tuple), each as likely."""
    return choices[int(rng.integers(len(choices)))]


def chance(rng: np.random.Generator, share: float) -> bool:
    return bool(rng.random() < share)


def article(noun: str) -> str:
    """The noun phrase with "a" or "an"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def plural(noun: str) -> str:
    head, _, last = noun.rpartition(" ")
    if last in IRREGULAR:
        last = IRREGULAR[last]
    elif last.endswith(("s", "sh", "ch", "x")):
        last += "es"
    else:
        last += "s"
    return f"{head} {last}".strip()


def noun(rng: np.random.Generator, query: Query, many: bool = False, thing: str = "object") -> str:
    """Attributes and class without an article: "small red wooden chair". At times a synonym for the class."""
    label = query.label or thing
    if label in SYNONYMS and chance(rng, 0.15):
        label = SYNONYMS[label]
    words = [w for w in (query.size, query.color, query.material) if w is not None]
    return " ".join([*words, plural(label) if many else label])


def place(rng: np.random.Generator, relation: Relation) -> str:
    """The relation as a phrase: "next to the white table"."""
    names = [phrase(rng, anchor) for anchor in relation.anchors]
    return pick(rng, PLACES[relation.kind]).format(**dict(zip("ab", names, strict=False)))


def phrase(rng: np.random.Generator, query: Query, many: bool = False, thing: str = "object") -> str:
    """The whole query with "the": "the red chair next to the table"."""
    return " ".join(["the", noun(rng, query, many, thing), *(place(rng, r) for r in query.relations)])


def sentence(text: str) -> str:
    """First letter in upper case."""
    return text[:1].upper() + text[1:]


def tokens(text: str) -> list[str]:
    """Words and punctuation marks, as ScanRefer's ``token`` lists them."""
    return re.findall(r"[a-z0-9]+(?:'[a-z]+)?|[^\sa-z0-9]", text.lower())
