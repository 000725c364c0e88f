"""Features of a frozen tower: kept once a scene, the same losses as with the tower in every step."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from llava.data.features import tower_digest
from llava.data.pack import PackedScenes, collate
from llava.encoders import siglip_tower
from llava.encoders.siglip_tower import SiglipEncoder
from llava.loading import load_tokenizer
from llava.model.checkpoint import load_model
from llava.recipes import Recipe
from llava.train import train

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def data(rooms_data: Path, tmp_path: Path) -> Path:
    return shutil.copytree(rooms_data, tmp_path / "data", ignore=shutil.ignore_patterns(".cache"))


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many views the tower looked at, each time that it did."""
    counted: list[int] = []
    look = SiglipEncoder.look

    def counting(self, inputs):
        counted.append(len(inputs["pixel_values"]))
        return look(self, inputs)

    monkeypatch.setattr(SiglipEncoder, "look", counting)
    return counted


def run(recipe: Recipe, base: Path, data: Path, out: Path, **changes) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses of the steps, and the weights at the end."""
    recipe = replace(recipe, train=replace(recipe.train, **changes))
    trainer = train(load_model(base), load_tokenizer(base), recipe, data, out)
    return [log["loss"] for log in trainer.state.log_history if "loss" in log], trainer.model.state_dict()


@pytest.mark.parametrize(("precision", "scenes"), [("fp32", 1), ("bf16", 1), ("fp32", 2)])
def test_losses_are_those_of_a_tower_that_looks_at_every_pack(
    tiny_recipe: Recipe, tiny_base, data, tmp_path, monkeypatch, looks, precision: str, scenes: int
) -> None:
    settings = {"precision": precision, "scenes_per_step": scenes, "packs": 6}
    monkeypatch.setenv("LLAVA_CACHE_GB", "0")
    plain_losses, plain_weights = run(tiny_recipe, tiny_base, data, tmp_path / "plain", **settings)
    assert len(looks) == 6 // scenes and not (data / ".cache").exists()
    monkeypatch.delenv("LLAVA_CACHE_GB")
    looks.clear()
    losses, weights = run(tiny_recipe, tiny_base, data, tmp_path / "kept", **settings)
    entries = list((data / ".cache/entries").iterdir())  # two a scene: what is read of it, and its features
    assert looks == [tiny_recipe.data.max_frames] * (len(entries) // 2), "once a scene, before the first step"
    looks.clear()
    again, _ = run(tiny_recipe, tiny_base, data, tmp_path / "again", **settings)
    assert looks == [] and again == losses
    assert losses == pytest.approx(plain_losses, rel=1e-6) if scenes > 1 else losses == plain_losses
    for name, value in plain_weights.items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=0 if scenes == 1 else 1e-6)


def test_a_tower_that_learns_has_none(tiny_recipe: Recipe, tiny_base, data, tmp_path, looks) -> None:
    run(tiny_recipe, tiny_base, data, tmp_path / "out", tune=("tower", "projector"), packs=2)
    assert len(looks) == 2
    assert not any("features" in path.read_bytes()[:2000].decode("latin1") for path in data.glob(".cache/entries/*"))


def test_another_tower_has_its_own(tiny_base: Path) -> None:
    encoders = [load_model(tiny_base).encoder for _ in range(3)]
    with torch.no_grad():
        next(encoders[1].tower.parameters()).view(-1)[0] += 1e-3
        encoders[2].projector[0].weight += 1  # learns, and looks at nothing
    first, changed, same = map(tower_digest, encoders)
    assert first == same != changed
    assert tower_digest(encoders[0].bfloat16()) != first


def test_other_code_looks_anew(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_model(tiny_base).encoder
    first = tower_digest(encoder)
    changed = tmp_path / "siglip_tower.py"
    changed.write_text(Path(siglip_tower.__file__).read_text().replace("- 0.5) / 0.5", "- 0.5) / 0.25"))
    monkeypatch.setattr(siglip_tower, "__file__", str(changed))
    assert tower_digest(encoder) != first


def test_features_of_some_scenes_alone_are_left_out_of_a_batch(
    tiny_recipe: Recipe, tiny_base, data, tmp_path, monkeypatch, looks
) -> None:
    """As after `llava cache clear` in the middle of a training."""
    import llava.train

    made: list[PackedScenes] = []

    class Remembered(PackedScenes):
        def __init__(self, *args) -> None:
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(llava.train, "PackedScenes", Remembered)
    run(tiny_recipe, tiny_base, data, tmp_path / "out", packs=6)
    (packs,) = made
    rows = [packs[index] for index in range(6)]
    assert all("features" in row.scene.inputs for row in rows)
    names = [pack.scene for pack in packs.plan]
    other = next(index for index, name in enumerate(names) if name != names[0])
    whole = collate([rows[0], rows[other]])
    del rows[other].scene.inputs["features"]
    mixed = collate([rows[0], rows[other]])
    assert "features" in whole["scene"] and "features" not in mixed["scene"]
    model = load_model(tiny_base).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(**mixed).loss, model(**whole).loss, rtol=1e-5, atol=0)


SHARE = """
import json, os, sys
from pathlib import Path
from llava import processes
from llava.data.features import keep_features
from llava.model.checkpoint import load_model
from llava.recipes import load_recipe
from llava.train import scene_source

base, data, out = map(Path, sys.argv[1:4])
if not processes.is_first():
    os.environ["LLAVA_CACHE_GB"] = sys.argv[4]
names = sorted(json.loads((data / "metadata/scannet_train_gt_box.json").read_text()))
source = scene_source(data, "train", load_recipe(base), "gt", "float32")
encoder, looks = load_model(base).encoder, []
look = encoder.look
encoder.look = lambda inputs: (looks.append(1), look(inputs))[1]
keep_features(encoder, source, names * 2, "fp32")
kept = sum("features" in source.load(name).inputs for name in names)
(out / f"{processes.rank()}.json").write_text(json.dumps([len(names), len(looks), kept]))
processes.wait()
processes.leave()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("gigabytes", "looked", "kept"), [("100", (2, 1), (3, 3)), ("0", (2, 0), (2, 0))])
def test_processes_share_the_scenes_and_wait_for_each_other(
    tiny_base: Path, data: Path, tmp_path: Path, gigabytes: str, looked: tuple, kept: tuple
) -> None:
    """Also where one of them, on another machine, has no cache."""
    (tmp_path / "share.py").write_text(SHARE)
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        + [tmp_path / "share.py", tiny_base, data, tmp_path, gigabytes],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=True,
        timeout=120,
    )
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert found == [[3, looks, whole] for looks, whole in zip(looked, kept, strict=True)]
