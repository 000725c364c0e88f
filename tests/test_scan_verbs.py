"""llava ask, find, describe and chat as they are typed: one object on stdout, all else on stderr, and no way to a
traceback.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llava.cli import main
from llava.resumable import write_json

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def capture(rooms_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan of one's own: nothing says which way is up."""
    scan = rooms_data / "scannet/posed_images/scene0000_00"
    return shutil.copytree(scan, tmp_path_factory.mktemp("captures") / "my scan")


@pytest.fixture
def llava(
    capture: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[str, str]]:
    """Run a verb on the scan in an empty folder; returns what it said on stdout and on stderr."""
    monkeypatch.chdir(tmp_path)

    def run(verb: str, *args: str, scene: Path = capture) -> tuple[str, str]:
        capsys.readouterr()
        main([verb, str(tiny_base), str(scene), *args])
        said = capsys.readouterr()
        return said.out, said.err

    return run


def test_json_is_one_object(llava, rooms_data: Path) -> None:
    for verb, words, key in (("ask", ["What is red?"], "answer"), ("describe", ["0", "-0.25", "0.5"], "description")):
        out, err = llava(verb, *words, "--json")
        content = json.loads(out)
        plain = llava(verb, *words)[0]
        assert content[key] == plain.rstrip("\n") and content["scene"].endswith("my scan")
        assert len(content["frames"]) == 2 and "warning" not in err
    out, _ = llava("find", "the chair", "--json", scene=rooms_data / "scannet/posed_images/scene0000_00")
    content = json.loads(out)
    assert content == json.loads(Path("found/found.json").read_text())
    assert all(Path(path).is_file() for path in content["files"].values())


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_any_terminal_shows_any_name(
    llava, capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    """A name that is no UTF-8, and a question in a script that the terminal cannot show."""
    scene = shutil.copytree(capture, tmp_path / os.fsdecode(b"caf\xe9"))
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding))
    llava("ask", "椅子?", "--json", scene=scene)
    content = json.loads(written.getvalue())
    assert content["question"] == "椅子?" and Path(content["scene"]).is_dir()
    main(["scene", "info", str(scene)])
    assert rb"scannet/caf\udce9" in written.getvalue()


def test_closed_streams(llava, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(SystemExit) as ended:
        llava("chat")
    assert ended.value.code == 2
    monkeypatch.setattr("sys.stdout", None)
    with pytest.raises(SystemExit) as ended:
        llava("ask", "")
    assert ended.value.code == 2


def test_warnings_go_to_stderr(llava, capture: Path, tmp_path: Path) -> None:
    """A scan of a wall alone: no floor says which way is up."""
    wall = shutil.copytree(capture, tmp_path / "wall")
    for path in wall.glob("0*.png"):
        with Image.open(path) as depth:
            size = depth.size
        Image.fromarray(np.full(size[::-1], 2000, np.uint16)).save(path)
        np.savetxt(path.with_suffix(".txt"), [[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1], [0, 0, 0, 1]])  # level
    out, err = llava("ask", "What is red?", "--json", scene=wall)
    told = [line for line in err.splitlines() if line.startswith("warning")]
    assert len(told) == 1 and "nothing says which way is up" in told[0] and json.loads(out)["scene"] == str(wall)


def test_lost_frames_are_told(llava, capture: Path, tmp_path: Path) -> None:
    """An answer from half of a scan looks like one from all of it."""
    torn = shutil.copytree(capture, tmp_path / "torn")
    for path in sorted(torn.glob("0*.png"))[:2]:
        path.write_bytes(path.read_bytes()[:1000])
    out, err = llava("ask", "What is red?", "--json", scene=torn)
    assert "warning: 2 of 4 frames cannot be used: `llava scene info` says why" in err and len(out.splitlines()) == 1


def test_no_box_to_choose_from(llava, rooms_data: Path, tmp_path: Path) -> None:
    """A detector that found nothing is not the model's saying that nothing is like that."""
    for part in ("scannet/posed_images/scene0000_00", "scannet/scans/scene0000_00"):
        shutil.copytree(rooms_data / part, tmp_path / part)
    write_json(tmp_path / "metadata/scannet_train_pred_box.json", {"scannet/scene0000_00": []})
    out, _ = llava("find", "a chair", scene=tmp_path / "scannet/posed_images/scene0000_00")
    assert (
        "no object was made out in the scan" in out and json.loads(Path("found/found.json").read_text())["found"] == []
    )


def test_a_point_in_the_captures_own_world(llava) -> None:
    upright = json.loads(llava("describe", "0.5", "-0.25", "0.5", "--json")[0])
    own = json.loads(llava("describe", *map(repr, upright["capture_point"]), "--capture", "--json")[0])
    np.testing.assert_allclose(own["point"], (0.5, -0.25, 0.5), atol=1e-9)
    np.testing.assert_allclose(own["capture_point"], upright["capture_point"])
    assert own["description"] == upright["description"]


@pytest.mark.parametrize(
    ("verb", "words", "message"),
    [
        ("find", [""], "the question is empty"),
        ("find", ["<image>"], "<image> is a mark of the prompt's own"),
        ("describe", ["nan", "0", "0"], "three finite numbers"),
        ("describe", ["0", "0", "-30"], "lies outside of what was seen of the scan"),
        ("ask", ["why", "--strategy", "best"], "unknown sampling strategy 'best'"),
    ],
)
def test_what_cannot_be_done_is_told(llava, capsys, verb: str, words: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as ended:
        llava(verb, *words)
    assert ended.value.code == 2 and message in capsys.readouterr().err


def test_an_unknown_scene(llava, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        llava("find", "a chair", scene=Path("nowhere"))
    assert ended.value.code == 2 and "nowhere" in capsys.readouterr().err


def test_a_chat_through_a_pipe(llava, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line has its answer or its complaint, and none but /quit ends the rest."""
    lines = (
        b"What is red?\n\n/find\n/find the chair\n/describe 1 2\n/describe 0, 0 0.5\n/describe 0 0 99\n/sing\n"
        b"<coord>\n\xff?\n/help\n/quit\nWhat is never asked?\n"
    )
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines)))
    out, err = llava("chat")
    told = [line for line in err.splitlines() if line and not line.startswith("Loading")]
    assert len(told) == 5, told
    for line, message in zip(
        told,
        ("is empty", "takes three numbers", "lies outside", "unknown verb '/sing'", "<coord> is a mark"),
        strict=True,
    ):
        assert message in line
    answer = llava("ask", "What is red?")[0].strip()
    said = out.splitlines()
    assert said[0] == answer and "> " not in out
    assert "nothing in the scan is like that" in out or "no object was made out" in out or "found/found.png" in out
    assert said[-1].startswith("/quit") and Path("found/found.json").is_file()


def test_a_chat_that_cannot_write_goes_on(llava, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Path("taken").write_text("a file where a folder is to be")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"/find a chair\nWhat is red?\n")))
    out, err = llava("chat", "--out", "taken")
    assert "File exists: taken" in err and len(out.splitlines()) >= 1


def own_terminal() -> None:
    """In the child: its stdin is the terminal whose Ctrl-C reaches it, also where the tests were started in the
    background, from where it would inherit that SIGINT is ignored.
    """
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.slow
def test_a_chat_by_hand(capture: Path, tiny_base: Path, tmp_path: Path) -> None:
    """At a terminal: a prompt, the line before by arrow-up, Ctrl-C that drops a line, Ctrl-D that ends with code 0."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "llava.cli", "chat", str(tiny_base), str(capture)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TERM": "dumb"}
    talk = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        preexec_fn=own_terminal,
    )
    os.close(theirs)

    def until(pattern: str, patience: float = 120.0, again: bytes = b"") -> str:
        """What is said up to the pattern. The keys `again` are pressed once more where nothing comes for so long."""
        said = ""
        while not re.search(pattern, said):
            if select.select([ours], [], [], patience)[0]:
                said += os.read(ours, 4096).decode()
            elif again:
                os.write(ours, again)
                again = b""
            else:
                pytest.fail(f"nothing that fits {pattern!r} was said, but {said!r}")
        return said

    try:
        assert "2 of 4 frames. /help tells what to say." in until("> $")
        os.write(ours, b"What is red?\n")
        assert re.search(r"\[\d+\.\d\d s\]", until(r"s\]\s+> $"))
        os.write(ours, b"\x1b[A\n")
        assert "What is red?" in until(r"s\]\s+> $")
        os.write(ours, b"half a li")
        until("half a li$")
        os.write(ours, b"\x03")  # a Ctrl-C that comes before readline waits for keys is only seen at the next one
        assert "/quit or Ctrl-D to leave" in until("leave\\s+> $", patience=5, again=b"\x03")
        os.write(ours, b"\x04")
        assert talk.wait(timeout=60) == 0
    finally:
        if talk.poll() is None:
            talk.kill()
        os.close(ours)
