"""Pretraining: posters hang flat with their things in place, packs are repeatable, the tower learns what it is told."""

from __future__ import annotations

from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
import torch

from llava.data.chat import COORD, GROUND, IGNORE
from llava.data.pack import MATCH_IOU, ground_target
from llava.geometry.boxes import iou
from llava.pretrain import tower as stage_one
from llava.pretrain.layouts import benchmark_samples, layout, things_at_places
from llava.pretrain.packs import ImagePacks
from llava.pretrain.posters import HANGING, Posters, board, hang
from llava.pretrain.scores import told_scores
from llava.pretrain.words import align_words, draw_words, say, tell_words, word_ids
from llava.pretrain_config import PretrainConfig
from llava.rooms.pictures import Pictures, pictures_of, room_of
from llava.tasks import TASKS
from llava.tasks.multi3drefer import HINT
from llava.tasks.scan2cap import QUESTION as SCAN2CAP
from llava.tasks.scanqa import INSTRUCTION as SCANQA
from llava.tasks.scanrefer import QUESTION as SCANREFER
from llava.tasks.sqa3d import INSTRUCTION as SQA3D

CELLS, GRID = 2, 4  # of the tiny encoder, and of its pictures of 56 pixels


@pytest.fixture(scope="module")
def corpus() -> list[Pictures]:
    drawn = (pictures_of(index, 3, 56, 14) for index in count())
    return list(islice((p for p in drawn if things(p.patches[[2, 0]], p)), 4))  # not those of bare walls


def things(patches: np.ndarray, pictures: Pictures) -> list[int]:
    """Ids of what two patches or more show, without walls, floor and ceiling."""
    ids, counts = np.unique(patches, return_counts=True)
    return [i for i, n in zip(ids, counts, strict=True) if n >= 2 and not pictures.items[int(i)].shell]


@pytest.fixture(params=range(4))
def hung(request: pytest.FixtureRequest, corpus: list[Pictures]) -> Posters:
    return hang(corpus[request.param], np.array([2, 0]), np.random.default_rng(request.param))


def test_posters_are_flat_squares(hung: Posters) -> None:
    assert hung.places.shape == (2, GRID, GRID, 3)
    for poster in hung.places:
        across, down = poster[0, 1] - poster[0, 0], poster[1, 0] - poster[0, 0]
        step = np.linalg.norm(across)
        assert np.linalg.norm(down) == pytest.approx(step) and across @ down == pytest.approx(0)
        assert 1.2 <= step * GRID <= 3.5
        assert (np.count_nonzero(across), np.count_nonzero(down)) == (1, 1), "along the world's axes"
        rows, columns = np.mgrid[:GRID, :GRID]
        np.testing.assert_allclose(poster, poster[0, 0] + columns[..., None] * across + rows[..., None] * down)
        middle = poster.mean(axis=(0, 1))
        assert (middle >= HANGING[0]).all() and (middle <= HANGING[1]).all()


def test_seen_things_have_patches(hung: Posters) -> None:
    ids = [item.id for item in hung.seen]
    assert ids and len(set(ids)) == len(ids)
    for item in hung.items.values():
        patches = (hung.patches == item.id).sum()
        assert (item.id in ids) == (patches >= 2 and not item.shell)


def patches_of(hung: Posters, item: int) -> np.ndarray:
    """(n, 3) where a thing's patches hang."""
    return hung.places[hung.patches == item]


def test_a_mark_lies_on_its_thing(hung: Posters) -> None:
    rng = np.random.default_rng(0)
    for item in hung.seen:
        marks = np.stack([hung.mark(item.id, rng) for _ in range(50)])
        distance = np.linalg.norm(marks[:, None, :3] - patches_of(hung, item.id)[None], axis=-1).min(axis=1)
        assert np.median(distance) < 0.2 and distance.max() < 0.5


def test_a_box_lies_on_its_thing_and_is_its_own_answer(hung: Posters) -> None:
    ids = [item.id for item in hung.seen]
    boxes = hung.boxes(ids)
    for item, box in zip(ids, boxes, strict=True):
        assert np.abs(patches_of(hung, item) - box[:3]).max(axis=1).min() < 1e-5
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    assert hung.boxes([]).shape == (0, 6)


@pytest.mark.parametrize("places", [True, False])
def test_a_scene_of_posters(hung: Posters, places: bool) -> None:
    hung = replace(hung, hung=places)
    scene = hung.scene(CELLS)
    pixels = scene.inputs["pixel_values"]
    assert pixels.shape == (2, 3, 56, 56) and -1 <= pixels.min() < pixels.max() <= 1
    halves = hung.places.reshape(2, CELLS, 2, CELLS, 2, 3).mean(axis=(2, 4))  # a cell is two by two patches
    np.testing.assert_allclose(scene.inputs["coords"], halves, atol=1e-5)
    assert scene.inputs["valid"].shape == (2, CELLS, CELLS) and (scene.inputs["valid"] == places).all()
    assert scene.num_tokens == 2 * CELLS * (CELLS + 1)
    for item, mask in zip(hung.seen, scene.object_masks, strict=True):
        assert (mask.numpy() == (hung.patches == item.id)).all()
    np.testing.assert_array_equal(scene.objects, hung.boxes([item.id for item in hung.seen]))


def test_boxes_that_hang_nowhere_say_no_place(hung: Posters, tiny_recipe) -> None:
    encoding = tiny_recipe.positions.build_module(48)
    ids = [item.id for item in hung.seen]
    nowhere = replace(hung, hung=False).boxes(ids)
    codes = encoding(torch.from_numpy(nowhere[:, :3]))
    assert torch.equal(codes, codes[:1].expand_as(codes))
    assert ((iou(nowhere, nowhere) >= MATCH_IOU) == np.eye(len(ids), dtype=bool)).all()


def test_a_board_has_one_thing_a_cell(corpus: list[Pictures]) -> None:
    rng = np.random.default_rng(0)
    for pictures in corpus:
        shown = board(pictures, CELLS, rng)
        assert shown.patches.shape == (1, GRID, GRID) and not shown.images.any()
        for array in (shown.patches, shown.places):
            blocks = array.reshape(CELLS, 2, CELLS, 2, -1)
            assert (blocks == blocks[:, :1, :, :1]).all()
        assert {item.id for item in shown.seen} == set(np.unique(shown.patches))
        assert not any(item.shell for item in shown.seen)


@pytest.fixture
def packs(corpus, tiny_recipe, tiny_tokenizer) -> ImagePacks:
    config = PretrainConfig(word_packs=24, room_packs=10, told_rooms=2)
    return ImagePacks(corpus, 6, 5, tiny_recipe.encoder, tiny_tokenizer, tiny_recipe.chat, config)


def test_a_pack_is_always_the_same(packs: ImagePacks) -> None:
    assert len(packs) == 40
    first, again, other = packs[7], packs[7], packs[8]
    for name in ("input_ids", "labels", "coord_points", "ground_targets"):
        np.testing.assert_array_equal(vars(first)[name], vars(again)[name])
    assert torch.equal(first.scene.inputs["coords"], again.scene.inputs["coords"])
    assert first.input_ids.tolist() != other.input_ids.tolist()


def test_packs_ask_about_what_they_show(packs: ImagePacks) -> None:
    tokenizer, hung = packs.tokenizer, []
    for index in range(len(packs)):
        pack = packs[index]
        assert pack.branch_ids.max() in (5, 20) or index >= 30  # 20 short questions about places, or all of a room's
        ids = pack.input_ids.tolist()
        assert ids.count(tokenizer.convert_tokens_to_ids(COORD)) == len(pack.coord_points)
        assert ids.count(tokenizer.convert_tokens_to_ids(GROUND)) == len(pack.ground_targets)
        places = bool(pack.scene.inputs["valid"].all())
        hung.append(places)
        assert places or len(pack.coord_points) == 0, "a mark without places would be a riddle"
        for branch in range(1, pack.branch_ids.max() + 1):
            own = pack.branch_ids == branch
            assert (pack.labels[own] != IGNORE).any() or tokenizer.convert_tokens_to_ids(GROUND) in pack.input_ids[own]
    assert 0.2 < np.mean(hung) < 0.9


def test_packs_get_harder(packs: ImagePacks, corpus: list[Pictures]) -> None:
    """Terse boards of words, boards, told pictures; pictures that must ever more often be looked at; told rooms."""
    config = PretrainConfig(word_packs=200, terse=0.2, boards=0.5, told=0.6, room_packs=100, told_rooms=2)
    packs = ImagePacks(corpus, 200, 5, packs.encoder, packs.tokenizer, packs.chat, config)
    stages = [list(stage.indices) for stage in (packs.words, packs.pictures, packs.rooms)]
    assert stages == [list(range(200)), list(range(200, 400)), list(range(400, 500))]
    scenes = {start: [packs[start + i].scene.inputs for i in range(16)] for start in (0, 80, 150, 200, 384, 450)}
    told = {start: [bool((s["words"] >= 0).any()) for s in found] for start, found in scenes.items()}
    blank = {start: [bool((s["pixel_values"] == -1).all()) for s in found] for start, found in scenes.items()}
    placed = {start: [bool(s["valid"].any()) for s in found] for start, found in scenes.items()}
    assert all(blank[0] + blank[80]) and not any(blank[150] + blank[200] + blank[384])
    assert all(told[0] + told[80] + told[150]) and 0.3 < np.mean(told[200]) < 0.9 and np.mean(told[384]) < 0.2
    assert not any(placed[0]) and any(placed[80]) and any(placed[384])
    assert told[450] == blank[450] and 0.2 < np.mean(told[450]) < 0.8, "told rooms among pictures to look at"


@pytest.mark.parametrize("cells", [2, 6])
def test_a_room_told_in_words_has_each_thing_at_its_place(cells: int) -> None:
    room = room_of(1)
    shown = layout(room, 24 * cells, 2 * cells, cells, np.random.default_rng(0))
    assert {item.id for item in shown.seen} == {item.id for item in room.items if not item.shell}
    assert len(shown.images) >= 2 and shown.patches.shape == (len(shown.images), 2 * cells, 2 * cells)
    for item in shown.items.values():
        off = np.abs(shown.places[shown.patches == item.id] - item.box[:3]) - item.box[3:] / 2
        assert (off <= 1e-9).all() and (off.max(axis=1) >= -1e-9).all(), f"{item.label}: on its box"
    ids = [item.id for item in shown.seen]
    np.testing.assert_array_equal(shown.scene(cells).objects, np.float32([shown.items[i].box for i in ids]))


def test_a_told_room_is_asked_about_as_the_benchmarks_do(packs: ImagePacks) -> None:
    """In the benchmarks' own words, and about boxes that are offered."""
    samples = benchmark_samples(1)
    assert samples == benchmark_samples(1) and {s.meta["kind"] for s in samples} == set(TASKS)
    for name, task in TASKS.items():
        first = {"scanrefer": SCANREFER, "multi3drefer": SCANREFER, "scan2cap": SCAN2CAP}.get(name, " ")
        last = {"multi3drefer": HINT, "scanqa": SCANQA, "sqa3d": SQA3D}.get(name, "")
        asked = [s for s in samples if s.meta["kind"] == name]
        assert all((s.boxes is not None) == (task.kind == "box") for s in asked)
        assert all(s.question.startswith(first) and s.question.endswith(last) for s in asked)
    asked = replace(packs.config, centers=0.0)
    packs = ImagePacks(packs.corpus, 6, 5, packs.encoder, packs.tokenizer, packs.chat, asked)
    scene, chosen = packs.told_room(1, np.random.default_rng(0))
    assert len(chosen) == packs.questions and set(map(id, chosen)) <= set(map(id, samples))
    for sample in samples:
        if sample.boxes is not None:
            target = ground_target(sample, scene.objects)
            assert target[-1] == (len(sample.boxes) == 0) and target[:-1].sum() >= len(sample.boxes)


def test_everything_is_asked_for_at_its_middle() -> None:
    room = room_of(1)
    found = things_at_places(room, np.random.default_rng(0))
    assert [s.id for s in found] == [item.id for item in room.items if not item.shell]
    boxes = {item.id: item.box for item in room.items}
    assert max(np.abs(s.coord - boxes[s.id]).max() for s in found) < 0.3
    assert all(s.answer.split()[1:] == list(s.meta["words"][1:]) and COORD in s.question for s in found)


def test_told_rooms_are_scored_by_benchmark(packs: ImagePacks, tiny_base) -> None:
    from llava.model.checkpoint import load_model

    scores = told_scores(load_model(tiny_base), packs, range(2))
    assert scores.keys() <= {*TASKS, "point"} - {"scan2cap"} and scores
    assert all(0 <= share <= 100 for share in scores.values())


def test_the_things_meant_are_the_right_boxes(packs: ImagePacks, corpus: list[Pictures]) -> None:
    """Targets are found by overlap, so no box may lie in another thing's place."""
    rng = np.random.default_rng(0)
    for pictures in corpus:
        for shown in (packs.hung(pictures, rng), board(pictures, CELLS, rng)):
            for terse in (True, False):
                scene, samples = packs.questions_about(pictures, shown, rng, terse=terse)
                for sample in samples:
                    if sample.boxes is not None:
                        target = ground_target(sample, scene.objects)
                        assert target[:-1].sum() == len(sample.boxes) and target[-1] == (len(sample.boxes) == 0)


def test_a_picture_of_a_bare_wall(packs: ImagePacks, corpus: list[Pictures]) -> None:
    """Then the room's other pictures are shown too."""
    wall, thing = (next(i for i, item in corpus[0].items.items() if item.shell == shell) for shell in (True, False))
    patches = np.full_like(corpus[0].patches, wall)
    patches[1, 0, :2] = thing
    bare = replace(corpus[0], patches=patches)
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert packs.hung(bare, rng).seen
    empty = packs.hung(replace(bare, patches=np.full_like(patches, wall)), rng)
    with pytest.raises(ValueError, match="no picture shows anything"):
        packs.questions_about(bare, empty, rng)


def test_a_patch_is_said_in_words(corpus: list[Pictures], packs: ImagePacks, tiny_base) -> None:
    """The encoder says what it is told to where it is told, and what it sees elsewhere."""
    from llava.model.checkpoint import load_model as load

    model, pictures = load(tiny_base), corpus[0]
    table = draw_words(model)
    assert torch.equal(table, model.get_input_embeddings().weight)
    ids = word_ids(pictures.items, packs.tokenizer)
    item = next(item for item in pictures.items.values() if not item.shell)
    said = packs.tokenizer.decode(ids[item.id][ids[item.id] >= 0])
    assert item.color in said and item.label in said
    shown = hang(pictures, np.array([2, 0]), np.random.default_rng(0))
    scene, _ = packs.questions_about(pictures, shown, np.random.default_rng(0), told=True)
    seen = model.encode({k: v for k, v in scene.inputs.items() if k != "words"})
    hook = tell_words(model, table)
    told = model.encode(scene.inputs)
    torch.testing.assert_close(told.dense, say(ids[torch.from_numpy(shown.patches).long()], table))
    scene.inputs["words"] = torch.full_like(scene.inputs["words"], -1)
    torch.testing.assert_close(model.encode(scene.inputs).tokens, seen.tokens)
    hook.remove()


def test_the_projector_learns_to_say_words(corpus: list[Pictures], packs: ImagePacks, tiny_base) -> None:
    from llava.model.checkpoint import load_model as load

    model, few = load(tiny_base), corpus[:1]
    table = draw_words(model)

    def unexplained() -> float:
        shown = torch.from_numpy(few[0].patches).long()
        wanted = say(word_ids(few[0].items, packs.tokenizer)[shown], table)
        with torch.no_grad():
            found = model.encoder.projector(model.encoder.tower(stage_one.to_pixels(few[0].images)).last_hidden_state)
        return float((found.unflatten(1, shown.shape[1:]) - wanted).square().sum() / wanted.square().sum())

    align_words(model, table, packs.tokenizer, few, PretrainConfig(align_steps=60, tower_batch=3))
    assert unexplained() < 0.7


def test_the_tower_learns_classes_and_colors(corpus: list[Pictures], tiny_recipe, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tower = tiny_recipe.encoder.build_module(48).tower
    few = corpus[:1]
    config = PretrainConfig(tower_steps=60, tower_batch=3, tower_lr=3e-3)
    heads = stage_one.train_tower(tower, tiny_recipe.encoder, few, config, tmp_path / "unfinished.pt")
    assert set(heads) == {"label", "color"} and not list(tmp_path.iterdir())
    learnt = stage_one.patch_accuracy(tower, heads, few, few)
    torch.manual_seed(0)
    fresh = stage_one.patch_accuracy(tiny_recipe.encoder.build_module(48).tower, heads, few, few)
    assert all(learnt[key] > fresh[key] + 20 for key in heads), (learnt, fresh)


def test_a_tower_goes_on_where_it_was_killed(
    corpus: list[Pictures], tiny_recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, unfinished = PretrainConfig(tower_steps=6, tower_batch=2), tmp_path / "unfinished.pt"
    monkeypatch.setattr(stage_one, "SAVE_STEPS", 2)

    def trained() -> torch.nn.Module:
        torch.manual_seed(0)
        tower = tiny_recipe.encoder.build_module(48).tower
        stage_one.train_tower(tower, tiny_recipe.encoder, corpus[:1], config, unfinished)
        return tower

    whole, mirrored, calls = trained(), stage_one._mirrored, []

    def killed(*arguments):
        calls.append(arguments)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return mirrored(*arguments)

    monkeypatch.setattr(stage_one, "_mirrored", killed)
    with pytest.raises(KeyboardInterrupt):
        trained()
    assert unfinished.exists()
    monkeypatch.setattr(stage_one, "_mirrored", mirrored)
    again = trained()
    for (name, one), other in zip(whole.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other), name


def test_rare_classes_weigh_more_and_the_average_is_one() -> None:
    labels = torch.tensor([0] * 90 + [1] * 10)
    weights = stage_one.rarity(labels, 2)
    assert weights[1] == pytest.approx(3 * weights[0])
    assert weights[labels].mean() == pytest.approx(1)


def test_a_word_that_was_never_seen_is_no_patch_told_right(corpus: list[Pictures], tiny_recipe) -> None:
    words = stage_one._words(corpus[:1])
    unseen = [item for item in corpus[1].items.values() if item.label not in words["label"]]
    labels = stage_one._labels_of(corpus[1], words)["label"].numpy()
    for item in unseen:
        assert (labels[corpus[1].patches == item.id] == -100).all()


def test_mirrored_pictures_keep_their_labels(corpus: list[Pictures]) -> None:
    images, targets, _ = stage_one._patch_labels(corpus)
    numbers = np.arange(8)
    drawn, labels = stage_one._mirrored(
        images[numbers], {k: t[numbers] for k, t in targets.items()}, np.random.default_rng(0)
    )
    straight = stage_one.to_pixels(images[numbers])
    flips = 0
    for n in numbers:
        flipped = not torch.equal(drawn[n], straight[n])
        flips += flipped
        assert torch.equal(drawn[n], straight[n].flip(2) if flipped else straight[n])
        for key, target in targets.items():
            assert torch.equal(labels[key][n].view(GRID, GRID), target[n].flip(1) if flipped else target[n])
    assert 0 < flips < 8
