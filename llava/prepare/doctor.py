"""`llava doctor`: what a data folder has, what is missing or broken, and where to get it."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from llava.captures.images import JPEG_END, PNG_END, TAIL
from llava.captures.scannet import read_pickle
from llava.captures.sens import SensReader
from llava.prepare.layout import SPLITS, Layout
from llava.prepare.scans import read_mesh
from llava.prepare.voxels import read_voxels
from llava.prepare.workers import Workers
from llava.resumable import read_json
from llava.tasks import TASKS

SHOWN = 5
SCANNET = "ScanNet: https://github.com/ScanNet/ScanNet (sign its terms of use; its script downloads the rest)"
SHARED_BY_VIDEO3D = "https://huggingface.co/datasets/zd11024/Video-3D-LLM_data"
MASKS = f"mask.zip of {SHARED_BY_VIDEO3D}, or your own Mask3D results as scipy CSR files"
INFOS = "EmbodiedScan: https://github.com/OpenRobotLab/EmbodiedScan"


@dataclass(frozen=True)
class Row:
    """One kind of file: how many are there and whole, how many are wanted, what is wrong with the others."""

    what: str
    found: int
    wanted: int
    broken: tuple[str, ...]  # "scene: reason"
    remedy: str
    raw: bool  # to be fetched; else `llava prepare` makes it
    needed: bool = True  # False: good to have

    @property
    def fine(self) -> bool:
        return self.found >= self.wanted and not self.broken


@dataclass(frozen=True)
class Report:
    """The state of a data folder; `print(report)` shows it."""

    data: Path
    scenes: dict[str, int]  # split -> number listed
    rows: tuple[Row, ...]

    @property
    def complete(self) -> bool:
        """Everything needed is there and whole."""
        return all(row.fine for row in self.rows if row.needed)

    @property
    def preparable(self) -> bool:
        """Everything that must be fetched is there and whole: `llava prepare` can make the rest."""
        return all(row.fine for row in self.rows if row.needed and row.raw)

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {split}" for split, count in self.scenes.items())
        lines = [f"{self.data}: {counts} scenes"]
        width = max(len(row.what) for row in self.rows)
        for row in self.rows:
            state = "ok" if row.fine else "BROKEN" if row.broken else "MISSING" if row.needed else "absent"
            lines.append(f"  {state:<8}{row.what:<{width}}  {row.found}/{row.wanted}")
            lines += [f"            {problem}" for problem in row.broken[:SHOWN]]
            if len(row.broken) > SHOWN:
                lines.append(f"            and {len(row.broken) - SHOWN} more")
            if not row.fine:
                lines.append(f"          -> {row.remedy}")
        if self.complete:
            lines.append("Complete.")
        elif self.preparable:
            lines.append(f"All that must be fetched is there: run `llava prepare {self.data}`.")
        else:
            lines.append("Incomplete: fetch what is missing, then run `llava prepare`.")
        return "\n".join(lines)


def doctor(data: Path, workers: int | None = None) -> Report:
    """Examine a data folder: count every kind of file, and look for empty, cut and unreadable ones.

    Raw files whose product is already made (a `.sens` with its posed images, say) are neither needed nor read.
    Images are judged by their first and last bytes. ValueError: no such folder, or one without split lists.
    """
    layout = Layout(Path(data))
    splits = layout.splits()
    again = "run `llava rooms make` again" if (layout.data / ".rooms").is_dir() else None
    with Workers(workers) as pool:
        rows = [
            *_scene_rows(layout, splits, pool, again),
            *_entry_rows(layout, splits),
            *_benchmark_rows(layout, again),
        ]
    return Report(layout.data, {split: len(names) for split, names in splits.items()}, tuple(rows))


def _scene_rows(layout: Layout, splits: dict[str, list[str]], pool: Workers, again: str | None) -> Iterable[Row]:
    """Rows of the files that each scene has of its own; test scenes apart, for no benchmark but SQA3D has any."""
    prepare = f"run `llava prepare {layout.data}`"
    for test in (False, True):
        scenes = [(split, scene) for split, names in splits.items() for scene in names if (split == "test") == test]
        kinds: list[tuple[str, Callable, str, bool]] = [
            ("video (.sens, or posed images)", _check_video, again or SCANNET, True),
            ("mesh and labels (or points)", _check_scan, again or SCANNET, True),
            ("detector masks", _check_mask, again or MASKS, True),
            ("posed images", _check_posed_images, prepare, False),
            ("points", _check_points, prepare, False),
        ]
        for what, check, remedy, raw in kinds if scenes else ():
            jobs = [(scene, (layout, split, scene)) for split, scene in scenes]
            found, broken = 0, []
            for name, there, problem in pool.each(check, jobs, what):
                found += bool(there)
                if problem is not None:
                    broken.append(f"{name}: {problem}")
            # the published model trains on ground-truth boxes and tests on proposals: without masks one can train
            needed = not test and check is not _check_mask
            title = what + (" (test)" if test else "")
            yield Row(title, found, len(scenes), tuple(sorted(broken)), remedy, raw, needed)


def _entry_rows(layout: Layout, splits: dict[str, list[str]]) -> Iterable[Row]:
    """Rows of the files that hold an entry for each scene."""
    prepare = f"run `llava prepare {layout.data}`"
    for split in SPLITS:
        names = [f"scannet/{scene}" for scene in splits.get(split, [])]
        for kind in ("gt", "pred") if names else ():
            if (split, kind) != ("test", "gt"):
                needed = (split, kind) in (("train", "gt"), ("val", "gt"), ("val", "pred"))
                yield _entries(layout.boxes(split, kind), read_json, names, prepare, needed)
    scenes = [scene for split in ("train", "val") for scene in splits.get(split, [])]
    yield _entries(layout.voxels(), read_voxels, scenes, prepare)
    yield _entries(layout.selection(), _selected, [f"scannet/{scene}" for scene in scenes], prepare)
    aligned = all(layout.scan_txt(scene).exists() for scene in scenes)
    for split in ("train", "val"):
        names = [f"scannet/{scene}" for scene in splits.get(split, [])]
        # they repeat the axis alignment of <scene>.txt
        yield _entries(layout.infos(split), _informed, names, INFOS, not aligned, raw=True)


def _entries(path: Path, read: Callable, names: list[str], remedy: str, needed: bool = True, raw: bool = False) -> Row:
    broken: tuple[str, ...] = ()
    known: Iterable[str] = ()
    if path.exists():
        try:
            known = read(path)
        except ValueError as error:
            broken = (str(error),)
    return Row(path.name, len(set(names) & set(known)), len(names), broken, remedy, raw, needed)


def _benchmark_rows(layout: Layout, again: str | None) -> Iterable[Row]:
    """A row for each task's annotations (not needed where records are there) and one for its records."""
    for task in TASKS.values():
        raw_found, made_found, broken = 0, 0, []
        wanted = [split for split in task.splits if split != "test"]  # its answers are public for SQA3D alone
        for split in wanted:
            made = [path for stem in task.files if (path := task.processed(layout.data, split, stem)).exists()]
            raw = [layout.data / "benchmark" / pattern.format(split) for pattern in task.annotations]
            made_found += bool(made)
            raw_found += bool(made) or all(path.exists() for path in raw)
            for path in made[:1] or [path for path in raw if path.exists()]:
                try:
                    read_json(path)
                except ValueError as error:
                    broken.append(str(error))
        prepare = f"run `llava prepare {layout.data}`"
        yield Row(f"{task.name} annotations", raw_found, len(wanted), (), again or task.origin, True)
        yield Row(f"{task.name} records", made_found, len(wanted), tuple(broken), prepare, False)


def _selected(path: Path) -> set[str]:
    return {record["video_id"] for record in read_json(path)}


def _informed(path: Path) -> set[str]:
    return {info["sample_idx"] for info in read_pickle(path)["data_list"]}


def _check_video(layout: Layout, split: str, scene: str) -> bool:
    if layout.posed_images(scene).is_dir():
        return True
    if not layout.sens(scene).exists():
        return False
    reader = SensReader(layout.sens(scene))
    for _ in reader.frames(every=max(len(reader), 1)):  # goes from frame to frame without reading the pictures
        pass
    return True


def _check_scan(layout: Layout, split: str, scene: str) -> bool:
    if layout.points(split, scene).exists():
        return True
    labels = [] if split == "test" else [layout.segments(scene), layout.aggregation(scene)]
    if not all(path.exists() for path in (layout.mesh(scene), *labels)):
        return False
    read_mesh(layout.mesh(scene))
    for path in labels:
        read_json(path)
    return True


def _check_mask(layout: Layout, split: str, scene: str) -> bool:
    return _is_whole_zip(layout.mask(scene), "get it again")


def _check_points(layout: Layout, split: str, scene: str) -> bool:
    return _is_whole_zip(layout.points(split, scene), "delete it and run `llava prepare` again")


def _is_whole_zip(path: Path, remedy: str) -> bool:
    if path.exists() and not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is damaged or cut short: {remedy}")
    return path.exists()


def _check_posed_images(layout: Layout, split: str, scene: str) -> bool:
    """Every frame has its three files, and the images have their ends."""
    folder = layout.posed_images(scene)
    if not folder.is_dir():
        return False
    names = set(os.listdir(folder))
    stems = sorted({name.split(".")[0] for name in names if name[0].isdigit()})
    wanted = {f"{stem}.{kind}" for stem in stems for kind in ("jpg", "png", "txt")}
    missing = sorted((wanted | {"intrinsic.txt", "depth_intrinsic.txt"}) - names)
    cut = [name for name in sorted(wanted & names) if not _has_end(folder / name)]
    if missing or cut or not stems:
        parts = [f"lacks {', '.join(missing[:SHOWN])}"] * bool(missing) + [f"cut: {', '.join(cut[:SHOWN])}"] * bool(cut)
        reason = "; ".join(parts) or "holds no frame"
        raise ValueError(f"{folder} {reason}; delete the folder and run `llava prepare` again")
    return True


def _has_end(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL))
        tail = file.read()
    return {".jpg": JPEG_END, ".png": PNG_END, ".txt": b""}[path.suffix] in tail and size > 0
