"""From a scene's name to what the model reads of it: chosen frames, encoder inputs and boxes to choose from."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from llava.captures.pixels import load_views
from llava.captures.scannet import posed_images_folder, read_data_scene
from llava.data.compat import Precision
from llava.frames import canonical_strategy, read_selection
from llava.frames import sample as sample_frames
from llava.geometry.boxes import rotate_quarter
from llava.resumable import read_json
from llava.types import Views

if TYPE_CHECKING:
    import torch

    from llava.types import Scene

BOXES = ("gt", "pred", "gt+pred", "none")
MEMORY = 2 << 30  # bytes of pixels that a source remembers


@dataclass(frozen=True)
class SceneInputs:
    """What one scene contributes to a pack."""

    inputs: dict[str, torch.Tensor]  # the encoder's, without object_masks; of no view where nothing is shown
    num_tokens: int
    objects: np.ndarray  # (n, 6) boxes to choose from, metres
    object_masks: torch.Tensor  # (n, V, H', W') bool

    def turned(self, turn: int) -> SceneInputs:
        """The same scene with its world turned by `turn` quarters about z."""
        if turn == 0:
            return self
        import torch

        if self.inputs["coords"].shape[-1] != 3:
            raise ValueError("a scene can be turned only where one point says where a token is: train without --turn")
        coords = rotate_quarter(self.inputs["coords"].numpy(), turn).astype(np.float32)
        inputs = {**self.inputs, "coords": torch.from_numpy(coords)}
        return SceneInputs(inputs, self.num_tokens, rotate_quarter(self.objects, turn), self.object_masks)


def scene_inputs(
    processor: Callable, views: Views, objects: np.ndarray, measured: bool = True, precision: Precision = "float32"
) -> SceneInputs:
    """What a model reads of the views of one scene, with the boxes (n, 6) to choose from, metres.

    Args:
        processor: an encoder's.
        measured, precision: as in `compat.Mode`.
    """
    valid = views.valid if measured else np.ones_like(views.valid)
    seen = replace(views, coords=_rounded(views.coords, precision), valid=valid)
    inputs = dict(processor(seen, _rounded(objects, precision)))
    masks = inputs.pop("object_masks")
    return SceneInputs(inputs, processor.num_tokens(inputs), objects, masks)


def _rounded(values: np.ndarray, precision: Precision) -> np.ndarray:
    """The values as they are in that precision, in float32."""
    if precision == "float32":
        return values
    import torch

    return torch.from_numpy(values).to(getattr(torch, precision)).float().numpy()


def no_views(size: int) -> Views:
    """What a model is shown that sees nothing."""
    square = (0, size, size)
    return Views(np.empty((*square, 3), np.uint8), np.empty((*square, 3), np.float32), np.empty(square, bool), ())


@dataclass
class SceneSource:
    """Loads scenes of a data folder by name, and remembers them (a pack of the same scene soon follows)."""

    root: Path
    split: str  # "train" | "val" | "test": which box files apply
    strategy: str
    max_frames: int
    image_size: int
    processor: Callable  # an encoder's: (Views, boxes) -> inputs
    boxes: str = "pred"  # one of BOXES
    blind: bool = False  # for a model that sees nothing: boxes without looks, and no frame is read
    measured: bool = True  # this and the next as in `compat.Mode`
    precision: Precision = "float32"
    _boxes: dict[str, list] = field(default_factory=dict, repr=False)
    _told: set[str] = field(default_factory=set, repr=False)  # scenes whose dropped frames were reported

    def __post_init__(self) -> None:
        if self.boxes not in BOXES:
            hint = get_close_matches(self.boxes, BOXES, n=1) or BOXES[:1]
            raise ValueError(
                f"unknown boxes {self.boxes!r}: choose one of {', '.join(BOXES)}; did you mean {hint[0]!r}?"
            )
        if self.max_frames < 1:
            raise ValueError(f"max_frames must be at least 1, got {self.max_frames}")
        canonical_strategy(self.strategy)  # an unknown one is an error here, not in a worker that loads scenes
        self._boxes = {kind: self._read_boxes(kind) for kind in self.boxes.split("+") if kind != "none"}
        selection = self.root / "metadata" / "scannet_select_frames.json"
        self._selection = read_selection(selection) if selection.exists() else {}
        self.load = self._remembering()

    def __getstate__(self) -> dict:
        return {k: v for k, v in self.__dict__.items() if k != "load"}  # a worker process starts with an empty memory

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self.load = self._remembering()

    def _remembering(self) -> Callable[[str], SceneInputs]:
        scene_bytes = self.max_frames * self.image_size**2 * 3 * 4  # float32
        return lru_cache(maxsize=max(1, MEMORY // scene_bytes))(self._load)

    def objects(self, name: str) -> np.ndarray:
        """(n, 6) boxes to choose from, metres; raises ValueError for a scene without an entry."""
        found = []
        for kind, boxes in self._boxes.items():
            if name not in boxes:
                raise ValueError(f"scene {name!r} has no {kind} boxes in {self._box_file(kind)}: run `llava prepare`")
            found.extend(boxes[name])
        return np.array(found, dtype=np.float32).reshape(-1, 6)

    def _load(self, name: str) -> SceneInputs:
        views = no_views(self.image_size) if self.blind else self._views(name)
        return scene_inputs(self.processor, views, self.objects(name), self.measured, self.precision)

    def _views(self, name: str) -> Views:
        scene = read_data_scene(self.root, name)
        if scene.dropped and name not in self._told:
            self._told.add(name)
            _tell_dropped(scene, posed_images_folder(self.root, name))
        indices = sample_frames(scene, self.strategy, self.max_frames, selection=self._selection.get(name))
        return load_views(scene, indices, self.image_size)

    def _box_file(self, kind: str) -> Path:
        return self.root / "metadata" / f"scannet_{self.split}_{kind}_box.json"

    def _read_boxes(self, kind: str) -> dict:
        path = self._box_file(kind)
        if not path.exists():
            raise ValueError(f"{path} is missing: run `llava prepare {self.root}`")
        return read_json(path)


def _tell_dropped(scene: Scene, folder: Path) -> None:
    dropped, total = scene.dropped, len(scene.frames) + len(scene.dropped)
    tqdm.write(  # a plain print would tear a progress bar apart
        f"{scene.name}: {len(dropped)} of {total} frames left out, the first, {dropped[0].name}, because: "
        f"{dropped[0].reason} (`llava scene info {folder}` tells of the others)",
        file=sys.stderr,
    )
