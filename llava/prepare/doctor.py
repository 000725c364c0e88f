"""`llava doctor`: what a data folder has, what is missing or broken, and where to get it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from llava.captures.scannet import read_align, read_pickle
from llava.prepare import checks
from llava.prepare.layout import SPLITS, Layout
from llava.prepare.voxels import read_voxels
from llava.prepare.workers import Workers
from llava.resumable import read_json
from llava.tasks import TASKS
from llava.tasks.task import Task

SHOWN = 5
SCANS = {"train": 1201, "val": 312, "test": 100}  # of ScanNet v2
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
    notes: tuple[str, ...] = ()  # worth knowing, nothing to repair

    @property
    def fine(self) -> bool:
        return self.found >= self.wanted and not self.broken


@dataclass(frozen=True)
class Report:
    """The state of a data folder; `print(report)` shows it."""

    data: Path
    scenes: dict[str, int]  # split -> number listed
    rows: tuple[Row, ...]
    published: bool  # ScanNet and its benchmarks, whose counts are known; else rooms

    @property
    def complete(self) -> bool:
        """Everything needed is there and whole."""
        return all(row.fine for row in self.rows if row.needed)

    @property
    def preparable(self) -> bool:
        """Everything that must be fetched is there and whole: `llava prepare` can make the rest."""
        return all(row.fine for row in self.rows if row.needed and row.raw)

    def __str__(self) -> str:
        counts = ", ".join(
            f"{count} {split}"
            + (f" (of ScanNet's {SCANS[split]:,})" if self.published and count != SCANS[split] else "")
            for split, count in self.scenes.items()
        )
        lines = [f"{self.data}: {counts} scenes"]
        width = max(len(row.what) for row in self.rows)
        for row in self.rows:
            state = "ok" if row.fine else "BROKEN" if row.broken else "MISSING" if row.needed else "absent"
            lines.append(f"  {state:<8}{row.what:<{width}}  {row.found}/{row.wanted}")
            lines += [f"            {line}" for line in (*row.notes, *row.broken[:SHOWN])]
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
    """Examine a data folder: count every kind of file, and look for empty, cut, unreadable and incomplete ones.

    Raw files whose product is already made (a `.sens` with its posed images, say) are neither needed nor read.
    Images are judged by their first and last bytes. The benchmarks' files are held against the published counts,
    unless the folder was made by `llava rooms make`. ValueError: no such folder, or one without split lists.
    """
    layout = Layout(Path(data))
    splits = layout.splits()
    rooms = (layout.data / ".rooms").is_dir()
    again = "run `llava rooms make` again" if rooms else None
    with Workers(workers) as pool:
        scene_rows = list(_scene_rows(layout, splits, pool, again))
    rows = [
        *scene_rows,
        _alignment_row(layout, splits, again),
        _label_row(layout, scene_rows, again),
        *_entry_rows(layout, splits),
        *(row for task in TASKS.values() for row in _benchmark_rows(layout, task, rooms)),
    ]
    return Report(layout.data, {split: len(names) for split, names in splits.items()}, tuple(rows), not rooms)


def _scene_rows(layout: Layout, splits: dict[str, list[str]], pool: Workers, again: str | None) -> Iterable[Row]:
    """Rows of the files that each scene has of its own; test scenes apart, for no benchmark but SQA3D has any."""
    prepare = f"run `llava prepare {layout.data}`"
    for test in (False, True):
        scenes = [(split, scene) for split, names in splits.items() for scene in names if (split == "test") == test]
        kinds: list[tuple[str, Callable, str, bool]] = [
            ("video (.sens, or posed images)", checks.check_video, again or SCANNET, True),
            ("mesh and labels (or points)", checks.check_scan, again or SCANNET, True),
            ("detector masks", checks.check_mask, again or MASKS, True),
            ("posed images", checks.check_posed_images, prepare, False),
            ("points", checks.check_points, prepare, False),
        ]
        for what, check, remedy, raw in kinds if scenes else ():
            jobs = [(scene, (layout, split, scene)) for split, scene in scenes]
            found, broken, remarked = 0, [], defaultdict(list)
            for name, remarks, problem in pool.each(check, jobs, what):
                found += remarks is not None
                for remark in remarks or ():
                    remarked[remark].append(name)
                if problem is not None:
                    broken.append(f"{name}: {problem}")
            # the published model trains on ground-truth boxes and tests on proposals: without masks one can train
            needed = not test and check is not checks.check_mask
            title = what + (" (test)" if test else "")
            notes = tuple(f"{len(names)} scenes, e.g. {min(names)}: {remark}" for remark, names in remarked.items())
            yield Row(title, found, len(scenes), tuple(sorted(broken)), remedy, raw, needed, notes)


def _alignment_row(layout: Layout, splits: dict[str, list[str]], again: str | None) -> Row:
    """Whether every scan has an axis alignment; test scans, which ScanNet leaves as they were filmed, need none."""
    wanted = {scene: split != "test" for split, names in splits.items() for scene in names}
    found, broken, unaligned = 0, [], 0
    for scene, needed in wanted.items():
        try:
            aligned = read_align(layout.data, scene) is not None
        except ValueError as error:
            broken.append(f"{scene}: {error}")
            continue
        found += aligned and needed
        unaligned += not (aligned or needed)
        if needed and not aligned and layout.scan_txt(scene).exists():
            broken.append(f"{scene}: {layout.scan_txt(scene)} has no line axisAlignment")
    notes = (f"{unaligned} test scans have none: they stay as they were filmed",) if unaligned else ()
    remedy = again or f"<scene>.txt of {SCANNET}; or {INFOS}"
    return Row("axis alignment", found, sum(wanted.values()), tuple(broken), remedy, True, True, notes)


def _label_row(layout: Layout, scene_rows: list[Row], again: str | None) -> Row:
    needed = any(not row.fine for row in scene_rows if row.what == "points")
    return Row(layout.labels().name, int(layout.labels().exists()), 1, (), again or SCANNET, True, needed)


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
    known: set[str] = set()
    if path.exists():
        try:
            known = set(read(path))
        except ValueError as error:
            broken = (str(error),)
        except (AttributeError, LookupError, TypeError) as error:
            broken = (f"{path} has no entry a scene, as it should ({error!r}): delete it, then get or make it again",)
    return Row(path.name, len(set(names) & known), len(names), broken, remedy, raw, needed)


def _benchmark_rows(layout: Layout, task: Task, rooms: bool) -> Iterable[Row]:
    """Rows for a task's annotations (not needed where records are there) and for its records; then for its test splits,
    which no training needs: those that are there, and the one that published numbers are on.
    """
    remedy = "run `llava rooms make` again" if rooms else task.origin
    main = [split for split in task.splits if split in ("train", "val")]
    tests = [
        split
        for split in task.splits
        if split not in main and (_raw_or_made(layout, task, split) or (split == task.published_split and not rooms))
    ]
    for title, splits in ((task.name, main), *((f"{task.name} {split}", [split]) for split in tests)):
        raw_found, made_found, raw_broken, made_broken = 0, 0, [], []
        for split in splits:
            made = [path for stem in task.files if (path := task.processed(layout.data, split, stem)).exists()]
            raw = [path for path in task.raw(layout.data, split) if path.exists()]
            made_found += bool(made)
            raw_found += bool(made) or len(raw) == len(task.annotations)
            published = (None, None) if rooms else task.annotated.get(split, (None, None))
            for path in raw:
                raw_broken += _miscounted(path, *published, "get it again")
            for path in made[:1]:
                count = None if rooms else task.recorded.get(split)
                made_broken += _miscounted(path, count, None, "delete it and run `llava prepare` again")
        prepare = f"run `llava prepare {layout.data}`"
        needed = splits == main
        yield Row(f"{title} annotations", raw_found, len(splits), tuple(raw_broken), remedy, True, needed)
        yield Row(f"{title} records", made_found, len(splits), tuple(made_broken), prepare, False, needed)


def _raw_or_made(layout: Layout, task: Task, split: str) -> bool:
    paths = [*task.raw(layout.data, split), *(task.processed(layout.data, split, stem) for stem in task.files)]
    return any(path.exists() for path in paths)


def _miscounted(path: Path, published: int | None, scans: int | None, remedy: str) -> list[str]:
    """What is wrong with a file of annotations or records: cut short, or not as many as were published."""
    try:
        content = read_json(path)
    except ValueError as error:
        return [str(error)]
    if isinstance(content, dict):  # SQA3D's
        content = content.get("questions", content.get("annotations"))
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
        return [f"{path}: expected a list of annotations or records, found otherwise: {remedy}"]
    problems = []
    if published is not None and len(content) != published:
        problems.append(f"{path}: {len(content):,} entries, published are {published:,}: {remedy}")
    found = len({item.get("scene_id") for item in content}) if scans is not None else None
    if found != scans:
        problems.append(f"{path}: entries about {found:,} scans, published are {scans:,}: {remedy}")
    return problems


def _selected(path: Path) -> set[str]:
    return {record["video_id"] for record in read_json(path)}


def _informed(path: Path) -> set[str]:
    return {info["sample_idx"] for info in read_pickle(path)["data_list"]}
