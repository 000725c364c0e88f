"""A tiny model and random scene packs, and the same packs taken apart into one sample a branch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from transformers import Qwen2Config

from llava.encoders.siglip import Siglip
from llava.model.checkpoint import save
from llava.model.export import export_llava_qwen
from llava.model.scene_lm import SceneLM, SceneLMConfig

SCENE, GROUND, COORD, EOS = 60, 61, 62, 63
ENCODER = Siglip().debug()
ROW_TOKENS = ENCODER.cells * (ENCODER.cells + 1)  # scene tokens a view, newlines included


@dataclass(frozen=True)
class Branch:
    """One question with its answer."""

    ids: torch.Tensor  # (L,)
    labels: torch.Tensor  # (L,)
    coords: torch.Tensor  # (c, 3)
    target: torch.Tensor | None = None  # (n + 1,) bool


@dataclass(frozen=True)
class Row:
    """One pack before padding."""

    prefix: torch.Tensor  # (P,)
    prefix_labels: torch.Tensor  # (P,)
    scene: dict[str, torch.Tensor]
    objects: torch.Tensor  # (n, 6)
    object_masks: torch.Tensor  # (n, V, H', W')
    branches: tuple[Branch, ...]

    def apart(self) -> list[Row]:
        """The samples that the pack stands for."""
        return [replace(self, branches=(branch,)) for branch in self.branches]


def make_model(seed: int = 0, tie: bool = False, **config) -> SceneLM:
    torch.manual_seed(seed)
    text = Qwen2Config(
        vocab_size=64,
        hidden_size=48,
        intermediate_size=80,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=tie,
    )
    config.setdefault("positions", {"temperature": 100.0})
    model = SceneLM(
        SceneLMConfig(
            text_config=text,
            encoder={"name": "siglip", **vars(ENCODER)},
            scene_token_id=SCENE,
            ground_token_id=GROUND,
            coord_token_id=COORD,
            **config,
        )
    )
    # Fresh weights are so small that every attention is nearly uniform; a test should see differences.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval()


def make_branch(rng: torch.Generator, kind: str, objects: int) -> Branch:
    """A branch of one of the kinds ``text``, ``caption``, ``ground``, ``nothing`` (zero target), ``both``."""
    length, answer = int(torch.randint(6, 12, (), generator=rng)), int(torch.randint(1, 5, (), generator=rng))
    ids = torch.randint(0, SCENE, (length,), generator=rng)
    labels = torch.full((length,), -100)
    coords, target = torch.zeros(0, 3), None
    if kind in ("text", "caption", "both"):
        labels[-answer:] = ids[-answer:]
    if kind == "caption":
        ids[0] = ids[2] = COORD
        coords = torch.rand(2, 3, generator=rng) * 4 - 2
    if kind in ("ground", "nothing", "both"):
        ids[-2] = GROUND
        target = torch.zeros(objects + 1, dtype=torch.bool)
        if kind != "nothing":
            target[torch.randperm(objects, generator=rng)[:2]] = True
        labels[-2] = -100
    return Branch(ids, labels, coords, target)


def make_row(rng: torch.Generator, views: int, objects: int, kinds: str, prefix_labels: bool = False) -> Row:
    grid, cells = ENCODER.grid, ENCODER.cells
    before = torch.randint(0, SCENE, (4,), generator=rng)
    prefix = torch.cat([before, torch.full((views * ROW_TOKENS,), SCENE), before[:2]])
    labels = torch.full_like(prefix, -100)
    if prefix_labels:
        labels[[1, -1]] = prefix[[1, -1]]
    size = ENCODER.image_size
    return Row(
        prefix=prefix,
        prefix_labels=labels,
        scene={
            "pixel_values": torch.rand(views, 3, size, size, generator=rng) * 2 - 1,
            "coords": torch.rand(views, cells, cells, 3, generator=rng) * 4 - 2,
            "valid": torch.rand(views, cells, cells, generator=rng) > 0.2,
        },
        objects=torch.rand(objects, 6, generator=rng) * 2,
        object_masks=torch.rand(objects, views, grid, grid, generator=rng) > 0.6,
        branches=tuple(make_branch(rng, kind, objects) for kind in kinds.split()),
    )


def collate(rows: list[Row]) -> dict:
    """The fields of `types.Batch`."""
    count = max(len(row.objects) for row in rows)
    columns = {name: [] for name in ("input_ids", "position_ids", "branch_ids", "labels")}
    targets = []
    for row in rows:
        own = row.branches
        start = len(row.prefix)
        columns["input_ids"].append(torch.cat([row.prefix, *(b.ids for b in own)]))
        columns["labels"].append(torch.cat([row.prefix_labels, *(b.labels for b in own)]))
        columns["position_ids"].append(
            torch.cat([torch.arange(start), *(start + torch.arange(len(b.ids)) for b in own)])
        )
        columns["branch_ids"].append(
            torch.cat(
                [torch.zeros(start, dtype=torch.long), *(torch.full((len(b.ids),), i + 1) for i, b in enumerate(own))]
            )
        )
        for branch in own:
            if branch.target is not None:
                target = torch.zeros(count + 1, dtype=torch.bool)
                target[: len(row.objects)], target[-1] = branch.target[:-1], branch.target[-1]
                targets.append(target)
    fill = {"input_ids": 0, "position_ids": 0, "branch_ids": -1, "labels": -100}
    batch = {
        name: torch.nn.utils.rnn.pad_sequence(values, batch_first=True, padding_value=fill[name])
        for name, values in columns.items()
    }
    pad = torch.nn.utils.rnn.pad_sequence
    return batch | {
        "scene": {key: torch.cat([row.scene[key] for row in rows]) for key in rows[0].scene},
        "coord_points": torch.cat([b.coords for row in rows for b in row.branches]),
        "objects": pad([row.objects for row in rows], batch_first=True),
        "objects_valid": pad([torch.ones(len(row.objects), dtype=torch.bool) for row in rows], batch_first=True),
        "object_masks": tuple(row.object_masks for row in rows),
        "ground_targets": torch.stack(targets) if targets else torch.zeros(0, count + 1, dtype=torch.bool),
    }


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def kit():
    """The helpers above (test files cannot import a conftest)."""
    import sys

    return sys.modules[__name__]


@pytest.fixture
def published(kit, tmp_path):
    """A model as the published code would have written it, and the model."""
    model = kit.make_model(positions={"kind": "sin3d"})
    save(model, tmp_path / "ours")
    return model, export_llava_qwen(tmp_path / "ours", tmp_path / "published")
