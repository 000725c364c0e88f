"""What a training needs, before it is begun: parameters, tokens, and the memory of each GPU.

Parameters are counted on the model itself, built without memory. What is kept from the forward pass for the backward
one is reckoned from sizes; `tests/test_plan.py` compares both with what PyTorch holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from llava.encoders.siglip import Siglip
from llava.recipes import Recipe, get_recipe, sized_model

if TYPE_CHECKING:
    from llava.model.language import Language
    from llava.model.scene_lm import SceneLM
    from llava.train_config import TrainConfig

PUBLISHED_VOCABULARY = 151649  # with <image>, <ground>, <coord> as its last three
TEXT_TOKENS = 60  # of a question with its answer, and of the system turn with the instruction (DESIGN section 4)
ANSWER_TOKENS = 20  # of an answer, of which logits are made
LIVE_PARAMETERS = 1_000_000_000  # of those that ZeRO-3 puts together for the layers at work (its own default)
SPARE = 0.1  # of a GPU's memory: the driver's share, and gaps between blocks
GIB = 1 << 30


@dataclass(frozen=True)
class Planning:
    """What to reckon for."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    gpus: int = 1
    """How many, on all machines together."""
    memory: float = 80.0
    """Of each, GiB."""


@dataclass(frozen=True)
class Plan:
    """What a training needs; bytes are those of one process."""

    parts: dict[str, tuple[int, int]]  # part -> parameters, and how many of them learn
    scene_tokens: int
    pack_tokens: int
    passes: int  # forward passes an optimizer step
    packs_per_step: int  # of all processes together
    weights: int
    gradients: int
    optimizer: int
    activations: int
    working: int  # what comes and goes: copies of weights, the widest layer computed again

    @property
    def parameters(self) -> int:
        return sum(total for total, _ in self.parts.values())

    @property
    def learning(self) -> int:
        return sum(learning for _, learning in self.parts.values())

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations + self.working

    def fits(self, memory: float) -> bool:
        """Whether it fits into so many GiB, leaving SPARE of them."""
        return self.total <= memory * GIB * (1 - SPARE)


def plan_training(args: Sequence[str]) -> None:
    """`llava plan RECIPE --gpus N --memory GIB [overrides]`: print what that training needs."""
    if not args or args[0].startswith("-"):
        args = ["video3d-7b", *args]
    recipe = get_recipe(args[0])
    asked = tyro.cli(Planning, prog=f"llava plan {recipe.name}", default=Planning(recipe), args=list(args[1:]))
    if asked.gpus < 1 or not asked.memory > 0:  # not a number, for one
        raise ValueError(f"expected at least 1 GPU with some memory, got {asked.gpus} with {asked.memory} GiB")
    print(describe(make_plan(asked.recipe, asked.gpus), asked))


def make_plan(recipe: Recipe, processes: int) -> Plan:
    """Reckon what each of so many processes needs.

    Raises ValueError as `TrainConfig.passes` does, and for an encoder whose memory is not known.
    """
    from llava.train import adapt, part_of

    if not isinstance(recipe.encoder, Siglip):
        raise ValueError(f"the memory that {type(recipe.encoder).__name__} needs is not known; only that of Siglip is")
    config = recipe.train
    passes = config.passes(processes)
    model = empty_model(recipe)
    adapt(model, config)
    total, learning = Counter(), Counter()
    for name, parameter in model.named_parameters():
        total[part_of(name)] += parameter.numel()
        learning[part_of(name)] += parameter.numel() * parameter.requires_grad
    scene = scene_tokens(recipe)
    pack = scene + TEXT_TOKENS * (1 + config.questions_per_scene)
    logits = config.questions_per_scene * ANSWER_TOKENS * model.config.text_config.vocab_size
    states = model_states(sum(total.values()), sum(learning.values()), config, processes)
    kept, again = activation_bytes(recipe, scene, pack, logits, {part for part, count in learning.items() if count})
    return Plan(
        parts={part: (total[part], learning[part]) for part in total},
        scene_tokens=scene,
        pack_tokens=pack,
        passes=passes,
        packs_per_step=config.scenes_per_step * passes * processes,
        activations=kept,
        **{**states, "working": states["working"] + again},
    )


def empty_model(recipe: Recipe) -> SceneLM:
    """The recipe's model on the meta device, with the words of its base, or with the published ones.

    The latter without a look at the base, which may be 16 GB away on the hub, and says another number than it has.
    """
    import torch

    from llava.loading import find_base
    from llava.model.checkpoint import read_config

    words = PUBLISHED_VOCABULARY
    if recipe.base is not None and recipe.compat == "ours":
        raw = read_config(find_base(recipe))
        words = raw.get("text_config", raw)["vocab_size"]
    with torch.device("meta"):
        return sized_model(recipe, words, (words - 3, words - 2, words - 1))


def scene_tokens(recipe: Recipe) -> int:
    """Tokens of a scene of `max_frames` frames, as the encoder's processor counts them on one made-up frame."""
    import numpy as np

    from llava.types import Views

    size = recipe.encoder.image_size
    frame = Views(
        np.zeros((1, size, size, 3), np.uint8),
        np.zeros((1, size, size, 3), np.float32),
        np.ones((1, size, size), bool),
        ("",),
    )
    processor = recipe.encoder.build_processor()
    return 0 if recipe.data.blind else recipe.data.max_frames * processor.num_tokens(processor(frame, np.empty((0, 6))))


def model_states(parameters: int, learning: int, config: TrainConfig, processes: int) -> dict[str, int]:
    """Bytes a process of weights, gradients, AdamW's state, and of copies that are made at work.

    DeepSpeed keeps the weights in half precision and a float32 copy beside the optimizer (ZeRO, Rajbhandari et al.
    2020, table 1); without it the weights that learn are float32, and autocast copies them.
    """
    half, stage = config.precision == "bf16", zero_stage(config)
    together = 2 * min(parameters, LIVE_PARAMETERS)  # what a sharded model puts together to compute with
    if stage:
        number = 2 if half else 4
        return {
            "weights": number * parameters // (processes if stage == 3 else 1),
            "gradients": number * learning // (processes if stage >= 2 else 1),
            "optimizer": 12 * learning // processes,
            "working": together if stage == 3 else 0,
        }
    share = processes if config.fsdp else 1
    frozen = 2 if half and config.lora_rank else 4
    buckets = 4 * learning if processes > share else 0  # DDP's own copy of the gradients
    copies = 2 * learning if half else 0  # autocast's, of the weights that learn
    return {
        "weights": (4 * learning + frozen * (parameters - learning)) // share,
        "gradients": 4 * learning // share + buckets,
        "optimizer": 8 * learning // share,
        "working": together if config.fsdp else copies,
    }


def zero_stage(config: TrainConfig) -> int:
    """The stage in the recipe's DeepSpeed file; 0 without one."""
    from llava.resumable import read_json
    from llava.train_arguments import find_file

    if not config.deepspeed:
        return 0
    return int(read_json(find_file(config.deepspeed)).get("zero_optimization", {}).get("stage", 0))


def activation_bytes(recipe: Recipe, scene: int, pack: int, logits: int, learning: set[str]) -> tuple[int, int]:
    """Bytes that a forward pass keeps for the backward pass, and those of the widest layer, computed again.

    Args:
        scene: tokens of a scene, newlines included.
        pack: tokens of a pack.
        logits: labelled tokens of a pack times the size of the vocabulary.
        learning: the parts that learn; a tower that does not keeps nothing.
    """
    from llava.model.losses import LOGITS

    config, eyes, language = recipe.train, recipe.encoder, recipe.language
    kind = Arithmetic.of(config)
    views = config.scenes_per_step * recipe.data.max_frames if scene else 0
    patches, tokens = views * eyes.grid**2, config.scenes_per_step * pack
    kept = widest = 0
    for learns, layers, layer, entry in (
        ("tower" in learning, eyes.num_layers - 1, patches * tower_layer_bytes(eyes, kind), patches * eyes.hidden_size),
        (
            True,
            language.num_layers,
            tokens * language_layer_bytes(language, kind, config.lora_rank),
            tokens * language.hidden_size,
        ),
    ):
        if learns:
            kept += layers * (entry * kind.stream if config.gradient_checkpointing else layer)
        if config.gradient_checkpointing or not learns:
            widest = max(widest, layer)
    if "tower" in learning:
        kept += views * 3 * eyes.image_size**2 * kind.number  # the pixels
    if {"tower", "projector"} & learning:
        kept += patches * (eyes.hidden_size + 2 * language.hidden_size) * kind.number
    last_norm = tokens * language.hidden_size * (4 + kind.stream)
    held = config.scenes_per_step * logits
    return kept + last_norm + 4 * (held if zero_stage(config) == 3 else min(held, LOGITS)), widest


@dataclass(frozen=True)
class Arithmetic:
    """In how many bytes numbers are kept."""

    number: int  # of what is multiplied
    stream: int  # of what is added up from layer to layer
    copies: bool  # whether each product keeps a rounded copy of its own of what several read (autocast)

    @staticmethod
    def of(config: TrainConfig) -> Arithmetic:
        half = config.precision == "bf16"
        halved = half and (config.deepspeed is not None or config.lora_rank > 0)  # weights, and so the stream
        return Arithmetic(2 if half else 4, 2 if halved else 4, half and config.deepspeed is None)


def language_layer_bytes(language: Language, kind: Arithmetic, lora_rank: int) -> int:
    """Kept a token: two RMSNorms (float32 inside) with what is read of them, attention without its weights, SwiGLU."""
    width, inner = language.hidden_size, language.intermediate_size
    keys = width // language.num_heads * language.num_kv_heads
    read = 3 + 2 if kind.copies else 2  # by queries, keys and values; by gate and up
    kept = 2 * width * (4 + kind.stream) + kind.number * (read * width + 2 * width + 2 * keys + 4 * inner)
    adapters = kind.number * (width + 7 * lora_rank) if lora_rank else 0
    return kept + adapters + 4 * language.num_heads


def tower_layer_bytes(eyes: Siglip, kind: Arithmetic) -> int:
    """Kept a patch: two LayerNorms with what is read of them, attention without its weights, two products."""
    width = eyes.hidden_size
    read = 3 + 1 if kind.copies else 2
    kept = 2 * width * kind.stream + kind.number * (read * width + 4 * width + 2 * eyes.intermediate_size)
    return kept + 4 * eyes.num_heads


def describe(plan: Plan, asked: Planning) -> str:
    """The plan as a page to read."""
    config = asked.recipe.train
    sharding = config.deepspeed or config.fsdp or ("copies (DDP)" if asked.gpus > 1 else "none")
    rows = [f"{asked.recipe.name} on {asked.gpus} x {asked.memory:g} GiB, sharding: {sharding}", "", "parameters"]
    rows += [f"  {part:<12}{total:>16,}   learning {learning:>16,}" for part, (total, learning) in plan.parts.items()]
    rows += [f"  {'all':<12}{plan.parameters:>16,}   learning {plan.learning:>16,}", ""]
    rows += [
        f"tokens a scene  {plan.scene_tokens:,} ({asked.recipe.data.max_frames} frames); a pack of "
        f"{config.questions_per_scene} questions: about {plan.pack_tokens:,}",
        f"a step          {plan.packs_per_step} packs: {asked.gpus} GPUs x {config.scenes_per_step} a pass x "
        f"{plan.passes} passes",
        "",
        "memory of each GPU, GiB",
    ]
    names = ("weights", "gradients", "optimizer", "activations", "working")
    rows += [f"  {name:<12}{vars(plan)[name] / GIB:>8.2f}" for name in names]
    rows += [f"  {'all':<12}{plan.total / GIB:>8.2f}", ""]
    limit = asked.memory * (1 - SPARE)
    verdict = "fits" if plan.fits(asked.memory) else "does not fit"
    rows.append(f"{verdict}: {plan.total / GIB:.1f} of {limit:.1f} GiB ({SPARE:.0%} are left to the driver)")
    return "\n".join(rows)
