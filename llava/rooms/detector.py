"""Proposal masks as an instance segmenter (Mask3D) would give them for a room's scan: not quite right.

Real pipelines ground language on the detector's boxes, so that its misses and sloppy masks bound every score.
This stand-in makes the same kinds of mistake from the true masks: a side of an object is lost, a neighbour's
vertices are taken in, an object is missed, and there are masks that are no object. It sees the truth, so its
recall is a setting, not an achievement: about 0.96 at IoU 0.25 and 0.88 at IoU 0.5.
"""

from __future__ import annotations

import numpy as np

from llava.geometry.boxes import bounds, boxes_from_points, contains, iou
from llava.rooms.furniture import CLUTTER
from llava.rooms.room import Room
from llava.rooms.scan import Scan

MISSED = 0.035  # share of items without any proposal
MISSED_CLUTTER = 0.4  # the same for the small things that are never asked about
SLOPPY = 0.085  # share of items whose proposal has an IoU of 0.25 to 0.5
MOST = 50  # box extraction keeps at most 50 proposals a scene
DISTRACTORS = (3, 6)
_TRIES = 24  # candidate masks an item


def detect(room: Room, scan: Scan, rng: np.random.Generator) -> list[np.ndarray]:
    """Proposal masks of a scan: sorted vertex indices (int32) each, at least 3, in random order, at most 50.

    The room's shell (walls, floor, ceiling) gives no proposals of its own, only distractors.
    """
    vertices = {item.id: np.flatnonzero(scan.items == item.id) for item in room.items}
    objects = [item for item in room.items if not item.shell]
    boxes = np.stack([_box(scan.vertices[vertices[item.id]]) for item in objects])
    masks = []
    for item, box in zip(objects, boxes, strict=True):
        if rng.random() >= (MISSED_CLUTTER if item.label in CLUTTER else MISSED):
            masks.append(_imprecise(scan, vertices[item.id], box, _overlap(rng), rng))
    masks = masks[: MOST - DISTRACTORS[1]]
    solid = [vertices[item.id] for item in objects]
    shell = [vertices[item.id] for item in room.items if item.shell]
    for _ in range(int(rng.integers(DISTRACTORS[0], DISTRACTORS[1] + 1))):
        mask = _distractor(scan, solid, boxes, shell, rng)
        if mask is not None:
            masks.append(mask)
    return [np.sort(masks[k]).astype(np.int32) for k in rng.permutation(len(masks))]


def _overlap(rng: np.random.Generator) -> float:
    """Draw the IoU that a proposal should have with its object."""
    if rng.random() < SLOPPY / (1 - MISSED):
        return rng.uniform(0.28, 0.48)
    return 0.52 + 0.45 * rng.beta(2.5, 1.3)


def _imprecise(scan: Scan, own: np.ndarray, box: np.ndarray, overlap: float, rng: np.random.Generator) -> np.ndarray:
    """Of some random cuts and growths of the mask `own`, the one whose box IoU with `box` is nearest `overlap`."""
    around = contains(box[None] + [0, 0, 0, 1, 1, 1], scan.vertices)[0]  # within half a metre
    around[own] = False
    near = np.flatnonzero(around)
    best, error = own, np.inf
    for _ in range(_TRIES):
        kept = own[rng.random(len(own)) > 0.05]
        for _ in range(int(rng.integers(1, 3))):
            kept = _cut_side(scan.vertices, kept, rng.uniform(0, 0.45), rng)
        if rng.random() < 0.4:
            kept = _grow_side(scan.vertices, kept, near, rng)
        if len(kept) < 3:
            continue
        miss = abs(iou(_box(scan.vertices[kept])[None], box[None])[0, 0] - overlap)
        if miss < error:
            best, error = kept, miss
    return best


def _cut_side(points: np.ndarray, mask: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Drop the vertices in the outer `share` of the mask's extent on one side, a longer axis being likelier."""
    if len(mask) == 0:
        return mask
    low, high = bounds(_box(points[mask]))
    extent = high - low + 1e-6
    axis = rng.choice(3, p=extent / extent.sum())
    along = points[mask, axis]
    if rng.random() < 0.5:
        return mask[along >= low[axis] + share * extent[axis]]
    return mask[along <= high[axis] - share * extent[axis]]


def _grow_side(points: np.ndarray, mask: np.ndarray, near: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Take in those of the vertices `near` that lie within a random reach of the mask's box on one side."""
    if len(mask) == 0:
        return mask
    box = _box(points[mask])
    axis, reach = rng.integers(3), rng.uniform(0.03, 0.3)
    box[axis] += rng.choice((-1, 1)) * reach / 2
    box[3 + axis] += reach
    return np.concatenate([mask, near[contains(box[None], points[near])[0]]])


def _distractor(
    scan: Scan, solid: list[np.ndarray], boxes: np.ndarray, shell: list[np.ndarray], rng: np.random.Generator
) -> np.ndarray | None:
    """A mask whose box is no object's (IoU below 0.25 with each; 0.45 for a merge), or None when none was found.

    Args:
        solid, boxes: vertices and box (n, 6) of each object.
        shell: vertices of each wall, of the floor and of the ceiling.
    """
    for _ in range(12):
        kind, limit = rng.choice(("fragment", "merge", "shell")), 0.25
        first = int(rng.integers(len(solid)))
        if kind == "fragment":
            mask = _cut_side(scan.vertices, solid[first], rng.uniform(0.7, 0.85), rng)
        elif kind == "merge" and len(solid) > 1:
            gaps = _gap(boxes[first], boxes)
            gaps[first] = np.inf
            mask, limit = np.concatenate([solid[first], solid[int(gaps.argmin())]]), 0.45
        elif kind == "shell" and shell:
            piece = shell[int(rng.integers(len(shell)))]
            middle = scan.vertices[rng.choice(piece)]
            mask = piece[(np.abs(scan.vertices[piece] - middle) < rng.uniform(0.3, 0.8, size=3)).all(axis=1)]
        else:
            continue
        if len(mask) >= 3 and iou(_box(scan.vertices[mask])[None], boxes).max() < limit:
            return mask
    return None


def _box(points: np.ndarray) -> np.ndarray:
    """The smallest box (6,) around points, float64."""
    return boxes_from_points(points.astype(np.float64), np.zeros(len(points), np.int8))[1][0]


def _gap(first: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distance (n,) between a box (6,) and others (n, 6), metres."""
    apart = np.abs(others[:, :3] - first[:3]) - (others[:, 3:] + first[3:]) / 2
    return np.linalg.norm(np.maximum(apart, 0), axis=1)
