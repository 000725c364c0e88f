"""What the Hugging Face Trainer is told: a training's settings in its own words, for the machines at hand."""

from __future__ import annotations

import importlib.util
import math
import os
from pathlib import Path

import torch
from transformers import TrainingArguments

from llava import processes
from llava.train_config import TrainConfig

ROOT = Path(__file__).resolve().parents[1]


def training_arguments(config: TrainConfig, out: Path, steps: int) -> TrainingArguments:
    """The Trainer's settings; a machine without a GPU is asked for by name, for the Trainer would ignore it.

    Raises:
        ValueError: settings that exclude each other, a file that is not there, or DeepSpeed where it cannot run.
    """
    cpu = not torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir=str(out),
        max_steps=steps,
        per_device_train_batch_size=config.scenes_per_step,
        gradient_accumulation_steps=config.passes(processes.count()),
        learning_rate=config.lr,
        weight_decay=config.weight_decay,
        warmup_steps=math.ceil(config.warmup * steps),
        lr_scheduler_type=config.schedule,
        max_grad_norm=config.max_grad_norm,
        bf16=config.precision == "bf16",
        **({"gradient_checkpointing": True} if config.gradient_checkpointing else {}),  # its name is about to change
        **_sharding(config),
        save_steps=config.save_steps,
        save_total_limit=2,
        logging_steps=config.log_steps,
        logging_first_step=True,
        report_to=list(config.report_to),
        dataloader_num_workers=config.workers,
        dataloader_persistent_workers=config.workers > 0,
        remove_unused_columns=False,
        use_cpu=cpu,
        dataloader_pin_memory=not cpu,
        seed=config.seed,
    )
    if arguments.n_gpu > 1:
        raise ValueError(
            f"one process sees {arguments.n_gpu} GPUs, and would cut scene packs into pieces: start one for each, as "
            "`llava train` does, or set CUDA_VISIBLE_DEVICES=0"
        )
    return arguments


def _sharding(config: TrainConfig) -> dict:
    """How parameters, gradients and the optimizer's state are spread over processes: DeepSpeed, FSDP2 or not at all."""
    if config.deepspeed and config.fsdp:
        raise ValueError("train.deepspeed and train.fsdp are two ways of one thing: leave one of them out")
    if config.lr_matrices is not None and (config.deepspeed or config.fsdp):
        way = "DeepSpeed" if config.deepspeed else "FSDP"
        raise ValueError(f"train.lr_matrices (Muon) needs whole matrices, and {way} cuts them up: give one of them")
    if config.fsdp and config.lora_rank:
        raise ValueError("adapters need no FSDP: copies on every GPU (DDP) are small, and DeepSpeed shards the rest")
    if config.fsdp and processes.count() == 1:
        raise ValueError(
            "train.fsdp spreads the model over GPUs, a process each, but this is the only process: set NUM_GPUS, or "
            "leave it out"
        )
    if config.fsdp:
        return {"fsdp": True, "fsdp_config": str(find_file(config.fsdp))}
    if not config.deepspeed:
        return {}
    if importlib.util.find_spec("deepspeed") is None:
        raise ValueError(
            "train.deepspeed is set, but DeepSpeed is not installed: pip install -e '.[gpu]', or shard with PyTorch "
            "alone (--train.deepspeed None --train.fsdp scripts/fsdp2.json)"
        )
    if "LOCAL_RANK" not in os.environ:
        raise ValueError(
            "DeepSpeed wants to be started by torchrun, even for one process: set NUM_GPUS=1, and try again"
        )
    return {"deepspeed": str(find_file(config.deepspeed))}


def find_file(name: str) -> Path:
    """A configuration file by path, or by path inside the repository (`scripts/zero3.json`); ValueError for none."""
    places = [Path(name), ROOT / name]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ValueError(f"there is no file {name!r}: looked in {', '.join(map(str, places))}")
    return found
