"""How many of a room's objects our own proposals find, and what they are worth to a trained model.

    python benchmarks/proposals.py --checkpoint checkpoints/rooms --data data-rooms-560

Writes benchmarks/proposals.json and prints the tables of benchmarks/proposals.md. LLAVA_CACHE names a folder for the
scene cache where the data folder is not to be written.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tyro
from arms import run_llava
from measure import conditions, table
from tqdm import tqdm

from llava.captures.scannet import read_data_scene
from llava.geometry.boxes import iou
from llava.prepare.layout import Layout
from llava.proposals import Cues, boxes_in
from llava.proposals.fusion import fuse
from llava.recipes import load_recipe
from llava.resumable import read_json
from llava.tasks.task import read_objects
from llava.train import scene_source

SHELL = ("floor", "wall", "ceiling")  # what a room is of; nobody asks for it
BOXES = {"gt": "ground truth", "pred": "stand-in detector", "own": "own proposals"}
SCORES = {"unique_acc@0.25": "unique", "multiple_acc@0.25": "multiple", "acc@0.25": "Acc@0.25", "acc@0.5": "Acc@0.5"}
ALL = "all cues"
CUES = {
    ALL: Cues(),
    "no colour": Cues(color=0),
    "no concave edges": Cues(concavity=0),
    "nothing on walls": Cues(walls=0),
}


def main(
    checkpoint: Path,
    data: Path,
    ablated: int = 16,
    limit: int | None = None,
    out: Path = Path("checkpoints/proposals"),
) -> None:
    """Propose for every held-out room, leave out each cue on training rooms, and score the checkpoint on ScanRefer.

    Args:
        checkpoint: a trained model.
        data: a prepared folder of rooms.
        ablated: so many of the training rooms to leave cues out on, and to take the time on.
        limit: only the first so many held-out rooms.
        out: folder for answers.
    """
    rooms = _things(data, "val", limit)
    source = scene_source(data, "val", load_recipe(checkpoint), "own", "float32")  # the evaluation takes its boxes, too
    own = {name: source.objects(name) for name in tqdm(rooms, desc="proposing")}
    kinds = {kind: read_json(Layout(data).boxes("val", kind)) for kind in ("gt", "pred")} | {"own": own}
    scores = {kind: _scanrefer(checkpoint, data, kind, limit, out) for kind in BOXES}
    recalls = {kind: _recall(rooms, {name: np.array(kinds[kind][name]) for name in rooms}) for kind in BOXES}
    without, seconds = _without_cues(data, ablated)
    stated = {
        "conditions": conditions(),
        "checkpoint": str(checkpoint),
        "boxes": {kind: recalls[kind] | scores[kind] for kind in BOXES},
        "rooms": {name: _recall({name: rooms[name]}, own) for name in rooms},
        "cues, on training rooms": without,
        "seconds of one core, on training rooms": [round(spent, 2) for spent in seconds],
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(stated, indent=1) + "\n")
    columns = ["boxes a room", "boxes an object", "recall@0.25", "recall@0.5"]
    rows = [[BOXES[kind], *recalls[kind].values(), *scores[kind].values()] for kind in BOXES]
    print(", ".join(stated["conditions"].values()))
    print(f"{len(rooms)} rooms; {np.mean(seconds):.1f} s of one core a room in the mean, {max(seconds):.1f} at most\n")
    print(table(["boxes", *columns, *(f"ScanRefer {title}" for title in SCORES.values())], rows), end="\n\n")
    print(
        table([f"{ablated} training rooms", *columns], [[name, *recall.values()] for name, recall in without.items()])
    )


def _things(data: Path, split: str, limit: int | None) -> dict[str, np.ndarray]:
    """{scene: boxes (m, 6)} of all things in rooms, clutter included, the shell left out."""
    layout, found = Layout(data), {}
    for name, objects in list(read_objects(data, split).items())[:limit]:
        groups = read_json(layout.aggregation(name.rpartition("/")[2]))["segGroups"]
        found[name] = np.array([objects[group["objectId"]] for group in groups if group["label"] not in SHELL])
    return found


def _recall(rooms: Mapping[str, np.ndarray], boxes: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Boxes a room and an object, and the share of objects that some box meets, percent."""
    best = np.concatenate([iou(things, boxes[name]).max(axis=1, initial=0) for name, things in rooms.items()])
    offered = sum(len(boxes[name]) for name in rooms)
    return {
        "boxes": round(offered / len(rooms), 1),
        "boxes an object": round(offered / len(best), 2),
        "recall@0.25": round(100 * float((best >= 0.25).mean()), 1),
        "recall@0.5": round(100 * float((best >= 0.5).mean()), 1),
    }


def _without_cues(data: Path, count: int) -> tuple[dict[str, dict[str, float]], list[float]]:
    """Recall by cues, and what `propose` takes of one core for each room, seconds."""
    rooms = _things(data, "train", count)
    found: dict[str, dict[str, np.ndarray]] = {title: {} for title in CUES}
    seconds = []
    for name in tqdm(rooms, desc="leaving cues out"):
        scene, start = read_data_scene(data, name), time.process_time()  # what else the machine does counts not
        cloud = fuse(scene)
        for title, cues in CUES.items():
            found[title][name] = boxes_in(cloud, cues)
            if title == ALL:
                seconds.append(time.process_time() - start)
    return {title: _recall(rooms, boxes) for title, boxes in found.items()}, seconds


def _scanrefer(checkpoint: Path, data: Path, boxes: str, limit: int | None, out: Path) -> dict[str, float]:
    results = out / "results" / boxes
    first: Sequence[str] = ("--limit", str(limit)) if limit else ()
    flags = ["--data", data, "--results", results, "--tasks", "scanrefer", "--boxes", boxes, *first]
    run_llava(["eval", checkpoint, *flags], results.with_suffix(".log"))
    (path,) = [p for p in (results / "scanrefer").glob("*.json") if not p.name.endswith(".run.json")]
    scores = read_json(path)
    return {key: round(scores[key], 1) for key in SCORES}


if __name__ == "__main__":
    tyro.cli(main)
