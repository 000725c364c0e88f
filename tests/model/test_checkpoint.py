from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, Qwen2Config

from llava.encoders.siglip import Siglip
from llava.model.checkpoint import init_new_tokens, is_finished, load_model, save
from llava.model.export import export_llava_qwen
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


def same(first, second) -> bool:
    first, second = first.state_dict(), second.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_export_and_back(kit, published, tmp_path):
    model, folder = published
    back = load_model(folder)
    assert same(back, model)
    ids = ("ground_token_id", "coord_token_id", "ground_temperature")
    assert all(vars(back.config)[name] == vars(model.config)[name] for name in ids)
    assert back.config.encoder == {"name": "siglip", **vars(kit.ENCODER)}
    save(back, tmp_path / "again")
    assert (
        load_file(tmp_path / "again/model.safetensors").keys() == load_file(tmp_path / "ours/model.safetensors").keys()
    )
    half = load_model(folder, dtype=torch.bfloat16)
    save(half, tmp_path / "half")
    out = load_file(export_llava_qwen(tmp_path / "half", tmp_path / "half-published") / "model.safetensors")
    assert {tensor.dtype for tensor in out.values()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"positions": {"kind": "mlp"}}, "the position encoding 'mlp'"),
        ({"positions": {"scale": 0.3}}, "another temperature or scale"),
        ({"ground_input_norm": True, "positions": {}}, "a norm before the grounding head"),
        ({"ground_hidden_size": 32, "positions": {}}, "a grounding head of another width"),
    ],
)
def test_what_the_published_code_lacks_is_named(kit, tmp_path, changes, what):
    save(kit.make_model(**changes), tmp_path / "ours")
    with pytest.raises(ValueError, match=f"cannot become a llava_qwen folder, whose code lacks: {what}"):
        export_llava_qwen(tmp_path / "ours", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("old", [False, True])
def test_shards_of_pytorchs_own_format(published, old):
    model, folder = published
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    shards = {"pytorch_model-1.bin": names[:20], "pytorch_model-2.bin": names[20:]}
    for file, own in shards.items():
        torch.save({n: weights[n] for n in own}, folder / file, _use_new_zipfile_serialization=not old)
    index = {"metadata": {}, "weight_map": {name: file for file, own in shards.items() for name in own}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert same(load_model(folder), model)
    (folder / "pytorch_model-2.bin").unlink()
    with pytest.raises(ValueError, match="names files that are not there: pytorch_model-2.bin"):
        load_model(folder)


class Trap:
    def __reduce__(self):
        return (open, ("trap", "w"))


def test_code_in_a_weight_file_is_not_run(published, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, folder = published
    (folder / "model.safetensors").unlink()
    torch.save({"model.norm.weight": Trap()}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="pytorch_model.bin wants to call .*open, which is refused"):
        load_model(folder)
    assert not (tmp_path / "trap").exists()


def test_the_weights_decide_the_vocabulary(published):
    """Released folders hold fewer rows than their config.json says."""
    model, folder = published
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | {"vocab_size": 152064}))
    assert load_model(folder).config.text_config.vocab_size == model.config.text_config.vocab_size == 64


def test_a_tower_that_lies_elsewhere(published, tmp_path):
    model, folder = published
    weights = load_file(folder / "model.safetensors")
    start = "model.vision_tower.vision_tower."
    tower = {n.removeprefix(start): t.clone() for n, t in weights.items() if n.startswith(start)}
    rest = {name: tensor for name, tensor in weights.items() if not name.startswith(start)}
    save_file(rest, folder / "model.safetensors", metadata={"format": "pt"})
    elsewhere = tmp_path / "siglip"
    elsewhere.mkdir()
    (folder / "vision_config.json").rename(elsewhere / "config.json")
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | {"mm_vision_tower": str(elsewhere)}))
    with pytest.raises(ValueError, match="siglip holds no weights"):
        load_model(folder)
    last = {n.replace("layers.1.", "layers.2."): t.clone() for n, t in tower.items() if "layers.1." in n}
    others = {
        "vision_model.head.probe": torch.zeros(1),
        "text_model.embeddings.weight": torch.zeros(2),
        "logit_bias": torch.zeros(1),
    }
    save_file(tower | last | others, elsewhere / "model.safetensors", metadata={"format": "pt"})
    assert same(load_model(folder), model)
    broken = {name: tensor for name, tensor in tower.items() if "layers.0.mlp.fc1" not in name}
    save_file(broken, elsewhere / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks, .*: encoder.layers.0.mlp.fc1.bias, encoder.layers.0.mlp.fc1.weight"):
        load_model(folder)


def test_every_key_that_does_not_fit_is_named(published):
    _, folder = published
    weights = load_file(folder / "model.safetensors")
    gone = [name for name in weights if ".self_attn." in name and name.startswith("model.layers.")]
    strange = {f"strange.{number}": torch.zeros(1) for number in range(9)}
    kept = {name: tensor for name, tensor in weights.items() if name not in gone} | strange
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="do not fit") as error:
        load_model(folder)
    assert len(gone) > 8
    assert all(f"missing language_model.{name}" in str(error.value) for name in gone)
    assert all(f"unexpected {name}" in str(error.value) for name in strange)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("world_position_embedding_type", "avg-discrete-mlp"),
        ("mm_newline_position", "everywhere"),
        ("object_feature_type", "patch7"),
        ("ground_head_type", "score"),
    ],
)
def test_a_key_that_asks_for_something_unknown(published, key, value):
    _, folder = published
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | {key: value}))
    with pytest.raises(ValueError, match=f"config.json: {key} is '{value}', expected one of"):
        load_model(folder)


def test_a_checkpoint_of_the_hub(published, tmp_path, monkeypatch):
    """From the hub's cache on disk: there is no network here."""
    model, folder = published
    cache, commit = tmp_path / "cache/models--owner--name", "0" * 40
    (cache / "refs").mkdir(parents=True)
    (cache / "refs/main").write_text(commit)
    (cache / "snapshots").mkdir()
    folder.rename(cache / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert same(load_model("owner/name"), model)
    with pytest.raises(ValueError, match="owner/other is neither a folder nor to be had from the Hugging Face hub"):
        load_model("owner/other")


def test_a_checkpoint_of_before_the_stored_norm(kit, tmp_path):
    """Nothing applies that norm, so a folder without it, as assets/rooms-base is, needs no mention."""
    save(kit.make_model(), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    old = {name: tensor for name, tensor in weights.items() if "post_layernorm" not in name}
    assert len(weights) - len(old) == 2
    save_file(old, tmp_path / "model.safetensors", metadata={"format": "pt"})
    norm = load_model(tmp_path).encoder.tower.post_layernorm
    assert (norm.weight == 1).all() and (norm.bias == 0).all()
