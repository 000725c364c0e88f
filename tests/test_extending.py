"""What the README says under "Extend it": an encoder and a benchmark of one's own go the whole way, named once each."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from llava.encoders import ENCODERS
from llava.geometry.voxels import object_masks, patch_coords
from llava.model.checkpoint import save
from llava.prepare.doctor import doctor
from llava.recipes import RECIPES, Recipe, load_recipe, new_model
from llava.session import Training, evaluate_checkpoint, parse_training, train_recipe
from llava.tasks import TASKS, scanqa
from llava.types import SceneTokens, Views


@dataclass(frozen=True)
class Colors:
    """An encoder that sees the mean colour of each cell."""

    image_size: int = 32
    cells: int = 4

    def debug(self) -> Colors:
        return self

    def build_processor(self) -> ColorsProcessor:
        return ColorsProcessor(self.image_size, self.cells)

    def build_module(self, width: int) -> ColorsModule:
        return ColorsModule(width)


@dataclass(frozen=True)
class ColorsProcessor:
    image_size: int
    cells: int

    def __call__(self, views: Views, boxes: np.ndarray) -> dict[str, torch.Tensor]:
        cell = self.image_size // self.cells
        coords, valid = patch_coords(views.coords, views.valid, self.cells, cell)
        colors, _ = patch_coords(views.images / np.float32(255), None, self.cells, cell)
        masks = object_masks(views.coords, boxes, cell, self.cells, 0.5, views.valid)
        arrays = {"colors": colors, "coords": coords, "valid": valid, "object_masks": masks}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def num_tokens(self, inputs: dict[str, torch.Tensor]) -> int:
        views, rows, columns = inputs["valid"].shape
        return views * rows * (columns + 1)


class ColorsModule(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.projector = nn.Linear(3, width)

    def forward(self, inputs: dict[str, torch.Tensor]) -> SceneTokens:
        tokens = self.projector(inputs["colors"])
        return SceneTokens(tokens, inputs["coords"], inputs["valid"], dense=tokens)


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llava.metrics.captions._meteor", lambda: None)


@pytest.fixture
def colors(tiny_recipe: Recipe, tiny_tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """A recipe with the new encoder, and a base checkpoint to start from."""
    monkeypatch.setitem(ENCODERS, "colors", Colors)
    recipe = replace(tiny_recipe, encoder=Colors(), base=str(tmp_path / "base"))
    recipe = replace(recipe, train=replace(recipe.train, packs=1))
    torch.manual_seed(0)
    save(new_model(recipe, tiny_tokenizer), tmp_path / "base", tiny_tokenizer, recipe.to_dict())
    return recipe


def test_an_encoder_of_ones_own(colors: Recipe, rooms_data: Path, no_java, tmp_path: Path) -> None:
    out = train_recipe(Training(colors, rooms_data, tmp_path / "out"))
    assert load_recipe(out) == colors
    assert json.loads((out / "config.json").read_text())["encoder"] == {"name": "colors", "image_size": 32, "cells": 4}
    scores = evaluate_checkpoint(out, ("scanrefer",), data=rooms_data, results=tmp_path)
    assert scores["scanrefer"]["count"] > 0


def test_it_is_set_from_the_command_line(colors: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECIPES, "colors", colors)
    assert parse_training("llava train", ["colors", "--encoder.cells", "8"]).recipe.encoder == Colors(cells=8)


def test_an_encoder_without_a_name_is_refused_where_it_would_be_saved(tiny_recipe: Recipe) -> None:
    with pytest.raises(ValueError, match="Colors is no encoder that can be found again: give it a name in ENCODERS"):
        replace(tiny_recipe, encoder=Colors()).to_dict()


def test_an_encoder_that_is_gone(colors: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(ENCODERS, "colors")
    with pytest.raises(ValueError, match="unknown encoder 'colors': expected one of siglip"):
        load_recipe(tmp_path / "base")


def test_a_benchmark_of_ones_own(
    tiny_base: Path, rooms_data: Path, no_java, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ScanQA under another name, with files of its own."""
    task = replace(
        scanqa.TASK, name="roomqa", files=("roomqa",), origin="https://example.org", annotations=("roomqa/{}.json",)
    )
    monkeypatch.setitem(TASKS, "roomqa", replace(task, max_new_tokens=2))
    rows = {row.what: row for row in doctor(rooms_data, workers=1).rows}
    assert (rows["roomqa annotations"].found, rows["roomqa annotations"].wanted) == (0, 2)
    assert rows["roomqa annotations"].remedy

    data = tmp_path / "data"
    for name in ("scannet", "metadata", "embodiedscan", "benchmark"):
        data.mkdir(exist_ok=True)
        (data / name).symlink_to(rooms_data / name)
    for split in task.splits:
        task.process(data, split)
    made = evaluate_checkpoint(tiny_base, ("roomqa",), data=data, results=tmp_path, frames=1)["roomqa"]
    assert made["count"] == len(task.samples(data, "val"))
    assert made["boxes"] == "none"
