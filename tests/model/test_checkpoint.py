from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, Qwen2Config

from llava.encoders.siglip import Siglip
from llava.model.checkpoint import init_new_tokens, is_finished, load_model, save
from llava.model.llava_qwen import read_llava_qwen_config
from llava.model.scene_lm import SceneLM, SceneLMConfig


@pytest.mark.parametrize("tie", [False, True])
def test_round_trip(kit, rng, tmp_path, tie):
    model = kit.make_model(tie=tie, positions={"kind": "mlp"}, ground_hidden_size=32)
    save(model, tmp_path, recipe={"name": "test"})
    back = load_model(tmp_path)
    batch = kit.collate([kit.make_row(rng, 2, 3, "text ground caption")])
    with torch.no_grad():
        assert torch.equal(model(**batch).loss, back(**batch).loss)
    assert set(back.state_dict()) == set(model.state_dict())
    assert (back.language_model.lm_head.weight is back.get_input_embeddings().weight) == tie
    assert json.loads((tmp_path / "recipe.json").read_text()) == {"name": "test"}
    assert ("language_model.lm_head.weight" in load_file(tmp_path / "model.safetensors")) != tie
    assert "scene_pack" not in (tmp_path / "config.json").read_text()
    assert isinstance(AutoModel.from_pretrained(tmp_path), SceneLM)


def test_dtype(kit, tmp_path):
    save(kit.make_model(), tmp_path)
    assert {p.dtype for p in load_model(tmp_path, dtype=torch.bfloat16).parameters()} == {torch.bfloat16}


def test_folder_without_weights_or_config(kit, tmp_path):
    with pytest.raises(ValueError, match="is not a folder"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no config.json"):
        load_model(tmp_path)
    kit.make_model().config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"holds no weights: expected model.safetensors .* found config.json"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_cut_file_is_named(kit, tmp_path, name):
    save(kit.make_model(), tmp_path)
    content = (tmp_path / name).read_bytes()
    for length in (0, len(content) // 2, len(content) - 3):
        (tmp_path / name).write_bytes(content[:length])
        with pytest.raises(ValueError, match=rf"/{name} is .*cut short"):
            load_model(tmp_path)


def test_a_second_save_that_is_killed_leaves_no_whole_looking_folder(kit, tmp_path):
    model = kit.make_model()
    save(model, tmp_path, recipe={"name": "test"})
    assert is_finished(tmp_path)
    with pytest.raises(AttributeError):
        save(model, tmp_path, tokenizer=object(), recipe={"name": "test"})
    assert not is_finished(tmp_path)


def test_other_model_type(kit, tmp_path):
    save(kit.make_model(), tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="model type 'bert', expected 'video3d_llm' or 'llava_qwen'"):
        load_model(tmp_path)


def test_parameters_that_do_not_fit_are_named(kit, tmp_path):
    save(kit.make_model(), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["newline"]
    weights["extra.weight"] = torch.zeros(2)
    weights["encoder.projector.0.weight"] = torch.zeros(3, 3)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="do not fit") as error:
        load_model(tmp_path)
    assert "missing newline" in str(error.value)
    assert "unexpected extra.weight" in str(error.value)
    assert "encoder.projector.0.weight is (3, 3), config.json asks for (48, 32)" in str(error.value)


def test_new_parts_may_be_missing(kit, tmp_path):
    model = kit.make_model()
    save(model, tmp_path)
    weights = {k: v for k, v in load_file(tmp_path / "model.safetensors").items() if not k.startswith("ground_head.")}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="missing ground_head"):
        load_model(tmp_path)
    fresh = load_model(tmp_path, new_parts=("ground_head.",))
    assert torch.equal(fresh.newline, model.newline)
    assert torch.isfinite(fresh.ground_head.zero_target).all() and fresh.ground_head.zero_target.norm() < 3


def test_another_position_encoding(kit, tmp_path):
    model = kit.make_model(positions={"kind": "mlp"})
    save(model, tmp_path)
    changed = load_model(tmp_path, positions={"kind": "sin3d", "scale": 0.5})
    assert changed.config.positions == {"kind": "sin3d", "scale": 0.5}
    assert list(changed.positions.parameters()) == []
    save(changed, tmp_path / "changed")
    assert load_model(tmp_path / "changed").positions.scale == 0.5


@pytest.mark.parametrize("tie", [False, True])
def test_new_tokens_start_as_the_mean_of_earlier_rows(kit, tie):
    model = kit.make_model(tie=tie)
    before = model.get_input_embeddings().weight.detach().clone()
    init_new_tokens(model, 60, [58, 59])
    rows = model.get_input_embeddings().weight
    assert rows.shape == (60, 48)
    assert model.get_output_embeddings().weight.shape == (60, 48)
    assert (model.get_output_embeddings().weight is rows) == tie
    assert torch.equal(rows[:58], before[:58])
    assert torch.allclose(rows[58], before[:58].mean(0), atol=1e-6)
    assert torch.allclose(rows[59], torch.cat([before[:58], before[:58].mean(0, keepdim=True)]).mean(0), atol=1e-6)
    assert model.config.text_config.vocab_size == 60


def test_a_resized_model_saves_and_loads(kit, tmp_path):
    model = kit.make_model(tie=True)
    init_new_tokens(model, 70, [68, 69])
    save(model, tmp_path)
    assert torch.equal(load_model(tmp_path).get_input_embeddings().weight, model.get_input_embeddings().weight)


def test_published_sizes_build_on_the_meta_device():
    text = Qwen2Config(
        vocab_size=151649,
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
    )
    with torch.device("meta"):
        model = SceneLM(SceneLMConfig(text_config=text, encoder={"name": "siglip", **vars(Siglip())}))
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert shapes["encoder.tower.embeddings.position_embedding.weight"] == (729, 1152)
    assert shapes["encoder.tower.encoder.layers.25.mlp.fc1.weight"] == (4304, 1152)
    assert "encoder.tower.encoder.layers.26.mlp.fc1.weight" not in shapes
    assert shapes["language_model.model.layers.27.self_attn.k_proj.weight"] == (512, 3584)
    assert shapes["ground_head.zero_target"] == (3584,)
    assert 8.0e9 < sum(p.numel() for p in model.parameters()) < 8.2e9


def test_llava_qwen_config_of_the_published_model(tmp_path):
    raw = {
        "model_type": "llava_qwen",
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "rope_theta": 1000000.0,
        "mm_vision_tower": "google/siglip-so400m-patch14-384",
        "world_position_embedding_type": "avg-discrete-sin3d",
        "ground_token_ids": [151647],
        "coord_token_ids": [151648],
    }
    config = read_llava_qwen_config(tmp_path, raw)
    assert config.text_config.rope_parameters["rope_theta"] == 1e6
    assert config.encoder == {"name": "siglip", **vars(Siglip())}
    assert (config.ground_token_id, config.coord_token_id) == (151647, 151648)
    with pytest.raises(ValueError, match="vision tower 'clip-vit' is unknown"):
        read_llava_qwen_config(tmp_path, raw | {"mm_vision_tower": "openai/clip-vit"})
