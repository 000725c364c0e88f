"""Which frames of a scene the model sees: evenly spaced, or those that together cover most of it.

    uniform       evenly spaced in time; repeats frames when the scene has fewer than asked for
    mc            greedy maximum coverage of voxels (Video-3D LLM, CVPR 2025, section 3.3)
    mc-ratio95    the same, but stop once 95 % of the scene is covered (mc-ratio90: 90 %)

The bare names ratio95 and ratio90 mean mc-ratio95 and mc-ratio90. Chosen frames come back in time order. Where no frame
has any depth, coverage tells nothing: frames are then evenly spaced whatever the strategy, and none is repeated.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from llava.captures.pixels import scene_voxels, some_frames, uniform_indices
from llava.geometry.voxels import max_coverage, union
from llava.types import Scene

RATIOS = {"mc": None, "mc-ratio95": 0.95, "mc-ratio90": 0.90}
ALIASES = {"ratio95": "mc-ratio95", "ratio90": "mc-ratio90"}
STRATEGIES = ("uniform", *RATIOS)


def sample(
    scene: Scene,
    strategy: str,
    max_frames: int,
    selection: dict[str, Any] | None = None,
    *,
    voxels: list[np.ndarray] | None = None,
    threads: int = 1,
) -> list[int]:
    """Choose frames.

    Args:
        scene: where to choose from.
        strategy: one of ``STRATEGIES`` or their aliases.
        max_frames: how many at most.
        selection: the scene's record in ``scannet_select_frames.json`` (``read_selection``), the greedy order
            computed beforehand against the scan's voxels. None, or an order that ends before ``max_frames`` although
            the scene has more: computed here from the depth images, where "all of the scene" is what all its frames
            see together.
        voxels: ``scene_voxels(scene)``, if at hand.
        threads: depth images read at the same time where that has to be computed.

    Returns:
        Indices into ``scene.frames``, ascending.

    Raises:
        ValueError: unknown strategy, ``max_frames`` below 1, a scene without frames, or a selection made for other
            frames or lost ones.
    """
    strategy = canonical_strategy(strategy)
    if max_frames < 1:
        raise ValueError(f"max_frames must be at least 1, got {max_frames}")
    if not scene.frames:
        raise ValueError(f"scene {scene.name} has no frame to choose")
    if strategy == "uniform":
        return uniform_indices(len(scene.frames), max_frames)
    if selection is not None:
        names, gains, total = _read_record(scene, selection)
        keep = _prefix(gains, total, RATIOS[strategy], max_frames)
        if keep <= len(names) or len(names) == len(scene.frames) + len(scene.dropped):
            return _selected(scene, names[:keep]) if any(gains) else some_frames(scene, max_frames)
    voxels = scene_voxels(scene, threads=threads) if voxels is None else voxels
    order, gains = max_coverage(voxels, max_frames)
    if not any(gains):
        return some_frames(scene, max_frames)
    return sorted(order[: _prefix(gains, len(union(voxels)), RATIOS[strategy], max_frames)])


def _selected(scene: Scene, names: Sequence[str]) -> list[int]:
    position = {frame.name: index for index, frame in enumerate(scene.frames)}
    chosen = sorted(position[name] for name in names if name in position)
    if not chosen:
        raise ValueError(
            f"none of the {len(names)} frames selected for {scene.name} can be used: restore their files, or delete "
            "metadata/scannet_select_frames.json and run `llava prepare` again"
        )
    return chosen


def canonical_strategy(strategy: str) -> str:
    """The strategy's full name; ValueError with the nearest name for an unknown one."""
    full = ALIASES.get(strategy, strategy)
    if full not in STRATEGIES:
        near = get_close_matches(strategy, (*STRATEGIES, *ALIASES), n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown sampling strategy {strategy!r}: choose one of {', '.join(STRATEGIES)}{hint}")
    return full


def read_selection(path: Path) -> dict[str, dict[str, Any]]:
    """``scannet_select_frames.json`` by scene name ("scannet/scene0000_00"). ValueError: missing or damaged."""
    try:
        records = json.loads(Path(path).read_text())
        for record in records:
            _check_record(record)
        return {record["video_id"]: record for record in records}
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing: `llava prepare` makes it") from error
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} is no list of frame selections ({error!r}): delete it and run `llava prepare` again"
        ) from error


def _check_record(record: dict[str, Any]) -> None:
    """Raise ValueError, TypeError or KeyError for what is no frame selection."""
    files, gains = record["frame_files"], record["voxel_nums"]
    if not all(isinstance(value, list) for value in (files, gains)) or len(files) != len(gains):
        raise ValueError(f"{record['video_id']}: expected a number of voxels for each file")
    if not all(isinstance(value, int) for value in (*gains, record["num_all_voxels"])):
        raise ValueError(f"{record['video_id']}: expected whole numbers of voxels")


def _read_record(scene: Scene, record: dict[str, Any]) -> tuple[list[str], Sequence[int], int]:
    names = [PurePosixPath(file).stem for file in record["frame_files"]]
    known = {frame.name for frame in scene.frames} | {drop.name for drop in scene.dropped}
    strange = [name for name in names if name not in known]
    if strange:
        raise ValueError(
            f"the frame selection of {scene.name} names {strange[0]!r}, which the scene does not have: "
            "its posed images changed since; delete metadata/scannet_select_frames.json and run `llava prepare` again"
        )
    return names, record["voxel_nums"], record["num_all_voxels"]


def _prefix(gains: Sequence[int], total: int, ratio: float | None, max_frames: int) -> int:
    """How many frames of the greedy order to take: up to and including the one that reaches ``ratio``."""
    reached = np.cumsum(gains) >= (np.inf if ratio is None else ratio * total)
    return min(max_frames, int(np.argmax(reached)) + 1 if reached.any() else max_frames)
