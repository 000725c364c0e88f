"""What the base model is told about pictures is true of what they show: each sentence is read by a second opinion."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from llava.rooms.image_text import ImageFact, image_facts
from llava.rooms.layout import make_room
from llava.rooms.room import Item
from llava.rooms.words import NUMBERS, plural

ROOMS = [make_room(7_100_000_000 + i, f"seen{i}") for i in range(12)]


def seen_in(number: int) -> list[Item]:
    """Some of a room's things, as pictures show them."""
    rng = np.random.default_rng(number)
    things = [item for item in ROOMS[number].items if not item.shell]
    return [things[i] for i in rng.permutation(len(things))[: int(rng.integers(1, len(things) + 1))]]


@pytest.fixture(scope="module")
def told() -> list[tuple[list[Item], ImageFact]]:
    return [
        (seen_in(n), fact)
        for n in range(len(ROOMS))
        for fact in image_facts(seen_in(n), 150, np.random.default_rng([n, 1]), marks=n % 2 == 0)
    ]


def of_kind(told, kind: str) -> list[tuple[list[Item], ImageFact]]:
    found = [(seen, fact) for seen, fact in told if fact.kind == kind]
    assert len(found) > 10
    return found


def asked(pattern: str, fact: ImageFact) -> tuple[str, ...]:
    found = re.search(pattern, fact.question)
    assert found, f"{pattern!r} does not read {fact.question!r}"
    return found.groups()


def with_words(seen: list[Item], words: str) -> list[Item]:
    """The things that "red chair", "red" or "chair" means."""
    return [i for i in seen if words in (i.label, i.color, f"{i.color} {i.label}")]


def test_kinds(told) -> None:
    """All of them, so that no test below is idle."""
    kinds = {"color", "class", "exists", "count", "material", "list", "find", "find any", "hop", "point"}
    assert {fact.kind for _, fact in told} == kinds


def test_colors(told) -> None:
    for seen, fact in of_kind(told, "color"):
        (label,) = asked(r"(?:is|of|does) the ((?!color)[\w ]+?)(?: have)?\?", fact)
        (item,) = with_words(seen, label)
        assert (item.label, item.color) == (label, fact.answer)


def test_classes(told) -> None:
    for seen, fact in of_kind(told, "class"):
        (color,) = asked(r"(\w+)(?: thing)?\?", fact)
        (item,) = with_words(seen, color)
        assert (item.color, item.label) == (color, fact.answer)


def test_materials(told) -> None:
    for seen, fact in of_kind(told, "material"):
        (label,) = asked(r"What is the ([\w ]+) made of\?", fact)
        (item,) = with_words(seen, label)
        assert {"wooden": "wood"}.get(item.material, item.material) == fact.answer != label


def test_existence(told) -> None:
    answers = Counter()
    for seen, fact in of_kind(told, "exists"):
        article, words = asked(r"(?:Is there|Do you see|Can I see) (an?) ([\w ]+)\?", fact)
        assert article == ("an" if words[0] in "aeiou" else "a")
        assert fact.answer == ("yes" if with_words(seen, words) else "no")
        answers[fact.answer] += 1
    assert 0.2 < answers["no"] / answers.total() < 0.8


def test_counts(told) -> None:
    for seen, fact in of_kind(told, "count"):
        (words,) = asked(r"How many ([\w ]+?) (?:are there|do you see)\?", fact)
        assert NUMBERS[sum(plural(i.label) == words for i in seen)] == fact.answer != "zero"


def test_lists(told) -> None:
    for seen, fact in of_kind(told, "list"):
        things = Counter(f"{i.color} {i.label}" for i in seen)
        for said in fact.answer.split(", "):
            words = re.sub(r"^the | thing is an?\b| is(?= \w+$)|^the (?=\w)", "", said)
            known = {w: k for k in things for w in (k, f"{k.partition(' ')[2]} {k.partition(' ')[0]}")}
            assert words in known, said
            things[known[words]] -= 1
        assert min(things.values()) >= 0, "nothing is listed more often than it is seen"


def test_hops(told) -> None:
    for seen, fact in of_kind(told, "hop"):
        (words,) = asked(r"^ the ([\w ]+) :$", fact)
        (item,) = with_words(seen, words)
        assert {words, fact.answer} == {item.color, item.label}


def test_one_thing_is_found(told) -> None:
    for seen, fact in of_kind(told, "find"):
        opening, words = asked(r"\n(The|This is the|Find the|It is an?|There is an?) ([\w ]+)\.", fact)
        if opening[-2:] in (" a", "an"):
            assert opening.endswith(" an") == (words[0] in "aeiou")
        (item,) = with_words(seen, words)
        assert fact.targets == (item.id,) and fact.answer == "<ground>"


def test_none_one_or_many_are_found(told) -> None:
    sizes = Counter()
    for seen, fact in of_kind(told, "find any"):
        (words,) = asked(r"\n(?:All the|The|Every one of the|Find all|These are the) ([\w ]+)\.\nThere may be no", fact)
        meant = {i.id for i in seen if words in (plural(i.label), f"{i.color} {plural(i.label)}")}
        assert set(fact.targets) == meant and len(fact.targets) == len(meant)
        assert fact.answer == "<ground>"
        sizes[min(len(meant), 2)] += 1
    assert set(sizes) == {0, 1, 2}


def test_what_a_mark_lies_on(told) -> None:
    for seen, fact in of_kind(told, "point"):
        (item,) = (i for i in seen if i.id == fact.mark)
        said = set(re.findall(r"\w+", fact.answer.lower()))
        known = {item.color, *item.label.split(), item.size, item.material}
        assert fact.question.count("<coord>") == 1
        assert set(fact.words) <= said <= known | {"this", "is", "there", "it", "you", "see", "a", "an"}
        assert "plant plant" not in fact.answer.lower()


def test_marks_only_where_pictures_hang(told) -> None:
    marked = [n % 2 == 0 for n in range(len(ROOMS)) for _ in range(150)]
    shares = Counter(marks for marks, (_, fact) in zip(marked, told, strict=True) if fact.kind == "point")
    assert shares[False] == 0 and 0.3 < shares[True] / sum(marked) < 0.5
    for _, fact in told:
        assert (fact.mark is None) == ("<coord>" not in fact.question)
        assert (fact.targets is None) == (fact.answer != "<ground>")


def test_the_generator_decides() -> None:
    seen = seen_in(0)
    assert image_facts(seen, 30, np.random.default_rng(1), True) == image_facts(
        seen, 30, np.random.default_rng(1), True
    )
    assert image_facts(seen, 30, np.random.default_rng(1), True) != image_facts(
        seen, 30, np.random.default_rng(2), True
    )


def test_nothing_is_seen() -> None:
    with pytest.raises(ValueError, match="no picture shows anything"):
        image_facts([], 3, np.random.default_rng(0), True)
