"""The nouns of the project, in the order in which a capture becomes a score.

    capture on disk -> Scene -> Views -> SceneTokens -> Batch -> model -> Prediction -> scores

Conventions, kept by every reader at the door and never checked again afterwards: metres;
camera-to-world 4x4 poses; OpenCV camera axes (x right, y down, z forward); world z up; boxes are
axis-aligned ``(cx, cy, cz, dx, dy, dz)``.

Shape letters: V views, H W image rows and columns, h w rows and columns of scene tokens,
D model width, B packs in a batch, T tokens of a pack, n objects of a scene, G grounding queries.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # torch takes 1.6 s to import, and `llava --help` reads this module
    import torch


@dataclass(frozen=True)
class Frame:
    """One posed RGB-D frame on disk."""

    name: str
    color: Path
    depth: Path
    pose: np.ndarray  # (4, 4) float64, camera to world, metres


@dataclass(frozen=True)
class Dropped:
    """A frame that a reader left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Scene:
    """A posed RGB-D video in the conventions above; pixels stay on disk."""

    name: str  # "scannet/scene0000_00"
    frames: tuple[Frame, ...]
    color_size: tuple[int, int]  # (width, height)
    depth_size: tuple[int, int]  # (width, height)
    color_intrinsics: np.ndarray  # (3, 3) float64, for color_size
    depth_intrinsics: np.ndarray  # (3, 3) float64, for depth_size
    depth_scale: float = 1000.0  # depth units per metre
    depth_unknown: tuple[int, ...] = (0,)  # raw depth values that mean "not measured"
    align: np.ndarray = field(default_factory=lambda: np.eye(4))  # (4, 4) capture's world -> this world
    up: str | None = None  # who says that z is up, in words ("ARKit's gravity", "--up"); None: nobody does
    dropped: tuple[Dropped, ...] = ()
    doubts: tuple[str, ...] = ()  # what the capture does not say, what was assumed instead, and what to do about it


@dataclass(frozen=True)
class Views:
    """The chosen frames of a scene, resized and cropped to one square size."""

    images: np.ndarray  # (V, H, W, 3) uint8 RGB
    coords: np.ndarray  # (V, H, W, 3) float32, world position of each pixel, metres
    valid: np.ndarray  # (V, H, W) bool, False where depth is unknown
    names: tuple[str, ...]  # frame names, in order


@dataclass(frozen=True)
class SceneTokens:
    """What an encoder makes of the views of one or more scenes (their views concatenated)."""

    tokens: torch.Tensor  # (V, h, w, D) what the language model reads
    coords: torch.Tensor  # (V, h, w, 3 p) metres, the p points that say where a token is (mostly one)
    valid: torch.Tensor  # (V, h, w) bool, False: no position is known
    dense: torch.Tensor  # (V, H', W', D) what the grounding head pools
    newline: str = "grid"  # where newlines go: after each row ("grid"), each view ("frame"), all ("one_token"), or
    # nowhere ("no_token")


@dataclass(frozen=True)
class Sample:
    """One question about one scene, with what is needed to train on it or to score it."""

    id: str | int
    task: str  # a name in TASKS
    scene: str  # Scene.name
    question: str  # the user's text without the scene placeholder; may contain "<coord>"
    answer: str | None  # the assistant's text; "<ground>" for a box task; None: unknown (test split)
    coord: np.ndarray | None = None  # (6,) the box whose centre "<coord>" stands for
    boxes: np.ndarray | None = None  # (m, 6) target boxes of a box task, m may be 0
    meta: dict[str, Any] = field(default_factory=dict)  # question_type, all answers, object ids ...


@dataclass(frozen=True)
class Batch:
    """Scene packs, padded to one length. One row is one pack: prefix, then its branches."""

    input_ids: torch.Tensor  # (B, T) int64
    position_ids: torch.Tensor  # (B, T) every branch restarts at the prefix length
    branch_ids: torch.Tensor  # (B, T) 0 prefix, 1..K branches, -1 padding
    labels: torch.Tensor  # (B, T) -100: no language-model loss
    scene: dict[str, torch.Tensor]  # encoder inputs, the views of all rows concatenated
    coord_points: torch.Tensor  # (C, 3) metres, one a "<coord>" token in reading order
    objects: torch.Tensor  # (B, n, 6) boxes to choose from, metres
    objects_valid: torch.Tensor  # (B, n) bool, False: padding
    object_masks: tuple[torch.Tensor, ...]  # a row each, (n, V, H', W') bool: patch belongs to object
    ground_targets: torch.Tensor  # (G, n + 1) bool, one row a "<ground>" token; last column: zero target


@dataclass(frozen=True)
class Prediction:
    """The model's answer to one sample."""

    sample: Sample
    text: str | None = None  # kind "text"
    objects: np.ndarray | None = None  # (n, 6) the boxes that were offered, kind "box"
    scores: np.ndarray | None = None  # (n + 1,) cosine similarities, last: zero target
    temperature: float | None = None  # by which the head divides the scores to make them logits
