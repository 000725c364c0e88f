from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from llava.encoders.siglip import Siglip
from llava.encoders.siglip_tower import scaled
from llava.types import Views


@pytest.mark.parametrize(
    ("image", "patch", "grid", "cells"), [(384, 14, 27, 14), (144, 12, 12, 6), (128, 16, 8, 4), (210, 14, 15, 8)]
)
def test_grids(image, patch, grid, cells):
    config = Siglip(image_size=image, patch_size=patch, hidden_size=8, intermediate_size=8, num_layers=2, num_heads=1)
    assert (config.grid, config.cells) == (grid, cells)
    blank = np.zeros((1, image, image, 3), np.float32)
    views = Views(blank.astype(np.uint8), blank, np.ones((1, image, image), bool), ("0",))
    inputs = config.build_processor()(views, np.array([[0, 0, 0, 1, 1, 1]]))
    assert inputs["coords"].shape == (1, cells, cells, 3)
    assert inputs.pop("object_masks").shape == (1, 1, grid, grid)
    scene = config.build_module(16)(inputs)
    assert scene.tokens.shape == (1, cells, cells, 16)
    assert scene.dense.shape == (1, grid, grid, 16)


def test_only_measured_pixels_count():
    config = Siglip().debug()
    size = config.image_size
    coords = np.zeros((1, size, size, 3), np.float32)
    coords[:, :, ::2] = 2.0
    valid = np.zeros((1, size, size), bool)
    valid[:, : size // 2, ::2] = True
    views = Views(np.zeros((1, size, size, 3), np.uint8), coords, valid, ("0",))
    inputs = config.build_processor()(views, np.array([[0, 0, 0, 1, 1, 1], [2, 2, 2, 1, 1, 1]]))
    assert inputs["valid"][0].tolist() == [[True, True], [False, False]]
    assert (inputs["coords"][0, 0] == 2).all()
    assert not inputs["object_masks"][0].any()  # unmeasured pixels lie in the first box, and do not count
    assert inputs["object_masks"][1, 0].tolist() == [[True] * 4] * 2 + [[False] * 4] * 2


def test_pixels_are_scaled_to_one():
    config = Siglip().debug()
    size = config.image_size
    images = np.full((1, size, size, 3), 255, np.uint8)
    images[0, 0, 0] = (0, 51, 102)
    views = Views(images, np.zeros((1, size, size, 3), np.float32), np.ones((1, size, size), bool), ("0",))
    read = config.build_processor()(views, np.empty((0, 6)))["pixel_values"]
    assert read.dtype == torch.uint8
    pixels = scaled(read)
    assert pixels.shape == (1, 3, size, size) and pixels.dtype == torch.float32 and scaled(pixels) is pixels
    assert pixels[0, :, 0, 0].tolist() == pytest.approx([-1, -0.6, -0.2])
    assert (pixels[0, :, 1:] == 1).all()


def test_views_of_another_size_are_refused():
    views = Views(np.zeros((1, 9, 9, 3), np.uint8), np.zeros((1, 9, 9, 3)), np.zeros((1, 9, 9), bool), ("0",))
    with pytest.raises(ValueError, match=r"reads views of 384x384x3, got \(9, 9, 3\)"):
        Siglip().build_processor()(views, np.empty((0, 6)))


@pytest.mark.parametrize("bad", [{"image_size": 10}, {"num_heads": 7}, {"num_layers": 1}])
def test_impossible_sizes_are_refused(bad):
    with pytest.raises(ValueError):
        Siglip(**bad)


def test_configuration_needs_no_torch():
    code = "import sys, llava.encoders, llava.model.positions; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("points", "count"), [("minmax", 2), ("sample1", 1), ("sample5", 5), ("sample9", 9)])
def test_points_that_say_where_a_cell_is(points, count):
    config = replace(Siglip().debug(), points=points)
    size = config.image_size
    row, column = np.mgrid[:size, :size].astype(np.float32)
    coords = np.stack([row, column, 0 * row], axis=-1)[None]
    valid = np.ones((1, size, size), bool)
    valid[0, : size // 2, : size // 2] = False
    views = Views(np.zeros((1, size, size, 3), np.uint8), np.where(valid[..., None], coords, np.nan), valid, ("0",))
    inputs = config.build_processor()(views, np.empty((0, 6)))
    assert inputs["coords"].shape == (1, 2, 2, 3 * count)
    assert inputs["valid"][0].tolist() == [[False, True], [True, True]]
    assert (inputs["coords"][0, 0, 0] == 0).all(), "nothing of what is not known remains"
    last = inputs["coords"][0, 1, 1].reshape(count, 3)[:, :2]
    assert (last >= size / 2).all() and (last < size).all()
    if points == "minmax":
        assert last.tolist() == [[size / 2] * 2, [size - 1] * 2]
    else:
        middle = 3 * size // 4
        assert [middle, middle] in last.tolist()


@pytest.mark.parametrize(("newline", "more"), [("grid", 3 * 2), ("frame", 3), ("one_token", 1), ("no_token", 0)])
def test_as_many_scene_tokens_come_as_were_promised(newline, more):
    from transformers import Qwen2Config

    from llava.model.scene_lm import SceneLM, SceneLMConfig

    config = replace(Siglip().debug(), newline=newline)
    text = Qwen2Config(
        vocab_size=8,
        hidden_size=24,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    model = SceneLM(SceneLMConfig(text_config=text, encoder={"name": "siglip", **vars(config)}))
    processor, size = config.build_processor(), config.image_size
    shape = (3, size, size)
    views = Views(np.zeros((*shape, 3), np.uint8), np.zeros((*shape, 3), np.float32), np.ones(shape, bool), ("0",) * 3)
    inputs = processor(views, np.empty((0, 6)))
    del inputs["object_masks"]
    sequence = model.scene_sequence(model.encode(inputs))
    assert processor.num_tokens(inputs) == len(sequence) == 3 * 2 * 2 + more
    assert (sequence == model.newline).all(dim=1).sum() == more
