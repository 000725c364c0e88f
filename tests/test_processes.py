"""How processes are started; and that several answer as one does, whoever is killed and whatever is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from llava.answer_files import gather, part_file, part_files
from llava.model.checkpoint import load_model as load
from llava.processes import launch_line
from llava.tasks import TASKS
from llava.train import last_checkpoint
from llava.types import Sample

REPOSITORY = Path(__file__).resolve().parents[1]
TORCHRUN = ["-m", "torch.distributed.run"]


@pytest.mark.parametrize(
    ("environment", "gpus", "expected"),
    [
        ({}, 0, []),
        ({}, 1, []),
        ({}, 4, ["--nproc-per-node=4", "--standalone"]),
        ({"NUM_GPUS": ""}, 1, []),
        ({"NUM_GPUS": "2"}, 0, ["--nproc-per-node=2", "--standalone"]),
        ({"NUM_GPUS": "1"}, 4, ["--nproc-per-node=1", "--standalone"]),
        (
            {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "first"},
            8,
            ["--nproc-per-node=8", "--nnodes=2", "--node-rank=1", "--master-addr=first", "--master-port=29500"],
        ),
        (
            {"NNODES": "2", "NODE_RANK": "0", "MASTER_ADDR": "first", "MASTER_PORT": "7", "NUM_GPUS": "1"},
            1,
            ["--nproc-per-node=1", "--nnodes=2", "--node-rank=0", "--master-addr=first", "--master-port=7"],
        ),
    ],
)
def test_as_many_processes_as_the_environment_says(environment: dict, gpus: int, expected: list[str]) -> None:
    assert launch_line(environment, gpus) == (TORCHRUN + expected if expected else [])


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"NUM_GPUS": "two"}, "NUM_GPUS is 'two': expected a whole number of at least 1"),
        ({"NUM_GPUS": "0"}, "NUM_GPUS is '0'"),
        ({"NUM_GPUS": "9"}, "NUM_GPUS is 9, but this machine shows 8 GPUs"),
        ({"NNODES": "2"}, "NNODES is 2, but NODE_RANK and MASTER_ADDR is not set: start the command on each machine"),
        ({"NNODES": "2", "NODE_RANK": "2", "MASTER_ADDR": "a"}, "NODE_RANK is 2, but it counts from 0 to NNODES - 1"),
    ],
)
def test_an_environment_that_cannot_be(environment: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        launch_line(environment, 8)


def asked(*names: str) -> dict[str, list[Sample]]:
    """Two questions about each scene; they share their id, as wordings of one question do."""
    return {name: [Sample(id=7, task="sqa3d", scene=name, question=text, answer="") for text in "ab"] for name in names}


def lines(*scenes: str, each: int = 2) -> str:
    return "".join(json.dumps({"scene": name, "sample_id": 7, "n": n}) + "\n" for name in scenes for n in range(each))


def test_parts_become_one_file_in_the_order_of_the_questions(tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    part_file(out, 0).write_text(lines("c"))
    part_file(out, 11).write_text(lines("b", "a"))
    assert gather(out, asked("a", "b", "c", "d")) == {"a", "b", "c"}
    assert out.read_text() == lines("a", "b", "c")
    assert part_files(out) == []


def test_what_a_kill_left_is_neither_lost_nor_doubled(tmp_path: Path) -> None:
    """Killed after `out` was written and before the parts went; with half a scene and half a line; by other counts."""
    out = tmp_path / "run.jsonl"
    out.write_text(lines("b", "a") + lines("c", each=1))
    part_file(out, 0).write_text(lines("a", "d")[:-3])
    part_file(out, 1).write_text(lines("b") + lines("e"))
    assert gather(out, asked(*"abcde")) == {"a", "b", "e"}
    assert out.read_text() == lines("a", "b", "e")


def test_parts_of_another_file_stay(tmp_path: Path) -> None:
    other = part_file(tmp_path / "run.jsonl.jsonl", 0)
    other.write_text(lines("a"))
    assert gather(tmp_path / "run.jsonl", asked("a")) == set()
    assert other.exists()


def llava(*words: str | Path, processes: str, folder: Path = REPOSITORY) -> str:
    """Type a command, in an environment that asks for so many processes; returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "llava.cli", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "NUM_GPUS": processes},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_two_processes_answer_as_one(tiny_base: Path, rooms_data: Path, tmp_path: Path) -> None:
    """All files of answers and scores, byte for byte, from the command line; the second time after a kill."""

    def evaluate(results: Path, processes: str) -> dict[Path, bytes]:
        asked = ("--tasks", "scanrefer", "sqa3d", "--frames", "1", "--data", rooms_data, "--results", results)
        llava("eval", tiny_base, *asked, processes=processes)
        return {path.relative_to(results): path.read_bytes() for path in sorted(results.rglob("*.json*"))}

    alone = evaluate(tmp_path / "alone", "")
    assert {path.parent.name for path in alone} == {"scanrefer", "sqa3d"} <= set(TASKS)
    assert evaluate(tmp_path / "two", "2") == alone
    (answers,) = (tmp_path / "two/sqa3d").glob("*.jsonl")
    content = answers.read_bytes()
    answers.write_bytes(b"")
    part_file(answers, 5).write_bytes(content[: len(content) // 2])
    assert evaluate(tmp_path / "two", "2") == alone


@pytest.mark.slow
def test_two_processes_go_the_whole_way(tiny_flags: list[str], tmp_path: Path) -> None:
    """Data once, training and answers together, one report, everything said once."""
    few = ("--rooms", "6", "--blind-packs", "2", "--train.packs", "4", "--data.tasks", "scanrefer", "sqa3d")
    said = llava("run", "rooms", *few, *tiny_flags, processes="2", folder=tmp_path)
    assert said.count("report: results/rooms-mc-2/report.html") == 1
    assert said.count("checkpoint: checkpoints/rooms\n") == said.count("checkpoint: checkpoints/rooms-blind\n") == 1
    assert json.loads((tmp_path / "checkpoints/rooms/training.json").read_text())["processes"] == 2
    for task in ("scanrefer", "sqa3d"):
        (answers,) = (tmp_path / "results" / task).glob("rooms-mc-2.jsonl")
        scores = json.loads(answers.with_suffix(".json").read_text())
        assert scores["count"] == len(answers.read_text().splitlines()) > 0


@pytest.mark.slow
def test_the_published_way_of_training_on_rooms(tiny_flags: list[str], rooms_data: Path, tmp_path: Path) -> None:
    """ZeRO-3, bfloat16, gradient checkpointing, a global batch: what is left is a whole checkpoint that has learnt."""
    pytest.importorskip("deepspeed", reason="DeepSpeed is an extra (pip install -e '.[gpu]')")
    out = tmp_path / "out"
    way = ("--train.deepspeed", "scripts/zero3.json", "--train.global-batch", "4", "--train.gradient-checkpointing")
    few = (
        "--train.packs",
        "8",
        "--train.precision",
        "bf16",
        "--train.save-steps",
        "1",
        "--data",
        rooms_data,
        "--out",
        out,
    )
    llava("train", "rooms", *way, *few, *tiny_flags, processes="2")
    base = load(Path(tiny_flags[tiny_flags.index("--base") + 1])).state_dict()
    learnt = load(out).state_dict()
    assert {name for name in base if not torch.equal(base[name], learnt[name])} > {"ground_head.zero_target", "newline"}
    assert all(value.isfinite().all() for value in learnt.values())
    on_the_way = load(out / "checkpoint-2").state_dict()
    assert all(torch.equal(value, on_the_way[name]) for name, value in learnt.items())
    assert last_checkpoint(out) == str(out / "checkpoint-2")
