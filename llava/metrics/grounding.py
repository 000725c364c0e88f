"""How well boxes were found: IoU accuracies (ScanRefer) and set F1 (Multi3DRefer)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llava.geometry.boxes import iou

TEMPERATURE = 0.07  # published, of the grounding head's InfoNCE loss, which made the scores
MASS = 0.4  # published Multi3DRefer decoding: objects are taken until they hold this share of the probability
SHARE = 0.5  # our decoding: objects are taken whose probability is at least this share of the best one's

Boxes = Sequence[Sequence[float]] | np.ndarray


def best_object(scores: Sequence[float]) -> int | None:
    """Index of the best real object of (n + 1,) scores whose last is the zero target; None when n is 0.

    ScanRefer always has a target, so the zero target's own score is not asked.
    """
    return int(np.argmax(scores[:-1])) if len(scores) > 1 else None


def probabilities(scores: Sequence[float], temperature: float = TEMPERATURE) -> np.ndarray:
    """(n + 1,) the share of the softmax that falls on each of (n + 1,) scores, float64."""
    values = np.asarray(scores, dtype=np.float64)
    weights = np.exp((values - values.max()) / temperature)
    return weights / weights.sum()


def likely_objects(scores: Sequence[float], temperature: float = TEMPERATURE, mass: float = MASS) -> list[int]:
    """Indices of the objects that (n + 1,) scores name, best first; none when the zero target (last) wins.

    Otherwise the best objects are taken until their softmax probabilities, the zero target's included in the
    sum, reach `mass`. This is how Video-3D LLM decodes Multi3DRefer.
    """
    values = np.asarray(scores, dtype=np.float64)
    if int(np.argmax(values)) == len(values) - 1:
        return []
    shares = probabilities(values, temperature)[:-1]
    order = np.argsort(-shares, kind="stable")
    reached = np.cumsum(shares[order]) >= mass
    count = int(np.argmax(reached)) + 1 if reached.any() else len(order)
    return [int(i) for i in order[:count]]


def close_objects(scores: Sequence[float], temperature: float = TEMPERATURE, share: float = SHARE) -> list[int]:
    """Indices of the objects about as likely as the best one, best first; none when the zero target (last) wins.

    Unlike `likely_objects`, which stops after one of two sure and equal targets, this finds any number of them.
    """
    values = np.asarray(scores, dtype=np.float64)
    if int(np.argmax(values)) == len(values) - 1:
        return []
    order = np.argsort(-values[:-1], kind="stable")
    floor = values[order[0]] + temperature * np.log(share)
    return [int(i) for i in order if values[i] >= floor]


def pair_iou(first: Sequence[float], second: Sequence[float]) -> float:
    """IoU of two (6,) boxes."""
    return float(iou(np.asarray(first, np.float64)[None], np.asarray(second, np.float64)[None])[0, 0])


def set_f1(predicted: Boxes, gold: Boxes, thresholds: Sequence[float]) -> list[float]:
    """F1 of (p, 6) boxes against (g, 6) boxes at each IoU threshold, pairs chosen for the largest total IoU.

    Without gold boxes it is 1 if nothing was predicted, else 0 (Multi3DRefer, Zhang et al. 2023, section 5).
    """
    if len(gold) == 0 or len(predicted) == 0:
        return [float(len(gold) == len(predicted))] * len(thresholds)
    from scipy.optimize import linear_sum_assignment

    overlaps = iou(np.asarray(predicted, np.float64), np.asarray(gold, np.float64))
    matched = overlaps[linear_sum_assignment(overlaps, maximize=True)]
    return [2.0 * int((matched >= t).sum()) / (len(gold) + len(predicted)) for t in thresholds]
