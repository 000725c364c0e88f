"""Parity with the reference: a tiny model with random weights, its inputs and outputs (golden 03 and 04)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from llava.geometry.voxels import object_masks, patch_coords
from llava.model import decoding
from llava.model.checkpoint import load_model
from llava.model.grounding import pool_objects
from llava.model.llava_qwen import KEY_MAPPING

IMAGE = -200
SCENE_TOKENS = 2 * 14 * 15


@pytest.fixture(scope="module")
def tiny(golden) -> Path:
    return golden("04_tiny_model")


@pytest.fixture(scope="module")
def model(tiny):
    return load_model(tiny)


@pytest.fixture(scope="module")
def io(tiny) -> dict[str, torch.Tensor]:
    with np.load(tiny / "io.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.fixture(scope="module")
def results(tiny) -> dict:
    return json.loads((tiny / "results.json").read_text())


@pytest.fixture(scope="module")
def scene(io) -> dict[str, torch.Tensor]:
    images = io["images_uint8"].permute(0, 3, 1, 2)
    coords, valid = patch_coords(_world(io), None, 14, 27)
    return {
        "pixel_values": (images.float() / 255 - 0.5) / 0.5,
        "coords": torch.from_numpy(coords),
        "valid": torch.from_numpy(valid),
    }


@pytest.fixture(scope="module")
def masks(io) -> torch.Tensor:
    return torch.from_numpy(object_masks(_world(io), io["objects"].numpy(), 14, 27, 0.5))


def _world(io) -> np.ndarray:
    return io["world_coords_int16_x256"].numpy().astype(np.float32) / 256


def _pack(ids: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    """A reference sample, with one token for all images, as a pack of one branch."""
    at = int((ids == IMAGE).nonzero())
    own = torch.full((SCENE_TOKENS,), IMAGE)
    pack = {"input_ids": torch.cat([ids[:at], own, ids[at + 1 :]])[None]}
    length = pack["input_ids"].shape[1]
    pack["position_ids"] = torch.arange(length)[None]
    pack["branch_ids"] = (torch.arange(length) >= at + SCENE_TOKENS).long()[None]
    if labels is not None:
        pack["labels"] = torch.cat([labels[:at], torch.full((SCENE_TOKENS,), -100), labels[at + 1 :]])[None]
    return pack


def _ours(name: str) -> str:
    for pattern, replacement in KEY_MAPPING.items():
        name = re.sub(pattern, replacement, name)
    return name


def _coord(io, task: str) -> torch.Tensor | None:
    return io["scan2cap.box_input"][None] if task == "scan2cap" else None


def _check_gradients(model, expected: dict[str, float], near: float = 1e-3) -> None:
    parameters = dict(model.named_parameters())
    for name, norm in expected.items():
        # Key biases cancel in the softmax: their gradient is rounding noise of about 1e-8.
        assert float(parameters[_ours(name)].grad.norm()) == pytest.approx(norm, rel=near, abs=1e-6), name


def test_every_parameter_has_a_name_here(model, tiny):
    stored = {_ours(name) for name in load_file(tiny / "model.safetensors")}
    assert stored == set(model.state_dict())


def test_tower_projector_and_pooling(model, io, scene):
    with torch.no_grad():
        tower = model.encoder.tower(scene["pixel_values"]).last_hidden_state
        tokens = model.encode(scene)
    assert torch.allclose(tower[:, ::9], io["visual.tower_out_sub"], atol=1e-4)
    assert torch.allclose(tokens.dense.flatten(1, 2)[:, ::9], io["visual.encoded_sub"], atol=1e-4)
    assert torch.allclose(tokens.tokens.flatten(1, 2), io["visual.pooled"], atol=1e-4)


@pytest.mark.parametrize("task", ["qa", "scan2cap"])
def test_text(model, io, results, scene, task):
    pack, coord = _pack(io[f"{task}.input_ids"]), _coord(io, task)
    with torch.no_grad():
        embedded = model.embed(pack["input_ids"], model.encode(scene), coord)[0]
        logits = model(**pack, scene=scene, coord_points=coord).logits[0]
    assert torch.allclose(embedded, io[f"{task}.inputs_embeds"], atol=1e-4)
    assert torch.allclose(logits[io[f"{task}.logit_positions"]], io[f"{task}.logits"], atol=1e-4)
    assert torch.allclose(logits.logsumexp(-1), io[f"{task}.logits_lse_all"], atol=1e-4)
    assert torch.equal(logits.argmax(-1), io[f"{task}.logits_argmax_all"])

    model.zero_grad()
    pack = _pack(io[f"{task}.input_ids"], io[f"{task}.labels"])
    loss = model(**pack, scene=scene, coord_points=coord).loss
    loss.backward()
    assert loss.item() == pytest.approx(results[task]["loss"], rel=1e-5)
    _check_gradients(model, results[task]["grad_norms"])


def test_batch_of_two(model, io, results, scene):
    """The reference takes the mean over all tokens of the batch, we that over samples: compare by hand."""
    flipped = {key: value.flip(0) for key, value in scene.items()}
    total, count = 0.0, 0
    for row, views in enumerate((scene, flipped)):
        real = io["batch2.attention_mask"][row]
        pack = _pack(io["batch2.input_ids"][row][real], io["batch2.labels"][row][real])
        labelled = int((pack["labels"][:, 1:] != -100).sum())
        with torch.no_grad():
            total += float(model(**pack, scene=views).loss) * labelled
        count += labelled
    assert total / count == pytest.approx(results["batch2"]["loss"], rel=1e-5)


@pytest.mark.parametrize("task", ["qa", "scan2cap"])
def test_greedy(model, io, results, scene, task):
    ids = _pack(io[f"{task}.gen_prompt_ids"])["input_ids"][0]
    start = int((ids == IMAGE).nonzero().max()) + 1
    prefix = decoding.prefill(model, ids[:start], scene)
    answer = decoding.greedy(model, prefix, [ids[start:]], [_coord(io, task)], 12, eos_id=-1)[0]
    assert answer == io[f"{task}.gen_out"].tolist() == results["generate"][task]


def test_object_features(model, scene, masks, golden):
    with np.load(golden("03_object_features") / "object_patch.npz") as arrays:
        objects = torch.from_numpy(arrays["objects"])[None]
        shapes = {size: tuple(arrays[f"mask_{size}_shape"]) for size in ("patch14", "patch27")}
        stored = {
            size: torch.from_numpy(np.unpackbits(arrays[f"mask_{size}"])[: np.prod(shape)].reshape(shape) > 0)
            for size, shape in shapes.items()
        }
        expected = {size: torch.from_numpy(arrays[f"features_{size}_pe"]) for size in shapes}
    assert torch.equal(stored["patch14"], masks)
    with torch.no_grad():
        tokens = model.encode(scene)
        ours = model.object_features(tokens, objects, (masks,))[0]
        assert torch.allclose(ours, expected["patch14"], atol=1e-4)
        pooled = pool_objects(tokens.tokens, (stored["patch27"],), 8)[0] + model.positions(objects[0, :, :3])
        assert torch.allclose(pooled, expected["patch27"], atol=1e-4)


@pytest.mark.parametrize("case", ["ground_single", "ground_multi", "ground_zero", "ground_zero_explicit"])
def test_grounding(model, io, results, scene, masks, case):
    objects = io["objects"][None]
    target = torch.zeros(1, 9, dtype=torch.bool)
    target[0, results[case]["box_labels_in"]] = True  # -1 is the last column, an empty list means it too
    model.zero_grad()
    out = model(
        **_pack(io["ground.input_ids"]),
        scene=scene,
        objects=objects,
        objects_valid=torch.ones(1, 8, dtype=torch.bool),
        object_masks=(masks,),
        ground_targets=target,
    )
    out.loss.backward()
    assert torch.allclose(out.ground_scores[0], io[f"{case}.scores"], atol=1e-5)
    assert out.loss.item() == pytest.approx(results[case]["loss"], rel=1e-5)
    _check_gradients(model, results[case]["grad_norms"])


def test_ground_on_the_shared_prefix(model, io, scene, masks):
    ids = _pack(io["ground.input_ids"])["input_ids"][0]
    start = int((ids == IMAGE).nonzero().max()) + 1
    prefix = decoding.prefill(model, ids[:start], scene)
    scores = decoding.ground(model, prefix, [ids[start:]], io["objects"], masks)
    assert torch.allclose(scores[0], io["ground_single.scores"], atol=1e-5)
