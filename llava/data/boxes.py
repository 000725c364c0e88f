"""The boxes that a scene's objects are chosen from: which kinds there are, and those of our own."""

from __future__ import annotations

import json
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from llava.captures.scannet import data_align, data_scene_folder, read_data_scene
from llava.data.cache import Cache
from llava.data.scene_keys import folder_stamp, proposing_digest
from llava.proposals import propose

BOXES = ("gt", "pred", "gt+pred", "own", "none")


def check_boxes(kind: str) -> None:
    """Raise ValueError, with the nearest name, for boxes that are none of `BOXES`."""
    if kind not in BOXES:
        hint = get_close_matches(kind, BOXES, n=1) or BOXES[:1]
        raise ValueError(f"unknown boxes {kind!r}: choose one of {', '.join(BOXES)}; did you mean {hint[0]!r}?")


def box_array(values: list, name: str, source: Path) -> np.ndarray:
    """(n, 6) float32; ValueError for anything else, and for what is not finite."""
    try:
        boxes = np.array(values, dtype=np.float32)
    except (TypeError, ValueError):
        boxes = np.full(1, np.nan)
    if boxes.size and (boxes.shape[1:] != (6,) or not np.isfinite(boxes).all()):
        raise ValueError(
            f"{source}: the boxes of scene {name!r} are no lists of six finite numbers (centre, size): delete the file "
            "and run `llava prepare` again"
        )
    return boxes.reshape(-1, 6)


def own_boxes(data: Path, name: str, cache: Cache) -> list[list[float]]:
    """Our own proposals for a scene of a data folder, which take seconds: noted in the cache."""
    folder = data_scene_folder(data, name)
    parts = [data_align(data, folder.name).tobytes()]
    stamp = folder_stamp(proposing_digest(), folder, parts)
    note = cache.recall(stamp) if stamp else None
    if note and "boxes" in note:
        return json.loads(note["boxes"])
    boxes = propose(read_data_scene(data, name)).tolist()
    if stamp and stamp == folder_stamp(proposing_digest(), folder, parts):  # unchanged while it was read
        cache.note(stamp, {"boxes": json.dumps(boxes)})
    return boxes
