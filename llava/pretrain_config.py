"""How a base model is made; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PretrainConfig:
    """How much is seen, and for how long."""

    rooms: int = 2400
    pictures: int = 8  # a room
    held_out: int = 60  # further rooms, for the scores in the model card
    vocabulary: int = 1024
    tower_steps: int = 7000
    tower_batch: int = 32  # pictures
    tower_lr: float = 1e-3
    align_steps: int = 500
    oracle: float = 0.9  # share of packs that tell the words of each patch, at the start; falls to 0 at the end
    posters: float = 0.67  # share of packs whose pictures have places
    seed: int = 0
