"""How a base model is made; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PretrainConfig:
    """How much is seen, and for how long."""

    rooms: int = 5000
    pictures: int = 8  # a room
    held_out: int = 60  # further rooms, for the scores in the model card
    vocabulary: int = 1024
    tower_steps: int = 9000
    tower_batch: int = 32  # pictures
    tower_lr: float = 1e-3
    tower_lr_matrices: float = 3e-3  # Muon's, for the matrices inside the layers
    align_steps: int = 500
    terse: float = 0.25  # share of packs, the first ones, that ask the simplest questions about boards of words
    boards: float = 0.4  # share of packs, those included, that show words on a board
    told: float = 0.8  # share of packs that tell the words of each patch, right after the boards; falls to 0
    posters: float = 0.67  # share of packs whose pictures have places
    lookups: float = 0.5  # share of those that only ask what lies at a place, many times over
    seed: int = 0
