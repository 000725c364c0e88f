"""Packs: positions that restart, targets by overlap, turns that turn everything alike, padding, and blindness."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from llava.data import chat
from llava.data.chat import COORD, GROUND, IGNORE, Chat
from llava.data.mixture import Pack
from llava.data.pack import PackedScenes, bucket, collate, coord_points, ground_target, pack_scene
from llava.data.scenes import SceneInputs, SceneSource
from llava.geometry.boxes import rotate_quarter
from llava.types import Batch, Sample

OBJECTS = np.array([[0, 0, 0.5, 1, 1, 1], [2, 0, 0.5, 1, 2, 1], [0.05, 0, 0.5, 1, 1, 1]], np.float32)
TOLD = Sample(1, "scanqa", "scannet/a", " What is red?", "the chair")
LOCATED = Sample(2, "scan2cap", "scannet/a", f" From {COORD} to {COORD} ?", "a table", coord=OBJECTS[1].astype(float))
FOUND = Sample(3, "scanrefer", "scannet/a", "Find it.", GROUND, boxes=OBJECTS[:1].astype(float))
NOWHERE = Sample(4, "multi3drefer", "scannet/a", "Find all.", GROUND, boxes=np.zeros((0, 6)))


def make_scene(objects: np.ndarray = OBJECTS, views: int = 2) -> SceneInputs:
    rng = np.random.default_rng(len(objects))
    inputs = {
        "pixel_values": torch.zeros(views, 3, 4, 4),
        "coords": torch.from_numpy(rng.uniform(-3, 3, (views, 2, 2, 3)).astype(np.float32)),
        "valid": torch.ones(views, 2, 2, dtype=torch.bool),
    }
    return SceneInputs(inputs, views * 6, objects, torch.ones(len(objects), views, 4, 4, dtype=torch.bool))


def test_a_pack_is_its_prefix_and_its_branches(tiny_tokenizer) -> None:
    samples = [TOLD, FOUND, LOCATED]
    packed = pack_scene(tiny_tokenizer, Chat(), make_scene(), samples)
    prefix = chat.prefix_ids(tiny_tokenizer, Chat(), 12)
    branches = [chat.branch(tiny_tokenizer, sample) for sample in samples]
    assert packed.input_ids[packed.branch_ids == 0].tolist() == prefix
    assert packed.position_ids[packed.branch_ids == 0].tolist() == list(range(len(prefix)))
    assert set(packed.labels[packed.branch_ids == 0].tolist()) == {IGNORE}
    for number, branch in enumerate(branches, start=1):
        own = packed.branch_ids == number
        assert packed.input_ids[own].tolist() == branch.ids
        assert packed.labels[own].tolist() == branch.labels
        assert packed.position_ids[own].tolist() == list(range(len(prefix), len(prefix) + len(branch.ids)))
    assert (np.diff(packed.branch_ids) >= 0).all()
    assert packed.coord_points.tolist() == [OBJECTS[1, :3].tolist()] * 2
    assert packed.ground_targets.shape == (1, 4)


def test_published_targets_are_the_boxes_of_the_objects_asked_for() -> None:
    asked = replace(FOUND, meta={"object_id": "2"}, boxes=OBJECTS[2:].astype(float) + 1e-6)
    assert ground_target(asked, OBJECTS, rule="ids").tolist() == [False, False, True, False], "though 0 overlaps it"
    turned = ground_target(asked, rotate_quarter(OBJECTS, 1), 1, "ids")
    assert turned.tolist() == [False, False, True, False]
    nothing = replace(NOWHERE, meta={"object_id": []})
    assert ground_target(nothing, OBJECTS, rule="ids").tolist() == [False, False, False, True]


def test_published_targets_where_object_ids_have_gaps() -> None:
    """Boxes 0, 1, 2 are those of objects 0, 2, 5: an id is not the number of its box."""
    two, five = (replace(FOUND, meta={"object_id": i}, boxes=OBJECTS[at : at + 1]) for i, at in ((2, 1), (5, 2)))
    assert ground_target(two, OBJECTS, rule="ids").tolist() == [False, True, False, False]
    assert ground_target(five, OBJECTS, rule="ids").tolist() == [False, False, True, False]
    both = replace(FOUND, meta={"object_id": [5, 2]}, boxes=OBJECTS[[2, 1]])
    assert ground_target(both, OBJECTS, rule="ids").tolist() == [False, True, True, False]


def test_a_box_is_right_when_it_overlaps_enough() -> None:
    assert ground_target(FOUND, OBJECTS).tolist() == [True, False, True, False]
    apart = replace(FOUND, boxes=np.array([[0.0, 0, 5, 1, 1, 1]]))
    assert ground_target(apart, OBJECTS).tolist() == [False, False, False, True]
    assert ground_target(NOWHERE, OBJECTS).tolist() == [False, False, False, True]
    assert ground_target(FOUND, OBJECTS[:0]).tolist() == [True]


def test_a_target_may_have_several_boxes() -> None:
    several = replace(FOUND, boxes=OBJECTS[:2].astype(float))
    assert ground_target(several, OBJECTS).tolist() == [True, True, True, False]


def test_coord_without_a_box_is_an_error() -> None:
    with pytest.raises(ValueError, match="scan2cap 2: the question has <coord> but the sample has no box"):
        coord_points(replace(LOCATED, coord=None))
    assert coord_points(replace(TOLD, coord=OBJECTS[0])).shape == (0, 3), "no mark, no point"


@pytest.mark.parametrize("turn", range(4))
def test_a_turn_turns_everything_alike(tiny_tokenizer, turn: int) -> None:
    """Distances between patches, objects and marked places, and the right answers, stay what they were."""
    scene, samples = make_scene(), [LOCATED, FOUND, replace(FOUND, boxes=OBJECTS[1:2].astype(float))]
    straight = pack_scene(tiny_tokenizer, Chat(), scene, samples)
    turned = pack_scene(tiny_tokenizer, Chat(), scene.turned(turn), samples, turn)

    def distances(packed) -> np.ndarray:
        patches = packed.scene.inputs["coords"].numpy().reshape(-1, 3)
        places = np.concatenate([patches, packed.scene.objects[:, :3], packed.coord_points])
        return np.linalg.norm(places[:, None] - places[None], axis=-1)

    np.testing.assert_allclose(distances(turned), distances(straight), atol=1e-5)
    np.testing.assert_array_equal(turned.ground_targets, straight.ground_targets)
    np.testing.assert_allclose(turned.scene.objects, rotate_quarter(OBJECTS, turn), atol=1e-6)
    np.testing.assert_array_equal(turned.scene.inputs["coords"][..., 2], scene.inputs["coords"][..., 2])
    assert turned.scene.inputs["coords"].dtype == torch.float32
    assert turned.coord_points.dtype == np.float32
    np.testing.assert_array_equal(turned.input_ids, straight.input_ids)


def test_turning_leaves_the_scene_itself_alone() -> None:
    scene = make_scene()
    before = scene.inputs["coords"].clone(), scene.objects.copy()
    scene.turned(1)
    assert torch.equal(scene.inputs["coords"], before[0]) and (scene.objects == before[1]).all()
    assert scene.turned(0) is scene


def test_collate_pads(tiny_tokenizer) -> None:
    rows = [
        pack_scene(tiny_tokenizer, Chat(), make_scene(), [TOLD, FOUND]),
        pack_scene(tiny_tokenizer, Chat(), make_scene(OBJECTS[:1], views=1), [NOWHERE, LOCATED, FOUND]),
    ]
    batch = Batch(**collate(rows))
    lengths = [len(row.input_ids) for row in rows]
    assert batch.input_ids.shape == (2, max(lengths)) and lengths[0] != lengths[1]
    for i, row in enumerate(rows):
        for name in ("input_ids", "position_ids", "branch_ids", "labels"):
            assert vars(batch)[name][i, : lengths[i]].tolist() == vars(row)[name].tolist()
        assert (batch.branch_ids[i, lengths[i] :] == -1).all()
        assert (batch.labels[i, lengths[i] :] == IGNORE).all()
    assert batch.objects_valid.tolist() == [[True] * 3, [True, False, False]]
    assert batch.objects[1, 1:].abs().sum() == 0
    # real columns keep their places, the zero target stays last
    assert batch.ground_targets.tolist() == [
        [True, False, True, False],
        [False, False, False, True],
        [True, False, False, False],
    ]
    assert len(batch.scene["coords"]) == len(batch.scene["pixel_values"]) == 3
    assert [len(masks) for masks in batch.object_masks] == [3, 1]
    assert batch.coord_points.shape == (2, 3)


def test_buckets_are_few_and_not_much_longer() -> None:
    lengths = np.arange(1, 20_000)
    buckets = np.array([bucket(int(length)) for length in lengths])
    assert (buckets >= lengths).all() and (buckets % 128 == 0).all()
    assert (buckets - lengths <= np.maximum(127, lengths / 8)).all()
    assert len({int(b) for b in buckets if 4096 < b <= 8192}) == 8


def test_collate_pads_to_a_bucket(tiny_tokenizer) -> None:
    rows = [pack_scene(tiny_tokenizer, Chat(), make_scene(OBJECTS[:0]), [TOLD])]
    plain, padded = collate(rows), collate(rows, buckets=True)
    length = plain["input_ids"].shape[1]
    assert padded["input_ids"].shape == (1, bucket(length)) and bucket(length) > length
    assert torch.equal(padded["branch_ids"][:, :length], plain["branch_ids"])
    assert (padded["branch_ids"][:, length:] == -1).all()
    assert (padded["labels"][:, length:] == -100).all()


def test_collate_of_rows_without_objects_or_boxes(tiny_tokenizer) -> None:
    batch = Batch(**collate([pack_scene(tiny_tokenizer, Chat(), make_scene(OBJECTS[:0]), [TOLD])]))
    assert batch.objects.shape == (1, 0, 6) and batch.ground_targets.shape == (0, 1)


class Source:
    """A source of two scenes that counts what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def load(self, name: str) -> SceneInputs:
        self.asked.append(name)
        return make_scene()


def test_a_data_set_item_is_a_pack_of_the_plan(tiny_tokenizer) -> None:
    plan = [Pack("scannet/a", (1, 0), turn=1), Pack("scannet/b", (2,))]
    source = Source()
    packs = PackedScenes(plan, [TOLD, FOUND, LOCATED], source, tiny_tokenizer, Chat())
    assert len(packs) == 2 and source.asked == []
    scene = make_scene().turned(1)
    wanted = pack_scene(tiny_tokenizer, Chat(), scene, [FOUND, TOLD], 1)
    got = packs[0]
    assert source.asked == ["scannet/a"]
    for name in ("input_ids", "labels", "coord_points", "ground_targets"):
        np.testing.assert_array_equal(vars(got)[name], vars(wanted)[name])
    np.testing.assert_array_equal(got.scene.objects, wanted.scene.objects)


def open_source(rooms_data, tiny_recipe, **changes) -> SceneSource:
    eyes = tiny_recipe.encoder
    fields = {"split": "train", "strategy": "mc", "max_frames": 2, "boxes": "gt"} | changes
    return SceneSource(rooms_data, image_size=eyes.image_size, processor=eyes.build_processor(), **fields)


def test_a_scene_of_a_data_folder(rooms_data, tiny_recipe) -> None:
    source = open_source(rooms_data, tiny_recipe)
    scene = source.load("scannet/scene0000_00")
    assert source.load("scannet/scene0000_00") is scene, "the next pack of the scene costs nothing"
    eyes = tiny_recipe.encoder
    assert scene.inputs["pixel_values"].shape == (2, 3, eyes.image_size, eyes.image_size)
    assert scene.num_tokens == 2 * eyes.cells * (eyes.cells + 1)
    assert scene.object_masks.shape == (len(scene.objects), 2, eyes.grid, eyes.grid)
    assert "object_masks" not in scene.inputs
    both = open_source(rooms_data, tiny_recipe, boxes="gt+pred").load("scannet/scene0000_00")
    assert len(both.objects) > len(scene.objects)
    np.testing.assert_array_equal(both.objects[: len(scene.objects)], scene.objects)


def test_the_blind_are_shown_nothing_and_no_frame_is_read(
    rooms_data, tiny_recipe, tiny_tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "scannet/scene0000_00"
    seeing = open_source(rooms_data, tiny_recipe).load(name)
    monkeypatch.setattr("llava.data.scenes.read_data_scene", None)
    scene = open_source(rooms_data, tiny_recipe, blind=True).load(name)
    assert scene.num_tokens == 0 and all(len(value) == 0 for value in scene.inputs.values())
    assert scene.inputs.keys() == seeing.inputs.keys()
    np.testing.assert_array_equal(scene.turned(1).objects, seeing.turned(1).objects)
    assert scene.object_masks.shape == (len(scene.objects), 0, *seeing.object_masks.shape[2:])
    packed = pack_scene(tiny_tokenizer, Chat(), scene, [TOLD, FOUND])
    assert chat.SCENE not in tiny_tokenizer.decode(packed.input_ids)


def test_frames_left_out_are_told_once_a_scene(rooms_data, tiny_recipe, tmp_path, capsys) -> None:
    data = shutil.copytree(rooms_data, tmp_path / "data")
    folder = data / "scannet/posed_images/scene0000_00"
    (folder / "00001.txt").write_text("-inf -inf -inf -inf\n" * 4)
    (folder / "00002.png").unlink()
    source = open_source(data, tiny_recipe, strategy="uniform")
    for name in ("scene0000_00", "scene0001_00", "scene0000_00"):
        source.load.cache_clear()  # as if there had been many others in between
        source.load(f"scannet/{name}")
    (said,) = capsys.readouterr().err.splitlines()
    assert said == (
        "scannet/scene0000_00: 2 of 4 frames left out, the first, 00001, because: pose is not finite (the tracker lost "
        f"the camera) (`llava scene info {folder}` tells of the others)"
    )


def test_a_scene_without_alignment_is_not_read(rooms_data, tiny_recipe, tmp_path) -> None:
    data = shutil.copytree(rooms_data, tmp_path / "data")
    shutil.rmtree(data / "embodiedscan")
    (data / "scannet/scans/scene0000_00/scene0000_00.txt").unlink()
    with pytest.raises(ValueError, match=r"'scene0000_00' has no axis alignment: .*scene0000_00.txt.*infos_\*.pkl"):
        open_source(data, tiny_recipe).load("scannet/scene0000_00")


def test_a_source_can_be_sent_to_a_worker(rooms_data, tiny_recipe) -> None:
    import pickle

    source = open_source(rooms_data, tiny_recipe)
    here = source.load("scannet/scene0001_00")
    there = pickle.loads(pickle.dumps(source)).load("scannet/scene0001_00")
    assert all(torch.equal(here.inputs[key], there.inputs[key]) for key in here.inputs)


@pytest.mark.parametrize("boxes", ["gt", "gt+pred"])
def test_who_asks_for_words_needs_no_boxes(rooms_data, tiny_recipe, boxes: str) -> None:
    source = open_source(rooms_data, tiny_recipe, boxes=boxes)
    del source._boxes["gt"]["scannet/scene0000_00"]
    told, found = (replace(sample, scene="scannet/scene0000_00") for sample in (TOLD, FOUND))
    with pytest.raises(ValueError, match=r"'scannet/scene0000_00' has no gt boxes .*run `llava prepare`"):
        source.expect([told, found])
    with pytest.raises(ValueError, match="has no gt boxes"):
        source.load("scannet/scene0000_00")
    source.expect([told, replace(found, scene="scannet/scene0001_00")])
    scene = source.load("scannet/scene0000_00")
    assert len(scene.objects) == len(scene.object_masks) == len(source._boxes.get("pred", {}).get(told.scene, []))
    assert len(source.load("scannet/scene0001_00").objects)


def test_what_a_source_cannot_find(rooms_data, tiny_recipe, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"scene 'scannet/scene9999_00' is asked about but .* is missing"):
        open_source(rooms_data, tiny_recipe).load("scannet/scene9999_00")
    with pytest.raises(ValueError, match="has no gt boxes"):
        open_source(rooms_data, tiny_recipe).load("scannet/scene0003_00")  # the held-out one
    for wrong in ([[1.0] * 5] * 6, [[1.0] * 5 + [float("nan")]], "none", [[1.0] * 6, [1.0]]):
        source = open_source(rooms_data, tiny_recipe)
        source._boxes["gt"] = {"scannet/scene0000_00": wrong}
        with pytest.raises(ValueError, match=r"gt_box.json: the boxes of scene 'scannet/scene0000_00' are no lists of"):
            source.load("scannet/scene0000_00")
    with pytest.raises(ValueError, match=r"unknown boxes 'prde'.*did you mean 'pred'"):
        open_source(rooms_data, tiny_recipe, boxes="prde")
    with pytest.raises(ValueError, match=r"did you mean 'uniform'"):
        open_source(rooms_data, tiny_recipe, strategy="unifrom").load("scannet/scene0000_00")
    with pytest.raises(ValueError, match="scannet_train_gt_box.json is missing: run `llava prepare"):
        open_source(tmp_path, tiny_recipe)
