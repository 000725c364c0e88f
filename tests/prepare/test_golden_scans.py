"""The reference's golden scans from end to end, and what ours keep of them; tests/golden compares step by step."""

import json

import pytest

from llava.prepare.layout import Layout
from llava.prepare.run import prepare, run_step


@pytest.fixture
def prepared(golden_data):
    prepare(golden_data, workers=1)
    return Layout(golden_data)


def read(path):
    return json.loads(path.read_text())


def test_boxes(prepared):
    assert not prepared.boxes("test", "pred").exists(), "no test scene is listed"
    # the reference drops this scene, because its object ids have a gap
    assert len(read(prepared.boxes("train", "gt"))["scannet/scene0002_00"]) == 2
    assert read(prepared.object_ids("train"))["scannet/scene0002_00"] == [0, 51]


def test_reference_mode_names_the_scenes_with_gaps(golden_data):
    run_step("points", golden_data, workers=1)
    with pytest.raises(ValueError, match=r"scene0002_00: left out: its object ids \[0, 51\] have gaps"):
        run_step("gt boxes", golden_data, workers=1, compat="video3d")


def test_records(prepared, golden):
    for expected in sorted((golden / "scannet_scan/out_processed").iterdir()):
        assert read(prepared.data / "processed" / expected.name) == read(expected), expected.name
