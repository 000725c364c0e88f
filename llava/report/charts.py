"""The report's two charts, as PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#16202c", "#6b7785", "#e6eaef"
LOSS_COLORS = {"loss": INK, "lm_loss": "#7c5cd6", "ground_loss": "#0f9d8a"}
LOSS_NAMES = {"loss": "loss", "lm_loss": "language model", "ground_loss": "grounding"}
STRATEGY_COLORS = {"uniform": "#8a96a3", "mc": "#0f9d8a"}
STRATEGY_NAMES = {"uniform": "uniform", "mc": "maximum coverage"}


def loss_chart(log: Sequence[Mapping[str, float]]) -> bytes:
    """Losses against the step (as logged, and smoothed), the learning rate below. `log` is not empty."""
    figure, (top, bottom) = _figure(rows=2, height=3.7, height_ratios=(5, 1))
    for name, color in LOSS_COLORS.items():
        points = [(entry["step"], entry[name]) for entry in log if name in entry]
        if not points:
            continue
        steps, values = np.array(points, dtype=float).T
        top.plot(steps, values, color=color, alpha=0.25, linewidth=0.8)
        smooth = smoothed(values, window=max(1, len(values) // 25))
        top.plot(steps, smooth, color=color, linewidth=2, label=f"{LOSS_NAMES[name]}  {smooth[-1]:.2f}")
    top.set_ylim(bottom=0)
    top.legend(frameon=False, loc="upper right", labelcolor="linecolor")
    top.tick_params(labelbottom=False)
    rates = [(entry["step"], entry["learning_rate"]) for entry in log if "learning_rate" in entry]
    if rates:
        steps, values = np.array(rates, dtype=float).T
        bottom.fill_between(steps, values, color=GRID)
        bottom.plot(steps, values, color=MUTED, linewidth=1)
    bottom.set_yticks([])
    bottom.set_ylabel("learning\nrate", rotation=0, ha="right", va="center", color=MUTED, fontsize=8)
    bottom.set_xlabel("optimizer step")
    return _png(figure)


def smoothed(values: np.ndarray, window: int) -> np.ndarray:
    """Centred moving average of (n,) values; near the ends over what is there."""
    kernel = np.ones(2 * (window // 2) + 1)
    return np.convolve(values, kernel, mode="same") / np.convolve(np.ones_like(values), kernel, mode="same")


def coverage_chart(counts: Sequence[int], coverage: Mapping[str, np.ndarray], used: int | None) -> bytes:
    """Share of a scene's voxels seen, in %, against the number of frames.

    `coverage[strategy]` is (scenes, counts) in 0..1: the line is the mean, the band the spread of the scenes; a
    vertical line marks the number of frames that the run used.
    """
    figure, (axes,) = _figure(rows=1, height=3.7)
    for strategy, shares in coverage.items():
        color = STRATEGY_COLORS[strategy]
        low, mean, high = (100 * f for f in (shares.min(axis=0), shares.mean(axis=0), shares.max(axis=0)))
        axes.fill_between(counts, low, high, color=color, alpha=0.12, linewidth=0)
        axes.plot(counts, mean, color=color, linewidth=2, marker="o", markersize=4, label=STRATEGY_NAMES[strategy])
    if used is not None and counts[0] <= used <= counts[-1]:
        axes.axvline(used, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        axes.annotate(
            f"this run: {used}",
            (used, 2),
            xytext=(-4, 0),
            textcoords="offset points",
            color=MUTED,
            fontsize=8,
            ha="right",
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set_ylim(0, 100)
    axes.yaxis.set_major_formatter("{x:.0f} %")
    axes.set_xlabel("frames")
    axes.legend(frameon=False, loc="lower right", labelcolor="linecolor")
    return _png(figure)


def _figure(rows: int, height: float, height_ratios: Sequence[float] = (1,)) -> tuple[Figure, Sequence[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.2, height), layout="constrained", facecolor="white")
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False, height_ratios=height_ratios)[:, 0]
    for one in axes:
        one.spines[["top", "right", "left"]].set_visible(False)
        one.spines["bottom"].set_color(GRID)
        one.grid(axis="y", color=GRID, linewidth=0.8)
        one.tick_params(length=0, labelcolor=MUTED, labelsize=8)
        one.xaxis.label.set(color=MUTED, size=9)
        one.set_axisbelow(True)
    return figure, axes


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    return buffer.getvalue()
