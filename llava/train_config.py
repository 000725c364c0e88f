"""What a model is trained on, and how; imports nothing heavy, so that recipes and the command line stay quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PARTS = ("tower", "projector", "language", "positions", "head")


@dataclass(frozen=True)
class DataConfig:
    """Which questions about which scenes, and how a scene is looked at."""

    tasks: tuple[str, ...] = ("scanrefer", "multi3drefer", "scan2cap", "scanqa", "sqa3d")
    strategy: str = "mc"  # frame sampling, in training and (unless told otherwise) in evaluation
    max_frames: int = 32
    train_boxes: str = "gt"  # boxes to choose from in training: gt | pred | gt+pred | own
    eval_boxes: str = "pred"
    blind: bool = False  # ask without showing the scene: the baseline every score is compared with

    def __post_init__(self) -> None:
        if self.max_frames < 1:
            raise ValueError(f"data.max_frames must be at least 1, got {self.max_frames}")


@dataclass(frozen=True)
class TrainConfig:
    """One pass over a plan of scene packs (DESIGN section 4)."""

    packs: int | None = None  # scene packs in all; None: every question once
    questions_per_scene: int = 1  # branches a pack, at most; 1 is the reference's behaviour
    scenes_per_step: int = 1  # packs a process and forward pass
    accumulate: int = 1  # forward passes an optimizer step
    global_batch: int | None = None  # packs an optimizer step, all processes together; takes the place of `accumulate`
    lr: float = 1e-5
    lr_tower: float = 2e-6
    lr_projector: float = 1e-5
    lr_matrices: float | None = None  # Muon's, for the matrices in the language model's layers; None: AdamW at `lr`
    tune: tuple[str, ...] = PARTS  # the parts that learn; the others stay as they were
    lora_rank: int = 0  # of low-rank adapters that learn in place of the language model's weights; 0: none
    lora_alpha: float = 256.0  # adapters are multiplied by lora_alpha / lora_rank
    weight_decay: float = 0.0
    warmup: float = 0.03  # share of all steps
    schedule: Literal["cosine", "linear", "constant", "constant_with_warmup", "inverse_sqrt", "polynomial"] = "cosine"
    max_grad_norm: float = 1.0
    precision: Literal["fp32", "bf16"] = "fp32"
    gradient_checkpointing: bool = False
    compile: bool = False  # the language model's layers by torch.compile; gained nothing on a CPU (rooms)
    turn: bool = False  # augmentation: the world turned by a random quarter about z
    workers: int = 0  # processes that load scenes
    threads: int | None = None  # torch threads on a CPU; None: all cores
    save_steps: int = 500
    log_steps: int = 10
    report_to: tuple[str, ...] = ("tensorboard",)
    deepspeed: str | None = None  # a DeepSpeed JSON file
    fsdp: str | None = None  # a JSON file for FSDP2, the alternative to DeepSpeed
    seed: int = 0

    def __post_init__(self) -> None:
        counts = ("packs", "questions_per_scene", "scenes_per_step", "accumulate", "global_batch")
        for name in (*counts, "threads", "save_steps", "log_steps"):
            value = vars(self)[name]
            if value is not None and value < 1:
                raise ValueError(f"train.{name} must be at least 1, got {value}")
        for name in ("workers", "lora_rank"):
            if vars(self)[name] < 0:
                raise ValueError(f"train.{name} must be at least 0, got {vars(self)[name]}")

    @property
    def lora_scale(self) -> float:
        """By what the product of an adapter's two matrices is multiplied; 0 without adapters."""
        return self.lora_alpha / self.lora_rank if self.lora_rank else 0.0

    def passes(self, processes: int) -> int:
        """Forward passes of each of so many processes that make one optimizer step.

        Raises ValueError where `global_batch` cannot be made of them, or is given beside `accumulate`.
        """
        if self.global_batch is None:
            return self.accumulate
        at_once = self.scenes_per_step * processes
        if self.accumulate != 1:
            raise ValueError(
                f"train.global_batch {self.global_batch} and train.accumulate {self.accumulate} say the same twice: "
                "leave one of them out"
            )
        if self.global_batch % at_once:
            raise ValueError(
                f"train.global_batch is {self.global_batch}, which {processes} processes cannot make of "
                f"{self.scenes_per_step} packs each a pass: give a multiple of {at_once}, or other processes"
            )
        return self.global_batch // at_once

    def packs_per_step(self, processes: int) -> int:
        """Packs of an optimizer step, so many processes together; ValueError as in `passes`."""
        return self.scenes_per_step * self.passes(processes) * processes
