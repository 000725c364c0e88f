"""A run with everything that a report is made of: one rendered room, answers to five benchmarks, a training log."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llava.rooms.camera_path import camera_path
from llava.rooms.layout import make_room
from llava.rooms.render import intrinsics, render

SCENE = "scene0000_00"
SIZE = (96, 72)
FRAMES = 10


@pytest.fixture(scope="session")
def room():
    return make_room(7, SCENE)


@pytest.fixture(scope="session")
def data(room, tmp_path_factory) -> Path:
    """A data folder with the posed images of one room."""
    root = tmp_path_factory.mktemp("data")
    folder = root / "scannet/posed_images" / SCENE
    folder.mkdir(parents=True)
    poses = camera_path(room, FRAMES, np.random.default_rng(0))
    frames = render(room, poses, SIZE)
    for i, pose in enumerate(poses):
        Image.fromarray(frames.color[i]).save(folder / f"{i:05d}.jpg")
        Image.fromarray((1000 * frames.depth[i]).astype(np.uint16)).save(folder / f"{i:05d}.png")
        np.savetxt(folder / f"{i:05d}.txt", pose)
    text = root / f"scannet/scans/{SCENE}/{SCENE}.txt"  # the poses are those of the aligned room already
    text.parent.mkdir(parents=True)
    text.write_text(f"axisAlignment = {' '.join(map(str, np.eye(4).ravel()))}\n")
    camera = np.eye(4)
    camera[:3, :3] = intrinsics(SIZE)
    for name in ("intrinsic.txt", "depth_intrinsic.txt"):
        np.savetxt(folder / name, camera)
    return root


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """What the Trainer and the recipe leave in a training folder."""
    folder = tmp_path / "checkpoints/rooms"
    folder.mkdir(parents=True)
    log = [{"step": step, "loss": 3 / step, "lm_loss": 2 / step, "learning_rate": 1e-3 / step} for step in range(1, 9)]
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": [*log, {"step": 8, "train_runtime": 1.0}]}))
    (folder / "recipe.json").write_text(json.dumps({"name": "rooms", "rooms": 560}))
    return folder


@pytest.fixture
def run_dir(tmp_path, room) -> Path:
    """`results/demo` beside five scored benchmarks of the room's scene."""
    results = tmp_path / "results"
    things = [item for item in room.items if not item.shell]
    for task, scores in SCORES.items():
        (results / task).mkdir(parents=True)
        lines = [answer(task, number, item.box.tolist(), item.label) for number, item in enumerate(things)]
        (results / task / "demo.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        made = {"mode": "ours", "boxes": "pred", "strategy": "mc", "frames": 4, "split": "val", "blind": False}
        (results / task / "demo.json").write_text(json.dumps({**scores, **made, "count": len(lines), "model": "demo"}))
    (results / "demo").mkdir()
    baselines = {"blind": {"scanqa": {"em": 31.2}}, "majority": {"sqa3d": {"em": 33.3}}}
    (results / "demo/baselines.json").write_text(json.dumps(baselines))
    return results / "demo"


SCORES = {
    "scanrefer": {"acc@0.25": 54.1, "acc@0.5": 49.9, "unique_acc@0.25": 90.2, "multiple_acc@0.25": 45.1},
    "multi3drefer": {"close_f1@0.25": 63.2, "f1@0.25": 61.0, "mt_close_f1@0.25": 44.4, "mt_f1@0.25": 40.0},
    "scan2cap": {"cider": 92.0, "cider@0.5": 88.0, "bleu4": 33.0, "bleu4@0.5": 31.2, "class_word": 66.4},
    "scanqa": {"em": 51.3, "em_refined": 55.2, "cider": 117.3},
    "sqa3d": {"em": 44.2, "em_refined": 48.4, "what_em": 30.0, "what_em_refined": 31.0},
}


def answer(task: str, number: int, box: list[float], label: str) -> dict:
    """A line of an answers file; every second answer is wrong."""
    right = number % 2 == 0
    line = {"sample_id": number, "scene": f"scannet/{SCENE}", "model_id": "demo", "question_type": "mt"}
    if task in ("scanrefer", "multi3drefer"):
        found = [box] if right else [[9.0, 9.0, 1.0, 0.5, 0.5, 0.5]]
        question = f"Identify the object according to the following description.\nThe {label} <b>here</b>."
        gold = box if task == "scanrefer" else [box]
        return {**line, "question": question, "gt_response": gold, "gt_boxes": [box], "pred_boxes": found}
    if task == "scan2cap":
        text = f"This is a {label} by the wall." if right else "Nothing of that kind."
        question = "Given an object located at <coord> , describe the object in detail."
        boxes = {"gt_boxes": [box], "pred_boxes": [box], "gt_response": [f"This is a {label} by the wall."]}
        return {**line, "question": question, "pred_response": text, **boxes}
    question = f"What is by the {label}? Answer the question simply."
    return {**line, "question": question, "pred_response": "the wall" if right else "a sea", "gt_response": "wall"}
