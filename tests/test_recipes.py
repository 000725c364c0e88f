"""Recipes: every one builds, is read back as it was saved, and can be changed from the command line."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from llava.encoders.siglip import Siglip
from llava.loading import find_base, load_tokenizer, start
from llava.model.checkpoint import load_model as load
from llava.model.language import Language
from llava.model.llava_qwen import KEY_MAPPING
from llava.model.positions import Positions
from llava.recipes import RECIPE_FILE, RECIPES, Recipe, check_sizes, get_recipe, load_recipe, new_model, sized_model
from llava.resumable import read_json
from llava.session import data_folder, parse_training
from llava.tasks import TASKS
from llava.train_arguments import find_file
from llava.train_config import PARTS, DataConfig


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_builds_on_the_meta_device(name: str, tiny_tokenizer) -> None:
    recipe = get_recipe(name)
    assert recipe.name == name
    with torch.device("meta"):
        model = new_model(recipe, tiny_tokenizer)
    assert all(parameter.is_meta for parameter in model.parameters())
    ids = [model.config.scene_token_id, model.config.ground_token_id, model.config.coord_token_id]
    assert ids == tiny_tokenizer.convert_tokens_to_ids(["<image>", "<ground>", "<coord>"])
    check_sizes(Path("base"), model.config, recipe)


def test_the_published_recipe_has_the_published_size(tiny_tokenizer) -> None:
    with torch.device("meta"):
        model = new_model(get_recipe("video3d-7b"), tiny_tokenizer)
    language, tower = model.language_model, model.encoder.tower
    words = 2 * model.config.text_config.hidden_size * len(tiny_tokenizer)
    assert sum(p.numel() for p in language.parameters()) - words == pytest.approx(6.53e9, rel=0.01)
    assert sum(p.numel() for p in tower.parameters()) == pytest.approx(0.4e9, rel=0.05)
    assert get_recipe("video3d-7b").data.max_frames == 32


# Sizes of `golden/04_tiny_model`, whose parameters bear the published names, and those of the published model.
SCALE = {96: 3584, 160: 18944, 48: 512, 600: 151649, 32: 1152, 64: 4304, 729: 729, 3: 3, 14: 14}


def test_the_published_recipe_has_the_published_parameters(golden) -> None:
    """By name and shape: those of the reference's tiny model, scaled."""
    expected = {}
    with safe_open(golden("04_tiny_model/model.safetensors"), framework="pt") as tiny:
        for name in tiny.keys():  # noqa: SIM118 (no dictionary)
            shape = tuple(SCALE[size] for size in tiny.get_slice(name).get_shape())
            for pattern, ours in KEY_MAPPING.items():
                name = re.sub(pattern, ours, name)
            layers = 26 if name.startswith("encoder.tower.") else 28
            expected |= {re.sub(r"\blayers\.0\.", f"layers.{layer}.", name): shape for layer in range(layers)}
    with torch.device("meta"):
        model = sized_model(get_recipe("video3d-7b"), 151649, (151646, 151647, 151648))
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == expected


@pytest.mark.parametrize("name", ["video3d-7b", "video3d-7b-mc-ratio95", "video3d-7b-lora"])
def test_the_published_hyper_parameters(name: str) -> None:
    recipe = get_recipe(name)
    train, lora = recipe.train, name == "video3d-7b-lora"
    assert (train.global_batch, train.packs, train.questions_per_scene) == (16, None, 1)
    assert (train.schedule, train.warmup, train.precision, train.gradient_checkpointing) == (
        "cosine",
        0.03,
        "bf16",
        True,
    )
    assert (train.lr, train.lr_tower) == ((2e-4, 2e-6) if lora else (1e-5, 2e-6))
    assert set(PARTS) - set(train.tune) == ({"tower"} if lora else set())
    assert recipe.data.strategy == ("mc-ratio95" if "ratio95" in name else "uniform")
    assert (recipe.data.max_frames, bool(train.lora_rank)) == (32, lora)
    assert lora or read_json(find_file(train.deepspeed))["zero_optimization"]["stage"] == 3


def test_the_embedded_recipes_fit_each_other() -> None:
    """The base is made by `rooms-base`; `rooms-debug` is `rooms` on less."""
    rooms, debug, base = get_recipe("rooms"), get_recipe("rooms-debug"), get_recipe("rooms-base")
    for part in ("encoder", "language", "head", "chat"):
        assert vars(rooms)[part] == vars(debug)[part] == vars(base)[part]
    assert debug.rooms < rooms.rooms
    assert set(rooms.data.tasks) == set(TASKS)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_read_back_as_it_was_saved(name: str, tmp_path: Path) -> None:
    recipe = get_recipe(name)
    (tmp_path / RECIPE_FILE).write_text(json.dumps(asdict(recipe)))
    assert load_recipe(tmp_path) == recipe


def test_a_folder_without_a_recipe(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"recipe.json is missing: .* is not a checkpoint of this project"):
        load_recipe(tmp_path)
    (tmp_path / RECIPE_FILE).write_text(json.dumps(asdict(get_recipe("rooms")))[:-9])
    with pytest.raises(ValueError, match=r"recipe.json is not valid JSON"):
        load_recipe(tmp_path)
    (tmp_path / RECIPE_FILE).write_text('{"name": "x", "train": {"learning_rate": 1}}')
    with pytest.raises(ValueError, match=r"TrainConfig has no field learning_rate; it has .*'lr'"):
        load_recipe(tmp_path)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("data", "max_frames", "8"),
        ("data", "max_frames", 8.5),
        ("data", "blind", 1),
        ("data", "tasks", "scanqa"),
        ("train", "packs", []),
        ("train", "precision", "fp8"),
        ("positions", "lo", [1.0]),
        ("positions", "voxel_size", None),
        ("encoder", "hidden_size", "x"),
        ("encoder", "name", 5),
        ("head", "temperature", True),
    ],
)
def test_a_recipe_that_was_edited(tmp_path: Path, part: str, name: str, value: object) -> None:
    values = get_recipe("rooms").to_dict()
    (tmp_path / RECIPE_FILE).write_text(json.dumps(values))
    assert load_recipe(tmp_path) == get_recipe("rooms")
    (tmp_path / RECIPE_FILE).write_text(json.dumps({**values, part: {**values[part], name: value}}))
    with pytest.raises(ValueError, match=rf"recipe.json: .*{name} is .*, expected"):
        load_recipe(tmp_path)
    for whole in ({**values, part: 5}, 5, None):
        (tmp_path / RECIPE_FILE).write_text(json.dumps(whole))
        with pytest.raises(ValueError, match="recipe.json: "):
            load_recipe(tmp_path)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Siglip, {"patch_size": 0}),
        (Siglip, {"num_heads": 0}),
        (Siglip, {"hidden_size": -16}),
        (Language, {"num_heads": 0}),
        (Language, {"num_layers": 0}),
        (Language, {"hidden_size": -28}),
        (Language, {"num_heads": 14, "num_kv_heads": 4}),
        (Language, {"hidden_size": 100}),
        (DataConfig, {"max_frames": 0}),
        (DataConfig, {"max_frames": -3}),
    ],
)
def test_sizes_that_nothing_has(kind: type, values: dict) -> None:
    with pytest.raises(ValueError, match=f"{list(values)[-1]}.*(must be at least 1|expected each to be a multiple)"):
        kind(**values)


def test_an_unknown_recipe() -> None:
    with pytest.raises(ValueError, match=r"unknown recipe 'romms-debug'.*did you mean 'rooms-debug'"):
        get_recipe("romms-debug")


def test_overrides() -> None:
    changes = "--train.packs 5 --train.no-turn --train.tune head positions --data.tasks scanqa sqa3d"
    places = "--positions.kind mlp --positions.lo -1 -2 -3 --base b --data d --out o"
    training = parse_training("llava train", ["rooms", *changes.split(), *places.split()])
    rooms = get_recipe("rooms")
    assert training.recipe == replace(
        rooms,
        base="b",
        positions=replace(rooms.positions, kind="mlp", lo=(-1.0, -2.0, -3.0)),
        data=replace(rooms.data, tasks=("scanqa", "sqa3d")),
        train=replace(rooms.train, packs=5, turn=False, tune=("head", "positions")),
    )
    assert (training.data, training.out) == (Path("d"), Path("o"))


def test_a_name_is_enough() -> None:
    training = parse_training("llava train", ["rooms-debug"])
    assert training.recipe == get_recipe("rooms-debug")
    assert training.data == data_folder(training.recipe) == Path("data-rooms-8")
    assert training.out == Path("checkpoints/rooms-debug")
    assert data_folder(get_recipe("video3d-7b")) == Path("data")
    assert parse_training("llava run", ["rooms", "--rooms", "6"]).data == Path("data-rooms-6")
    for folder in ("d", "data-rooms-560"):
        assert parse_training("llava run", ["rooms", "--rooms", "6", "--data", folder]).data == Path(folder)


def test_the_default_is_asked_for_only_where_no_recipe_is_named() -> None:
    assert parse_training("llava run", ["--train.packs", "3"], lambda: "rooms-debug").recipe.name == "rooms-debug"

    def unwanted() -> str:
        raise AssertionError("a recipe was named")

    assert parse_training("llava run", ["rooms"], unwanted).recipe.name == "rooms"
    with pytest.raises(ValueError, match="say which recipe to train, e.g. `llava train rooms`"):
        parse_training("llava train", ["--train.packs", "3"])


def test_start_takes_the_recipes_positions_and_temperature(tiny_recipe: Recipe, tiny_base: Path) -> None:
    recipe = replace(
        tiny_recipe,
        base=str(tiny_base),
        positions=replace(tiny_recipe.positions, kind="mlp", scale=0.3),
        head=replace(tiny_recipe.head, temperature=0.5),
    )
    model, tokenizer = start(recipe)
    assert model.config.positions == {**asdict(recipe.positions)}
    assert any(name.startswith("positions.") for name, _ in model.named_parameters())
    assert model.config.ground_temperature == 0.5
    assert tokenizer.get_vocab() == load_tokenizer(tiny_base).get_vocab()
    other = load(tiny_base).state_dict()
    assert all(torch.equal(value, other[k]) for k, value in model.state_dict().items() if not k.startswith("positions"))


def test_a_new_position_encoding_starts_from_the_trainings_seed(tiny_recipe: Recipe, tiny_base: Path) -> None:
    def layers(seed: int) -> list[torch.Tensor]:
        train = replace(tiny_recipe.train, seed=seed)
        learnt = replace(tiny_recipe, base=str(tiny_base), positions=Positions(kind="mlp"), train=train)
        return list(start(learnt)[0].positions.parameters())

    first, again, other = layers(0), layers(0), layers(1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("encoder", {"image_size": 70}, r"another encoder than recipe 'tiny': image_size 56 \(asked for 70\)"),
        ("language", {"num_layers": 3}, r"another language than recipe 'tiny': num_hidden_layers 2 \(asked for 3\)"),
        ("head", {"input_norm": False}, r"another head than recipe 'tiny': input_norm True \(asked for False\)"),
    ],
)
def test_a_base_of_other_sizes(tiny_recipe: Recipe, tiny_base: Path, part: str, changes: dict, message: str) -> None:
    recipe = replace(tiny_recipe, base=str(tiny_base), **{part: replace(vars(tiny_recipe)[part], **changes)})
    with pytest.raises(ValueError, match=message):
        start(recipe)


def test_a_base_that_is_not_there(tiny_recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"names no checkpoint to start from: give one with --base"):
        start(replace(tiny_recipe, base=None))
    with pytest.raises(ValueError, match=r"there is no base checkpoint 'assets/nowhere': looked in"):
        find_base(replace(tiny_recipe, base="assets/nowhere"))
    with pytest.raises(ValueError, match="holds no tokenizer.json"):
        load_tokenizer(tmp_path)
