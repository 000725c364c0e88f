"""What is reckoned for a training is what PyTorch holds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from llava.encoders.siglip import Siglip
from llava.model.language import Language
from llava.plan import activation_bytes, empty_model, make_plan, scene_tokens
from llava.recipes import Recipe, get_recipe, sized_model
from llava.train import adapt, parameter_groups
from llava.train_config import TrainConfig
from llava.types import Views

WORDS, ANSWER, VIEWS = 500, 10, 2
SMALL = Recipe(
    name="small",
    encoder=Siglip(image_size=112, patch_size=14, hidden_size=40, intermediate_size=72, num_layers=4, num_heads=4),
    language=Language(hidden_size=64, intermediate_size=160, num_layers=3, num_heads=4, num_kv_heads=2),
    data=replace(Recipe(name="").data, max_frames=VIEWS),
)


def held(model: torch.nn.Module, config: TrainConfig) -> dict[str, int]:
    """Bytes of parameters, gradients and of the optimizer's state after a step."""
    groups = parameter_groups(model, config)
    learning = [parameter for group in groups for parameter in group["params"]]
    for parameter in learning:
        parameter.grad = torch.empty_like(parameter)
    optimizer = torch.optim.AdamW(groups, foreach=False)
    optimizer.step()
    state = [v for s in optimizer.state.values() for k, v in s.items() if k != "step"]
    tensors = {"weights": list(model.parameters()), "gradients": learning, "optimizer": state}
    return {name: sum(t.numel() * t.element_size() for t in found) for name, found in tensors.items()}


@pytest.mark.parametrize(
    ("precision", "lora_rank", "tune"),
    [
        ("fp32", 0, ("tower", "projector", "language", "positions", "head")),
        ("bf16", 4, ("projector", "language", "head")),
    ],
)
def test_states_are_those_that_a_step_holds(precision: str, lora_rank: int, tune: tuple[str, ...]) -> None:
    config = replace(SMALL.train, precision=precision, lora_rank=lora_rank, tune=tune)
    recipe = replace(SMALL, train=config)
    model = sized_model(recipe, 151649, (1, 2, 3))
    if lora_rank:
        model = model.bfloat16()  # as `llava.loading.start` loads it
    adapt(model, config)
    plan = make_plan(recipe, 1)
    assert held(model, config) == {name: vars(plan)[name] for name in ("weights", "gradients", "optimizer")}


def test_the_published_recipe_without_memory() -> None:
    """On the meta device; ZeRO-3 keeps weights and gradients as halves, and float32 weights beside AdamW's state."""
    recipe = get_recipe("video3d-7b")
    model = empty_model(recipe).bfloat16()
    adapt(model, recipe.train)
    real = held(model, recipe.train)
    master = 2 * real["gradients"]
    plan = make_plan(recipe, 8)
    assert plan.parameters == sum(p.numel() for p in model.parameters())
    assert plan.learning == plan.parameters - 2 * 1152  # the tower's last norm is stored, and not applied
    assert plan.parameters == pytest.approx(8.0e9, rel=0.02)
    assert plan.weights == real["weights"] // 8 and plan.gradients == real["gradients"] // 8
    assert plan.optimizer == (2 * real["optimizer"] + master) // 8  # AdamW's state is float32 there, too
    assert (plan.scene_tokens, plan.passes, plan.packs_per_step) == (6720, 2, 16)
    assert plan.fits(80) and not make_plan(recipe, 1).fits(80)


def test_adapters_fit_one_gpu() -> None:
    plan = make_plan(get_recipe("video3d-7b-lora"), 1)
    assert plan.fits(80) and not plan.fits(16)
    assert plan.parts["tower"][1] == 0 and 0 < plan.parts["language"][1] < 0.05 * plan.parts["language"][0]


def kept(recipe: Recipe, tokens: int) -> int:
    """Bytes that autograd keeps from one forward pass on a pack of one question, parameters aside."""
    torch.manual_seed(0)
    model = sized_model(recipe, WORDS, (WORDS - 3, WORDS - 2, WORDS - 1))
    adapt(model, recipe.train)
    size, scene = recipe.encoder.image_size, scene_tokens(recipe)
    views = Views(
        np.zeros((VIEWS, size, size, 3), np.uint8),
        np.zeros((VIEWS, size, size, 3), np.float32),
        np.ones((VIEWS, size, size), bool),
        ("a", "b"),
    )
    inputs = dict(recipe.encoder.build_processor()(views, np.empty((0, 6))))
    del inputs["object_masks"]
    ids = torch.randint(0, WORDS - 3, (1, tokens))
    ids[0, :scene] = WORDS - 3
    branches = (torch.arange(tokens) >= scene + 5).long()[None]
    labels = torch.full((1, tokens), -100)
    labels[0, -ANSWER:] = ids[0, -ANSWER:]
    known = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers(), ids, labels]}
    found: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            found[storage.data_ptr()] = storage
        return tensor

    half = recipe.train.precision == "bf16"
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", enabled=half):
        loss = model(ids, torch.arange(tokens)[None], branches, labels=labels, scene=inputs).loss
    assert loss.requires_grad
    copies = {p.numel() * 2 for p in model.parameters()} if half else set()  # autocast's, counted as working memory
    return sum(storage.nbytes() for storage in found.values() if storage.nbytes() not in copies)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("tune", [("tower", "projector", "language"), ("projector", "language"), ("language",)])
def test_activations_are_those_that_autograd_keeps(precision: str, tune: tuple[str, ...]) -> None:
    recipe = replace(SMALL, train=replace(SMALL.train, precision=precision, tune=tune))
    tokens = scene_tokens(recipe) + 150
    assert scene_tokens(recipe) == VIEWS * 4 * 5
    reckoned, _ = activation_bytes(recipe, scene_tokens(recipe), tokens, ANSWER * WORDS, set(tune))
    assert reckoned == pytest.approx(kept(recipe, tokens), rel=0.15)


def test_a_layer_computed_again_is_not_kept() -> None:
    plain = replace(SMALL.train, tune=("tower", "projector", "language"))
    sizes = (40, 190, 5000, set(plain.tune))
    everything, _ = activation_bytes(replace(SMALL, train=plain), *sizes)
    checkpointed = replace(SMALL, train=replace(plain, gradient_checkpointing=True))
    entries, widest = activation_bytes(checkpointed, *sizes)
    assert entries + 3 * widest < everything < entries + 6 * widest + 1
