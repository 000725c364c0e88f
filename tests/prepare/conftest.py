import os
import shutil

import pytest


@pytest.fixture(scope="session")
def golden(pytestconfig):
    folder = pytestconfig.getoption("--golden").resolve() / "07_preprocessing"
    if not folder.is_dir():
        pytest.skip(f"no golden files at {folder} (pytest --golden DIR names another folder)")
    return folder


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
