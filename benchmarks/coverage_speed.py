"""How fast frames of maximum coverage are chosen: against the plain way, against scene size, many scenes at once.

    python benchmarks/coverage_speed.py

Writes benchmarks/coverage_speed.json and .md. What the choice is worth in answers is another matter: sampling.py.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from baselines import sampling as baseline
from measure import Run, check_counts, growth_exponent, in_child, table, write
from PIL import Image
from tqdm import tqdm

from llava.captures.scannet import read_data_scene
from llava.complaints import run_script
from llava.geometry.voxels import pack_keys, union, unpack_keys
from llava.prepare.coverage import MOST_FRAMES, select_frames
from llava.prepare.voxels import scan_voxels
from llava.prepare.workers import Workers
from llava.rooms.camera_path import camera_path
from llava.rooms.layout import make_room
from llava.rooms.mesh import room_mesh
from llava.rooms.render import FOV, camera_rays, cast, intrinsics, raycaster, sensor

SHIFT = 10.0  # metres between two rooms of a flat
COLOR_SIZE = (1296, 968)


def main(
    images: int = 200,
    growth: tuple[int, ...] = (200, 500, 1000, 2000),
    scenes: int = 8,
    repeats: int = 5,
    size: tuple[int, int] = (640, 480),
    work: Path = Path("checkpoints/coverage_speed"),
    results: Path = Path(__file__).parent,
) -> None:
    """Measure. Every second posed image is a candidate, or all where that leaves fewer than 32, as in the preparation.

    Args:
        images: posed images of the scene on which the two ways are compared.
        growth: posed images of the scenes that tell how time grows.
        scenes: of so many images, that many worker processes choose from at the same time.
        repeats: runs of each, of which the median counts.
        size: (width, height) of depth images.
        work: where the scenes are made, and kept for the next run.
        results: the folder to write to.
    """
    check_counts(images=images, growth=growth, scenes=scenes, repeats=repeats, size=size)
    cores = os.cpu_count() or 1
    flats = {count: make_flat(work, count, images, size) for count in {images, *growth}}
    ways = {"plain": (plain, ()), "one thread": (fast, (1,)), f"{cores} threads": (fast, (cores,))}
    runs: dict[str, list[Run]] = {name: [] for name in ways}
    for _ in tqdm(range(repeats), desc="against the plain way"):
        for name, (way, options) in ways.items():
            runs[name].append(in_child(way, *flats[images], *options))
    chosen = [run.result for of_way in runs.values() for run in of_way]
    if any(other != chosen[0] for other in chosen):
        raise AssertionError("the ways disagree about the frames: a time of wrong results means nothing")
    grown = {
        count: median(in_child(fast, *flats[count], cores).seconds for _ in range(repeats))
        for count in tqdm(growth, desc="growth")
    }
    together = {n: in_child(many, *flats[images], scenes, n, processes=True) for n in sorted({1, cores})}
    numbers = _numbers(runs, grown, together, scenes)
    candidates = len(_candidates(range(images)))
    text = f"{images} posed images of {size[0]}x{size[1]} ({candidates} candidates), medians of {repeats} processes."
    text += "\n\n" + _tables(numbers)
    write(results / Path(__file__).name, "Speed of maximum coverage", text, numbers)


def plain(data: Path, name: str, voxels: np.ndarray) -> tuple[list[str], list[int]]:
    """The plain way: names of the frames chosen, and the voxels that each added."""
    scene = read_data_scene(data, name)
    frames = _candidates(scene.frames)
    files, poses = [frame.depth for frame in frames], [frame.pose for frame in frames]
    scan = {tuple(row) for row in voxels.tolist()}
    order, gains = baseline.select_frames(files, poses, scene.depth_intrinsics, scan, MOST_FRAMES)
    return [frames[i].name for i in order], gains


def _candidates(frames: Sequence) -> Sequence:
    return frames[::2] if len(frames[::2]) >= MOST_FRAMES else frames


def fast(data: Path, name: str, voxels: np.ndarray, threads: int) -> tuple[list[str], list[int]]:
    """What `llava prepare` does, by the published rule, in the form of `plain`."""
    folder = data / "scannet/posed_images" / name.removeprefix("scannet/")
    record = select_frames(folder, voxels, compat="video3d", threads=threads)
    return [Path(file).stem for file in record["frame_files"]], record["voxel_nums"]


def many(data: Path, name: str, voxels: np.ndarray, scenes: int, workers: int) -> int:
    """The same scene again and again in worker processes; how many were done."""
    jobs = [(str(number), (data, name, voxels, 1)) for number in range(scenes)]
    with Workers(workers) as pool:
        return sum(problem is None for _, _, problem in pool.each(fast, jobs, f"{workers} workers"))


def make_flat(work: Path, count: int, distinct: int, size: tuple[int, int]) -> tuple[Path, str, np.ndarray]:
    """A scene of `count` posed images of a room, or of several beside each other where it takes more than `distinct`.

    The rooms are one room, and share its depth images: what reading and choosing cost does not depend on that.

    Returns:
        The data folder, the scene's name, and the distinct voxels (k, 3) of its rooms' surfaces.
    """
    data, scene = work / f"{count}-{size[0]}x{size[1]}", "scene0000_00"
    folder, scan = data / "scannet/posed_images" / scene, data / "scannet/scans" / scene / f"{scene}.txt"
    room = make_room(0, scene)
    mesh = room_mesh(room)
    poses = camera_path(room, min(count, distinct), np.random.default_rng(0))
    if not scan.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _film(folder, mesh, poses, count, size)
        scan.parent.mkdir(parents=True, exist_ok=True)
        scan.write_text(f"axisAlignment = {' '.join(map(str, np.eye(4).ravel()))}\n")
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    mixed = np.random.default_rng(0).dirichlet((1, 1, 1), (len(corners), 400))  # points on each face
    keys = pack_keys(scan_voxels(np.einsum("fpc,fcx->fpx", mixed, corners).reshape(-1, 3)))
    step = pack_keys(np.array([round(SHIFT / 0.1), 0, 0])) - pack_keys(np.zeros(3))
    rooms = -(-count // len(poses))
    return data, f"scannet/{scene}", unpack_keys(union([keys + number * step for number in range(rooms)]))


def _film(folder: Path, mesh: Any, poses: np.ndarray, count: int, size: tuple[int, int]) -> None:
    rays, surfaces, rng = camera_rays(size, FOV), raycaster(mesh), np.random.default_rng(1)
    for index in tqdm(range(count), desc=f"filming {count} images"):
        number, at = divmod(index, len(poses))
        files = [folder / f"{index:05d}.{ending}" for ending in ("png", "jpg", "txt")]
        pose = np.array(poses[at], np.float64)
        pose[0, 3] += number * SHIFT
        np.savetxt(files[2], pose, fmt="%f")
        for file in files[:2]:
            file.unlink(missing_ok=True)  # of a run that was stopped
            if number:
                file.hardlink_to(folder / f"{at:05d}{file.suffix}")
        if not number:
            z = cast(surfaces, rays, poses[at])["t_hit"].reshape(size[::-1])
            Image.fromarray(sensor(np.where(np.isfinite(z), z, 0), rng)).save(files[0])
            Image.new("RGB", COLOR_SIZE).save(files[1])
    for name, of_size in (("depth_intrinsic.txt", size), ("intrinsic.txt", COLOR_SIZE)):
        np.savetxt(folder / name, intrinsics(of_size))


def _numbers(
    runs: dict[str, list[Run]], grown: dict[int, float], together: dict[int, Run], scenes: int
) -> dict[str, Any]:
    slow = median(run.seconds for run in runs["plain"])
    return {
        "ways": {
            name: {
                "seconds": [run.seconds for run in of_way],
                "peak_mb": max(run.peak_mb for run in of_way),
                "ratio": slow / median(run.seconds for run in of_way),
            }
            for name, of_way in runs.items()
        },
        "growth": {
            "seconds": grown,
            "exponent": growth_exponent(list(grown), list(grown.values())) if len(grown) > 1 else None,
        },
        "many": {n: {"scenes_per_minute": scenes * 60 / r.seconds, "peak_mb": r.peak_mb} for n, r in together.items()},
    }


def _tables(numbers: dict[str, Any]) -> str:
    ways = [
        (name, f"{median(way['seconds']):.2f}", f"{way['ratio']:.0f}x", f"{way['peak_mb']:.0f}")
        for name, way in numbers["ways"].items()
    ]
    grown = [(count, f"{seconds:.2f}") for count, seconds in numbers["growth"]["seconds"].items()]
    many = [(n, f"{of['scenes_per_minute']:.0f}", f"{of['peak_mb']:.0f}") for n, of in numbers["many"].items()]
    parts = [table(("way", "seconds", "faster", "peak MB of the process"), ways)]
    parts += ["All ways choose the same frames in the same order, with the same gains."]
    parts += [table(("posed images", "seconds"), grown)]
    if numbers["growth"]["exponent"] is not None:
        parts += [f"Seconds grow as images to the power of {numbers['growth']['exponent']:.2f} (rooms grow with them)."]
    parts += [table(("workers", "scenes a minute", "peak MB, all processes"), many)]
    return "\n\n".join(parts)


if __name__ == "__main__":
    run_script(main, __doc__)
