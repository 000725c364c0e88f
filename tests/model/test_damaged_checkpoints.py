"""Checkpoints that are wrong in ways that a download, an upload or an edit makes them: each is told, none is used."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from llava.model.checkpoint import load_model, save
from llava.model.export import export_llava_qwen


def change(folder, **values):
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | values))


def test_sizes_that_are_not_said_are_not_taken_to_be_those_of_7b(published):
    _, folder = published
    (folder / "config.json").write_text('{"model_type": "llava_qwen"}')
    with pytest.raises(ValueError, match="config.json does not say hidden_size, intermediate_size, num_hidden_layers"):
        load_model(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", "64"),
        ("hidden_size", 64.5),
        ("intermediate_size", 10**30),
        ("num_hidden_layers", True),
        ("vocab_size", None),
        ("hidden_act", "gelu_new_thing"),
        ("rms_norm_eps", "x"),
        ("tie_word_embeddings", "yes"),
        ("voxel_size", 0),
        ("min_xyz_range", [1, 2]),
        ("ground_token_ids", ["<ground>"]),
        ("mm_vision_tower", 5),
        ("object_feature_type", ["patch14-pe"]),
        ("rope_scaling", {"type": "linear", "factor": 2.0}),
        ("mm_spatial_pool_mode", "average"),
        ("add_faster_video", True),
    ],
)
def test_a_value_that_nothing_can_be_made_of(published, key, value):
    _, folder = published
    change(folder, **{key: value})
    for use in (load_model, lambda folder: export_llava_qwen(folder, folder / "out")):
        with pytest.raises(ValueError, match=f"config.json: {key} is .*, expected"):
            use(folder)
    assert not (folder / "out").exists()


def test_whole_numbers_where_floats_are_meant(published):
    model, folder = published
    change(folder, initializer_range=1, rope_theta=1000000)
    assert load_model(folder).config.text_config.initializer_range == 1.0


@pytest.mark.parametrize(
    "sizes", [{"hidden_size": 1 << 20}, {"intermediate_size": 1 << 24}, {"num_hidden_layers": 999}]
)
def test_sizes_of_another_model_take_no_memory(published, sizes):
    """Terabytes: it must be told before the model is built."""
    _, folder = published
    change(folder, **sizes)
    with pytest.raises(ValueError, match="config.json asks for|weights beside it have"):
        load_model(folder)


@pytest.mark.parametrize("content", ["[]", "5", "null"])
@pytest.mark.parametrize("name", ["config.json", "vision_config.json", "model.safetensors.index.json"])
def test_json_that_is_no_object(published, name, content):
    _, folder = published
    if "index" in name:
        (folder / "model.safetensors").unlink()
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=f"/{name}"):
        load_model(folder)


def test_sizes_of_the_tower_that_are_none(published):
    _, folder = published
    (folder / "vision_config.json").write_text('{"vision_config": {"hidden_size": "64"}}')
    with pytest.raises(ValueError, match="vision_config.json: hidden_size is '64', expected a whole number"):
        load_model(folder)


@pytest.mark.parametrize(
    "index",
    [
        {},
        {"metadata": {}, "weight_map": []},
        {"metadata": {}, "weight_map": {"a": 5}},
        {"metadata": {}, "weight_map": {"a": "../model.safetensors"}},
        {"weight_map": {"a": "model-1.safetensors"}},
    ],
)
def test_an_index_that_is_none(published, index):
    _, folder = published
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"index.json is no index of weights: expected .*weight_map"):
        load_model(folder)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([1, 2], "expected tensors by name, found list"),
        ({"a": torch.zeros(1), "epoch": 5}, "found int under 'epoch': keep the model's state_dict only"),
        ({7: torch.zeros(1)}, "found Tensor under 7"),
    ],
)
def test_a_weight_file_of_something_else(published, content, told):
    _, folder = published
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=told):
        load_model(folder)


@pytest.mark.parametrize("rows", [torch.zeros(()), torch.zeros(64), torch.zeros(0, 64)])
def test_a_vocabulary_that_is_none(published, rows):
    _, folder = published
    weights = load_file(folder / "model.safetensors") | {"model.embed_tokens.weight": rows}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="embed_tokens.weight is .*expected a row of numbers for each token"):
        load_model(folder)


def test_output_embeddings_that_should_be_tied_and_differ(published):
    """The original would drop the stored ones, transformers keeps them: whose answers are right nobody could tell."""
    _, folder = published
    change(folder, tie_word_embeddings=True)
    with pytest.raises(
        ValueError, match="says tie_word_embeddings, but the weights beside it hold an output embedding"
    ):
        load_model(folder)
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model = load_model(folder)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_a_tower_that_is_nowhere(published, capfd):
    """Told before the language model is read, and not below a table of transformers that says all is well."""
    _, folder = published
    weights = load_file(folder / "model.safetensors")
    rest = {name: tensor for name, tensor in weights.items() if "vision_tower" not in name}
    save_file(rest, folder / "model.safetensors", metadata={"format": "pt"})
    change(folder, mm_vision_tower=None)
    with pytest.raises(ValueError, match="holds no vision tower .*, and its config.json names none: write"):
        load_model(folder)
    assert "newly initialized" not in capfd.readouterr().err


def test_a_model_of_another_kind_is_not_exported(published, tmp_path):
    _, folder = published
    change(folder, model_type="qwen2")
    with pytest.raises(ValueError, match="has model type 'qwen2', expected 'video3d_llm' or 'llava_qwen'"):
        export_llava_qwen(folder, tmp_path / "out")


@pytest.mark.parametrize("part", ["encoder", "text_config"])
def test_a_configuration_of_ours_that_was_edited(kit, tmp_path, part):
    save(kit.make_model(), tmp_path)
    change(tmp_path, **{part: 5})
    with pytest.raises(ValueError, match="config.json"):
        load_model(tmp_path)
