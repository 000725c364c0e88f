"""What can be said about pictures without knowing where anything stands: the text a base model learns from.

Nothing here looks at a position in the room. A thing counts when it is seen in one of the pictures, and is
asked about by class, colour, size and material alone, or by a mark put on a picture. The forms run from *one hop*
("the chair:" -> "red", which is what makes a small model read attributes off its tokens) to the questions that the
benchmarks ask.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llava.rooms.referring import said_material
from llava.rooms.room import Item
from llava.rooms.words import NUMBERS, STUFF, article, chance, pick, plural, sentence

QA = " {} Answer the question simply."
SITUATED = " {} Answer the question using a single word or phrase."
POINT = " Given an object located at <coord> , describe the object in detail."
FIND = "Identify the object according to the following description.\n{}"
FIND_ANY = FIND + "\nThere may be no corresponding object, or there may be one or more objects."


@dataclass(frozen=True)
class ImageFact:
    """A question about pictures, its answer, and the ids it is about."""

    kind: str  # what the question takes to answer
    question: str
    answer: str
    targets: tuple[int, ...] | None = None  # for "<ground>": ids of the things meant
    mark: int | None = None  # for "<coord>": id of the thing that the mark lies on
    words: tuple[str, ...] = ()  # for "<coord>": what every right answer says


def image_facts(
    seen: Sequence[Item], count: int, rng: np.random.Generator, marks: bool = False, terse: bool = False
) -> list[ImageFact]:
    """`count` questions about the things seen in some pictures.

    With `marks`, many of them point at a place; `terse` ones are lists, one hop, and finding a described thing.
    Raises ValueError when nothing is seen.
    """
    _check_seen(seen)
    simple = [_list, _list, _hop, _find]
    kinds = simple if terse else [*simple * 2, _find, _find, _find_any, _find_any, *_ASKED]
    facts: list[ImageFact] = []
    while len(facts) < count:
        if marks and chance(rng, 0.4):
            facts.append(_point(seen, rng))
        elif fact := pick(rng, kinds)(seen, rng):
            facts.append(fact)
    return facts


def places(seen: Sequence[Item], count: int, rng: np.random.Generator) -> list[ImageFact]:
    """`count` times the shortest question about a place; raises ValueError when nothing is seen."""
    _check_seen(seen)
    return [dot(pick(rng, seen)) for _ in range(count)]


def dot(item: Item) -> ImageFact:
    """The shortest question about a place."""
    words = (item.color, *item.label.split())
    return ImageFact("point", " <coord> :", f"{item.color} {item.label}", mark=item.id, words=words)


def describe(item: Item, rng: np.random.Generator) -> str:
    """Colour and class, at times with size and material: "small red wooden chair"."""
    words = [
        item.size if item.size != "medium" and chance(rng, 0.3) else None,
        item.color,
        said_material(item) if chance(rng, 0.3) else None,
        item.label,
    ]
    return " ".join(w for w in words if w)


def _check_seen(seen: Sequence[Item]) -> None:
    if not seen:
        raise ValueError("no picture shows anything to ask about")


def _point(seen: Sequence[Item], rng: np.random.Generator) -> ImageFact:
    item = pick(rng, seen)
    thing = describe(item, rng)
    form = int(rng.integers(5))
    if form == 0:
        return dot(item)
    if form == 1:
        return ImageFact(
            "point", QA.format("What is at <coord> ?"), item.label, mark=item.id, words=tuple(item.label.split())
        )
    if form == 2:
        return ImageFact(
            "point", QA.format("What color is the thing at <coord> ?"), item.color, mark=item.id, words=(item.color,)
        )
    opening = pick(rng, ("this is {}.", "there is {}.", "{}.", "it is {}.", "you see {}."))
    return ImageFact(
        "point", POINT, sentence(opening.format(article(thing))), mark=item.id, words=(item.color, *item.label.split())
    )


def _alone(seen: Sequence[Item], key: str, rng: np.random.Generator) -> Item | None:
    """A thing that is the only one seen with its class (key "label") or its colour (key "color")."""
    counts = Counter(vars(i)[key] for i in seen)
    alone = [i for i in seen if counts[vars(i)[key]] == 1]
    return pick(rng, alone) if alone else None


def _color(seen: Sequence[Item], rng: np.random.Generator) -> ImageFact | None:
    if not (item := _alone(seen, "label", rng)):
        return None
    forms = ("What color is the {}?", "What is the color of the {}?", "Which color does the {} have?")
    text = pick(rng, forms).format(item.label)
    return ImageFact("color", pick(rng, (QA, SITUATED)).format(text), item.color)


def _class(seen: Sequence[Item], rng: np.random.Generator) -> ImageFact | None:
    if not (item := _alone(seen, "color", rng)):
        return None
    forms = ("What is the {c} thing?", "What object is {c}?", "Which object in the room is {c}?", "What is {c}?")
    return ImageFact("class", pick(rng, (QA, SITUATED)).format(pick(rng, forms).format(c=item.color)), item.label)


def _material(seen: Sequence[Item], rng: np.random.Generator) -> ImageFact | None:
    item = _alone(seen, "label", rng)
    if item is None or not (material := said_material(item)):
        return None
    return ImageFact("material", QA.format(f"What is the {item.label} made of?"), STUFF.get(material, material))


def _exists(seen: Sequence[Item], rng: np.random.Generator) -> ImageFact:
    item, other = pick(rng, seen), pick(rng, seen)
    yes = chance(rng, 0.5)
    color = item.color if yes else other.color
    true = any(i.label == item.label and i.color == color for i in seen)
    text = pick(rng, ("Is there {}?", "Do you see {}?", "Can I see {}?")).format(article(f"{color} {item.label}"))
    return ImageFact("exists", pick(rng, (QA, SITUATED)).format(text), "yes" if true else "no")


def _count(seen: Sequence[Item], rng: np.random.Generator) -> ImageFact | None:
    counts = Counter(i.label for i in seen)
    label = pick(rng, sorted(counts))
    if counts[label] >= len(NUMBERS):
        return None
    text = pick(rng, ("How many {} are there?", "How many {} do you see?")).format(plural(label))
    return ImageFact("count", pick(rng, (QA, SITUATED)).format(text), NUMBERS[counts[label]])


def _list(seen: Sequence[Item], rng: np.random.Generator) -> ImageFact:
    """Everything in some order: every second word follows from the first and the pictures, a dense lesson."""
    order = [seen[i] for i in rng.permutation(len(seen))[:8]]
    form = pick(rng, ("{c} {t}", "{t} {c}", "the {t} is {c}", "the {c} thing is a {t}"))
    things = ", ".join(form.format(c=i.color, t=i.label) for i in order)
    return ImageFact("list", pick(rng, (" What is here?", " List everything.", " Describe the scene.")), things)


def _hop(seen: Sequence[Item], rng: np.random.Generator) -> ImageFact | None:
    """One hop, no sentence around it."""
    if chance(rng, 0.5):
        item = _alone(seen, "label", rng)
        return item and ImageFact("hop", f" the {item.label} :", item.color)
    item = _alone(seen, "color", rng)
    return item and ImageFact("hop", f" the {item.color} :", item.label)


def _find(seen: Sequence[Item], rng: np.random.Generator) -> ImageFact | None:
    item = pick(rng, seen)
    named = item.label if chance(rng, 0.3) else f"{item.color} {item.label}"
    same = [i for i in seen if i.label == item.label and (named == i.label or i.color == item.color)]
    if len(same) > 1:
        return None
    forms = ("The {}.", "This is the {}.", "Find the {}.", "It is {a}.", "There is {a}. it is here.")
    text = pick(rng, forms).format(named, a=article(named))
    return ImageFact("find", FIND.format(text), "<ground>", targets=(item.id,))


def _find_any(seen: Sequence[Item], rng: np.random.Generator) -> ImageFact:
    """None, one or many: by class, or by class and the colour of some thing."""
    item = pick(rng, seen)
    color = None if chance(rng, 0.4) else pick(rng, seen).color
    found = tuple(i.id for i in seen if i.label == item.label and color in (None, i.color))
    named = plural(item.label) if color is None else f"{color} {plural(item.label)}"
    forms = ("All the {}.", "The {}.", "Every one of the {}.", "Find all {}.", "These are the {}.")
    return ImageFact("find any", FIND_ANY.format(pick(rng, forms).format(named)), "<ground>", targets=found)


_ASKED = (_color, _class, _exists, _count, _material)
