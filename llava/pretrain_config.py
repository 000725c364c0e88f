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
    word_packs: int = 8000  # packs that are read before any is seen
    terse: float = 0.3  # share of these, the first ones, that ask the simplest questions about boards of words
    boards: float = 0.5  # share of these, those included, that show words on a board; the others show told pictures
    told: float = 0.3  # share of the packs of pictures that tell the words of each patch; falls to 0
    room_packs: int = 24000  # packs behind those of pictures, some of which tell a room in words
    layouts: float = 0.6  # share of these that do, and ask as the benchmarks do; the others show pictures
    told_rooms: int = 4000  # rooms told so
    posters: float = 0.67  # share of packs whose pictures have places
    lookups: float = 0.5  # share of those that only ask what lies at a place, many times over
    centers: float = 0.3  # share of told rooms that only ask what stands where
    seed: int = 0
