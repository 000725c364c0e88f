"""The scene cache: what it gives is what would be computed, and nothing in it is believed that could be wrong."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from llava.captures.pixels import load_views
from llava.captures.scannet import read_data_scene
from llava.cli import main
from llava.data import cache as cache_module
from llava.data import scenes as scenes_module
from llava.data.cache import Cache, find_caches, open_cache
from llava.data.scenes import SceneInputs, SceneSource, scene_inputs
from llava.encoders.siglip import Siglip
from llava.frames import sample
from llava.proposals import propose

REPOSITORY = Path(__file__).resolve().parents[2]
NAME = "scannet/scene0000_00"


@pytest.fixture(autouse=True)
def usual_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLAVA_CACHE", raising=False)
    monkeypatch.delenv("LLAVA_CACHE_GB", raising=False)


@pytest.fixture
def data(rooms_data: Path, tmp_path: Path) -> Path:
    """A data folder without a cache, whose files have not changed for a while."""
    folder = shutil.copytree(rooms_data, tmp_path / "data", ignore=shutil.ignore_patterns(".cache"))
    settle(folder)
    return folder


def settle(data: Path) -> None:
    for path in (data / "scannet/posed_images").rglob("*"):
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 60))


def open_source(data: Path, **changes) -> SceneSource:
    eyes = Siglip().debug()
    fields = {"split": "train", "strategy": "mc", "max_frames": 3, "boxes": "gt"} | changes
    return SceneSource(data, image_size=eyes.image_size, processor=eyes.build_processor(), **fields)


def plainly(data: Path, strategy: str = "mc", frames: int = 3) -> SceneInputs:
    """The twin: all views at once, by nobody's memory."""
    source, eyes = open_source(data), Siglip().debug()
    scene = read_data_scene(data, NAME)
    chosen = sample(scene, strategy, frames, selection=source._selection.get(NAME))
    views = load_views(scene, chosen, eyes.image_size)
    return scene_inputs(eyes.build_processor(), views, source.objects(NAME))


def assert_same(found: SceneInputs, expected: SceneInputs) -> None:
    assert found.inputs.keys() == expected.inputs.keys() and found.num_tokens == expected.num_tokens
    for key, value in expected.inputs.items():
        assert found.inputs[key].dtype == value.dtype and torch.equal(found.inputs[key], value), key
    assert torch.equal(found.object_masks, expected.object_masks)
    np.testing.assert_array_equal(found.objects, expected.objects)


def kept(data: Path) -> list[Path]:
    return sorted((data / ".cache/entries").iterdir())


@pytest.fixture
def no_computing(monkeypatch: pytest.MonkeyPatch):
    """From when it is called on, a scene that is not in the cache cannot be had."""
    return lambda: monkeypatch.setattr("llava.data.scenes.load_views", None)


@pytest.mark.parametrize(
    ("strategy", "frames"), [("mc", 3), ("uniform", 7)]
)  # a room has four frames: some are repeated
def test_cold_and_warm_are_what_is_computed_plainly(data: Path, strategy: str, frames: int, no_computing) -> None:
    expected = plainly(data, strategy, frames)
    source = open_source(data, strategy=strategy, max_frames=frames)
    assert not (data / ".cache").exists()
    assert_same(source.load(NAME), expected)
    assert len(kept(data)) == 1
    no_computing()
    for again in (pickle.loads(pickle.dumps(source)), open_source(data, strategy=strategy, max_frames=frames)):
        assert_same(again.load(NAME), expected)


@pytest.mark.parametrize("boxes", ["gt", "gt+pred", "none"])
def test_the_benchmark_compares_with_a_plain_way_that_gives_the_same(data: Path, boxes: str, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    baseline, source = importlib.import_module("baselines.loading"), open_source(data, boxes=boxes)
    scene = read_data_scene(data, NAME)
    chosen = sample(scene, "mc", 3, selection=source._selection.get(NAME))
    expected = baseline.load(scene, chosen, source.objects(NAME), Siglip().debug())
    masks = expected.pop("object_masks")
    found = source.load(NAME)
    assert_same(found, SceneInputs(expected, found.num_tokens, source.objects(NAME), masks))


def test_a_folder_that_only_looks_different_is_known_by_its_content(data: Path, no_computing, tmp_path: Path) -> None:
    expected = open_source(data).load(NAME)
    moved = data.rename(tmp_path / "elsewhere")
    settle(moved)
    no_computing()
    assert_same(open_source(moved).load(NAME), expected)
    assert len(kept(moved)) == 1 and len(list((moved / ".cache/seen").iterdir())) == 2


def repaint(data: Path) -> None:
    path = data / "scannet/posed_images/scene0000_00/00001.jpg"
    Image.new("RGB", Image.open(path).size, (200, 20, 20)).save(path)


def deepen(data: Path) -> None:
    path = data / "scannet/posed_images/scene0000_00/00001.png"
    Image.fromarray(np.array(Image.open(path)) // 2).save(path)


def step_aside(data: Path) -> None:
    path = data / "scannet/posed_images/scene0000_00/00001.txt"
    np.savetxt(path, np.loadtxt(path) + [[0, 0, 0, 0.5], [0] * 4, [0] * 4, [0] * 4])


def realign(data: Path) -> None:
    path = data / "scannet/scans/scene0000_00/scene0000_00.txt"
    lines = [line for line in path.read_text().splitlines() if not line.startswith("axisAlignment")]
    path.write_text("\n".join([*lines, "axisAlignment = " + " ".join(map(str, np.eye(4).ravel()))]))


def move_a_box(data: Path) -> None:
    path = data / "metadata/scannet_train_gt_box.json"
    boxes = json.loads(path.read_text())
    boxes[NAME][0][0] += 0.3
    path.write_text(json.dumps(boxes))


@pytest.mark.parametrize("change", [repaint, deepen, step_aside, realign, move_a_box])
@pytest.mark.parametrize("just_now", [True, False])
def test_whatever_a_scene_is_made_of_changes_it(data: Path, change, just_now: bool) -> None:
    before = open_source(data, strategy="uniform", max_frames=4).load(NAME)
    change(data)
    if not just_now:
        settle(data)
    after = open_source(data, strategy="uniform", max_frames=4).load(NAME)
    assert_same(after, plainly(data, "uniform", 4))
    same = [torch.equal(after.inputs[key], before.inputs[key]) for key in before.inputs]
    assert not (all(same) and np.array_equal(after.objects, before.objects))


def test_a_change_within_one_tick_of_the_clock_is_seen(data: Path) -> None:
    """Same size, same time: what git calls racy."""
    path = data / "scannet/posed_images/scene0000_00/00001.txt"
    now = time.time_ns()
    os.utime(path, ns=(now, now))
    before = open_source(data, strategy="uniform", max_frames=4).load(NAME)
    swapped = path.read_text().splitlines()[1::-1] + path.read_text().splitlines()[2:]
    path.write_text("\n".join(swapped) + "\n")
    os.utime(path, ns=(now, now))
    after = open_source(data, strategy="uniform", max_frames=4).load(NAME)
    assert not torch.equal(after.inputs["coords"], before.inputs["coords"])


def test_a_change_that_keeps_size_and_date_is_seen(data: Path) -> None:
    """As of another archive, unpacked over the first, that gives all its files one date."""
    path = data / "scannet/posed_images/scene0000_00/00001.txt"
    before = open_source(data, strategy="uniform", max_frames=4).load(NAME)
    status, content = path.stat(), path.read_text().splitlines()
    path.write_text("\n".join([*content[1::-1], *content[2:]]) + "\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size and path.stat().st_mtime_ns == status.st_mtime_ns
    after = open_source(data, strategy="uniform", max_frames=4).load(NAME)
    assert not torch.equal(after.inputs["coords"], before.inputs["coords"])


@pytest.mark.parametrize(
    "other",
    [{"strategy": "uniform"}, {"max_frames": 2}, {"boxes": "gt+pred"}, {"measured": False}, {"precision": "float16"}],
)
def test_each_way_of_looking_has_its_own(data: Path, other: dict) -> None:
    open_source(data).load(NAME)
    found = open_source(data, **other).load(NAME)
    assert len(kept(data)) == 2
    shutil.rmtree(data / ".cache")
    assert_same(found, open_source(data, **other).load(NAME))


@dataclass(frozen=True)
class Dimmed:
    """A processor of one's own."""

    by: int
    plain: object = None

    def __call__(self, views, boxes):
        inputs = Siglip().debug().build_processor()(views, boxes)
        return inputs | {"pixel_values": inputs["pixel_values"] // self.by}

    def num_tokens(self, inputs) -> int:
        return Siglip().debug().build_processor().num_tokens(inputs)


def test_the_settings_of_a_processor_count_and_one_that_cannot_tell_them_is_not_kept(data: Path) -> None:
    brightest = []
    for processor in (Dimmed(1), Dimmed(2), Dimmed(4, plain=np.zeros(3))):
        source = open_source(data)
        source.processor = processor
        brightest.append(int(source.load(NAME).inputs["pixel_values"].max()))
    assert brightest[0] // 2 == brightest[1] and brightest[0] // 4 == brightest[2]
    assert len(kept(data)) == 2


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zero(path: Path) -> None:
    """What a copy leaves that took the room first and was stopped; as another file, for the first may be mapped."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-100] + bytes(100))


def something_else(path: Path) -> None:
    path.write_bytes(b"\x08" + bytes(7) + b"{}      " + bytes(100))


def of_another_scene(path: Path) -> None:
    open_source(path.parents[2]).load("scannet/scene0001_00")
    (other,) = [found for found in path.parent.iterdir() if found != path]
    shutil.copyfile(other, path)


@pytest.mark.parametrize("harm", [cut, empty, zero, something_else, of_another_scene, Path.unlink])
@pytest.mark.parametrize("what", ["entries", "seen"])
def test_what_is_damaged_or_foreign_is_computed_anew(data: Path, harm, what: str) -> None:
    expected = plainly(data)
    open_source(data).load(NAME)
    (path,) = (data / ".cache" / what).iterdir()
    if what == "seen" and harm is of_another_scene:
        path.write_text("[1, 2]")  # JSON, but not ours
    else:
        harm(path)
    assert_same(open_source(data).load(NAME), expected)
    again = open_source(data)
    assert_same(again.load(NAME), expected)
    assert path.stat().st_size > 200 or what == "seen"


@pytest.mark.parametrize("note", [{}, {"key": 7}, {"key": None, "dropped": {"x": 1}}, {"dropped": "all"}])
def test_a_note_that_does_not_say_what_it_should_is_none(data: Path, note: dict) -> None:
    expected = open_source(data).load(NAME)
    (path,) = (data / ".cache/seen").iterdir()
    path.write_text(json.dumps({"format": cache_module.FORMAT} | note))
    assert_same(open_source(data).load(NAME), expected)
    assert json.loads(path.read_text())["key"] == kept(data)[0].stem, "noted anew"


@pytest.mark.parametrize("target", ["/nowhere/00099.jpg", "00099.jpg"])
def test_a_link_that_leads_nowhere_is_a_frame_left_out(data: Path, target: str, no_computing, capsys) -> None:
    expected = plainly(data)
    (data / "scannet/posed_images/scene0000_00/00099.jpg").symlink_to(target)
    assert_same(open_source(data).load(NAME), expected)
    said = capsys.readouterr().err
    assert "1 of 5 frames left out, the first, 00099" in said
    no_computing()
    assert_same(open_source(data).load(NAME), expected)
    assert capsys.readouterr().err == said, "told by each run"


def test_links_that_change_places_are_seen(data: Path) -> None:
    """What they lead to stays as it was, and shows the same size and date."""
    links = sorted((data / "scannet/posed_images/scene0000_00").glob("0*.txt"))[:2]
    for name, link in zip("ab", links, strict=True):
        (data / name).write_text(link.read_text().ljust(400))
    for _ in range(1000):  # until both have changed within one tick of the clock
        for name in "ab":
            os.utime(data / name, (1, 1))
        if len({(data / name).stat().st_ctime_ns for name in "ab"}) == 1:
            break

    def point(*names: str) -> None:
        for name, link in zip(names, links, strict=True):
            link.unlink()
            link.symlink_to(data / name)

    point("a", "b")
    before = scenes_module.folder_stamp("", links[0].parent, [])
    point("b", "a")
    assert before and scenes_module.folder_stamp("", links[0].parent, []) not in (None, before)


@pytest.mark.parametrize("just_now", [True, False])
def test_what_changes_while_it_is_read_is_not_kept(data: Path, monkeypatch, just_now: bool) -> None:
    """Its tensors would be those of the new file, under the key of the old one."""
    path = data / "scannet/posed_images/scene0000_00/00001.jpg"
    if just_now:
        os.utime(path)  # its time tells nothing yet
    content, status, found = path.read_bytes(), path.stat(), scenes_module.content_key

    def change_then(*arguments):
        key = found(*arguments)
        repaint(data)
        return key

    monkeypatch.setattr(scenes_module, "content_key", change_then)
    open_source(data, strategy="uniform", max_frames=4).load(NAME)
    monkeypatch.setattr(scenes_module, "content_key", found)
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert_same(open_source(data, strategy="uniform", max_frames=4).load(NAME), plainly(data, "uniform", 4))


LOAD = """
import sys
from pathlib import Path
from llava.data.scenes import SceneSource
from llava.encoders.siglip import Siglip
eyes = Siglip().debug()
source = SceneSource(Path(sys.argv[1]), "train", "mc", 3, eyes.image_size, eyes.build_processor(), "gt")
print("ready", flush=True)
sys.stdin.readline()
print(*(int(source.load(f"scannet/scene{i:04d}_00").inputs["pixel_values"].sum()) for i in (0, 1)))
"""


def test_processes_that_compute_the_same_scenes_do_not_disturb_each_other(data: Path) -> None:
    command, pipes = [sys.executable, "-c", LOAD, str(data)], {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    children = [subprocess.Popen(command, text=True, cwd=REPOSITORY, **pipes) for _ in range(3)]
    assert [child.stdout.readline() for child in children] == ["ready\n"] * 3
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    said = [child.communicate()[0].split() for child in children]
    assert all(child.returncode == 0 for child in children) and len(kept(data)) == 2, "no temporary file stays"
    expected = [open_source(data).load(f"scannet/scene{i:04d}_00").inputs["pixel_values"].sum() for i in (0, 1)]
    assert said == [[str(int(total)) for total in expected]] * 3


WRITE = """
import sys
from pathlib import Path
import torch
from llava.data.cache import Cache
cache, tensors = Cache(Path(sys.argv[1]), 10**12), {"x": torch.zeros(10_000_000)}
print("ready", flush=True)
while True:
    cache.write("key", tensors, {})
"""


def is_written_to(folder: Path) -> bool:
    for path in folder.glob(".*"):
        with suppress(FileNotFoundError):  # it has just got its name
            if path.stat().st_size:
                return True
    return False


def test_a_process_killed_while_it_writes_leaves_nothing_that_stays(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", WRITE, str(tmp_path)], stdout=subprocess.PIPE, cwd=REPOSITORY)
    assert child.stdout.readline() == b"ready\n"
    while not is_written_to(tmp_path / "entries"):
        time.sleep(0.001)
    child.kill()
    child.wait()
    cache = Cache(tmp_path, 10**12)
    assert cache.read("key") is None or cache.read("key")["x"].shape == (10_000_000,)
    for path in tmp_path.glob("entries/*"):
        os.utime(path, (1, 1))
    cache.clear()
    assert list(tmp_path.glob("entries/*")) == []


def test_what_is_given_is_mapped_and_its_changes_stay_ones_own(data: Path) -> None:
    first, second = open_source(data).load(NAME), open_source(data).load(NAME)
    assert str(kept(data)[0]) in Path("/proc/self/maps").read_text()
    before = second.inputs["coords"].clone()
    first.inputs["coords"].zero_()
    assert torch.equal(second.inputs["coords"], before) and torch.equal(
        open_source(data).load(NAME).inputs["coords"], before
    )


def test_a_disk_that_takes_nothing_breaks_nothing(data: Path, capsys) -> None:
    expected, source = plainly(data), open_source(data)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        for name in (NAME, "scannet/scene0001_00"):
            source.load(name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert_same(source.load(NAME), expected)
    said = capsys.readouterr().err
    assert said.count("File too large") == 1 and "set LLAVA_CACHE to a folder that can" in said
    assert kept(data) == [], "nothing half-written stays"


def test_a_data_folder_that_cannot_be_written_has_its_cache_elsewhere(data: Path, monkeypatch, tmp_path: Path) -> None:
    writable = os.access
    monkeypatch.setattr(  # a test run by root may write everywhere
        cache_module.os, "access", lambda path, mode: not Path(path).is_relative_to(data) and writable(path, mode)
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    open_source(data).load(NAME)
    assert not (data / ".cache").exists() and len(list((tmp_path / "home/llava/entries").iterdir())) == 1


def test_the_environment_says_where_and_how_much(data: Path, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLAVA_CACHE", str(tmp_path / "mine"))
    expected = open_source(data).load(NAME)
    assert len(list((tmp_path / "mine/entries").iterdir())) == 1 and not (data / ".cache").exists()
    monkeypatch.setenv("LLAVA_CACHE_GB", "0")
    shutil.rmtree(tmp_path / "mine")
    assert_same(open_source(data).load(NAME), expected)
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("words", ["many", "50GB", "nan", "inf", "-5", "1e400"])
def test_a_bound_that_is_none_is_refused(data: Path, monkeypatch, words: str) -> None:
    monkeypatch.setenv("LLAVA_CACHE_GB", words)
    with pytest.raises(ValueError, match=f"LLAVA_CACHE_GB is '{words}': expected gigabytes"):
        open_cache(data)


def test_a_home_that_is_none_is_refused(data: Path, monkeypatch) -> None:
    monkeypatch.setenv("LLAVA_CACHE", "~nobody-here/scenes")
    with pytest.raises(ValueError, match="LLAVA_CACHE is '~nobody-here/scenes', but there is no such home"):
        open_cache(data)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_who_may_read_it_is_as_the_user_says(data: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        open_source(data).load(NAME)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (data / ".cache").glob("*/*")} == {mode}


def test_a_full_cache_keeps_what_is_read_and_gives_up_what_is_not(tmp_path: Path, capsys) -> None:
    cache = Cache(tmp_path, most_bytes=3200)
    tensors = {"x": torch.zeros(200)}  # with its header about 1,000 bytes
    assert cache.write("old", tensors, {}) and cache.write("new", tensors, {})
    assert not cache.write("third", tensors | {"y": torch.zeros(200)}, {})
    assert "LLAVA_CACHE_GB bounds it" in capsys.readouterr().err
    for name in ("old", "new"):
        long_ago = time.time() - 3 * 24 * 3600
        os.utime(tmp_path / f"entries/{name}.safetensors", (long_ago, long_ago))
    cache.read("new")
    assert cache.write("third", tensors | {"y": torch.zeros(200)}, {})
    assert cache.read("old") is None and cache.read("new") is not None and cache.read("third") is not None


def test_what_cannot_make_room_is_not_given_up(tmp_path: Path, monkeypatch, capsys) -> None:
    cache, tensors = Cache(tmp_path, most_bytes=3200), {"x": torch.zeros(200)}
    assert cache.write("old", tensors, {})
    os.utime(tmp_path / "entries/old.safetensors", (1, 1))
    assert not cache.write("large", {"x": torch.zeros(2000)}, {})
    assert "LLAVA_CACHE_GB bounds it" in capsys.readouterr().err
    full = shutil.disk_usage(tmp_path)._replace(free=cache_module.SPARE)
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda path: full)
    monkeypatch.setattr(cache_module, "_told", set())
    assert not cache.write("third", tensors | {"y": torch.zeros(200)}, {})
    assert "the last 2 GB are left free" in capsys.readouterr().err
    assert len(cache.entries()) == 1


def test_notes_make_room_too_unless_they_were_read(tmp_path: Path) -> None:
    cache = Cache(tmp_path, most_bytes=1600)
    for number in range(20):
        cache.note(f"stamp{number}", {"key": "x" * 20})
        os.utime(tmp_path / f"seen/stamp{number}.json", (number, number))
    assert cache.recall("stamp3") == {"key": "x" * 20}
    assert cache.write("new", {"x": torch.zeros(100)}, {})
    assert cache.recall("stamp0") is None and cache.recall("stamp3") is not None
    cache.clear(idle=3600)
    assert [path.stem for path in (tmp_path / "seen").iterdir()] == ["stamp3"]


def test_clearing_lets_others_finish_what_they_write(tmp_path: Path, monkeypatch) -> None:
    cache, fsync = Cache(tmp_path, most_bytes=10**6), os.fsync

    def cleared_meanwhile(handle: int) -> None:
        cache.clear()
        fsync(handle)

    monkeypatch.setattr(cache_module.os, "fsync", cleared_meanwhile)
    assert cache.write("new", {"x": torch.zeros(100)}, {}) and cache.read("new") is not None
    remains = tmp_path / "entries/.gone.safetensors.abc.part"
    remains.touch()
    os.utime(remains, (1, 1))
    cache.clear()
    assert list((tmp_path / "entries").iterdir()) == []


def test_what_killed_processes_left_makes_room(tmp_path: Path) -> None:
    """Also where every entry has just been read."""
    cache, tensors = Cache(tmp_path, most_bytes=3200), {"x": torch.zeros(200)}
    assert cache.write("new", tensors, {})
    remains = tmp_path / "entries/.gone.safetensors.abc.part"
    remains.write_bytes(bytes(2000))
    assert not cache.write("third", tensors, {}), "it may be written just now"
    long_ago = time.time() - 3 * 24 * 3600
    os.utime(remains, (long_ago, long_ago))
    assert cache.write("third", tensors, {}) and not remains.exists() and cache.read("new") is not None


def test_what_else_lies_there_is_let_alone(tmp_path: Path) -> None:
    """As beside ~/.cache/entries, where somebody takes his home for a data folder."""
    cache, others = Cache(tmp_path, most_bytes=10**6), tmp_path / "another"
    others.mkdir()
    for name in ("x.json", "x.safetensors", ".x.part"):
        (others / name).touch()
    assert cache.write("key", {"x": torch.zeros(1)}, {})
    cache.note("stamp", {"key": "key"})
    assert cache.clear() > 0
    assert len(list(others.iterdir())) == 3 and cache.entries() == [] and cache.recall("stamp") is None


def test_it_is_listed_and_cleared(data: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(data.parent)
    monkeypatch.setenv("XDG_CACHE_HOME", str(data.parent / "home"))
    main(["cache"])
    assert "nothing is kept" in capsys.readouterr().out
    source = open_source(data)
    source.load(NAME)
    source.load("scannet/scene0001_00")
    (found,) = find_caches(None)
    assert {entry.about["scene"] for entry in found.entries()} == {NAME, "scannet/scene0001_00"}
    assert all(len(entry.about["frames"].split()) == 3 for entry in found.entries())
    main(["cache", "data"])
    said = capsys.readouterr().out
    assert "2 scenes: mc, at most 3 views of 56 pixels, gt boxes" in said and "at most 100 GB" in said
    main(["cache", "clear", "data", "--idle", "1"])
    assert "0.0 MB deleted" in capsys.readouterr().out and len(kept(data)) == 2
    with pytest.raises(SystemExit):
        main(["cache", "clear", "--idle", "-1"])
    assert "expected days of at least 0, got -1" in capsys.readouterr().err and len(kept(data)) == 2
    monkeypatch.chdir(data)
    main(["cache"])
    assert "2 scenes: mc" in capsys.readouterr().out, "also for who stands in the data folder"
    monkeypatch.chdir(data.parent)
    main(["cache", "clear"])
    assert kept(data) == [] and list((data / ".cache/seen").iterdir()) == []
    with pytest.raises(SystemExit):
        main(["cache", "nowhere"])
    assert "there is no data folder nowhere" in capsys.readouterr().err


def test_own_proposals_are_made_once_a_scene_and_code(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = propose(read_data_scene(data, NAME))
    np.testing.assert_array_equal(open_source(data, boxes="own").objects(NAME), expected)
    monkeypatch.setattr("llava.data.boxes.propose", lambda _: np.ones((1, 6), np.float32))
    np.testing.assert_array_equal(open_source(data, boxes="own").objects(NAME), expected)
    monkeypatch.setattr("llava.data.boxes.proposing_digest", lambda: "other code")
    np.testing.assert_array_equal(open_source(data, boxes="own").objects(NAME), np.ones((1, 6)))


def test_without_a_cache_a_process_proposes_once_a_scene(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAVA_CACHE_GB", "0")
    source = open_source(data, boxes="own")
    expected = source.objects(NAME)
    monkeypatch.delattr("llava.data.boxes.propose")
    np.testing.assert_array_equal(source.load(NAME).objects, expected)
