"""What every test shares: one torch thread, and the reference's recorded inputs and outputs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

# Before any test imports numpy or torch: several processes share few cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden",
        type=Path,
        default=SHARED / "golden",
        metavar="DIR",
        help="folder with the reference's recorded inputs and outputs (default: ../shared/golden)",
    )


@pytest.fixture(scope="session")
def golden(pytestconfig: pytest.Config) -> Callable[[str], Path]:
    """``golden(name)`` is that file or folder of the recordings; the test skips where it is absent."""

    def find(name: str) -> Path:
        path = pytestconfig.getoption("--golden") / name
        if not path.exists():
            pytest.skip(f"no recordings of the reference at {path} (pytest --golden DIR names another folder)")
        return path

    return find
