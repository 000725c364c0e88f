"""Which frames of a scene the model sees, and a picture of that choice."""

from llava.captures.pixels import scene_voxels
from llava.frames.picture import frames_picture, sample_to_picture
from llava.frames.sampling import (
    ALIASES,
    STRATEGIES,
    canonical_strategy,
    read_selection,
    sample,
    uniform_indices,
)

__all__ = [
    "ALIASES",
    "STRATEGIES",
    "canonical_strategy",
    "frames_picture",
    "read_selection",
    "sample",
    "sample_to_picture",
    "scene_voxels",
    "uniform_indices",
]
