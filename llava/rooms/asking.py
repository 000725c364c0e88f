"""Facts as questions: what may be asked about the things that a query means, and the question frames."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from llava.rooms.referring import Query, Relation
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


SITUATED: dict[str, tuple[str, ...]] = {  # questions of somebody in the room; {side}: "on my left"
    "color": (
        "What color {is} {the}?",
        "What is the color of {the}?",
        "Which color {is} {the}?",
        "What color {does} {the} have?",
        "What is the color of {the} in this room?",
    ),
    "what": (
        "What is {the}?",
        "What kind of object is {the}?",
        "Which object is {the}?",
        "What do you call {the}?",
        "What is {the} in this room?",
    ),
    "what side": (
        "What is {side}?",
        "What object is {side}?",
        "Which object is {side}?",
        "What can I find {side}?",
        "What kind of object is {side}?",
    ),
    "count": (
        "How many {many} are there?",
        "How many {many} are in the room?",
        "How many {many} does the room have?",
        "How many {many} are there in this room?",
        "How many {many} can be found here?",
    ),
    "count side": (
        "How many {many} are {side}?",
        "How many {many} are there {side}?",
        "How many {many} can be found {side}?",
        "How many {many} do I have {side}?",
        "How many {many} stand or hang {side}?",
    ),
    "direction": (
        "Which direction should I go to reach {the}?",
        "Which way should I go to get to {the}?",
        "Which direction is {the}?",
        "Which way do I turn to walk to {the}?",
        "Which direction do I have to move to touch {the}?",
    ),
    "where": (
        "Where is {the} from here?",
        "On which side of me is {the}?",
        "Where do I find {the}?",
        "Where is {the} as I see it?",
        "On what side is {the}?",
    ),
    "is side": (
        "Is {the} {side}?",
        "Is it true that {the} is {side}?",
        "Is {the} in the room {side}?",
        "Is {the} to be found {side}?",
        "Is {the} the one {side}?",
    ),
    "exists side": (
        "Is there {a} {side}?",
        "Is {a} {side}?",
        "Is there any {np} {side}?",
        "Is there {a} to be found {side}?",
        "Is at least one {np} {side}?",
    ),
    "check": (
        "Is {the} {color}?",
        "Is the color of {the} {color}?",
        "Is {the} in this room {color}?",
        "Is {color} the color of {the}?",
        "Is it true that {the} is {color}?",
    ),
    "can": (
        "Can I see {the}?",
        "Can I see {the} from here?",
        "Can I see {the} without turning?",
        "Can I look at {the} from where I am?",
        "Can I see {the} straight away?",
    ),
    "can exist": (
        "Can I see {a} in this room?",
        "Can I find {a} here?",
        "Can I find {a} in the room?",
        "Can I spot {a} in this room?",
        "Can I point at {a} in here?",
    ),
    "turn": (
        "Do I have to turn around to see {the}?",
        "Do I need to turn around to look at {the}?",
        "Should I turn around to see {the}?",
        "Must I turn around to see {the}?",
        "Do I turn around if I want to see {the}?",
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


def ask_situated(fact: Fact, side: str | None, rng: np.random.Generator) -> str:
    """The fact as a question of somebody in the room; ``side`` is a key of `relations.SIDES` where it names one."""
    bare = replace(fact.query, relations=tuple(r for r in fact.query.relations if r.kind != side))
    many = len(fact.targets) > 1
    slots = {"is": "are", "does": "do"} if many else {"is": "is", "does": "does"}
    slots |= {"color": fact.query.color or "", "side": "" if side is None else place(rng, Relation(side))}
    if fact.kind.startswith("count"):
        slots["many"] = noun(rng, bare, True)
    elif fact.kind.endswith(("exist", "exists side")):
        slots["np"] = noun(rng, bare)
        slots["a"] = article(slots["np"])
    elif fact.kind != "what side":
        spoken = replace(bare, color=None) if fact.kind == "check" else bare
        slots["the"] = phrase(rng, spoken, many, pick(rng, ("object", "thing")))
    return pick(rng, SITUATED[fact.kind]).format(**slots)
