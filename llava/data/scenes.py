"""From a scene's name to what the model reads of it: chosen frames, encoder inputs and boxes to choose from."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from llava.captures.pixels import load_views
from llava.captures.scannet import data_align, data_scene_folder, posed_images_folder, read_data_scene
from llava.data.boxes import box_array, check_boxes, own_boxes
from llava.data.cache import Cache, open_cache
from llava.data.compat import Precision
from llava.data.scene_keys import content_key, folder_stamp, settings_digest
from llava.frames import canonical_strategy, read_selection
from llava.frames import sample as sample_frames
from llava.geometry.boxes import rotate_quarter
from llava.tasks.task import read_boxes
from llava.types import Views

if TYPE_CHECKING:
    import torch

    from llava.types import Sample, Scene

MEMORY = 2 << 30  # bytes of pixels that a source remembers; those that are mapped from the cache cost less


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


def joined(processor: Callable, parts: Sequence[SceneInputs]) -> SceneInputs:
    """The inputs of some of a scene's views and those of the others, as one."""
    import torch

    inputs = {key: torch.cat([part.inputs[key] for part in parts]) for key in parts[0].inputs}
    masks = torch.cat([part.object_masks for part in parts], dim=1)
    return SceneInputs(inputs, processor.num_tokens(inputs), parts[0].objects, masks)


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
    """Loads scenes of a data folder by name, and remembers them (a pack of the same scene soon follows).

    What it has computed of a scene it keeps in the data folder's cache, where other processes and later runs find it.
    """

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
    _boxless: set[str] = field(default_factory=set, repr=False)  # scenes that need no boxes
    _told: set[str] = field(default_factory=set, repr=False)  # scenes whose dropped frames were reported
    _keys: dict[str, str] = field(default_factory=dict, repr=False)  # of what the cache holds, by scene
    _tower: str | None = field(default=None, repr=False)  # whose features are looked for

    def __post_init__(self) -> None:
        check_boxes(self.boxes)
        if self.max_frames < 1:
            raise ValueError(f"max_frames must be at least 1, got {self.max_frames}")
        canonical_strategy(self.strategy)  # an unknown one is an error here, not in a worker that loads scenes
        kinds = [kind for kind in self.boxes.split("+") if kind != "none"]
        self._boxes = {kind: {} if kind == "own" else read_boxes(self.root, self.split, kind) for kind in kinds}
        selection = self.root / "metadata" / "scannet_select_frames.json"
        self._selection = read_selection(selection) if selection.exists() else {}
        self.load = self._remembering()

    def __getstate__(self) -> dict:
        return {k: v for k, v in self.__dict__.items() if k != "load"}  # a worker process starts with an empty memory

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self.load = self._remembering()

    def _remembering(self) -> Callable[[str], SceneInputs]:
        scene_bytes = self.max_frames * self.image_size**2 * 3
        return lru_cache(maxsize=max(1, MEMORY // scene_bytes))(self._load)

    def expect(self, samples: Iterable[Sample]) -> None:
        """Be ready for these questions: scenes that are asked about in words alone may lack boxes from now on.

        Raises ValueError for another scene as `objects` does, before any is loaded.
        """
        samples = list(samples)
        choosing = {sample.scene for sample in samples if sample.boxes is not None}
        self._boxless = {sample.scene for sample in samples} - choosing
        if "own" in self._boxes:  # made, not read: none can be missing, and each takes seconds
            return
        for name in sorted(choosing):
            self.objects(name)

    def objects(self, name: str) -> np.ndarray:
        """(n, 6) boxes to choose from, metres; raises ValueError for a scene without an entry, or a damaged one."""
        found = [np.empty((0, 6), np.float32)]
        for kind, boxes in self._boxes.items():
            if kind == "own" and name not in boxes and name not in self._boxless:
                boxes[name] = own_boxes(self.root, name, self._cache)
            if name in boxes:
                found.append(box_array(boxes[name], name, self._box_file(kind)))
            elif name not in self._boxless:
                raise ValueError(f"scene {name!r} has no {kind} boxes in {self._box_file(kind)}: run `llava prepare`")
        return np.concatenate(found)

    @cached_property
    def _cache(self) -> Cache:
        return open_cache(self.root)

    @cached_property
    def _settings(self) -> str | None:
        """By what is kept of this way of looking is known; None where nothing is kept."""
        if not self._cache.most_bytes:
            return None
        look = {name: vars(self)[name] for name in ("strategy", "max_frames", "image_size", "measured", "precision")}
        return settings_digest(self.processor, look)

    def use_features(self, tower: str) -> bool:
        """Look in the cache for the features of that tower, and give them with a scene; False where nothing is kept."""
        self._tower = tower
        self.load.cache_clear()
        return self._settings is not None

    def keep_features(self, name: str, features: torch.Tensor) -> bool:
        """Keep what the tower of ``use_features`` makes of a scene that was loaded; False where that cannot be done."""
        key = self._keys.get(name)
        about = {"scene": name, "look": "features of a frozen tower", "frames": ""}
        if key is None or not self._cache.write(self._features_key(key), {"features": features}, about):
            return False
        self.load.cache_clear()
        return True

    def _features_key(self, key: str) -> str:
        return sha256(f"{key} {self._tower}".encode()).hexdigest()[:32]

    def _load(self, name: str) -> SceneInputs:
        if self.blind:
            return self._seen(no_views(self.image_size), self.objects(name))
        folder = data_scene_folder(self.root, name)
        objects = self.objects(name)
        stamp = self._stamp(folder, name, objects)
        note = self._cache.recall(stamp) if stamp else None
        kept = self._cache.read(note["key"]) if note and "key" in note else None
        if kept is None:
            kept, note = self._provide(name, objects, lambda: stamp and stamp == self._stamp(folder, name, objects))
            if stamp and "key" in note:
                self._cache.note(stamp, note)
        if "dropped" in note:
            self._tell_dropped(name, note["dropped"])
        masks = kept.pop("object_masks")
        tokens = self.processor.num_tokens(kept)
        if "key" in note:
            self._keys[name] = note["key"]
            if self._tower:
                kept |= self._cache.read(self._features_key(note["key"])) or {}
        return SceneInputs(kept, tokens, objects, masks)

    def _stamp(self, folder: Path, name: str, objects: np.ndarray) -> str | None:
        if self._settings is None:
            return None
        choice = json.dumps(self._selection.get(name)).encode()
        parts = [data_align(self.root, folder.name).tobytes(), choice, objects.tobytes()]
        return folder_stamp(self._settings, folder, parts)

    def _provide(
        self, name: str, objects: np.ndarray, unchanged: Callable[[], bool]
    ) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
        """A scene's tensors by content, computed where the cache has none, and what is to be noted of it.

        `unchanged` tells quickly whether no file was written to since before the call; where it cannot tell, content is
        compared.
        """
        import torch

        scene = read_data_scene(self.root, name)
        chosen = sample_frames(scene, self.strategy, self.max_frames, selection=self._selection.get(name))
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:

            def current_key() -> str | None:
                return self._settings and content_key(self._settings, scene, chosen, objects, pool)

            key = current_key()
            kept = self._cache.read(key) if key else None
            if kept is None:
                computed = self._computed(scene, chosen, objects, pool)
                kept = {**computed.inputs, "object_masks": computed.object_masks}
                if key and not unchanged() and key != current_key():
                    key = None  # a file was written to before it was decoded: whose content this is nobody knows
                if key and self._cache.write(key, kept, self._about(scene, chosen)):
                    kept = self._cache.read(key) or kept  # pages that all processes share, in place of our own memory
        return kept, ({"key": key} if key else {}) | _dropped(scene)

    def _computed(self, scene: Scene, chosen: Sequence[int], objects: np.ndarray, pool: Executor) -> SceneInputs:
        """One view at a time, from the file to what the model reads: what is large in between stays small."""
        views = list(dict.fromkeys(chosen))  # a short scene is shown some of its frames twice
        made = pool.map(lambda index: self._seen(load_views(scene, [index], self.image_size), objects), views)
        parts = dict(zip(views, made, strict=True))
        return joined(self.processor, [parts[index] for index in chosen])

    def _seen(self, views: Views, objects: np.ndarray) -> SceneInputs:
        return scene_inputs(self.processor, views, objects, self.measured, self.precision)

    def _about(self, scene: Scene, chosen: Sequence[int]) -> dict[str, str]:
        look = f"{self.strategy}, at most {self.max_frames} views of {self.image_size} pixels, {self.boxes} boxes"
        return {"scene": scene.name, "look": look, "frames": " ".join(scene.frames[index].name for index in chosen)}

    def _tell_dropped(self, name: str, dropped: str) -> None:
        if name in self._told:
            return
        self._told.add(name)
        others = f"(`llava scene info {posed_images_folder(self.root, name)}` tells of the others)"
        tqdm.write(f"{name}: {dropped} {others}", file=sys.stderr)  # a plain print would tear a progress bar apart

    def _box_file(self, kind: str) -> Path:
        return self.root / "metadata" / f"scannet_{self.split}_{kind}_box.json"


def _dropped(scene: Scene) -> dict[str, str]:
    """How many of how many frames were left out, and why the first one was; nothing where none was."""
    if not scene.dropped:
        return {}
    first, total = scene.dropped[0], len(scene.frames) + len(scene.dropped)
    text = f"{len(scene.dropped)} of {total} frames left out, the first, {first.name}, because: {first.reason}"
    return {"dropped": text}
