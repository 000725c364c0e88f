"""ScanQA answers are right, and the words of a question do not give them away."""

import json
import re
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from llava.rooms.balance import color_odds, draw, label_odds
from llava.rooms.furniture import CATALOGUE, CLASSES, CLUTTER, COLORS, choose_color
from llava.rooms.layout import make_room
from llava.rooms.questions import MAKERS, PER_ROOM, SHARES, asked, existence, scanqa
from llava.rooms.referring import Inventory, Query
from llava.rooms.words import SYNONYMS, plural

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
ROOMS = 120


@cache
def world(seed):
    room = make_room(seed, f"scene{seed:04d}_00")
    return Inventory(room, {item.id for item in room.items})


@cache
def everything():
    """(inventory, record, fact) of many rooms."""
    return [(world(s), r, f) for s in range(ROOMS) for r, f in asked(world(s), np.random.default_rng(s), "val")]


def things(inventory):
    return list(inventory.items.values())


def named_in(text, items):
    """Items whose class the text names in its first noun phrase: the longest class word that occurs counts."""
    spoken = [(SYNONYMS.get(i.label, i.label), i.label) for i in items]
    names = {name for pair in spoken for name in pair}
    best = max((n for n in names if re.search(rf"\b({n}|{plural(n)})\b", text)), key=len, default=None)
    return [i for i in items if best is not None and best in (i.label, SYNONYMS.get(i.label))]


def test_answers_follow_from_the_words_of_plain_questions():
    """Read the text alone: questions that name no other object are answered by looking up class and colour."""
    checked = Counter()
    for inventory, record, fact in everything():
        if fact.query.relations or fact.query.size or fact.query.material:
            continue
        text, items = record["question"].lower().replace("color", ""), things(inventory)
        color = next((c for c in COLORS if re.search(rf"\b{c}\b", text)), None)
        group = named_in(text, items)
        if color and fact.kind != "check":
            group = [i for i in (group or items) if i.color == color]
        answer = record["answers"][0]
        if fact.kind == "color":
            assert {i.color for i in group} == {answer}, record
        elif fact.kind == "what":
            assert {i.label for i in group} == {answer}, record
        elif fact.kind == "count":
            assert str(len(group)) == answer, record
        elif fact.kind == "exists":
            assert (answer == "yes") == bool(group), record
        elif fact.kind == "check":
            assert [(answer == "yes")] == [i.color == color for i in group], record
        else:
            continue
        checked[fact.kind] += 1
    assert set(checked) == {"color", "what", "count", "exists", "check"} and min(checked.values()) > 20


def test_facts_hold_and_mean_one_thing():
    for inventory, record, fact in everything():
        targets = [inventory.items[i] for i in fact.targets]
        assert set(record["object_ids"]) <= set(inventory.visible)
        assert record["object_names"] == [i.label for i in targets]
        if fact.kind in ("color", "what", "what place", "count", "where", "material", "size"):
            assert inventory.means(fact.query, fact.targets)
        if fact.kind in ("what", "what place"):
            right = {n for i in targets for n in (i.label, SYNONYMS.get(i.label, i.label))}
            assert set(record["answers"]) == right and fact.query.label is None
        elif fact.kind == "color":
            assert fact.query.color is None
        elif fact.kind == "size":
            assert record["answers"] == [targets[0].size] and fact.query.size is None
        elif fact.kind == "material":
            assert targets[0].material in record["answers"] and fact.query.material is None


def test_every_accepted_place_is_where_the_thing_is():
    for inventory, record, fact in everything():
        if fact.kind != "where":
            continue
        item = inventory.items[fact.targets[0]]
        for answer in record["answers"]:
            anchor = next((i for i in things(inventory) if answer.endswith(f"the {i.label}")), None)
            if answer.startswith("on the"):
                assert item.support == anchor.id
            elif answer.startswith(("next to", "in front of")):
                low = np.abs(item.box[:2] - anchor.box[:2]) - (item.box[3:5] + anchor.box[3:5]) / 2
                assert np.linalg.norm(np.maximum(low, 0)) < 1.0
            elif answer.startswith(("under", "above")):
                assert (item.box[2] < anchor.box[2]) == answer.startswith("under")
            elif answer == "in the corner":
                assert (np.array(inventory.room.extent[:2]) / 2 - np.abs(item.box[:2]) - item.box[3:5] / 2 < 0.35).all()
            else:
                assert answer == "in the middle of the room"


def test_records_have_the_published_fields():
    records = [r for _, r, _ in everything()]
    for record in records:
        assert re.fullmatch(r"val-scene\d{4}-\d+", record["question_id"])
        assert record["question"][0].isupper() and record["question"].endswith("?")
        assert record["answers"] and len(set(record["answers"])) == len(record["answers"])
    assert len({r["question_id"] for r in records}) == len(records)
    assert 11.5 < len(records) / ROOMS <= PER_ROOM
    assert 6 <= np.mean([len(r["question"].split()) for r in records]) <= 12
    path = SHARED / "real/annotations/ScanQA_v1.0_val.json"
    if path.exists():
        real = json.loads(path.read_text())[0]
        assert {k: type(v) for k, v in real.items()} == {k: type(v) for k, v in records[0].items()}


def test_kinds_come_in_the_designed_shares():
    counts = Counter(f.kind for _, _, f in everything())
    total = sum(counts.values())
    assert set(counts) == set(MAKERS) == set(SHARES)
    assert sum(SHARES.values()) == pytest.approx(1.0)
    for kind, share in SHARES.items():
        assert counts[kind] / total == pytest.approx(share, abs=0.03)


def test_colors_are_asked_for_evenly():
    counts = Counter(r["answers"][0] for _, r, f in everything() if f.kind == "color")
    assert set(counts) == set(COLORS)
    assert max(counts.values()) / sum(counts.values()) < 0.15


def test_yes_and_no_are_even_for_each_class():
    """By weights over many rooms: what could be asked, not the few that were."""
    weights = defaultdict(lambda: Counter())
    for seed in range(250):
        for fact, weight in existence(world(seed)):
            weights[fact.query.label][fact.answers[0]] += weight
    shares = {label: c["yes"] / c.total() for label, c in weights.items() if c.total() > 30}
    assert len(shares) > 8
    assert max(shares.values()) < 0.68 and min(shares.values()) > 0.32
    total = sum(weights.values(), Counter())
    assert total["yes"] / total.total() == pytest.approx(0.5, abs=0.05)


def test_the_words_of_a_question_do_not_give_the_answer_away():
    """A guesser that knows the most frequent answer elsewhere to each kind, class and colour in the question."""
    answers, hits = defaultdict(Counter), []
    rows = everything()
    keys = [(f.kind, f.query.label, f.query.color if f.kind != "color" else None) for _, _, f in rows]
    for (_, record, _), key in zip(rows, keys, strict=True):
        answers[key][record["answers"][0]] += 1
        answers[key[0]][record["answers"][0]] += 1
    for (_, record, _), key in zip(rows, keys, strict=True):
        own = record["answers"][0]
        seen = Counter(answers[key]) - Counter([own]) or Counter(answers[key[0]]) - Counter([own])
        hits.append(seen.most_common(1)[0][0] in record["answers"])
    assert np.mean(hits) < 0.25


def test_class_and_color_answer_most_questions():
    """Who knows class and colour of all things but not where they are: colour, what, how many, yes / no."""
    known = 0.0
    for inventory, _, fact in everything():
        query = Query(fact.query.label, fact.query.color)
        fits = [inventory.items[i] for i in inventory.find(query, 1.0)]
        if fact.kind in ("count", "exists", "check"):
            known += 1
        elif fact.kind in ("color", "what"):
            guesses = Counter(i.color if fact.kind == "color" else i.label for i in fits)
            known += guesses.most_common(1)[0][1] / len(fits)
    assert known / len(everything()) > 0.63


def test_odds_are_those_of_the_catalogue():
    rng = np.random.default_rng(0)
    for label in ("chair", "office chair", "window", "plant", "tv"):
        drawn = Counter(choose_color(label, rng) for _ in range(3000))
        for color in COLORS:
            assert drawn[color] / 3000 == pytest.approx(color_odds(label, color), abs=0.035)
    assert all(0 < label_odds(label) <= 1 for label in CLASSES)
    assert set(CLASSES) | set(CLUTTER) == set(CATALOGUE)


def test_draw_follows_the_weights():
    rng = np.random.default_rng(0)
    counts = Counter(draw([("a", 3.0), ("b", 1.0)], rng) for _ in range(2000))
    assert counts[0] / 2000 == pytest.approx(0.75, abs=0.04)
    with pytest.raises(ValueError, match="positive"):
        draw([], rng)
    with pytest.raises(ValueError, match="positive"):
        draw([("a", 0.0)], rng)


def test_the_same_generator_gives_the_same_records():
    room = world(3).room
    visible = {item.id for item in room.items}
    first, second = (scanqa(room, visible, np.random.default_rng(5), "train") for _ in range(2))
    assert first == second and first != scanqa(room, visible, np.random.default_rng(6), "train")
    assert first[0]["question_id"] == "train-scene0003-0"
    json.dumps(first)
    assert scanqa(room, set(), np.random.default_rng(5), "train") == []
