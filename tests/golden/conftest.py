"""Parity with the reference's recordings: every number and every size is taken from the folder `--golden DIR`.

A file a group, named as the recordings' folders are. Without the option and without ../shared/golden the copies in
tests/golden/data are compared; what is not copied (Qwen2's tokenizer, pictures) is skipped then.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def golden(pytestconfig: pytest.Config) -> Path:
    chosen = pytestconfig.getoption("--golden").resolve()
    if chosen.is_dir():
        return chosen
    if "--golden" in " ".join(pytestconfig.invocation_params.args):
        raise pytest.UsageError(f"--golden {chosen}: there is no such folder")
    return Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def arrays():
    """Everything in an npz file, by name."""

    def read(path: Path) -> dict[str, np.ndarray]:
        with np.load(path) as file:
            return {name: file[name] for name in file.files}

    return read


@pytest.fixture(scope="session")
def need():
    """``need(path)`` is that path; the test skips where it was not copied into tests/golden/data."""

    def find(path: Path) -> Path:
        if not path.exists():
            pytest.skip(f"no recordings of the reference at {path} (pytest --golden DIR names another folder)")
        return path

    return find
