"""The processed store: what goes in comes out, a half-written folder never shows, damage is reported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from llava.captures import open_scene
from llava.captures.pixels import load_views
from llava.captures.store import load_scene, save_scene


@pytest.fixture
def stored(posed_images: Path, tmp_path: Path) -> Path:
    (posed_images / "00020.png").unlink()
    save_scene(open_scene(posed_images), tmp_path / "store" / "scene")
    return tmp_path / "store" / "scene"


def test_a_scene_comes_back_as_it_went_in(posed_images: Path, stored: Path) -> None:
    before, after = open_scene(posed_images), open_scene(stored)
    assert (after.name, after.color_size, after.depth_size) == (before.name, before.color_size, before.depth_size)
    assert (after.depth_scale, after.depth_unknown) == (before.depth_scale, before.depth_unknown)
    assert after.dropped == before.dropped and len(after.dropped) == 1
    assert (after.up, after.doubts) == (before.up, before.doubts) and len(after.doubts) == 1
    np.testing.assert_array_equal(after.depth_intrinsics, before.depth_intrinsics)
    np.testing.assert_array_equal(after.frames[2].pose, before.frames[2].pose)
    shutil.rmtree(posed_images)  # the store stands on its own
    views = load_views(after, [0, 1, 2], 16)
    assert views.names == ("00000", "00010", "00030")


def test_an_existing_folder_is_not_overwritten(stored: Path) -> None:
    with pytest.raises(ValueError, match="exists already"):
        save_scene(load_scene(stored), stored)


def test_a_killed_save_leaves_nothing_that_looks_whole(
    posed_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(shutil, "copyfile", fail)
    with pytest.raises(OSError, match="disk full"):
        save_scene(open_scene(posed_images), tmp_path / "store" / "scene")
    assert list((tmp_path / "store").iterdir()) == []


def test_a_frame_lost_from_the_store_is_dropped(stored: Path) -> None:
    (stored / "depth" / "00010.png").unlink()
    jpg = stored / "color" / "00000.jpg"
    jpg.write_bytes(jpg.read_bytes()[:-100])
    scene = load_scene(stored)
    assert [frame.name for frame in scene.frames] == ["00030"]
    reasons = {drop.name: drop.reason for drop in scene.dropped}
    assert "00010.png is missing" in reasons["00010"] and "truncated" in reasons["00000"]


@pytest.mark.parametrize(
    ("change", "word"),
    [({"version": 99}, "version 99"), ({"format": "other"}, "format 'other'"), ({"frames": []}, "no usable frame")],
)
def test_another_format_is_refused(stored: Path, change: dict, word: str) -> None:
    path = stored / "scene.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=word):
        load_scene(stored)


@pytest.mark.parametrize("key", ["frames", "color_size", "align", "depth_unknown"])
def test_a_record_with_a_field_lost_is_refused(stored: Path, key: str) -> None:
    path = stored / "scene.json"
    record = json.loads(path.read_text())
    del record[key]
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=f"damaged .*{key}"):
        load_scene(stored)
    path.write_text("[]")
    with pytest.raises(ValueError, match="has format 'list'"):
        load_scene(stored)


def test_a_damaged_or_absent_record_is_refused(stored: Path) -> None:
    (stored / "scene.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        load_scene(stored)
    (stored / "scene.json").unlink()
    with pytest.raises(ValueError, match="missing"):
        load_scene(stored)
