"""SQA3D answers are right for somebody who stands where the annotation says, and for all who might be meant."""

import json
import math
import re
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from llava.rooms.asking import SITUATED, TEMPLATES
from llava.rooms.describe import multi3drefer, scanrefer
from llava.rooms.layout import make_room
from llava.rooms.phrasing import FUSED
from llava.rooms.questions import scanqa
from llava.rooms.referring import Inventory
from llava.rooms.relations import SIDES
from llava.rooms.situations import PER_SITUATION, SHARES, SITUATIONS, WALK, situated, sqa3d
from llava.rooms.stances import TEXTS
from llava.rooms.words import NUMBERS, PLACES, SYNONYMS, tokens

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
ROOMS = 100


@cache
def world(seed):
    room = make_room(seed, f"scene{seed:04d}_00")
    return Inventory(room, {item.id for item in room.items})


@cache
def everything():
    """(inventory, question, annotation, what is asked) of many rooms."""
    return [(world(s), *made) for s in range(ROOMS) for made in situated(world(s), np.random.default_rng(s))]


def degrees_left(item, annotation):
    """Direction of an item from the annotated pose, 0 ahead, 90 left: from the record's numbers alone."""
    turn = annotation["rotation"]
    half = np.array([[turn["_w"], -turn["_z"]], [turn["_z"], turn["_w"]]])
    ahead = half @ half @ np.array([0.0, 1.0])  # the quaternion turns +y into where one looks
    offset = item.box[:2] - np.array([annotation["position"]["x"], annotation["position"]["y"]])
    angle = math.degrees(math.atan2(offset[1], offset[0]) - math.atan2(ahead[1], ahead[0]))
    return (angle + 180) % 360 - 180


def quarter(item, annotation):
    """The side of one that an item is on; None for the seat one sits on."""
    spot = annotation["position"]
    if math.hypot(item.box[0] - spot["x"], item.box[1] - spot["y"]) < 1e-3:
        return None
    return ("in front", "left", "behind", "right")[round(degrees_left(item, annotation) / 90) % 4]


def side_in(text):
    return next(side for side in SIDES if any(re.search(rf"\b{p}\b", text) for p in PLACES[side]))


def test_directions_from_the_annotated_pose():
    checked = Counter()
    for inventory, question, annotation, asked in everything():
        fact, answer = asked.fact, annotation["answers"][0]["answer"]
        item = inventory.items[fact.targets[0]] if fact.targets else None
        text = question["question"]
        if fact.kind == "direction":
            assert WALK[quarter(item, annotation)] == answer, question
        elif fact.kind == "where":
            assert quarter(item, annotation) == answer, question
        elif fact.kind == "is side":
            assert (quarter(item, annotation) == side_in(text)) == (answer == "yes"), question
        elif fact.kind == "exists side":
            group = [i for i in inventory.items.values() if i.label == fact.query.label]
            assert (side_in(text) in {quarter(i, annotation) for i in group}) == (answer == "yes"), question
        elif fact.kind == "count side":
            group = [i for i in inventory.items.values() if i.label == fact.query.label]
            count = sum(quarter(i, annotation) == side_in(text) for i in group)
            assert NUMBERS[count] == answer, question
        elif fact.kind == "what side":
            labels = {i.label for i in inventory.items.values() if quarter(i, annotation) == side_in(text)}
            assert labels == {answer}, question
        elif fact.kind == "can":
            assert (abs(degrees_left(item, annotation)) < 45) == (answer == "yes"), question
        elif fact.kind == "turn":
            assert (abs(degrees_left(item, annotation)) > 135) == (answer == "yes"), question
        else:
            continue
        checked[fact.kind] += 1
    assert min(checked[k] for k in ("direction", "where", "is side", "exists side", "count side")) > 20, checked


def test_answers_hold_from_every_stance_that_the_words_allow():
    for inventory, _, _, asked in everything():
        fact, stances = asked.fact, asked.situation.stances
        assert 1 <= len(stances) <= 6 and len(fact.answers) >= 1
        if fact.kind in ("color", "what", "count", "what side", "count side"):
            assert inventory.means(fact.query, fact.targets, stances), fact
        assert set(fact.targets) <= set(inventory.visible)


def test_content_questions_agree_with_the_room():
    for inventory, question, annotation, asked in everything():
        fact, answer = asked.fact, annotation["answers"][0]["answer"]
        targets = [inventory.items[i] for i in fact.targets]
        if fact.kind == "color":
            assert {i.color for i in targets} == {answer}
        elif fact.kind == "what":
            assert {i.label for i in targets} == {answer}
        elif fact.kind == "count":
            assert answer == NUMBERS[len(targets)]
        elif fact.kind in ("can exist", "check"):
            same = [i for i in inventory.items.values() if i.label == fact.query.label and i.color == fact.query.color]
            assert (answer == "yes") == bool(same) and fact.query.color in question["question"]


def test_the_situation_is_where_it_says():
    for inventory, question, annotation, asked in everything():
        situation = asked.situation
        near = inventory.items[situation.named[0]]
        spot = np.array([annotation["position"]["x"], annotation["position"]["y"]])
        off = np.linalg.norm(np.maximum(np.abs(spot - near.box[:2]) - near.box[3:5] / 2, 0))
        assert off < (0.01 if situation.kind == "sitting" else 1.0), question
        looked_at = [inventory.items[i] for i in situation.named[1:]]
        assert all(abs(degrees_left(i, annotation)) < 36 for i in looked_at), question
        if situation.kind in ("back to", "entering"):
            assert abs(degrees_left(near, annotation)) > 90
        elif situation.kind == "before":
            assert abs(degrees_left(near, annotation)) < 60
        texts = [question["situation"], *question["alternative_situation"]]
        assert all(near.label in text or SYNONYMS.get(near.label, "?") in text for text in texts), question


def test_the_situation_does_not_tell_the_answer():
    for inventory, question, _, asked in everything():
        if asked.fact.kind in ("color", "check") and len(asked.fact.targets) == 1:
            told = [q for q in (asked.situation.near, asked.situation.facing) if q is not None and q.color]
            assert not any(asked.fact.targets[0] in inventory.find(q) for q in told), question
        if asked.fact.kind in ("direction", "where", "is side", "can", "turn"):
            assert not set(asked.fact.targets) & set(asked.situation.named), question


def test_records_have_the_published_fields():
    questions = [q for _, q, _, _ in everything()]
    annotations = [a for _, _, a, _ in everything()]
    assert [q["question_id"] for q in questions] == [a["question_id"] for a in annotations]
    assert len({q["question_id"] for q in questions}) == len(questions)
    assert 7 < len(questions) / ROOMS <= SITUATIONS * PER_SITUATION
    for question in questions:
        assert len({question["situation"], *question["alternative_situation"]}) == 3
        assert question["question"].endswith("?") and question["situation"].endswith(".")
    first_words = Counter(q["question"].split()[0].lower() for q in questions)
    assert {"what", "is", "how", "can", "which"} < set(first_words)
    folder = SHARED / "real/annotations"
    if folder.exists():
        names = ("v1_balanced_questions_val_scannetv2.json", "v1_balanced_sqa_annotations_val_scannetv2.json")
        for name, key, ours in zip(names, ("questions", "annotations"), (questions, annotations), strict=True):
            real = json.loads((folder / name).read_text())[key][0]
            assert set(real) == set(ours[0])
            assert all(isinstance(ours[0][k], type(v)) for k, v in real.items())


def test_no_answer_is_frequent_and_half_the_questions_need_no_direction():
    answers = Counter(a["answers"][0]["answer"] for _, _, a, _ in everything())
    assert answers.most_common(1)[0][1] / answers.total() < 0.2
    assert answers["yes"] / (answers["yes"] + answers["no"]) == pytest.approx(0.5, abs=0.07)
    free = [not any(r.kind in SIDES for r in a.fact.query.relations) for *_, a in everything() if a.side is None]
    plain = sum(a.fact.kind in ("color", "what", "count", "check", "can exist") for *_, a in everything())
    assert plain / len(everything()) > 0.5 and np.mean(free) > 0.6
    assert sum(SHARES.values()) == pytest.approx(1.0) and set(SHARES) == set(SITUATED)


def test_the_same_generator_gives_the_same_records():
    room = world(3).room
    visible = {item.id for item in room.items}
    first, second = (sqa3d(room, visible, np.random.default_rng(5)) for _ in range(2))
    assert first == second and first != sqa3d(room, visible, np.random.default_rng(6))
    json.dumps(first)
    assert sqa3d(room, set(), np.random.default_rng(5)) == ([], [])


def test_the_vocabulary_is_small_and_the_phrasings_many():
    words = set()
    for seed in range(60):
        room = world(seed).room
        visible = {item.id for item in room.items}
        rng = np.random.default_rng(seed)
        texts = [r["description"] for make in (scanrefer, multi3drefer) for r in make(room, visible, rng)]
        for record in scanqa(room, visible, rng, "train"):
            texts += [record["question"], *record["answers"]]
        questions, annotations = sqa3d(room, visible, rng)
        for question, annotation in zip(questions, annotations, strict=True):
            texts += [question["situation"], *question["alternative_situation"], question["question"]]
            texts.append(annotation["answers"][0]["answer"])
        words.update(word for text in texts for word in tokens(text))
    assert len(words) < 600
    frames = [*TEMPLATES.values(), *SITUATED.values(), *TEXTS.values(), FUSED]
    frames += [phrases for kind, phrases in PLACES.items() if kind not in SIDES]
    assert min(len(set(f)) for f in frames) >= 5
