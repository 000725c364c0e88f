"""The steps of the preparation, each for all scenes of a data folder. A step makes what is missing and no more.

A file with an entry for each scene is written when all entries are known; until then they are noted line by line in a
journal beside it, so that a killed run loses no scene. Killed or not, the file is the same to the byte; a scene whose
input has changed since the kill is done again.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np

from llava.captures.scannet import read_label_table
from llava.prepare import boxes, coverage, scans
from llava.prepare.layout import Layout
from llava.prepare.posed_images import extract_frames
from llava.prepare.voxels import read_voxels, scan_voxels, write_voxels
from llava.prepare.workers import Workers
from llava.resumable import read_json, write_json

Compat = Literal["video3d"] | None
Jobs = list[tuple[str, tuple]]


@dataclass(frozen=True)
class Outcome:
    """What a step did."""

    made: int
    there: int  # made earlier
    without: int  # cannot be made: the input is not there
    needs: str  # that input
    problems: tuple[str, ...] = ()  # "scene: what is wrong with its input"
    notes: tuple[str, ...] = ()  # worth knowing, nothing to repair


def posed_images(layout: Layout, workers: Workers, every: int | None = None, compat: Compat = None) -> Outcome:
    """`.sens` -> posed_images/<scene>/. Scenes that have posed images need no `.sens`."""
    scenes = [scene for names in layout.splits().values() for scene in names]
    todo = [scene for scene in scenes if not layout.posed_images(scene).is_dir()]
    ready = [scene for scene in todo if layout.sens(scene).exists()]
    jobs = [(scene, (layout.sens(scene), layout.posed_images(scene), every, compat)) for scene in ready]
    made, problems = _for_each(workers, extract_frames, jobs, "posed images")
    there = len(scenes) - len(todo)
    return Outcome(len(made), there, len(todo) - len(ready), ".sens", problems)


def points(layout: Layout, workers: Workers) -> Outcome:
    """Mesh, segments and labels -> pcd_with_object_aabbs/<split>/<scene>.pth."""
    places = [(split, scene) for split, names in layout.splits().items() for scene in names]
    todo = [(split, scene) for split, scene in places if not layout.points(split, scene).exists()]
    ready = [(split, scene) for split, scene in todo if layout.mesh(scene).exists()]
    jobs = [(scene, (layout, split, scene)) for split, scene in ready]
    made, problems = _for_each(workers, _make_points, jobs, "points")
    return Outcome(len(made), len(places) - len(todo), len(todo) - len(ready), "mesh", problems)


def gt_boxes(layout: Layout, workers: Workers, compat: Compat = None) -> Outcome:
    """Boxes of the labelled objects -> scannet_{train,val}_gt_box.json, and whose they are beside it.

    Boxes stand in the order of their objects' ids. Where ids have gaps a box's place is not its object's id:
    `scannet_<split>_gt_object_ids.json` tells the ids. `compat="video3d"` leaves such scenes out, as the reference.
    """
    outcomes = []
    for split, names in layout.splits().items():
        if split == "test":  # ScanNet's test scans have no labels
            continue
        known = _read(layout.boxes(split, "gt"))
        ids = _read(layout.object_ids(split))
        todo = [scene for scene in names if f"scannet/{scene}" not in known]
        ready = [scene for scene in todo if layout.points(split, scene).exists()]
        jobs = [(f"scannet/{scene}", (layout.points(split, scene), compat)) for scene in ready]
        journal = _journal(layout.boxes(split, "gt"), compat)
        made, problems = _for_each(workers, _gt_entry, jobs, f"gt boxes {split}", journal)
        if made:
            ids.update((name, entry[0]) for name, entry in made.items())
            known.update((name, entry[1]) for name, entry in made.items())
            write_json(layout.object_ids(split), _in_order(ids, names), indent=None)
            write_json(layout.boxes(split, "gt"), _in_order(known, names), indent=None)
        journal.unlink(missing_ok=True)
        gaps = [name for name, entry in made.items() if boxes.has_gap(entry[0])]
        notes = tuple(f"{name}: object ids have gaps, {layout.object_ids(split).name} tells them" for name in gaps)
        outcomes.append(Outcome(len(made), len(names) - len(todo), len(todo) - len(ready), "points", problems, notes))
    return _sum(outcomes, "points")


def proposals(layout: Layout, workers: Workers, compat: Compat = None) -> Outcome:
    """A detector's masks -> scannet_{train,val,test}_pred_box.json."""
    outcomes = []
    for split, names in layout.splits().items():
        known = _read(layout.boxes(split, "pred"))
        todo = [scene for scene in names if f"scannet/{scene}" not in known]
        ready = [scene for scene in todo if layout.mask(scene).exists() and layout.points(split, scene).exists()]
        jobs = [(f"scannet/{s}", (layout.points(split, s), layout.mask(s), compat)) for s in ready]
        journal = _journal(layout.boxes(split, "pred"), compat)
        made, problems = _for_each(workers, _pred_entry, jobs, f"proposals {split}", journal)
        if made:
            known.update((name, entry[0]) for name, entry in made.items())
            write_json(layout.boxes(split, "pred"), _in_order(known, names), indent=None)
        journal.unlink(missing_ok=True)
        notes = tuple(f"{name}: empty masks {entry[1]} have no box" for name, entry in made.items() if entry[1])
        outcomes.append(Outcome(len(made), len(names) - len(todo), len(todo) - len(ready), "mask", problems, notes))
    return _sum(outcomes, "mask")


def voxels(layout: Layout, workers: Workers) -> Outcome:
    """Points -> pcd_discrete_0.1.pkl."""
    places = [(split, scene) for split, names in layout.splits().items() for scene in names]
    known = read_voxels(layout.voxels()) if layout.voxels().exists() else {}
    todo = [(split, scene) for split, scene in places if scene not in known]
    ready = [(split, scene) for split, scene in todo if layout.points(split, scene).exists()]
    jobs = [(scene, (layout.points(split, scene),)) for split, scene in ready]
    journal = _journal(layout.voxels())
    made, problems = _for_each(workers, _voxel_entry, jobs, "voxels", journal)
    if made:
        known.update((scene, _voxels_of(text)) for scene, text in made.items())
        order = [scene for _, scene in places]
        write_voxels(layout.voxels(), {scene: known[scene] for scene in sorted(known, key=_place(order))})
    journal.unlink(missing_ok=True)
    return Outcome(len(made), len(places) - len(todo), len(todo) - len(ready), "points", problems)


def selection(layout: Layout, workers: Workers, compat: Compat = None) -> Outcome:
    """Posed images and voxels -> scannet_select_frames.json, the frames that cover each scene best."""
    scenes = [scene for names in layout.splits().values() for scene in names]
    path = layout.selection()
    known = {record["video_id"]: record for record in _read(path, [])}
    todo = [scene for scene in scenes if f"scannet/{scene}" not in known]
    cells = read_voxels(layout.voxels()) if todo and layout.voxels().exists() else {}
    ready = [scene for scene in todo if scene in cells and layout.posed_images(scene).is_dir()]
    options = (coverage.MOST_FRAMES, compat, workers.threads(len(ready)))
    jobs = [(f"scannet/{s}", (layout.posed_images(s), cells[s], *options)) for s in ready]
    journal = _journal(path, compat)
    made, problems = _for_each(workers, coverage.select_frames, jobs, "frame choice", journal)
    if made:
        write_json(path, list(_in_order(known | made, scenes).values()), indent=None)
    journal.unlink(missing_ok=True)
    return Outcome(len(made), len(scenes) - len(todo), len(todo) - len(ready), "images and mesh", problems)


def _for_each(
    workers: Workers, function: Callable, jobs: Jobs, title: str, journal: Path | None = None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Results by name in the order of the jobs (whoever finished first), and a line for each that failed.

    With a journal each result is noted there as soon as it is known, and what a killed run noted is not done again,
    unless the job is given something else now.
    """
    results = {} if journal is None else _noted(journal, jobs)
    problems, given = {}, dict(jobs)
    left = [(name, arguments) for name, arguments in jobs if name not in results]
    with _appending(journal) if journal is not None and left else nullcontext() as lines:
        for name, result, problem in workers.each(function, left, title):
            if problem is not None:
                problems[name] = f"{name}: {problem}"
                continue
            results[name] = result
            if lines is not None:
                lines.write(json.dumps({"name": name, "given": _given(given[name]), "result": result}) + "\n")
                lines.flush()
    names = [name for name, _ in jobs]
    return {n: results[n] for n in names if n in results}, tuple(problems[n] for n in names if n in problems)


def _journal(path: Path, compat: Compat = None) -> Path:
    """Where a step notes the entries of the file that it is going to write; each way of making them has its own."""
    return path.with_suffix(f".{compat}.part.jsonl" if compat else ".part.jsonl")


def _appending(journal: Path) -> TextIO:
    journal.parent.mkdir(parents=True, exist_ok=True)
    return journal.open("a", encoding="utf-8")


def _noted(path: Path, jobs: Jobs) -> dict[str, Any]:
    """What a killed run noted of these jobs, {name: result}; the line that it was writing is cut off."""
    if not path.exists():
        return {}
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        os.truncate(path, len(whole))
    entries = {}
    for line in whole.splitlines():
        try:
            entry = json.loads(line)
            entries[entry["name"]] = (entry["given"], entry["result"])
        except (KeyError, TypeError, ValueError):
            continue  # a lost block of the disk: the scene is done again
    return {
        name: entries[name][1] for name, arguments in jobs if name in entries and entries[name][0] == _given(arguments)
    }


def _given(arguments: tuple) -> str:
    """A digest of what a job works on: of files the sizes and times of change, of arrays the content."""
    found = sha256()
    for argument in arguments:
        if isinstance(argument, Path):
            status = argument.stat()
            found.update(f"{argument.name} {status.st_size} {status.st_mtime_ns} ".encode())
        elif isinstance(argument, np.ndarray):
            found.update(np.ascontiguousarray(argument).tobytes())
    return found.hexdigest()[:16]


def _in_order(entries: dict[str, Any], scenes: list[str]) -> dict[str, Any]:
    """Entries of "scannet/<scene>" in the order of the lists, whenever each was made; those of no list behind."""
    return {name: entries[name] for name in sorted(entries, key=_place([f"scannet/{scene}" for scene in scenes]))}


def _place(order: list[str]) -> Callable[[str], int]:
    places = {name: i for i, name in enumerate(order)}
    return lambda name: places.get(name, len(order))


def _make_points(layout: Layout, split: str, scene: str) -> None:
    points = scans.read_scan(layout, scene, _label_table(layout.labels()), labelled=split != "test")
    scans.write_points(layout.points(split, scene), points)


_label_table = lru_cache(maxsize=1)(read_label_table)


def _gt_entry(path: Path, compat: Compat) -> tuple[list[int], list[list[float]]]:
    points = scans.read_points(path)
    ids = points["aabb_obj_ids"]
    if compat == "video3d" and boxes.has_gap(ids):
        raise ValueError(f"left out: its object ids {ids.tolist()} have gaps")
    return ids.tolist(), boxes.object_boxes(points["aabb_corner_xyz"]).tolist()


def _pred_entry(path: Path, mask: Path, compat: Compat) -> tuple[list[list[float]], list[int]]:
    found, empty = boxes.proposal_boxes(scans.read_points(path)["xyz"], boxes.read_masks(mask), compat=compat)
    return found.tolist(), empty


def _voxel_entry(path: Path) -> str:
    """The scan's voxels as text, for the journal."""
    return b64encode(scan_voxels(scans.read_points(path)["xyz"]).astype("<i2").tobytes()).decode()


def _voxels_of(text: str) -> np.ndarray:
    return np.frombuffer(b64decode(text), "<i2").reshape(-1, 3)


def _read(path: Path, default: Any = None) -> Any:
    if path.exists():
        return read_json(path)
    return {} if default is None else default


def _sum(outcomes: list[Outcome], needs: str) -> Outcome:
    return Outcome(
        sum(outcome.made for outcome in outcomes),
        sum(outcome.there for outcome in outcomes),
        sum(outcome.without for outcome in outcomes),
        needs,
        tuple(problem for outcome in outcomes for problem in outcome.problems),
        tuple(note for outcome in outcomes for note in outcome.notes),
    )
