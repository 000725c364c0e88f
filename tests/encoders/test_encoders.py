"""One contract for every encoder: what its processor promises is what its module gives."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch

from llava.data.scenes import no_views
from llava.encoders import ENCODERS
from llava.types import SceneTokens, Views

WIDTH = 24


def make_views(size: int, views: int = 3, seed: int = 0) -> Views:
    rng = np.random.default_rng(seed)
    return Views(
        images=rng.integers(0, 256, (views, size, size, 3), dtype=np.uint8),
        coords=rng.uniform(-2, 2, (views, size, size, 3)).astype(np.float32),
        valid=rng.uniform(size=(views, size, size)) > 0.3,
        names=tuple(f"{i:05d}" for i in range(views)),
    )


@pytest.fixture(params=sorted(ENCODERS))
def config(request):
    return ENCODERS[request.param]().debug()


def test_promised_tokens_are_given(config):
    processor = pickle.loads(pickle.dumps(config.build_processor()))
    views = make_views(config.image_size)
    boxes = np.array([[0, 0, 0, 3.9, 3.9, 3.9], [9, 9, 9, 1, 1, 1]], np.float32)
    inputs = processor(views, boxes)
    masks = inputs.pop("object_masks")
    scene = config.build_module(WIDTH)(inputs)
    assert isinstance(scene, SceneTokens)
    count, rows, columns, width = scene.tokens.shape
    assert width == scene.dense.shape[-1] == WIDTH
    assert processor.num_tokens(inputs) == count * rows * (columns + 1)
    assert scene.coords.shape == (count, rows, columns, 3)
    assert scene.valid.shape == (count, rows, columns) and scene.valid.dtype == torch.bool
    assert masks.shape == (2, *scene.dense.shape[:3]) and masks.dtype == torch.bool
    assert masks[0].any() and not masks[1].any()


def test_no_objects(config):
    masks = config.build_processor()(make_views(config.image_size), np.empty((0, 6)))["object_masks"]
    assert masks.shape[0] == 0 and masks.shape[1] == 3


def test_no_views(config):
    """A blind model is shown nothing."""
    processor, boxes = config.build_processor(), np.array([[0, 0, 0, 1, 1, 1]], np.float32)
    shown, nothing = processor(make_views(config.image_size), boxes), processor(no_views(config.image_size), boxes)
    assert nothing["object_masks"].shape == (1, 0, *shown["object_masks"].shape[2:])
    assert processor.num_tokens(nothing) == 0


def test_views_do_not_touch_each_other(config):
    module, processor = config.build_module(WIDTH).eval(), config.build_processor()
    inputs = processor(make_views(config.image_size), np.empty((0, 6)))
    del inputs["object_masks"]
    with torch.no_grad():
        whole = module(inputs)
        last = module({key: value[-1:] for key, value in inputs.items()})
    assert torch.allclose(whole.tokens[-1:], last.tokens, atol=1e-5)
    assert torch.allclose(whole.dense[-1:], last.dense, atol=1e-5)


def test_views_are_processed_by_themselves(config):
    """Scenes are read view by view; the inputs are put together after that."""
    processor, views = config.build_processor(), make_views(config.image_size)
    boxes = np.array([[0, 0, 0, 3.9, 3.9, 3.9], [0.5, 0, 0, 2, 3, 3]], np.float32)
    parts = [
        processor(Views(views.images[[i]], views.coords[[i]], views.valid[[i]], views.names[i : i + 1]), boxes)
        for i in range(len(views.names))
    ]
    for key, whole in processor(views, boxes).items():
        joined = torch.cat([part[key] for part in parts], dim=1 if key == "object_masks" else 0)
        assert torch.equal(joined, whole), key


def test_kept_features_stand_for_the_tower(config):
    module = config.build_module(WIDTH).eval()
    inputs = config.build_processor()(make_views(config.image_size), np.empty((0, 6)))
    del inputs["object_masks"]
    if "tower" not in dict(module.named_children()):
        return  # nothing to keep
    with torch.no_grad():
        features = module.look(inputs)
        looked, kept = module(inputs), module({**inputs, "features": features})
        blank = module({**inputs, "features": torch.zeros_like(features)})
    assert torch.equal(kept.tokens, looked.tokens) and torch.equal(kept.dense, looked.dense)
    assert not torch.equal(blank.tokens, looked.tokens)


def test_configuration_is_frozen(config):
    with pytest.raises(FrozenInstanceError):
        config.image_size = 1


def test_every_parameter_learns(config):
    module = config.build_module(WIDTH)
    inputs = config.build_processor()(make_views(config.image_size), np.empty((0, 6)))
    del inputs["object_masks"]
    scene = module(inputs)
    scene.tokens.square().sum().backward()
    assert [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None] == []
