"""`kill -9` at random moments of `llava prepare`, `import` and `eval`: whatever was killed, all ends the same.

Ten times each, or `--kills N`.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from llava.cli import main
from llava.prepare.layout import Layout
from llava.prepare.run import run_step
from llava.tasks import TASKS
from tests.captures.walk import room_walk
from tests.captures.writers import sens_video

MADE = ("scannet/posed_images", "scannet/pcd_with_object_aabbs", "metadata", "processed")
TICK = os.sysconf("SC_CLK_TCK")


def run(words: list[str], moment: float = float("inf")) -> float | None:
    """Run a command in a process of its own, and kill it when it has worked for so many seconds.

    Returns how long it has worked, or None where it was killed. The time is that of the processor: a moment is then as
    far into the work on a busy machine as on an idle one.
    """
    child = os.fork()  # the command itself, without seconds of imports for each
    if child == 0:
        code = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            main(words)
            code = 0
        finally:
            if code:
                traceback.print_exc()
            os._exit(code)
    worked = 0.0
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        worked = (int(fields[11]) + int(fields[12])) / TICK
        if worked >= moment:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.005)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return None
    assert os.WEXITSTATUS(status) == 0, "the command failed: see above"
    return worked


def survives(words: list[str], made: Callable[[], dict], reset: Callable[[], None], kills: int) -> None:
    """Hold every end of runs that were killed and gone on with against that of an undisturbed one."""
    rng = random.Random(kills)
    whole = run(words)
    expected = made()
    assert expected
    reset()
    assert not made()
    killed = 0
    while True:
        if run(words, rng.uniform(0, whole) if killed < kills else float("inf")) is None:
            killed += 1
            continue
        found = made()
        assert found.keys() == expected.keys()
        assert [name for name in found if found[name] != expected[name]] == []
        if killed == kills:
            return
        reset()


@pytest.fixture
def kills(pytestconfig: pytest.Config) -> int:
    return pytestconfig.getoption("--kills")


def test_prepare(rooms_data: Path, tmp_path: Path, kills: int) -> None:
    data = tmp_path / "data"
    shutil.copytree(rooms_data, data, ignore=lambda folder, names: {Path(name).name for name in MADE} & set(names))

    def made() -> dict[str, bytes]:
        files = [path for name in MADE for path in (data / name).rglob("*") if path.is_file()]
        noted = {path for path in files if path.name == ".made_from.json"}  # holds times of change
        return {path.relative_to(data).as_posix(): path.read_bytes() for path in {*files} - noted}

    def reset() -> None:
        for name in MADE:
            shutil.rmtree(data / name)

    survives(["prepare", str(data), "--workers", "1"], made, reset, kills)


def test_import(tmp_path: Path, kills: int) -> None:
    """A killed import leaves no scene or a whole one, and the next one removes what it left beside it."""
    (tmp_path / "capture").mkdir()
    video, _ = sens_video.write(room_walk(), tmp_path / "capture")
    scene, rng = tmp_path / "out/scene", random.Random(kills)
    words = ["import", str(video), str(scene)]

    def made() -> dict[str, bytes]:
        return {path.relative_to(scene).as_posix(): path.read_bytes() for path in scene.rglob("*") if path.is_file()}

    whole = run(words)
    expected = made()
    assert len(expected) == 25
    for _ in range(kills):
        shutil.rmtree(scene, ignore_errors=True)
        run(words, rng.uniform(0, whole))
        assert made() in ({}, expected)
    shutil.rmtree(scene, ignore_errors=True)
    run(words)
    assert made() == expected
    assert [path.name for path in scene.parent.iterdir()] == ["scene"]


def test_what_is_made_is_not_made_again(rooms_data: Path, tmp_path: Path) -> None:
    """A scene that a killed run has finished is left as it is."""
    data = tmp_path / "data"
    shutil.copytree(rooms_data, data)
    layout = Layout(data)
    first, *_ = scenes = [scene for names in layout.splits().values() for scene in names]
    for scene in scenes[1:]:
        shutil.rmtree(layout.posed_images(scene))
    boxes = json.loads(layout.boxes("train", "gt").read_text())
    entry = {"name": f"scannet/{first}", "result": [[7], [[0.0] * 6]]}  # to be told from a new one
    layout.boxes("train", "gt").unlink()
    layout.boxes("train", "gt").with_suffix(".part.jsonl").write_text(json.dumps(entry) + '\n{"name": "scann')
    before = layout.posed_images(first).stat().st_mtime_ns
    for step in ("posed images", "gt boxes"):
        run_step(step, data, workers=1)
    assert layout.posed_images(first).stat().st_mtime_ns == before
    assert json.loads(layout.boxes("train", "gt").read_text()) == boxes | {f"scannet/{first}": [[0.0] * 6]}


def test_eval(rooms_data: Path, tiny_base: Path, tmp_path: Path, kills: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes, their scores and texts, of which a kill may leave some and not the others of a scene.

    The texts are cut short, for a model with random weights never ends one.
    """
    monkeypatch.setattr("llava.predict.TOGETHER", 1)  # each scene on its own, so that there is more to be cut
    for name, task in TASKS.items():
        monkeypatch.setitem(TASKS, name, replace(task, max_new_tokens=min(task.max_new_tokens, 6)))
    results = tmp_path / "results"
    words = [
        "eval",
        str(tiny_base),
        "--data",
        str(rooms_data),
        "--results",
        str(results),
        "--split",
        "train",
        "--boxes",
        "gt",
    ]

    def made() -> dict[str, bytes]:
        files = [path for path in results.rglob("*") if path.is_file() and path.suffix != ".lock"]
        return {path.relative_to(results).as_posix(): path.read_bytes() for path in files}

    survives([*words, "--tasks", "scanrefer", "multi3drefer", "sqa3d"], made, lambda: shutil.rmtree(results), kills)
