"""How fast a scene is loaded, cold and warm, against the plain way; and what a frozen tower's kept features spare.

    python benchmarks/loading.py

Writes benchmarks/loading.json and .md.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from baselines import loading as baseline
from measure import check_counts, in_child, interleaved, table, write
from PIL import Image
from tqdm import tqdm

from llava.captures.scannet import read_data_scene
from llava.complaints import run_script
from llava.data.cache import open_cache
from llava.data.scenes import SceneSource
from llava.encoders.siglip import Siglip
from llava.frames import read_selection, sample
from llava.prepare.run import prepare
from llava.recipes import ROOMS
from llava.rooms.make import make_rooms

NAME = "scannet/scene0000_00"
ENCODER = Siglip()
GRAIN = 3.0  # of 255; makes enlarged pictures as hard to decode as a camera's (about 220 kB at this quality)
QUALITY = 88
STRATEGY = "mc"


def main(
    frames: int = 32,
    posed: int = 48,
    repeats: int = 5,
    color: tuple[int, int] = (1296, 968),
    depth: tuple[int, int] = (640, 480),
    rooms: int = 8,
    packs: int = 60,
    results: Path = Path(__file__).parent,
) -> None:
    """Measure.

    Args:
        frames: views that are loaded.
        posed: posed images of the scene.
        repeats: runs of each, of which the median counts.
        color: (width, height) of colour images.
        depth: (width, height) of depth images.
        rooms: small rooms to train on, at the size of recipe `rooms`.
        packs: of a training.
        results: the folder to write to.
    """
    counts = {"frames": frames, "posed": posed, "rooms": rooms, "packs": packs}
    check_counts(**counts, repeats=repeats, color=color, depth=depth)
    with tempfile.TemporaryDirectory() as work, _environment(LLAVA_CACHE=None, LLAVA_CACHE_GB=None):
        data = make_scene(Path(work) / "large", posed, color, depth)
        loaded = {boxes: loading(data, frames, boxes, repeats) for boxes in ("gt", "none")}
        ways = (nothing, plain, cold, warm)
        memory = {way.__name__: in_child(_discarding, way, data, frames, "gt").peak_mb for way in ways}
        trained = training(Path(work) / "small", rooms, packs, repeats)
    numbers = {"loading": loaded, "memory_mb": memory, "training": trained}
    text = (
        f"{frames} views ({STRATEGY}) of a room of {posed} posed images, colour {color[0]}x{color[1]}, depth "
        f"{depth[0]}x{depth[1]}, as {ENCODER.image_size}x{ENCODER.image_size} pixels, from the page cache; medians of "
        f"{repeats}, taken in turns.\n\n{_tables(numbers)}"
    )
    write(results / Path(__file__).name, "Loading scenes", text, numbers)


def make_scene(data: Path, posed: int, color: tuple[int, int], depth: tuple[int, int]) -> Path:
    """A prepared data folder with a scene of these sizes: a room's pictures, enlarged."""
    prepare(make_rooms(data, 2, frames=posed, size=depth, workers=1), workers=1)
    folder = data / "scannet/posed_images/scene0000_00"
    grain = np.random.default_rng(0).normal(0, GRAIN, (color[1], color[0], 1)).astype(np.float32)
    for path in sorted(folder.glob("*.jpg")):
        picture = np.asarray(Image.open(path).resize(color, Image.Resampling.BICUBIC)) + grain
        Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(path, quality=QUALITY)
    camera = np.loadtxt(folder / "depth_intrinsic.txt")
    camera[0] *= color[0] / depth[0]
    camera[1] *= color[1] / depth[1]
    np.savetxt(folder / "intrinsic.txt", camera)
    for path in folder.iterdir():  # a file that has just been written is not known by its time
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 60))
    return data


def loading(data: Path, frames: int, boxes: str, repeats: int) -> dict[str, Any]:
    """Seconds of each way and how many times faster than the plain one it is.

    Raises AssertionError where two ways give other tensors.
    """
    threads = torch.get_num_threads()
    ways = {
        "plain": lambda: plain(data, frames, boxes),
        "cold, one thread": lambda: cold(data, frames, boxes, 1),
        f"cold, {threads} threads": lambda: cold(data, frames, boxes, threads),
        "warm": lambda: warm(data, frames, boxes),
    }
    if threads == 1:
        del ways["cold, 1 threads"]
    tensors = {name: way() for name, way in ways.items()}
    for found in tensors.values():
        if any(not torch.equal(found[key], value) for key, value in tensors["plain"].items()):
            raise AssertionError("the ways disagree: a time of wrong results means nothing")
    seconds = interleaved(ways, repeats)
    slow = median(seconds["plain"])
    return {
        "objects": len(tensors["plain"]["object_masks"]),
        "ways": {name: {"seconds": of, "ratio": slow / median(of)} for name, of in seconds.items()},
    }


def source(data: Path, frames: int, boxes: str) -> SceneSource:
    """A source that remembers nothing, as that of a new process."""
    return SceneSource(data, "train", STRATEGY, frames, ENCODER.image_size, ENCODER.build_processor(), boxes)


def nothing(data: Path, frames: int, boxes: str) -> None:
    """What a process needs before it loads anything."""
    source(data, frames, boxes)


def plain(data: Path, frames: int, boxes: str) -> dict[str, torch.Tensor]:
    """The plain way."""
    objects = source(data, frames, boxes).objects(NAME)
    scene = read_data_scene(data, NAME)
    selection = read_selection(data / "metadata/scannet_select_frames.json").get(NAME)
    return baseline.load(scene, sample(scene, STRATEGY, frames, selection), objects, ENCODER)


def cold(data: Path, frames: int, boxes: str, threads: int | None = None) -> dict[str, torch.Tensor]:
    """What the first process to need the scene does; it keeps the result as well."""
    open_cache(data).clear()
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        return _touched(source(data, frames, boxes))
    finally:
        torch.set_num_threads(before)


def warm(data: Path, frames: int, boxes: str) -> dict[str, torch.Tensor]:
    """What every other process does. The cache is left by a `cold` before."""
    return _touched(source(data, frames, boxes))


def _touched(of: SceneSource) -> dict[str, torch.Tensor]:
    """A copy of all tensors, as a batch is: what is only mapped has not been read yet."""
    scene = of.load(NAME)
    return {key: value.clone() for key, value in {**scene.inputs, "object_masks": scene.object_masks}.items()}


def _discarding(way: Callable, *arguments: object) -> None:
    way(*arguments)


def training(data: Path, rooms: int, packs: int, repeats: int) -> dict[str, list[float]]:
    """Packs a second of the recipe `rooms` on a few rooms: without a cache, and with features that were kept before."""
    prepare(make_rooms(data, rooms))
    ways = {"tower looks at every pack": "0", "features kept": None}
    found: dict[str, list[float]] = {name: [] for name in ways}
    train(data, packs, None)  # fills the cache
    for _ in tqdm(range(repeats), desc="training"):
        for name, gigabytes in ways.items():
            found[name].append(train(data, packs, gigabytes))
    return found


def train(data: Path, packs: int, gigabytes: str | None) -> float:
    """Packs a second of one training, its start left out."""
    from llava.loading import start
    from llava.train import train as run

    recipe = replace(ROOMS, train=replace(ROOMS.train, packs=packs, report_to=(), save_steps=packs + 1))
    model, tokenizer = start(recipe)
    out = data.with_name("out")
    shutil.rmtree(out, ignore_errors=True)
    with _environment(LLAVA_CACHE_GB=gigabytes):
        trainer = run(model, tokenizer, recipe, data, out)
    return packs / trainer.state.log_history[-1]["train_runtime"]


@contextmanager
def _environment(**values: str | None) -> Iterator[None]:
    """Set variables, or unset them with None, for a while."""
    before = {name: os.environ.pop(name, None) for name in values}
    os.environ.update({name: value for name, value in values.items() if value is not None})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _tables(numbers: dict[str, Any]) -> str:
    rows = [
        (f"{way}, {of['objects']} boxes", f"{1000 * median(found['seconds']):.1f}", f"{found['ratio']:.1f}x")
        for of in numbers["loading"].values()
        for way, found in of["ways"].items()
    ]
    base = numbers["memory_mb"]["nothing"]
    memory = [(way, f"{of - base:.0f}") for way, of in numbers["memory_mb"].items() if way != "nothing"]
    slow, fast = (median(numbers["training"][way]) for way in ("tower looks at every pack", "features kept"))
    return "\n\n".join(
        [
            table(("way", "milliseconds", "faster"), rows),
            "All ways give identical tensors. *Cold* keeps what it computes, *warm* copies all of it out of the file.",
            table(("way", "peak MB more than before loading"), memory),
            f"Recipe `rooms`, {fast:.2f} packs a second with kept features, {slow:.2f} with the tower in every step "
            f"({fast / slow:.2f}x; losses are equal, `tests/test_features.py`).",
        ]
    )


if __name__ == "__main__":
    run_script(main, __doc__)
