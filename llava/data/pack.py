"""Scene packs: one prefix, many branches, one row of a batch (DESIGN section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from llava.data import chat
from llava.data.compat import OURS, Mode
from llava.data.mixture import Pack
from llava.data.scenes import SceneInputs, SceneSource
from llava.geometry.boxes import iou, rotate_quarter
from llava.types import Batch, Sample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SAME_BOX = 1e-3  # metres; boxes are float32 here, and records may be rounded
MATCH_IOU = 0.5  # an offered box is a right answer when it overlaps a target box by this much


@dataclass(frozen=True)
class PackedScene:
    """One row of a batch before padding."""

    input_ids: np.ndarray  # (T,)
    position_ids: np.ndarray  # (T,)
    branch_ids: np.ndarray  # (T,)
    labels: np.ndarray  # (T,)
    coord_points: np.ndarray  # (C, 3) metres
    ground_targets: np.ndarray  # (G, n + 1) bool
    scene: SceneInputs


class PackedScenes(torch.utils.data.Dataset):
    """The packs of a plan, ready to be collated; an item is read when it is asked for."""

    def __init__(
        self,
        plan: Sequence[Pack],
        samples: Sequence[Sample],
        source: SceneSource,
        tokenizer: PreTrainedTokenizerBase,
        settings: chat.Chat,
        mode: Mode = OURS,
    ) -> None:
        self.plan, self.samples, self.source = plan, samples, source
        self.tokenizer, self.settings, self.mode = tokenizer, settings, mode

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> PackedScene:
        pack = self.plan[index]
        scene = self.source.load(pack.scene).turned(pack.turn)
        samples = [self.samples[i] for i in pack.samples]
        return pack_scene(self.tokenizer, self.settings, scene, samples, pack.turn, self.mode)


def pack_scene(
    tokenizer: PreTrainedTokenizerBase,
    settings: chat.Chat,
    scene: SceneInputs,
    samples: Sequence[Sample],
    turn: int = 0,
    mode: Mode = OURS,
) -> PackedScene:
    """One prefix and a branch a sample; positions restart at the prefix length in every branch.

    A branch that asks for boxes learns from these alone, whatever is labelled in it.
    """
    prefix = chat.prefix(tokenizer, settings, scene.num_tokens, mode.labels)
    branches = [chat.branch(tokenizer, sample, mode.labels) for sample in samples]
    labels = [
        b.labels if s.boxes is None else [chat.IGNORE] * len(b.ids) for b, s in zip(branches, samples, strict=True)
    ]
    start = len(prefix.ids)
    return PackedScene(
        input_ids=np.concatenate([prefix.ids, *(b.ids for b in branches)]).astype(np.int64),
        position_ids=np.concatenate([np.arange(start), *(start + np.arange(len(b.ids)) for b in branches)]),
        branch_ids=np.concatenate(
            [np.zeros(start, int), *(np.full(len(b.ids), i + 1) for i, b in enumerate(branches))]
        ),
        labels=np.concatenate([prefix.labels, *labels]).astype(np.int64),
        coord_points=np.concatenate([np.empty((0, 3)), *(coord_points(s, turn) for s in samples)]).astype(np.float32),
        ground_targets=np.array(
            [ground_target(s, scene.objects, turn, mode.targets) for s in samples if s.boxes is not None], dtype=bool
        ).reshape(-1, len(scene.objects) + 1),
        scene=scene,
    )


def coord_points(sample: Sample, turn: int = 0) -> np.ndarray:
    """(C, 3) the points that the question's "<coord>" marks stand for, metres.

    Raises ValueError when the question asks about a place that the sample does not give.
    """
    marks = sample.question.count(chat.COORD)
    if marks == 0:
        return np.empty((0, 3))
    if sample.coord is None:
        raise ValueError(f"{sample.task} {sample.id}: the question has <coord> but the sample has no box")
    return np.repeat(rotate_quarter(np.asarray(sample.coord, float)[None], turn)[:, :3], marks, axis=0)


def ground_target(
    sample: Sample, objects: np.ndarray, turn: int = 0, rule: Literal["overlap", "ids"] = "overlap"
) -> np.ndarray:
    """(n + 1,) bool: which of the offered boxes answer the sample; the last column says that none does.

    Args:
        rule: "overlap", every box that overlaps a true one enough; "ids", the published one, takes the sample's
            object ids for numbers of boxes, which they are where the true boxes are offered and no id is left out.
            Where ids have gaps, in scenes that the original drops, the box is found by what it is.

    Raises ValueError for an object id beyond the offered boxes.
    """
    target = np.zeros(len(objects) + 1, dtype=bool)
    if rule == "ids":
        ids = [int(number) for number in np.atleast_1d(sample.meta["object_id"])]
        known = rotate_quarter(sample.boxes, turn) if len(sample.boxes) == len(ids) else [np.full(6, np.inf)] * len(ids)
        for number, box in zip(ids, known, strict=True):
            same = np.flatnonzero(np.abs(objects - box).max(axis=1) < SAME_BOX)
            at = int(same[0]) if len(same) and number not in same else number
            if at >= len(objects):
                raise ValueError(
                    f"{sample.task} {sample.id}: object {number} is asked for, but {len(objects)} boxes are offered, "
                    "none of them its own: the published mode trains on ground-truth boxes (--data.train-boxes gt)"
                )
            target[at] = True
    elif len(sample.boxes) and len(objects):
        target[:-1] = iou(objects, rotate_quarter(sample.boxes, turn)).max(axis=1) >= MATCH_IOU
    target[-1] = not target.any()
    return target


def bucket(length: int) -> int:
    """The next of few lengths (tokens), at most an eighth or 127 more: what is compiled for each length is few then.

    Multiples of 128, the block of FlexAttention; from 2,048 on eight lengths for each doubling.
    """
    step = max(128, 2 ** (length.bit_length() - 4))
    return -(-length // step) * step


def collate(rows: Sequence[PackedScene], buckets: bool = False) -> dict:
    """Pad the rows to one length and join their scenes: the fields of `Batch` by name.

    Args:
        buckets: pad to the next length of `bucket`, for what is compiled; else to the longest row.
    """
    length = max(len(row.input_ids) for row in rows)
    length = bucket(length) if buckets else length
    count = max(len(row.scene.objects) for row in rows)

    def pad(name: str, fill: int) -> torch.Tensor:
        padded = np.full((len(rows), length), fill, dtype=np.int64)
        for i, row in enumerate(rows):
            values = vars(row)[name]
            padded[i, : len(values)] = values
        return torch.from_numpy(padded)

    objects = torch.zeros(len(rows), count, 6)
    valid = torch.zeros(len(rows), count, dtype=torch.bool)
    targets = []
    for i, row in enumerate(rows):
        n = len(row.scene.objects)
        objects[i, :n] = torch.from_numpy(np.asarray(row.scene.objects, dtype=np.float32))
        valid[i, :n] = True
        target = np.zeros((len(row.ground_targets), count + 1), dtype=bool)
        target[:, :n], target[:, -1] = row.ground_targets[:, :-1], row.ground_targets[:, -1]
        targets.append(target)
    scenes = [row.scene.inputs for row in rows]  # of some the cache may hold features, of others not
    batch = Batch(
        input_ids=pad("input_ids", 0),
        position_ids=pad("position_ids", 0),
        branch_ids=pad("branch_ids", -1),
        labels=pad("labels", chat.IGNORE),
        scene={key: torch.cat([scene[key] for scene in scenes]) for key in scenes[0] if all(key in s for s in scenes)},
        coord_points=torch.from_numpy(np.concatenate([row.coord_points for row in rows])),
        objects=objects,
        objects_valid=valid,
        object_masks=tuple(row.scene.object_masks for row in rows),
        ground_targets=torch.from_numpy(np.concatenate(targets)),
    )
    return vars(batch)
