"""Training: the Hugging Face Trainer over a plan of scene packs.

The unit of the loss is the *branch* (a question): a step's gradient is the mean over all branches of all its
packs, devices and accumulated batches, so that a pack of K questions counts as K separate samples do.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import Dataset, SequentialSampler
from transformers import Trainer, set_seed

from llava import processes
from llava.data.compat import Precision
from llava.data.features import keep_features
from llava.data.mixture import filled, training_plan
from llava.data.pack import PackedScenes, collate
from llava.data.scenes import SceneSource
from llava.model.adapters import add_adapters, is_adapter, merged
from llava.model.checkpoint import RECIPE_FILE, is_finished
from llava.optimizer import MuonAdamW, is_layer_matrix
from llava.resumable import read_json, write_json
from llava.tasks import find_task
from llava.train_arguments import training_arguments
from llava.train_config import PARTS, TrainConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from llava.model.scene_lm import SceneLM
    from llava.recipes import Recipe
    from llava.types import Sample

# Names of parameters by part; the first prefix that fits wins.
PART_PREFIXES = {
    "unused": ("encoder.tower.post_layernorm.",),  # stored for export, applied by nothing, and no part that can learn
    "tower": ("encoder.tower.",),
    "projector": ("encoder.projector.", "newline"),
    "positions": ("positions.",),
    "head": ("ground_head.",),
    "language": ("",),
}
# Settings of `TrainConfig` that do not change what is learnt.
UNIMPORTANT = ("workers", "threads", "compile", "save_steps", "log_steps", "report_to")
# What is learnt, with adapters still apart, for a training to go on from; the weights beside it have them merged.
LEARNT_FILE = "learnt.safetensors"
# Where the optimizer's state is: one process or DDP, DeepSpeed, FSDP as a whole or in parts.
OPTIMIZER_FILES = ("optimizer.pt", "global_step*", "optimizer.bin", "optimizer_0")


def part_of(parameter: str) -> str:
    """The part of the model that a parameter belongs to; a checkpoint's parameter names fix it."""
    return next(part for part, prefixes in PART_PREFIXES.items() if parameter.startswith(prefixes))


class PackTrainer(Trainer):
    """Takes the packs in the plan's order, and learns each part at its own rate."""

    def __init__(self, *, recipe: Recipe, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.recipe = recipe
        self.loss_is_scaled_for_ga = True  # the model divides by the branches of the whole step
        self._running: dict[str, list[torch.Tensor]] = defaultdict(list)

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            groups = parameter_groups(self.model, self.recipe.train)
            if any(group["muon"] for group in groups):
                self.optimizer = MuonAdamW(groups)
            else:
                optimizer, kwargs = self.get_optimizer_cls_and_kwargs(self.args, self.model)
                self.optimizer = optimizer(groups, **kwargs)
        return self.optimizer

    def _prepare_input(self, data: Any) -> Any:
        """Move a batch to the device as it is: under DeepSpeed the Trainer would round coordinates to bfloat16."""
        if isinstance(data, dict):
            return {key: self._prepare_input(value) for key, value in data.items()}
        if isinstance(data, (tuple, list)):
            return type(data)(self._prepare_input(value) for value in data)
        return data.to(self.args.device, non_blocking=True) if isinstance(data, torch.Tensor) else data

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> torch.Tensor:
        """How many branches the whole step has, over accumulated batches and devices."""
        branches = sum(batch["branch_ids"].max(dim=1).values.clamp(min=0).sum() for batch in batch_samples).to(device)
        return self.accelerator.gather(branches).sum() if self.args.world_size > 1 else branches

    def compute_loss(
        self, model: Any, inputs: dict, return_outputs: bool = False, num_items_in_batch: torch.Tensor | None = None
    ) -> Any:
        outputs = model(**inputs, num_branches=num_items_in_batch)
        for name in ("lm_loss", "ground_loss"):
            if outputs.get(name) is not None:
                self._running[name].append(outputs[name].detach())
        # DDP, DeepSpeed and FSDP average the processes' gradients; each has divided by the branches of all of them.
        loss = outputs.loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Leave a checkpoint that `llava eval` reads."""
        config, folder = self.recipe.train, Path(output_dir or self.args.output_dir)
        weights = self.model.state_dict() if state_dict is None else state_dict
        super()._save(str(folder), merged(weights, config.lora_scale))
        if not self.args.should_save:
            return  # another process writes; the folder may not be there yet
        if config.lora_rank:
            learning = [name for name, parameter in self.model.named_parameters() if parameter.requires_grad]
            save_file({name: weights[name].contiguous() for name in learning}, folder / LEARNT_FILE)
        write_json(folder / RECIPE_FILE, self.recipe.to_dict())

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if not self.recipe.train.lora_rank:
            return super()._load_from_checkpoint(resume_from_checkpoint, model)
        learnt = load_file(Path(resume_from_checkpoint) / LEARNT_FILE)
        unknown = self.model.load_state_dict(learnt, strict=False).unexpected_keys
        assert not unknown, unknown

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if "loss" in logs:
            logs |= {name: float(torch.stack(values).mean()) for name, values in self._running.items() if values}
            self._running.clear()
        super().log(logs, *args, **kwargs)


def freeze(model: SceneLM, tune: tuple[str, ...]) -> None:
    """Let only the parts in `tune` learn; raises ValueError for an unknown part, and for none at all."""
    if not tune:
        raise ValueError(f"train.tune names no part, so nothing would learn; the parts are {', '.join(PARTS)}")
    unknown = sorted(set(tune) - set(PARTS))
    if unknown:
        raise ValueError(f"train.tune: unknown part {', '.join(unknown)}; the parts are {', '.join(PARTS)}")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of(name) in tune)


def adapt(model: SceneLM, config: TrainConfig) -> None:
    """Let what the recipe says learn: the parts in `tune`, the language model by adapters if it asks for them."""
    freeze(model, config.tune)
    if not config.lora_rank:
        return
    add_adapters(model, config.lora_rank, config.lora_alpha)
    for name, parameter in model.named_parameters():
        if part_of(name) == "language":
            parameter.requires_grad_(is_adapter(name))
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # steps of a learning rate would be lost in half precision


def parameter_groups(model: SceneLM, config: TrainConfig) -> list[dict]:
    """Groups of what learns: by part, by whether weight decay applies (not to biases, norms, vectors), and Muon's."""
    rates = {"tower": config.lr_tower, "projector": config.lr_projector, "matrices": config.lr_matrices}
    groups: dict[tuple[str, bool], list] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            part = part_of(name)
            if part == "language" and config.lr_matrices is not None and is_layer_matrix(name, parameter):
                part = "matrices"
            groups[part, parameter.ndim >= 2].append(parameter)
    return [
        {
            "params": params,
            "lr": rates.get(part, config.lr),
            "weight_decay": config.weight_decay if decay else 0.0,
            "muon": part == "matrices",
        }
        for (part, decay), params in groups.items()
    ]


def scene_source(data: Path, split: str, recipe: Recipe, boxes: str, precision: Precision) -> SceneSource:
    """The scenes of one split, looked at as the recipe says, or not at all.

    Args:
        boxes: to choose from, one of `BOXES`.
        precision: of coordinates and boxes; training and evaluation have each their own.
    """
    return SceneSource(
        data,
        split,
        recipe.data.strategy,
        recipe.data.max_frames,
        recipe.encoder.image_size,
        recipe.encoder.build_processor(),
        boxes,
        recipe.data.blind,
        recipe.mode.measured,
        precision,
    )


def training_samples(data: Path, tasks: tuple[str, ...]) -> list[Sample]:
    """The training questions of the tasks, leaving out those that have no box to ask about.

    Raises ValueError for an unknown task, and as `Task.samples` does.
    """
    return [
        sample
        for task in tasks
        for sample in find_task(task).samples(data, "train")
        if sample.coord is not None or "<coord>" not in sample.question
    ]


def train(model: SceneLM, tokenizer: PreTrainedTokenizerBase, recipe: Recipe, data: Path, out: Path) -> PackTrainer:
    """Train `model` on the scenes of `data` as the recipe says; resumes what stands in `out` (see `begin`).

    Raises ValueError as `training_samples` does.
    """
    config = recipe.train
    samples = training_samples(data, recipe.data.tasks)
    per_step = config.packs_per_step(processes.count())
    plan = training_plan(samples, config.questions_per_scene, config.packs, config.seed, config.turn, per_step)
    if processes.count() > 1:
        plan = filled(plan, config.scenes_per_step * processes.count())
    source = scene_source(data, "train", recipe, recipe.data.train_boxes, recipe.training_precision)
    source.expect(samples)
    # A tower that learns sees anew each time; one that DeepSpeed or FSDP has cut up cannot look outside of a step.
    if "tower" not in config.tune and not (recipe.data.blind or config.deepspeed or config.fsdp):
        use_threads(config)
        encoder = model.encoder.to(processes.device())
        keep_features(encoder, source, (pack.scene for pack in plan), config.precision)
    packed = PackedScenes(plan, samples, source, tokenizer, recipe.chat, recipe.mode)
    return train_on(packed, model, tokenizer, recipe, out)


def train_on(
    packs: Dataset, model: SceneLM, tokenizer: PreTrainedTokenizerBase, recipe: Recipe, out: Path
) -> PackTrainer:
    """Train `model` on the packs, once and in their order; the Trainer's checkpoints are left in `out`.

    A run that was killed goes on from its newest whole checkpoint and ends with the same weights.
    """
    config = recipe.train
    set_seed(config.seed)
    use_threads(config)
    adapt(model, config)
    if config.compile:
        for layer in model.language_model.model.layers:
            layer.compile()
    trainer = PackTrainer(
        recipe=recipe,
        model=model,
        args=training_arguments(config, out, steps=math.ceil(len(packs) / config.packs_per_step(processes.count()))),
        train_dataset=packs,
        data_collator=partial(collate, buckets=config.compile or torch.cuda.is_available()),
        processing_class=tokenizer,
    )
    if config.fsdp:
        _keep_inputs(trainer)
    trainer.train(resume_from_checkpoint=last_checkpoint(out))
    return trainer


def use_threads(config: TrainConfig) -> None:
    """Let torch use as many threads as the recipe says."""
    if config.threads:
        torch.set_num_threads(config.threads)


def _keep_inputs(trainer: PackTrainer) -> None:
    """Keep FSDP2 from rounding coordinates to the precision of the weights, as it does with all inputs."""
    if not trainer.is_fsdp_enabled:
        raise ValueError("train.fsdp needs GPUs: on a CPU accelerate would make copies (DDP) in its place")
    plugin = trainer.accelerator.state.fsdp_plugin
    if plugin.mixed_precision_policy is not None:
        plugin.mixed_precision_policy = replace(plugin.mixed_precision_policy, cast_forward_inputs=False)


def begin(out: Path, settings: dict[str, Any]) -> bool:
    """Note down in `out` what is trained there; False when just that was trained to its end already.

    Args:
        settings: all that the weights depend on; those that do not matter (UNIMPORTANT) are left out of it here.

    Raises ValueError when `out` holds, begun or finished, a training with other settings.
    """
    wanted = json.loads(json.dumps({**settings, "train": with_defaults(settings["train"])}))
    path = out / "training.json"
    begun = read_json(path) if path.exists() else {}
    if "train" in begun:
        begun["train"] = with_defaults(begun["train"])
    if begun == wanted:
        return not is_finished(out)
    if is_finished(out) or last_checkpoint(out):
        parts = ", ".join(key for key in wanted if begun.get(key) != wanted[key])
        known = f"they differ in: {parts}; {path.name} has all" if begun else f"unknown ones: it has no {path.name}"
        raise ValueError(
            f"{out} holds a training with other settings ({known}): give another --out, or delete that folder to "
            "train anew"
        )
    if processes.is_first():
        write_json(path, wanted)
    return True


def with_defaults(train: dict[str, Any]) -> dict[str, Any]:
    """The settings that matter; one that there was not yet when they were noted down has its default."""
    known = {**json.loads(json.dumps(asdict(TrainConfig()))), **train}
    return {name: value for name, value in known.items() if name not in UNIMPORTANT}


def last_checkpoint(out: Path) -> str | None:
    """The newest whole checkpoint of the Trainer in `out`."""
    whole = [folder for folder in out.glob("checkpoint-*") if _is_whole(folder)]
    return str(max(whole, key=lambda folder: int(folder.name.split("-")[1]))) if whole else None


def _is_whole(checkpoint: Path) -> bool:
    """`trainer_state.json` is written last, so a killed save has none or half of it.

    The optimizer is looked for besides, because the Trainer would go on without it and say nothing.
    """
    if not any(found for name in OPTIMIZER_FILES for found in checkpoint.glob(name)):
        return False
    try:
        json.loads((checkpoint / "trainer_state.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    return True
