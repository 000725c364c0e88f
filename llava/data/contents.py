"""A digest of what a data folder says, by which a run tells whether it goes on with the same data."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from llava.resumable import digest
from llava.rooms.make import MAKING
from llava.tasks import find_task


def contents_digest(data: Path, split: str, tasks: Iterable[str]) -> str:
    """A digest of a split's questions, boxes and chosen frames, and of how rooms were made.

    Pictures are not read, which would take minutes; for rooms the making decides them. Files that are not there
    are left out. Raises ValueError for an unknown task.
    """
    metadata = data / "metadata"
    paths = [data / MAKING, metadata / "scannet_select_frames.json", *sorted(metadata.glob(f"scannet_{split}_*.json"))]
    paths += [task.processed(data, split, stem) for task in map(find_task, tasks) for stem in task.files]
    return digest(path for path in paths if path.exists())
