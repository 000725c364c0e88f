"""The tiny model and its objects (03 was made with its inputs): activations, losses, gradients, answers, variants."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from llava.encoders.siglip import Siglip
from llava.encoders.siglip_tower import scaled
from llava.model import decoding
from llava.model.checkpoint import load_model
from llava.model.llava_qwen import NAMES, their_name
from llava.model.position_encodings import discretise
from llava.model.scene_lm import SceneLM, encoder_config
from llava.types import Views

IMAGE = -200
TASKS = ("qa", "scan2cap")


@dataclass(frozen=True)
class Tiny:
    """The model under one configuration, and the recorded scene as it reads it."""

    model: SceneLM
    scene: dict[str, torch.Tensor]
    masks: torch.Tensor  # (n, V, H', W') bool
    scene_tokens: int

    def pack(self, ids: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """A reference sample, with one token for all images, as a pack of one branch."""
        at = int((ids == IMAGE).nonzero())
        own = torch.full((self.scene_tokens,), IMAGE)
        pack = {"input_ids": torch.cat([ids[:at], own, ids[at + 1 :]])[None]}
        length = pack["input_ids"].shape[1]
        pack["position_ids"] = torch.arange(length)[None]
        pack["branch_ids"] = (torch.arange(length) >= at + len(own)).long()[None]
        if labels is not None:
            pack["labels"] = torch.cat([labels[:at], torch.full_like(own, -100), labels[at + 1 :]])[None]
        return pack

    @torch.no_grad()
    def embedded(self, ids: torch.Tensor, coord: torch.Tensor | None) -> torch.Tensor:
        return self.model.embed(self.pack(ids)["input_ids"], self.model.encode(self.scene), coord)[0]

    def question(self, ids: torch.Tensor, coord: torch.Tensor | None = None) -> decoding.Question:
        """A sample as a question behind its prefix."""
        ids = self.pack(ids)["input_ids"][0]
        start = int((ids == IMAGE).nonzero().max()) + 1
        return decoding.Question(decoding.prefill(self.model, ids[:start], self.scene), ids[start:], coord)


@pytest.fixture(scope="module")
def folder(golden) -> Path:
    return golden / "04_tiny_model"


@pytest.fixture(scope="module")
def io(folder, arrays) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in arrays(folder / "io.npz").items()}


@pytest.fixture(scope="module")
def results(folder) -> dict:
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def read(folder, io, tmp_path_factory) -> Callable[..., Tiny]:
    """The tiny model with keys of its config.json changed."""

    def load(**changes) -> Tiny:
        source = folder
        if changes:
            source = tmp_path_factory.mktemp("variant")
            for path in folder.iterdir():
                os.symlink(path, source / path.name)
            (source / "config.json").unlink()
            raw = json.loads((folder / "config.json").read_text())
            (source / "config.json").write_text(json.dumps(raw | changes))
        model = load_model(source)
        coords = io["world_coords_int16_x256"].numpy().astype(np.float32) / 256
        images = io["images_uint8"].numpy()
        views = Views(images, coords, np.ones(coords.shape[:3], bool), tuple(map(str, range(len(images)))))
        processor = encoder_config(model.config).build_processor()
        scene = dict(processor(views, io["objects"].numpy()))
        masks = scene.pop("object_masks")
        return Tiny(model, scene, masks, processor.num_tokens(scene))

    return load


@pytest.fixture(scope="module")
def tiny(read) -> Tiny:
    return read()


def coord(io, task: str) -> torch.Tensor | None:
    return io["scan2cap.box_input"][None] if task == "scan2cap" else None


def check_gradients(model: SceneLM, expected: dict[str, float]) -> None:
    own = {their_name(name): parameter for name, parameter in model.named_parameters()}
    for name, norm in expected.items():
        # Key biases cancel in the softmax: their gradient is rounding noise of about 1e-8.
        assert float(own[name].grad.norm()) == pytest.approx(norm, rel=1e-3, abs=1e-6), name
    others = [name for name, parameter in own.items() if name not in expected and parameter.grad is not None]
    assert all(float(own[name].grad.abs().max()) == 0 for name in others)


def same(ours: torch.Tensor, theirs: torch.Tensor, atol: float = 1e-4) -> None:
    torch.testing.assert_close(ours, theirs, atol=atol, rtol=0)


def same_best(logits: torch.Tensor, best: torch.Tensor) -> None:
    """The recorded tokens (T,) are the best of logits (T, vocabulary); of two that are equally good either may be."""
    lost = logits.max(-1).values - logits.gather(-1, best[:, None].long())[:, 0]
    same(lost, torch.zeros_like(lost), atol=2e-4)  # twice what a logit may be off


def test_every_weight_is_loaded_under_its_name(folder, tiny):
    stored = load_file(folder / "model.safetensors")
    own = {their_name(name): tensor for name, tensor in tiny.model.state_dict().items()}
    assert stored.keys() == own.keys()
    assert all(torch.equal(stored[name], own[name]) for name in stored)
    assert all(any(name.startswith(theirs) for name in stored) for theirs, _ in NAMES)


def test_tower_projector_and_pooling(io, tiny):
    with torch.no_grad():
        tower = tiny.model.encoder.tower(scaled(tiny.scene["pixel_values"])).last_hidden_state
        tokens = tiny.model.encode(tiny.scene)
    patches = tokens.dense.flatten(1, 2)
    step = -(-patches.shape[1] // io["visual.encoded_sub"].shape[1])
    same(tower[:, ::step], io["visual.tower_out_sub"])
    same(patches[:, ::step], io["visual.encoded_sub"])
    same(tokens.tokens.flatten(1, 2), io["visual.pooled"])


def test_voxels_of_patches(io, tiny):
    config = tiny.model.positions.encoding.config
    ours = discretise(tiny.scene["coords"], config.voxel_size, config.lo, config.hi)
    off = (ours - io["visual.world_coords_discrete"]).abs()
    assert off.max() <= 1 and (off > 0).float().mean() < 1e-3


@pytest.mark.parametrize("task", TASKS)
def test_embeddings_and_logits(io, results, tiny, task):
    same(tiny.embedded(io[f"{task}.input_ids"], coord(io, task)), io[f"{task}.inputs_embeds"])
    pack = tiny.pack(io[f"{task}.input_ids"], io[f"{task}.labels"])
    assert torch.equal(pack.pop("labels")[0], io[f"{task}.new_labels"])
    assert pack["input_ids"].shape[1] == results[task]["seq_len"]
    with torch.no_grad():
        logits = tiny.model(**pack, scene=tiny.scene, coord_points=coord(io, task)).logits[0]
    same(logits[io[f"{task}.logit_positions"]], io[f"{task}.logits"])
    same(logits.logsumexp(-1), io[f"{task}.logits_lse_all"])
    same_best(logits, io[f"{task}.logits_argmax_all"])


@pytest.mark.parametrize("task", TASKS)
def test_text_loss_and_gradients(io, results, tiny, task):
    tiny.model.zero_grad()
    pack = tiny.pack(io[f"{task}.input_ids"], io[f"{task}.labels"])
    loss = tiny.model(**pack, scene=tiny.scene, coord_points=coord(io, task)).loss
    loss.backward()
    assert loss.item() == pytest.approx(results[task]["loss"], rel=1e-5)
    check_gradients(tiny.model, results[task]["grad_norms"])


def test_batch_of_two(io, results, tiny):
    """The reference takes the mean over all tokens of the batch, we that over samples: compare by hand."""
    flipped = {key: value.flip(0) for key, value in tiny.scene.items()}
    total, count = 0.0, 0
    for row, views in enumerate((tiny.scene, flipped)):
        real = io["batch2.attention_mask"][row]
        pack = tiny.pack(io["batch2.input_ids"][row][real], io["batch2.labels"][row][real])
        labelled = int((pack["labels"][:, 1:] != -100).sum())
        with torch.no_grad():
            total += float(tiny.model(**pack, scene=views).loss) * labelled
            del pack["labels"]
            logits = tiny.model(**pack, scene=views).logits[0]
        same_best(logits, io["batch2.argmax"][row][: len(logits)])
        count += labelled
    assert total / count == pytest.approx(results["batch2"]["loss"], rel=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_greedy(io, results, tiny, task):
    question = tiny.question(io[f"{task}.gen_prompt_ids"], coord(io, task))
    expected = io[f"{task}.gen_out"].tolist()
    answer = decoding.greedy(tiny.model, [question], len(expected), eos_id=-1)[0]
    assert answer == expected == results["generate"][task]


@pytest.mark.parametrize("kind", ["patch14", "patch27"])
def test_object_features(io, golden, arrays, tiny, read, kind):
    recorded = arrays(golden / "03_object_features/object_patch.npz")
    shape = tuple(recorded[f"mask_{kind}_shape"])
    masks = np.unpackbits(recorded[f"mask_{kind}"])[: np.prod(shape)].reshape(shape) > 0
    looked = tiny if kind == "patch14" else read(object_feature_type=f"{kind}-pe")
    objects = torch.from_numpy(recorded["objects"])
    assert torch.equal(objects, io["objects"])
    np.testing.assert_array_equal(looked.masks.numpy(), masks)
    assert masks.sum((1, 2, 3)).tolist() == recorded[f"counts_{kind}"].tolist()
    with torch.no_grad():
        ours = looked.model.object_features(looked.model.encode(looked.scene), objects[None], (looked.masks,))[0]
    same(ours, torch.from_numpy(recorded[f"features_{kind}_pe"]))
    config = looked.model.positions.encoding.config
    centres = discretise(objects[:, :3], config.voxel_size, config.lo, config.hi)
    same(centres, torch.from_numpy(recorded["object_center_discrete"]), atol=0)


def test_grounding(io, results, tiny, read):
    names = [name.removesuffix(".scores") for name in io if name.startswith("ground_") and name.endswith(".scores")]
    assert len(names) >= 4
    objects = io["objects"][None]
    for name in names:
        looked = read(object_feature_type="patch27-pe") if name.endswith("patch27") else tiny
        target = torch.zeros(1, objects.shape[1] + 1, dtype=torch.bool)
        target[0, results[name]["box_labels_in"]] = True  # -1 is the last column, an empty list means it too
        looked.model.zero_grad()
        out = looked.model(
            **looked.pack(io["ground.input_ids"]),
            scene=looked.scene,
            objects=objects,
            objects_valid=torch.ones(objects.shape[:2], dtype=torch.bool),
            object_masks=(looked.masks,),
            ground_targets=target,
        )
        out.loss.backward()
        same(out.ground_scores[0], io[f"{name}.scores"], atol=1e-5)
        # a small loss is the difference of two large numbers, off by what the scores are off
        assert out.loss.item() == pytest.approx(results[name]["loss"], rel=1e-5, abs=1e-6), name
        check_gradients(looked.model, results[name]["grad_norms"])


def test_ground_on_the_shared_prefix(io, tiny):
    scores = decoding.ground(tiny.model, [tiny.question(io["ground.input_ids"])], io["objects"], tiny.masks)
    same(scores[0], io["ground_single.scores"], atol=1e-5)
    tail = io["ground.inputs_embeds_text_tail"]
    same(tiny.embedded(io["ground.input_ids"], None)[-len(tail) :], tail)


def variants(prefix: str, io: dict[str, torch.Tensor]) -> list[tuple[str, int, torch.Tensor]]:
    """Name of the variant, step, values."""
    found = []
    for name, values in io.items():
        if name.startswith(f"{prefix}."):
            kind, what = name.removeprefix(f"{prefix}.").split(".")
            found.append((kind, int(what.removeprefix("inputs_embeds_stride")), values))
    assert found
    return found


def test_variants_of_the_position_encoding(io, read):
    for kind, step, expected in variants("variant", io):
        looked = read(world_position_embedding_type=kind)
        same(looked.embedded(io["scan2cap.input_ids"], coord(io, "scan2cap"))[::step], expected)


def test_variants_of_the_newline(io, results, read):
    for kind, step, expected in variants("newline", io):
        looked = read(mm_newline_position=kind)
        embedded = looked.embedded(io["qa.input_ids"], None)
        assert len(embedded) == results[f"newline.{kind}"]["seq_len"]
        same(embedded[::step], expected)


def test_rope_is_the_ordinary_one(folder, arrays):
    from transformers import Qwen2Config
    from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding, apply_rotary_pos_emb

    recorded = {name: torch.from_numpy(value) for name, value in arrays(folder / "rope_head128.npz").items()}
    heads, width = recorded["q"].shape[1], recorded["q"].shape[-1]
    rope = {"rope_type": "default", "rope_theta": float(recorded["theta"])}
    config = Qwen2Config(hidden_size=heads * width, num_attention_heads=heads, rope_parameters=rope)
    cos, sin = Qwen2RotaryEmbedding(config)(recorded["q"], recorded["positions"][None])
    q, k = apply_rotary_pos_emb(recorded["q"], recorded["k"], cos, sin)
    same(q, recorded["q_out"], atol=1e-5)
    same(k, recorded["k_out"], atol=1e-5)


def test_the_published_sizes_have_the_recorded_names(folder, tmp_path):
    """The tiny model's parameters, with the sizes of the 7B one put in place of its own."""
    tiny, raw = load_file(folder / "model.safetensors"), json.loads((folder / "config.json").read_text())
    large = {
        "vocab_size": 151649,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "mm_vision_tower": "google/siglip-so400m-patch14-384",
    }
    from llava.model.llava_qwen import read_llava_qwen_config

    with torch.device("meta"):
        model = SceneLM(read_llava_qwen_config(tmp_path, raw | large))
    shapes = {their_name(name): tuple(tensor.shape) for name, tensor in model.state_dict().items()}

    def plain(name: str) -> str:
        return ".".join("N" if part.isdigit() and before == "layers" else part for before, part in parts(name))

    assert {plain(name) for name in shapes} == {plain(name) for name in tiny}
    assert sum(name.endswith("mlp.gate_proj.weight") for name in shapes) == 28
    assert sum(name.endswith("mlp.fc1.weight") for name in shapes) == Siglip().num_layers - 1
    assert {len(shapes[name]) - tiny[name].ndim for name in tiny if name in shapes} == {0}
    assert shapes["model.embed_tokens.weight"] == (151649, 3584)
    assert shapes["model.layers.27.self_attn.k_proj.weight"] == (512, 3584)
    assert shapes["model.mm_projector.0.weight"] == (3584, 1152)
    assert shapes["ground_head_obj.0.weight"] == shapes["ground_head_query.3.weight"] == (3584, 3584)


def parts(name: str) -> list[tuple[str, str]]:
    """Each part of a dotted name with the one before it."""
    cut = name.split(".")
    return list(zip(["", *cut], cut, strict=False))
