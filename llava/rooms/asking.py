"""Facts as questions: what may be asked about the things that a query means, and the question frames."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from llava.rooms.referring import Query
from llava.rooms.words import article, noun, phrase, pick, place, sentence

TEMPLATES: dict[str, tuple[str, ...]] = {  # {the}: what is referred to, with "the"
    "color": (
        "what color {is} {the}?",
        "what is the color of {the}?",
        "which color {is} {the}?",
        "what color {is} {the} in this room?",
        "{the} {is} what color?",
        "which color {does} {the} have?",
    ),
    "what": (
        "what is {the}?",
        "what kind of object is {the}?",
        "{the} is what?",
        "what is {the} in this room?",
        "what do you call {the}?",
    ),
    "what place": (
        "what is {place}?",
        "what can be found {place}?",
        "what do you see {place}?",
        "which object is {place}?",
        "what is there {place}?",
    ),
    "count": (
        "how many {many} are there?",
        "how many {many} are in the room?",
        "how many {many} are there in total?",
        "what is the number of {many}?",
        "how many {many} does the room have?",
        "how many {many} can you see in this room?",
    ),
    "where": (
        "where is {the}?",
        "where can {the} be found?",
        "where is {the} located?",
        "in what place is {the}?",
        "where do you find {the}?",
    ),
    "material": (
        "what is {the} made of?",
        "what is the material of {the}?",
        "which material is {the} made of?",
        "{the} is made of what?",
        "what material is {the}?",
    ),
    "size": (
        "what size is {the}?",
        "is {the} small, medium or large?",
        "how large is {the}?",
        "what is the size of {the}?",
        "which size is {the}?",
    ),
    "exists": (
        "is there {a} in the room?",
        "is there {a}?",
        "does the room have {a}?",
        "can you see {a} in this room?",
        "do you see {a}?",
    ),
    "check": (
        "is {the} {color}?",
        "is the color of {the} {color}?",
        "is {the} in this room {color}?",
        "does {the} have a {color} color?",
        "is {color} the color of {the}?",
    ),
}


@dataclass(frozen=True)
class Fact:
    """A question before it is put into words: what is asked about the things that a query means, and the answers."""

    kind: str  # a key of TEMPLATES
    query: Query
    answers: tuple[str, ...]
    targets: tuple[int, ...] = ()


def ask(fact: Fact, rng: np.random.Generator) -> str:
    """The fact as a question."""
    query, many = fact.query, len(fact.targets) > 1
    slots = {"is": "are", "does": "do"} if many else {"is": "is", "does": "does"}
    if fact.kind == "what place":
        slots["place"] = place(rng, query.relations[0]).removeprefix("that is ")
    elif fact.kind == "count":
        slots["many"] = " ".join([noun(rng, query, True), *(place(rng, r) for r in query.relations)])
    elif fact.kind == "exists":
        slots["a"] = article(noun(rng, query))
    else:
        spoken = replace(query, color=None) if fact.kind == "check" else query
        slots |= {"the": phrase(rng, spoken, many, pick(rng, ("object", "thing"))), "color": query.color or ""}
    return sentence(pick(rng, TEMPLATES[fact.kind]).format(**slots))
