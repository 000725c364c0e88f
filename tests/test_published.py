"""A released checkpoint's whole life here: load, five benchmarks, two steps of training, export, load again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from llava.cli import main
from llava.data.chat import COORD, GROUND, SCENE, Chat
from llava.data.compat import MODES, OURS, VIDEO3D
from llava.data.pack import pack_scene
from llava.data.tokenizer import train_tokenizer
from llava.loading import load_checkpoint, load_tokenizer, start
from llava.model.checkpoint import load_model
from llava.model.export import export_llava_qwen
from llava.recipes import Recipe, load_recipe
from llava.session import Training, evaluate_checkpoint, train_recipe
from llava.tasks import TASKS
from llava.train import scene_source

BYTES = 256  # a tokenizer of this kind has an id for each
MARKS = 6  # three special tokens and three marks


@pytest.fixture(scope="module")
def released(golden: Callable[[str], Path], rooms_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded tiny checkpoint as it would be published: with a tokenizer, whose marks have the ids it says."""
    folder = tmp_path_factory.mktemp("owner") / "tiny"
    shutil.copytree(golden("04_tiny_model"), folder, copy_function=shutil.copyfile)
    folder.chmod(0o755)  # the recordings are read-only
    raw = json.loads((folder / "config.json").read_text())
    if raw["vocab_size"] < BYTES + MARKS:
        pytest.skip(f"a vocabulary of {raw['vocab_size']} holds no tokenizer for any text")
    samples = [sample for task in TASKS.values() for sample in task.samples(rooms_data, "train")]
    texts = (f"{sample.question}\n{sample.answer}" for sample in samples)
    tokenizer = train_tokenizer(texts, vocab_size=max(BYTES, raw["ground_token_ids"][0] - MARKS + 2))
    tokenizer.save_pretrained(folder)
    ground, coord = tokenizer.convert_tokens_to_ids([GROUND, COORD])
    raw |= {"ground_token_ids": [ground], "coord_token_ids": [coord]}
    (folder / "config.json").write_text(json.dumps(raw))
    return folder


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights never end an answer, so cut it; and leave out METEOR, which starts a Java machine."""
    monkeypatch.setattr("llava.metrics.captions._meteor", lambda: None)
    monkeypatch.setitem(MODES, "video3d", replace(VIDEO3D, max_new_tokens=2))


def short_training(folder: Path, **changes) -> Recipe:
    recipe = load_recipe(folder)
    train = replace(
        recipe.train,
        packs=2,
        questions_per_scene=2,
        global_batch=None,
        precision="fp32",
        gradient_checkpointing=False,
        workers=0,
        deepspeed=None,
        report_to=(),
    )
    return replace(recipe, base=str(folder), data=replace(recipe.data, max_frames=1), train=train, **changes)


def same_tensors(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_load_evaluate_train_export_reload(released: Path, rooms_data: Path, brief: None, tmp_path: Path) -> None:
    asked = {"tasks": tuple(TASKS), "data": rooms_data, "frames": 1}
    scores = evaluate_checkpoint(released, results=tmp_path / "released", **asked)
    assert set(scores) == set(TASKS)
    assert {made["mode"] for made in scores.values()} == {"video3d"}
    for name, task in TASKS.items():
        assert scores[name]["count"] == len(task.samples(rooms_data, "val"))

    out = train_recipe(Training(short_training(released), rooms_data, tmp_path / "out"))
    trained, before = load_model(out).state_dict(), load_model(released).state_dict()
    assert trained.keys() == before.keys()
    unused = [name for name in before if "post_layernorm" in name]
    changed = {name for name in before if not torch.equal(before[name], trained[name])}
    assert unused and not changed.intersection(unused)
    assert any(name.startswith("encoder.tower.") for name in changed)

    exported = export_llava_qwen(out, tmp_path / "exported")
    assert load_file(exported / "model.safetensors").keys() == load_file(released / "model.safetensors").keys()
    assert same_tensors(load_model(exported).state_dict(), trained)
    raw, original = (json.loads((folder / "config.json").read_text()) for folder in (exported, released))
    derived = {"torch_dtype", "transformers_version", "mm_vision_tower"}
    assert {key: raw[key] for key in raw if key in original and key not in derived} == {
        key: original[key] for key in raw if key in original and key not in derived
    }

    answers = []
    for folder in (out, exported):
        evaluate_checkpoint(
            folder, ("scanrefer", "scan2cap"), frames=1, data=rooms_data, results=tmp_path / folder.name
        )
        answers.append([path.read_text().splitlines() for path in sorted((tmp_path / folder.name).glob("*/*.jsonl"))])
    for first, second in zip(*answers, strict=True):
        for one, other in zip(map(json.loads, first), map(json.loads, second), strict=True):
            assert {**one, "model_id": ""} == {**other, "model_id": ""}


def test_a_released_folder_is_written_back_as_it_is(
    released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    main(["export", str(released), str(out), "--as", "llava_qwen"])
    assert capsys.readouterr().out == f"{out}\n"
    assert same_tensors(load_file(out / "model.safetensors"), load_file(released / "model.safetensors"))
    for name in ("config.json", "vision_config.json", "tokenizer.json"):
        assert json.loads((out / name).read_text()) == json.loads((released / name).read_text())
    with pytest.raises(ValueError, match="exists already"):
        export_llava_qwen(released, out)


def test_the_mode_of_a_released_folder_and_ours_beside_it(released: Path) -> None:
    published, recipe = load_checkpoint(released)
    assert recipe.compat == "video3d" and published.settings.instruction == "" and published.max_new_tokens == 512
    assert published.model.config.positions["precision"] == "float16"
    ours, recipe = load_checkpoint(released, compat="ours")
    assert recipe.compat == "ours" and ours.settings == Chat() and ours.max_new_tokens is None
    assert ours.model.config.positions["precision"] == "float32"
    assert same_tensors(published.model.state_dict(), ours.model.state_dict())


def test_training_starts_from_a_video_model(released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As LLaVA-Video-7B-Qwen2: no grounding head, no `<ground>` and `<coord>`, more rows than its tokenizer has ids."""
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    base = shutil.copytree(released, tmp_path / "video-model")
    weights = {n: t for n, t in load_file(base / "model.safetensors").items() if not n.startswith("ground_head")}
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    raw = json.loads((base / "config.json").read_text())
    own = {"ground_token_ids", "coord_token_ids", "world_position_embedding_type", "object_feature_type"}
    (base / "config.json").write_text(json.dumps({key: value for key, value in raw.items() if key not in own}))
    plain = json.loads((base / "tokenizer.json").read_text())
    plain["added_tokens"] = [token for token in plain["added_tokens"] if token["content"] not in (GROUND, COORD)]
    Tokenizer.from_str(json.dumps(plain)).save(str(base / "tokenizer.json"))
    known = len(AutoTokenizer.from_pretrained(base))
    table = weights["model.embed_tokens.weight"]
    assert known < len(table), "padded"

    recipe = replace(short_training(released), base=str(base))
    model, tokenizer = start(recipe)
    assert "<ground>, <coord>, the grounding head" in capsys.readouterr().out
    ids = tokenizer.convert_tokens_to_ids([SCENE, GROUND, COORD])
    assert ids[1:] == [known, known + 1]
    assert [model.config.scene_token_id, model.config.ground_token_id, model.config.coord_token_id] == ids
    for name, rows in (("model.embed_tokens.weight", model.get_input_embeddings().weight), ("lm_head.weight", None)):
        rows = model.get_output_embeddings().weight if rows is None else rows
        assert len(rows) == known + 2
        assert torch.equal(rows[:known], weights[name][:known])
        assert torch.allclose(rows[known], weights[name][:known].mean(0), atol=1e-6)
        assert torch.allclose(rows[known + 1], rows[: known + 1].mean(0), atol=1e-6)
    assert model.positions.encoding.config.kind == "sin3d"
    assert torch.isfinite(model.ground_head.zero_target).all()
    with pytest.raises(ValueError, match="missing ground_head.object.0.bias"):
        load_model(base)


def test_the_published_tokenizer_files_are_read(golden: Callable[[str], Path], tmp_path: Path) -> None:
    """As transformers 4.40 wrote them: no tokenizer.json, the marks in two other files."""
    source = golden("qwen2_tokenizer")
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(source / name, tmp_path / name)
    marks = {SCENE: 151646, GROUND: 151647, COORD: 151648}
    settings = json.loads((source / "tokenizer_config.json").read_text())
    kind = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False, "special": False}
    settings["added_tokens_decoder"] |= {str(number): {"content": mark, **kind} for mark, number in marks.items()}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "added_tokens.json").write_text(json.dumps(marks))
    (tmp_path / "config.json").write_text('{"model_type": "llava_qwen"}')
    tokenizer = load_tokenizer(tmp_path)
    assert len(tokenizer) == 151649
    assert {mark: tokenizer.convert_tokens_to_ids(mark) for mark in marks} == marks
    assert tokenizer("at <coord> , describe")["input_ids"] == [266, 220, 151648, 1154, 7512]


def test_a_tokenizer_of_another_model_is_refused(released: Path, tmp_path: Path) -> None:
    other = shutil.copytree(released, tmp_path / "other")
    raw = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(raw | {"ground_token_ids": [raw["ground_token_ids"][0] - 9]}))
    with pytest.raises(ValueError, match="config.json says that <ground> is token"):
        load_checkpoint(other)


def test_published_packs_learn_from_marks_but_boxes_from_boxes_alone(released: Path, rooms_data: Path) -> None:
    recipe, tokenizer = load_recipe(released), load_checkpoint(released)[0].tokenizer
    look = replace(recipe, data=replace(recipe.data, max_frames=1))
    source = scene_source(rooms_data, "train", look, "gt", "float32")
    found, told = TASKS["scanrefer"].samples(rooms_data, "train")[0], TASKS["scanqa"].samples(rooms_data, "train")[0]
    scene = source.load(found.scene)
    assert scene.inputs["valid"].all(), "pixels without depth count"
    pack = pack_scene(tokenizer, Chat(), scene, [found, told], mode=VIDEO3D)
    labelled = [tokenizer.decode(pack.labels[(pack.branch_ids == n) & (pack.labels >= 0)]) for n in range(3)]
    assert labelled[0].startswith("<|im_start|>") and labelled[0].count("<|im_end|>") == 1
    assert labelled[1] == ""
    assert labelled[2].endswith(f"<|im_start|>assistant\n{told.answer}<|im_end|>\n")
    ours = pack_scene(tokenizer, Chat(), scene, [found, told], mode=OURS)
    assert tokenizer.decode(ours.labels[ours.labels >= 0]) == f"{told.answer}<|im_end|>"
    assert pack.ground_targets.shape == ours.ground_targets.shape
    with pytest.raises(
        ValueError, match="boxes are offered, none of them its own: the published mode trains on ground-truth"
    ):
        pack_scene(tokenizer, Chat(), replace(scene, objects=scene.objects[:0]), [found], mode=VIDEO3D)
