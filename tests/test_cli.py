"""The command line: help is quick, and a wrong word or a broken folder ends with a plain complaint and code 2."""

from __future__ import annotations

import errno
import json
import logging
import os
import resource
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from llava.cli import VERBS, main
from llava.complaints import complaint
from llava.resumable import only_one
from llava.tasks import TASKS

REPOSITORY = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "transformers", "open3d", "scipy", "matplotlib", "PIL", "datasets", "tensorboard")
HELP = """
import contextlib, io, sys
from llava.cli import VERBS, main
for words in ["", *(verb.words for verb in VERBS)]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main([*words.split(), "--help"])
    assert words in said.getvalue() and len(said.getvalue().splitlines()) > 5, said.getvalue()
    loaded = sorted(set(sys.argv[1:]) & set(sys.modules))
    assert not loaded, f"`llava {words} --help` imported {loaded}"
"""


def test_help_of_every_command_is_quick() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELP, *HEAVY], cwd=REPOSITORY, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    said = capsys.readouterr().out
    assert all(f"llava {verb.words} " in said and verb.summary in said for verb in VERBS)


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a command in an empty folder that must end with code 2; returns its complaint."""
    monkeypatch.chdir(tmp_path)
    # A library that was first imported in an earlier test logs to that one's stderr, which is closed by now.
    monkeypatch.setattr(logging, "raiseExceptions", False)

    def run(*args: str | Path) -> str:
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        assert ended.value.code == 2
        said = capsys.readouterr().err
        assert "Traceback" not in said
        assert sum(line.startswith("llava") for line in said.splitlines()) == 1
        return said[said.index("llava") :]

    return run


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("trian rooms", "unknown command 'trian rooms' (did you mean 'train'?)"),
        ("rooms mke", "unknown command 'rooms mke' (did you mean 'rooms make'?)"),
        (
            "train romms",
            "unknown recipe 'romms': choose one of rooms-debug, rooms, rooms-base, video3d-7b, ",
        ),
        ("run video3d", "did you mean 'video3d-7b'?"),
        ("train", "say which recipe to train, e.g. `llava train rooms`"),
        ("train video3d-7b", "names no checkpoint to start from: give one with --base FOLDER"),
        ("train rooms --base nowhere", "there is no base checkpoint 'nowhere': looked in nowhere, "),
        ("eval x --tasks scanref", "unknown task 'scanref': choose one of scanrefer, multi3drefer, "),
        ("eval nowhere", "nowhere is not a folder: expected a checkpoint with config.json and weights"),
        ("eval .", "recipe.json is missing: . is not a checkpoint of this project"),
        ("report nowhere", "nowhere is not a folder: expected a checkpoint with config.json and weights"),
        ("ask nowhere . why", "nowhere is not a folder: expected a checkpoint with config.json and weights"),
        ("prepare nowhere", "nowhere is no folder: give the data folder"),
        ("doctor nowhere", "nowhere is no folder: give the data folder"),
        ("scene check nowhere", "there is nothing at nowhere; expected a capture, one of"),
        ("scene check . --out picks", "a picture cannot be written to picks: expected a name that ends in .png"),
        ("scene info nowhere", "there is nothing at nowhere; expected a capture, one of"),
        ("import nowhere out", "there is nothing at nowhere; expected a capture, one of"),
        ("import . out", ". is no capture that is known here; looked for"),
        ("sample nowhere", "there is nothing at nowhere; expected a capture, one of"),
        ("rooms make out --scenes 0", "expected 1 to 10000 scenes"),
        ("rooms make out --workers 0", "0 workers: expected 1 or more"),
        ("rooms show --seed -1", "expected a seed of 0 to 60000, found -1"),
        ("rooms show rooms.txt", "a picture cannot be written to rooms.txt: expected a name that ends in .png"),
        ("sample . --out picks", "a picture cannot be written to picks: expected a name that ends in .png"),
    ],
)
def test_wrong_words(fails, args: str, message: str) -> None:
    assert message in fails(*args.split())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("rooms make taken --scenes 1", "Not a directory: taken/"),
        ("rooms make full --scenes 1", "No space left on device: full"),
    ],
)
def test_what_the_system_refuses_is_told(fails, monkeypatch: pytest.MonkeyPatch, args: str, message: str) -> None:
    def full(path: Path, value: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "full")

    Path("taken").write_text("a file where a folder is to be")
    monkeypatch.setattr("llava.rooms.make.write_json", full)
    assert message in fails(*args.split())


def test_a_copy_that_fails_names_both_files() -> None:
    """The disk that is full is the second one's."""
    refused = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "here/a.png", None, "there/a.png")
    assert complaint(refused).startswith("No space left on device: here/a.png -> there/a.png; mend that")


def test_a_killed_worker_is_told(fails, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_args: object, **_options: object) -> None:
        raise BrokenProcessPool("A process in the process pool was terminated abruptly")

    monkeypatch.setattr("llava.rooms.make.make_rooms", killed)
    assert "a worker process was killed, out of memory perhaps" in fails("rooms", "make", "out")


PREPROCESSING = sorted((REPOSITORY / "scripts/3d/preprocessing").glob("*.py"))


@pytest.mark.parametrize("script", PREPROCESSING, ids=lambda path: path.name)
def test_scripts_complain_as_llava_does(script: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", [str(script), "--data", "nowhere"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{script.name}: ") and "nowhere is no folder: give the data folder" in said


def test_a_complaint_has_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "llava.cli", "train", "romms"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stdout == "" and len(done.stderr.splitlines()) == 1


def test_ctrl_c_is_no_error_to_explain(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stopped(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("llava.captures.open_scene", stopped)
    monkeypatch.setattr("sys.excepthook", sys.excepthook)
    with pytest.raises(KeyboardInterrupt) as ended:  # a shell's loop goes on unless the signal itself ends Python
        main(["scene", "info", "somewhere"])
    sys.excepthook(ended.type, ended.value, ended.tb)
    assert capsys.readouterr().err == "llava: stopped\n"


@pytest.mark.parametrize("words", [[], ["sample", "--help"], ["doctor", "."]])
def test_a_reader_that_goes_away_is_no_error_to_tell(tmp_path: Path, words: list[str]) -> None:
    """As in `llava ... | head -0`: the pipe is closed before anything is written."""
    reading, writing = os.pipe()
    os.close(reading)
    (tmp_path / "scannet/meta_data").mkdir(parents=True)
    (tmp_path / "scannet/meta_data/scannetv2_train.txt").write_text("scene0000_00\n")
    done = subprocess.run(
        [sys.executable, "-m", "llava.cli", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.fixture
def train_tiny(tiny_flags: list[str], rooms_data: Path) -> list[str]:
    """`llava train rooms` on the tiny base checkpoint and data folder."""
    return ["train", "rooms", "--data", str(rooms_data), "--out", "out", "--train.packs", "1", *tiny_flags]


def test_training_from_the_command_line(train_tiny: list[str], tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    main(train_tiny)
    assert "checkpoint: out" in capsys.readouterr().out
    assert json.loads((tmp_path / "out/recipe.json").read_text())["train"]["packs"] == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--data.strategy unifrom", "unknown sampling strategy 'unifrom': choose one of uniform, mc, "),
        ("--data.tasks scanqua", "unknown task 'scanqua': choose one of "),
        (
            "--data.train-boxes prde",
            "unknown boxes 'prde': choose one of gt, pred, gt+pred, own, none; did you mean 'pred'?",
        ),
        ("--train.tune", "train.tune names no part, so nothing would learn; the parts are tower, projector, "),
        ("--train.tune heads", "unknown part heads; the parts are tower, projector, language, positions, head"),
        ("--encoder.image-size 70", "has another encoder than recipe 'rooms': image_size 56 (asked for 70)"),
        ("--data nowhere", "make it with `llava rooms make nowhere --scenes 560`, then `llava prepare nowhere`"),
        ("--data .", "scanrefer_vg_train_llava_style.json is missing: run `llava prepare .`"),
    ],
)
def test_wrong_settings_of_a_training(fails, train_tiny: list[str], args: str, message: str) -> None:
    assert message in fails(*train_tiny, *args.split())
    assert not Path("out/recipe.json").exists()


@pytest.mark.parametrize("setting", ["packs", "questions-per-scene", "scenes-per-step", "accumulate", "save-steps"])
@pytest.mark.parametrize("value", ["0", "-3"])
def test_counts_below_one(train_tiny: list[str], tmp_path: Path, monkeypatch, capsys, setting: str, value: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main([*train_tiny, f"--train.{setting}", value])
    assert ended.value.code == 2 and not Path("out").exists()
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())  # out of its frame
    assert f"train.{setting.replace('-', '_')} must be at least 1, got {value}" in said


def test_one_training_a_folder(fails, train_tiny: list[str]) -> None:
    Path("out").mkdir()
    with only_one(Path("out"), "trains"):
        assert "another process is training into out: wait for it" in fails(*train_tiny)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--strategy mc-ratio59", "unknown sampling strategy 'mc-ratio59': choose one of "),
        ("--boxes proposals", "unknown boxes 'proposals': choose one of gt, pred, gt+pred, own, none"),
        ("--split test --tasks sqa3d", "sqa3d_test_llava_style.json is missing"),
        ("--split test --tasks scanqa", "scanqa has no split 'test': choose one of train, val"),
        ("--tasks scanrefer sqa", "unknown task 'sqa'"),
        ("--frames 0", "max_frames must be at least 1, got 0"),
        ("--limit 0", "expected a limit of at least 1 scene, got 0"),
        ("--kv-memory much", "'much' is no amount of memory: expected a number with a unit, like 4GB or 512MB"),
        ("--tasks", "expected at least one task, got none"),
        ("--data nowhere", "there is no data folder nowhere: make it with `llava rooms make nowhere"),
    ],
)
def test_wrong_settings_of_an_evaluation(fails, tiny_base, rooms_data, args: str, message: str) -> None:
    assert message in fails("eval", tiny_base, "--data", rooms_data, *args.split())


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("model.safetensors", "holds no weights: expected model.safetensors or pytorch_model.bin, whole or in shards"),
        ("config.json", "holds no config.json"),
        ("tokenizer.json", "holds no tokenizer.json (nor vocab.json with merges.txt): it is not a complete checkpoint"),
        ("recipe.json", "is not a checkpoint of this project"),
    ],
)
def test_an_incomplete_checkpoint(fails, tiny_base, rooms_data, tmp_path, missing: str, message: str) -> None:
    checkpoint = shutil.copytree(tiny_base, tmp_path / "checkpoint")
    (checkpoint / missing).unlink()
    assert message in fails("eval", checkpoint, "--data", rooms_data)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "recipe.json"])
def test_a_cut_file_of_a_checkpoint(fails, tiny_base: Path, rooms_data: Path, tmp_path: Path, name: str) -> None:
    checkpoint = shutil.copytree(tiny_base, tmp_path / "checkpoint")
    (checkpoint / name).write_bytes((checkpoint / name).read_bytes()[:-20])
    said = fails("eval", checkpoint, "--data", rooms_data)
    assert f"checkpoint/{name} is" in said and "cut short" in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "expected the fields of Recipe, found list"),
        ("{}", "recipe.json: Recipe lacks name"),
        ('{"name": "x", "train": 3}', "expected the fields of TrainConfig, found int"),
        ('{"name": "x", "train": {"packs": 0}}', "train.packs must be at least 1, got 0"),
    ],
)
def test_a_recipe_that_is_none(fails, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "recipe.json").write_text(content)
    assert message in fails("eval", tmp_path)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("", "the question is empty"),
        (" \n", "the question is empty"),
        ("What is at <coord>?", "<coord> is a mark of the prompt's own"),
        ("<image> What is it?", "<image> is a mark of the prompt's own"),
    ],
)
def test_questions_that_cannot_be_asked(fails, question: str, message: str) -> None:
    assert message in fails("ask", "checkpoint", "scene", question)


def test_no_frames_at_all(fails, tiny_base: Path, rooms_data: Path) -> None:
    scene = rooms_data / "scannet/posed_images/scene0000_00"
    assert "max_frames must be at least 1, got 0" in fails("ask", tiny_base, scene, "why", "--frames", "0")


def raise_in_numpy(data: Path) -> None:
    import numpy as np

    np.zeros(2) + np.zeros(3)


def raise_in_a_library(data: Path) -> None:
    json.loads("{")


@pytest.mark.parametrize("bug", [raise_in_numpy, raise_in_a_library])
def test_errors_of_libraries_are_not_taken_for_complaints(monkeypatch: pytest.MonkeyPatch, bug: Callable) -> None:
    monkeypatch.setattr("llava.prepare.doctor.Layout", bug)
    with pytest.raises(ValueError):
        main(["doctor", "."])


@pytest.fixture
def broken_data(rooms_data: Path, tmp_path: Path) -> Path:
    """A copy of the data folder, to be broken."""
    return shutil.copytree(rooms_data, tmp_path / "data")


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file can grow beyond 32 KiB, which the system refuses as it does on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (32 << 10, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_weights_that_cannot_be_written(fails, train_tiny: list[str], full_disk: None) -> None:
    assert "a file cannot be written (Error while serializing" in fails(*train_tiny)


def test_points_that_cannot_be_written(fails, broken_data: Path, full_disk: None) -> None:
    shutil.rmtree(broken_data / "scannet/pcd_with_object_aabbs")
    assert "a file cannot be written" in fails("prepare", broken_data, "--workers", "1")


def change_records(path: Path, change: Callable[[list[dict]], list[dict]]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def test_an_empty_split(fails, train_tiny: list[str], tiny_base: Path, broken_data: Path) -> None:
    for split in ("train", "val"):
        change_records(TASKS["scanqa"].processed(broken_data, split), lambda records: [])
    message = "holds no sample: the val split of scanqa is empty"
    assert message in fails("eval", tiny_base, "--data", broken_data, "--tasks", "scanqa")
    train_tiny[train_tiny.index("--data") + 1] = str(broken_data)
    assert "the train split of scanqa is empty" in fails(*train_tiny)


def test_an_annotation_of_an_unknown_scene(fails, tiny_base: Path, broken_data: Path) -> None:
    def rename(records: list[dict]) -> list[dict]:
        return [*records[:-1], {**records[-1], "video": "scannet/scene0042_00"}]

    change_records(TASKS["scanqa"].processed(broken_data, "val"), rename)
    said = fails("eval", tiny_base, "--data", broken_data, "--tasks", "scanqa")
    assert "names scene 'scannet/scene0042_00', which is neither in" in said


def test_records_and_annotations_with_other_fields(fails, tiny_base: Path, broken_data: Path) -> None:
    def lose(key: str) -> Callable[[list[dict]], list[dict]]:
        return lambda records: [{k: v for k, v in record.items() if k != key} for record in records]

    records = TASKS["scanqa"].processed(broken_data, "val")
    change_records(records, lose("metadata"))
    said = fails("eval", tiny_base, "--data", broken_data, "--tasks", "scanqa")
    assert "scanqa_val_llava_style.json: a record is not as expected (KeyError('metadata'))" in said
    records.unlink()
    change_records(broken_data / "benchmark/scanqa/ScanQA_v1.0_val.json", lose("question"))
    said = fails("prepare", broken_data, "--workers", "1")
    assert "scanqa/ScanQA_v1.0_val.json is not as scanqa ships it (KeyError('question')): get it from" in said


def test_an_annotation_of_an_unknown_object(fails, broken_data: Path) -> None:
    def renumber(records: list[dict]) -> list[dict]:
        return [{**records[0], "object_id": "999"}, *records[1:]]

    change_records(broken_data / "benchmark/scanrefer/ScanRefer_filtered_val.json", renumber)
    for task in TASKS.values():
        task.processed(broken_data, "val").unlink()
    assert "names object 999 of scene0003_00" in fails("prepare", broken_data, "--workers", "1")


def test_a_scene_that_was_not_prepared(fails, tiny_base: Path, broken_data: Path) -> None:
    shutil.rmtree(broken_data / "scannet/posed_images/scene0003_00")
    said = fails("eval", tiny_base, "--data", broken_data, "--tasks", "scanqa")
    assert "scene 'scannet/scene0003_00' is asked about but" in said and "run `llava prepare" in said
