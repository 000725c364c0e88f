"""The shell scripts parse, the pins cover what is declared, and setup.sh costs nothing when nothing changed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHELL_SCRIPTS = sorted(ROOT.glob("scripts/**/*.sh"))


@pytest.mark.parametrize("script", SHELL_SCRIPTS, ids=lambda path: path.name)
def test_shell_script_parses(script: Path) -> None:
    subprocess.run(["sh", "-n", str(script)], check=True)


@pytest.mark.parametrize("benchmark", ["scanrefer", "multi3drefer", "scan2cap", "scanqa", "sqa3d"])
def test_eval_script_says_what_it_needs(benchmark: str) -> None:
    script = ROOT / f"scripts/3d/eval/eval_{benchmark}.sh"
    done = subprocess.run(["sh", str(script), "CKPT"], capture_output=True, text=True)
    assert done.returncode == 2
    assert f"eval_{benchmark}.sh CKPT STRATEGY MAX_FRAMES" in done.stderr


def test_ci_parses() -> None:
    subprocess.run(["bash", "-n", str(ROOT / ".ci/run")], check=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what setup.sh reads, with a .venv that is ready: its stamp is right and its Python runs."""
    (tmp_path / "scripts").mkdir()
    for name in ("pyproject.toml", "constraints.txt", "scripts/setup.sh"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    files = "".join((tmp_path / name).read_text() for name in ("pyproject.toml", "constraints.txt"))
    checksum = subprocess.run(["cksum"], input=files, capture_output=True, text=True, check=True).stdout.strip()
    (tmp_path / ".venv/.setup-stamp").write_text(f"{checksum} {tmp_path}\n")
    return tmp_path


def setup(checkout: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "scripts/setup.sh", *args],
        cwd=checkout,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_setup_returns_at_once_when_nothing_changed(checkout: Path) -> None:
    began = time.monotonic()
    done = setup(checkout)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert time.monotonic() - began < 1


def stub(folder: Path, name: str, script: str) -> None:
    path = folder / "tools" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def no_network(tmp_path: Path) -> dict[str, str]:
    """An environment in which pip and apt-get fail at once, so that setup.sh stops where it would install."""
    libraries = re.findall(r"^(lib\S+\.so\.\d+) ", (ROOT / "scripts/setup.sh").read_text(), re.MULTILINE)
    stub(tmp_path, "ldconfig", "\n".join(f'echo "{name} (libc6,x86-64)"' for name in libraries))
    stub(tmp_path, "apt-get", "exit 1")
    return {
        "PATH": f"{tmp_path / 'tools'}:{os.environ['PATH']}",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": "",
        "PIP_CONFIG_FILE": os.devnull,
    }


def test_setup_starts_over_when_a_pin_changed(checkout: Path, no_network: dict[str, str]) -> None:
    (checkout / "constraints.txt").write_text("torch==0.0.1\n")
    done = setup(checkout, **no_network)
    assert done.returncode == 1
    assert "this happens once" in done.stdout


def test_setup_names_an_unusable_python(checkout: Path, no_network: dict[str, str]) -> None:
    shutil.rmtree(checkout / ".venv")
    done = setup(checkout, **no_network, PYTHON="no-such-python")
    assert done.returncode == 1
    assert "PYTHON=no-such-python is not a Python of version 3.10 or newer" in done.stderr


def test_setup_tells_who_is_not_root_what_to_install(checkout: Path, no_network: dict[str, str]) -> None:
    (checkout / ".venv/.setup-stamp").unlink()
    stub(checkout, "ldconfig", "echo 'libGL.so.1 (libc6,x86-64)'")
    stub(checkout, "id", "echo 1000")
    done = setup(checkout, **no_network)
    assert done.returncode == 1
    assert "sudo apt-get" in done.stderr
    assert "libusb-1.0-0 libegl1" in done.stderr
    assert "libgl1" not in done.stderr


def test_every_declared_package_is_pinned() -> None:
    declared = set(re.findall(r'^ +"([A-Za-z0-9_-]+)>=', (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
    pinned = set(re.findall(r"^([A-Za-z0-9_-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    missing = {name.lower() for name in declared} - {name.lower() for name in pinned}
    assert missing == {"open3d"}  # the full wheel, for systems that CI does not run on


def test_slurm_starts_a_machine_of_each_rank(checkout: Path) -> None:
    """`srun` stands for two machines, one after the other; `llava` says what it is told."""
    shutil.copytree(ROOT / "scripts/3d", checkout / "scripts/3d")
    llava = checkout / ".venv/bin/llava"
    llava.write_text('#!/bin/sh\necho "$NNODES $NODE_RANK $MASTER_ADDR $MASTER_PORT $*"\n')
    llava.chmod(0o755)
    stub(checkout, "scontrol", "echo first; echo second")
    stub(checkout, "srun", 'shift; for rank in 0 1; do SLURM_NODEID=$rank "$@"; done')
    job = {
        "SLURM_SUBMIT_DIR": str(checkout),
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_NODELIST": "x",
        "SLURM_JOB_ID": "20007",
    }
    done = subprocess.run(
        ["sh", str(checkout / "scripts/3d/train/train_slurm.sh"), "video3d-7b", "--base", "a folder"],
        env={**os.environ, **job, "PATH": f"{checkout / 'tools'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    words = "run video3d-7b --base a folder"
    assert (done.returncode, done.stdout) == (0, f"2 0 first 20007 {words}\n2 1 first 20007 {words}\n"), done.stderr


@pytest.mark.parametrize(
    ("script", "args", "command"),
    [
        ("train/train_multi.sh", ["rooms", "--train.packs", "5"], "run rooms --train.packs 5"),
        ("train/train_multi.sh", [], "run"),
        ("train/pretrain_rooms_base.sh", ["--out", "o"], "pretrain --out o"),
        (
            "eval/eval_scanqa.sh",
            ["a checkpoint", "mc", "8", "--data", "d"],
            "eval a checkpoint --tasks scanqa --strategy mc --frames 8 --data d",
        ),
    ],
)
@pytest.mark.parametrize("code", [0, 3])
def test_scripts_run_llava_and_end_as_it_ends(
    checkout: Path, script: str, args: list[str], command: str, code: int
) -> None:
    shutil.copytree(ROOT / "scripts/3d", checkout / "scripts/3d")
    llava = checkout / ".venv/bin/llava"
    llava.write_text(f'#!/bin/sh\necho "$@"\nexit {code}\n')
    llava.chmod(0o755)
    done = subprocess.run(
        ["sh", str(checkout / "scripts/3d" / script), *args], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (code, command, "")


def test_setup_installs_chromium_for_the_tests_alone_and_goes_on_without(checkout: Path) -> None:
    """As root apt-get is asked; where it fails, or for others, a line says so and nothing ends."""
    stub(checkout, "apt-get", 'echo "$@" >>apt.log; exit 1')
    stub(checkout, "id", "echo 0")
    for name in ("sh", "dirname", "cat", "cksum"):  # a machine with these and no browser
        (checkout / "tools" / name).symlink_to(shutil.which(name))
    machine = {"PATH": str(checkout / "tools")}
    assert setup(checkout, **machine).stdout == "" and not (checkout / "apt.log").exists()
    done = setup(checkout, "--dev", **machine)
    assert done.returncode == 0
    assert "going on without" in done.stdout
    assert "--no-install-recommends chromium" in (checkout / "apt.log").read_text()
    stub(checkout, "id", "echo 1000")
    done = setup(checkout, "--dev", **machine)
    assert done.returncode == 0 and "sudo apt-get install -y --no-install-recommends chromium" in done.stderr
    stub(checkout, "chromium", "exit 1")
    assert setup(checkout, "--dev", **machine).stdout == ""
