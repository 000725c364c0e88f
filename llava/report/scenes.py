"""The scenes that the report shows: the frames that the run was given, and what frames see of a scene."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llava.captures.scannet import posed_images_folder, read_data_scene
from llava.frames import canonical_strategy, read_selection, sample, uniform_indices
from llava.geometry.voxels import max_coverage
from llava.report.pictures import LookAt


class Scenes:
    """Opens scenes of a data folder once each, looked at as the run looked at them."""

    def __init__(self, data: Path, conditions: dict[str, Any]):
        self.data = data
        self.strategy = canonical_strategy(conditions.get("strategy", "uniform"))
        self.max_frames = int(conditions.get("frames", 8))
        selection = data / "metadata" / "scannet_select_frames.json"
        self._selection = read_selection(selection) if selection.exists() else {}
        self._looks: dict[str, LookAt] = {}

    def look_at(self, name: str) -> LookAt | None:
        """The scene with its chosen frames; None when the data folder does not have it."""
        if not posed_images_folder(self.data, name).is_dir():
            return None
        if name not in self._looks:
            scene = read_data_scene(self.data, name)
            chosen = sample(scene, self.strategy, self.max_frames, self._selection.get(name))
            self._looks[name] = LookAt(scene, tuple(dict.fromkeys(chosen)))
        return self._looks[name]


def coverage(looks: Sequence[LookAt], counts: Sequence[int]) -> dict[str, np.ndarray]:
    """Share (scenes, counts), 0..1, of each scene's voxels that so many frames see, by strategy.

    All of a scene is what all its frames see together, and each frame choice is made from all of them.
    """
    shares: dict[str, list[list[float]]] = {"uniform": [], "mc": []}
    for look in looks:
        voxels = look.voxels
        total = len(np.unique(np.concatenate(voxels)))
        gains = np.cumsum(max_coverage(voxels, counts[-1])[1])
        shares["mc"].append([gains[min(count, len(gains)) - 1] / total for count in counts])
        uniform = [uniform_indices(len(voxels), count) for count in counts]
        shares["uniform"].append([len(np.unique(np.concatenate([voxels[i] for i in u]))) / total for u in uniform])
    return {strategy: np.array(rows) for strategy, rows in shares.items()}
