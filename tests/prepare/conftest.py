import os
import shutil
from pathlib import Path

import pytest

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared/golden/07_preprocessing"


@pytest.fixture(scope="session")
def golden():
    if not GOLDEN.is_dir():
        pytest.skip(f"no golden files at {GOLDEN}")
    return GOLDEN


@pytest.fixture
def golden_data(golden, tmp_path):
    """A data folder with the raw files of the golden scans (linked: they must not be written)."""
    source, data = golden / "scannet_scan", tmp_path / "data"
    (data / "scannet").mkdir(parents=True)
    os.symlink(source / "data/benchmark", data / "benchmark")
    for name in ("scans", "mask"):
        os.symlink(source / "data/scannet" / name, data / "scannet" / name)
    shutil.copytree(source / "meta", data / "scannet/meta_data")
    return data
