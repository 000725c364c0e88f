"""`llava rooms make`: a data root of rooms, laid out as ScanNet and its benchmarks ship.

A scene is made in a temporary folder by one process from its own seed, then renamed into place; the scene's folder
under `scannet/scans` is the last thing to appear and the mark that all of the scene is there. So a killed run goes on
where it stopped, and the result is the same bytes whatever the number of workers.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from llava.resumable import end_with_parent, only_one, read_json, write_json

if TYPE_CHECKING:
    from llava.rooms.render import Frames
    from llava.rooms.room import Room

FORMAT = 2  # raised whenever the same seed would give other bytes
MOST_SEED = 60_000  # `scene_seed` stays below pictures.FIRST_SEED: no room is also one of the base model's
SIZE = (192, 144)  # (width, height) of colour and depth
MOST_VAL = 60  # scenes held out unless the number is given
VISIBLE_PIXELS = 60  # an item is visible where it has this many pixels in at least one frame
WORK = ".rooms"  # records of the scenes, and scenes in the making
MAKING = f"{WORK}/making.json"  # the `Making` of a data root
_PURPOSES = ("path", "sensor", "scan", "align", "detector", "scanrefer", "multi3drefer", "scanqa", "sqa3d")


@dataclass(frozen=True)
class Making:
    """What decides every byte of a data root."""

    train: int
    val: int
    test: int
    seed: int
    frames: int
    size: tuple[int, int]  # (width, height)
    format: int = FORMAT

    def splits(self) -> dict[str, list[str]]:
        """Scene names of each split: the first scenes are train, then val, then test."""
        names = [scene_name(i) for i in range(self.train + self.val + self.test)]
        edge = self.train + self.val
        return {"train": names[: self.train], "val": names[self.train : edge], "test": names[edge:]}


def scene_seed(seed: int, index: int) -> int:
    """The seed of scene `index` of a data root: no two data roots with different seeds share a room."""
    return seed * 100_003 + index


def make_rooms(
    out: str | Path,
    scenes: int,
    seed: int = 0,
    *,
    val: int | None = None,
    test: int = 0,
    frames: int = 16,
    size: tuple[int, int] = SIZE,
    workers: int | None = None,
) -> Path:
    """Make a data root of `scenes` rooms, or finish one that was begun with the same arguments.

    Args:
        out: the data root (`scannet/`, `embodiedscan/` and `benchmark/` appear in it).
        scenes: number of scenes, all splits together; at most 10,000 (ScanNet's names have four digits).
        seed: of the whole; scene i is drawn from `scene_seed(seed, i)`.
        val: scenes held out for validation; the default is a tenth, at most 60, and one where there are two or more.
        test: further scenes held out for test; ScanNet has no public ones, these have all annotations.
        frames: video frames a scene.
        size: (width, height) of colour and depth frames.
        workers: processes, the default is one a processor. No byte depends on it.

    Raises ValueError for impossible counts, for a folder that was made with other arguments or holds anything else,
    and where another process is making the same folder.
    """
    making = _checked(scenes, seed, val, test, frames, size)
    if workers is not None and workers < 1:
        raise ValueError(f"{workers} workers: expected 1 or more")
    out = Path(out)
    if holds_other_data(out):
        raise ValueError(
            f"{out} holds files that `llava rooms make` has not made (a real ScanNet, say), and rooms must not mix "
            "with them: give another folder"
        )
    work = out / WORK
    (work / "records").mkdir(parents=True, exist_ok=True)
    with only_one(work, f"is making rooms in {out}"):
        _agree(out, making)
        shutil.rmtree(work / "tmp", ignore_errors=True)  # scenes that a killed run left half made
        splits = making.splits()
        todo = [
            (out, making, name, split)
            for split, names in splits.items()
            for name in names
            if not (out / "scannet/scans" / name).is_dir()
        ]
        _make_all(todo, scenes, workers or os.cpu_count() or 1)
        from llava.rooms.gather import gather

        gather(out, splits, work / "records")
    return out


def provide_rooms(out: Path, scenes: int) -> None:
    """Rooms in `out`: as many as asked for where there is nothing yet, else those that were begun there.

    Rooms that were made with another number or seed are finished as they were begun; data that `make_rooms` has not
    made is left alone. Raises ValueError as `make_rooms` does.
    """
    if holds_other_data(out):
        return
    if not (out / MAKING).exists():
        make_rooms(out, scenes)
        return
    begun = read_json(out / MAKING)
    if begun["format"] != FORMAT:
        print(
            f"{out} holds rooms of format {begun['format']}, used as they are: delete it for those of format {FORMAT}"
        )
        return
    sizes = {name: begun[name] for name in ("seed", "val", "test", "frames", "size")}
    make_rooms(out, begun["train"] + begun["val"] + begun["test"], **sizes)


def holds_other_data(out: Path) -> bool:
    """Whether a folder holds anything although no rooms were begun there; hidden files do not count."""
    if not out.is_dir() or (out / MAKING).exists():
        return False
    return any(not path.name.startswith(".") for path in out.iterdir())


def _checked(scenes: int, seed: int, val: int | None, test: int, frames: int, size: tuple[int, int]) -> Making:
    if val is None:
        val = min(MOST_VAL, max(round(scenes / 10), int(scenes > 1)))  # without one there is nothing to evaluate on
    train = scenes - val - test
    if not 1 <= scenes <= 10_000 or min(val, test) < 0 or train < 0:
        raise ValueError(f"expected 1 to 10000 scenes with val + test of them, found {scenes} with {val} + {test}")
    check_seed(seed)
    if frames < 1 or min(size) < 16:
        raise ValueError(f"expected at least 1 frame of at least 16x16 pixels, found {frames} of {size[0]}x{size[1]}")
    return Making(train, val, test, seed, frames, (int(size[0]), int(size[1])))


def check_seed(seed: int) -> None:
    """Raise ValueError for a seed that no rooms are made from."""
    if not 0 <= seed <= MOST_SEED:
        raise ValueError(f"expected a seed of 0 to {MOST_SEED}, found {seed}; further on lie the base model's rooms")


def _agree(out: Path, making: Making) -> None:
    """Note down how a folder is made, or check that it was begun in the same way."""
    path, wanted = out / MAKING, json.loads(json.dumps(asdict(making)))
    if not path.exists():
        write_json(path, wanted)
    elif (begun := read_json(path)) != wanted:
        raise ValueError(
            f"{out} was made with {begun}, asked for is {wanted}; give the same arguments, or another folder, or "
            "delete this one"
        )


def _make_all(todo: list[tuple[Path, Making, str, str]], scenes: int, workers: int) -> None:
    """Make the scenes that are not there yet, in this process or in several, with a progress bar."""
    from tqdm import tqdm

    with tqdm(total=scenes, initial=scenes - len(todo), desc="rooms", unit="scene", smoothing=0.1) as bar:
        if workers == 1 or len(todo) < 2:
            for task in todo:
                make_scene(*task)
                bar.update()
            return
        context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
        pool = ProcessPoolExecutor(min(workers, len(todo)), mp_context=context, initializer=end_with_parent)
        try:
            with _one_thread():  # handed down to the workers, which start with the first scenes
                futures = {pool.submit(make_scene, *task): task[2] for task in todo}
            for future in as_completed(futures):
                if (error := future.exception()) is not None:
                    if isinstance(error, OSError | BrokenProcessPool):  # the system's doing, to be told as it is
                        raise error
                    raise RuntimeError(f"{futures[future]} could not be made: {error}") from error
                bar.update()
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _one_thread():
    """Processes started inside use one thread each; numpy reads the variable when it is imported."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def make_scene(out: Path, making: Making, name: str, split: str) -> None:
    """Make one scene and move it into place: record and masks first, the scan's folder last."""
    work = out / WORK
    temporary = work / "tmp" / f"{name}.{os.getpid()}"
    (temporary / name).mkdir(parents=True)
    _write_scene(temporary, making, name, split)
    mask = f"{name}.mask.npz"
    record = f"{name}.json"
    for source, folder in ((record, work / "records"), (mask, out / "scannet/mask"), (name, out / "scannet/scans")):
        folder.mkdir(parents=True, exist_ok=True)
        os.replace(temporary / source, folder / source)
    temporary.rmdir()


def _write_scene(folder: Path, making: Making, name: str, split: str) -> None:
    """Draw a room, film it, scan it, detect in it, talk about it; all of it into `folder`."""
    from llava.rooms.detector import detect
    from llava.rooms.mesh import room_mesh
    from llava.rooms.render import intrinsics
    from llava.rooms.scan import scan_room
    from llava.rooms.write import draw_alignment, write_masks, write_scan, write_scan_txt, write_video

    seed = scene_seed(making.seed, scene_index(name))
    room, poses, seen, depth = film(name, seed, making.frames, making.size)
    camera = intrinsics(making.size)
    align = draw_alignment(_dice(seed, "align"))
    raw_poses = (np.linalg.inv(align) @ poses).astype(np.float32)
    scan = scan_room(room, room_mesh(room), _dice(seed, "scan"))
    masks = detect(room, scan, _dice(seed, "detector"))
    write_video(folder / name / f"{name}.sens", seen.color, depth, raw_poses, camera)
    write_scan(folder / name, room, scan, align)
    write_scan_txt(folder / name / f"{name}.txt", room, align, camera, making.size, making.frames)
    write_masks(folder / f"{name}.mask.npz", masks, len(scan.vertices))
    record = {"align": align.tolist(), "intrinsics": camera.tolist(), "poses": raw_poses.tolist()}
    record |= _annotations(room, split, visible_items(seen.ids))
    (folder / f"{name}.json").write_text(json.dumps(record))


def film(name: str, seed: int, frames: int, size: tuple[int, int]) -> tuple[Room, np.ndarray, Frames, np.ndarray]:
    """A room, the camera's path through it (F, 4, 4) in the room's world, what it saw, and its sensor's depth."""
    from llava.rooms.camera_path import camera_path
    from llava.rooms.layout import make_room
    from llava.rooms.render import render, sensor

    room = make_room(seed, name)
    poses = camera_path(room, frames, _dice(seed, "path"))
    seen = render(room, poses, size)
    return room, poses, seen, sensor(seen.depth, _dice(seed, "sensor"))


def _dice(seed: int, purpose: str) -> np.random.Generator:
    """A generator for each purpose, so that a change of one leaves the draws of the others alone."""
    return np.random.default_rng([seed, _PURPOSES.index(purpose)])


def visible_items(ids: np.ndarray) -> set[int]:
    """Items that have at least VISIBLE_PIXELS pixels in one of the frames; ids (F, H, W), -1 where nothing is."""
    found: set[int] = set()
    for frame in ids:
        counts = np.bincount(frame[frame >= 0])
        found.update(np.flatnonzero(counts >= VISIBLE_PIXELS).tolist())
    return found


def _annotations(room: Room, split: str, visible: set[int]) -> dict[str, list[dict]]:
    """What the benchmarks say about a room; the keys are those of `gather.BENCHMARKS`."""
    from llava.rooms.describe import multi3drefer, scanrefer
    from llava.rooms.questions import scanqa
    from llava.rooms.situations import sqa3d

    questions, annotations = sqa3d(room, visible, _dice(room.seed, "sqa3d"))
    return {
        "scanrefer": scanrefer(room, visible, _dice(room.seed, "scanrefer")),
        "multi3drefer": multi3drefer(room, visible, _dice(room.seed, "multi3drefer")),
        "scanqa": scanqa(room, visible, _dice(room.seed, "scanqa"), split),
        "sqa3d_questions": questions,
        "sqa3d_annotations": annotations,
    }


def scene_name(index: int) -> str:
    """ScanNet's name of the scene with this number; every scene has one scan, `_00`."""
    return f"scene{index:04d}_00"


def scene_index(name: str) -> int:
    """The number of a scene: 12 of "scene0012_00"."""
    return int(name[len("scene") : len("scene0000")])
