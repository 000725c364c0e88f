"""What a check of a capture found, as one picture: frames, agreement of the frames, coverage, and a map from above."""

from __future__ import annotations

from dataclasses import replace
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from llava.captures.check import Check
from llava.captures.conventions import AS_READ, TOO_FAR, better
from llava.captures.pixels import load_color, load_depth, some_frames
from llava.captures.telling import length
from llava.frames.floor_map import floor_map
from llava.frames.picture import FAINT, INK, PAPER

if TYPE_CHECKING:  # matplotlib takes half a second to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GOOD, BAD, BLUE = "#0f9d8a", "#de4e3a", "#1f6fb4"
STRIP_FRAMES = 5
MAP_FRAMES = 60  # more are not needed to see the room
LARGEST_MAP = 80.0  # metres; wrong units make worlds that no picture holds
READINGS = 6  # the best ones are shown
LINE, LINES = 82, 11  # characters, and lines of text
SHORTEST = 1e-4  # metres, left end of the axes of errors


def check_picture(found: Check) -> Image.Image:
    """Draw what ``check`` found. ValueError: a file cannot be decoded any more."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(16, 9), dpi=100, facecolor=PAPER)
    canvas = FigureCanvasAgg(figure)
    _title(figure, found)
    _draw_strip(figure, found)
    _draw_errors(figure.add_axes((0.02, 0.085, 0.175, 0.335)), found)
    _draw_readings(figure.add_axes((0.225, 0.085, 0.21, 0.335)), found)
    _draw_coverage(figure.add_axes((0.475, 0.085, 0.14, 0.335)), found)
    _draw_map(figure.add_axes((0.64, 0.30, 0.35, 0.585)), found)
    _tell(figure, found)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def _title(figure: Figure, found: Check) -> None:
    scene = found.scene
    figure.text(0.015, 0.945, scene.name, fontsize=20, weight="bold", color=INK, parse_math=False)
    word, color = ("usable", GOOD) if found.usable else ("not usable", BAD)
    figure.text(0.985, 0.945, word, fontsize=20, weight="bold", color=color, ha="right")
    kept = found.captured - len(scene.dropped)
    up = scene.up or "nobody says which way is up"
    floor = "no clear floor" if found.tilt is None else f"floor {found.tilt:.1f}° off level"
    facts = f"{kept} of {found.captured} frames    up: {up}    {floor}    {found.valid_share:.0%} of the depth measured"
    figure.text(0.015, 0.905, facts, fontsize=11, color=INK, parse_math=False)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rsplit(" ", 1)[0] + " …"


def _draw_strip(figure: Figure, found: Check) -> None:
    """Some frames, and their depth below."""
    from matplotlib import colormaps

    scene = found.scene
    near, middle, far = found.depth_range
    left, top, width, height = 0.015, 0.885, 0.60, 0.40
    aspect = scene.depth_size[1] / scene.depth_size[0]
    wide = min(width / STRIP_FRAMES, height / 2 / aspect * 9 / 16)
    tall = wide * aspect * 16 / 9
    for place, index in enumerate(some_frames(scene, STRIP_FRAMES)):
        depth = load_depth(scene, index)
        shown = colormaps["turbo"](np.clip((depth - near) / max(far - near, 1e-6), 0, 1))[..., :3]
        shown[depth == 0] = 1
        for row, picture in enumerate((load_color(scene, index), shown)):
            box = (left + place * wide, top - (row + 1) * tall, wide * 0.97, tall * 0.97)
            axes = figure.add_axes(box)
            axes.imshow(picture, extent=(0, 1, 0, aspect), interpolation="antialiased")
            axes.set_axis_off()
            if row == 0:
                name = scene.frames[index].name
                shade = {"boxstyle": "round,pad=0.2", "fc": "#000000", "ec": "none", "alpha": 0.45}
                axes.text(0.03, 0.04, name, fontsize=8, color="white", bbox=shade, parse_math=False)
    bar = figure.add_axes((left, top - 2 * tall - 0.018, wide * 0.97, 0.012))
    bar.imshow(np.linspace(0, 1, 256)[None], aspect="auto", cmap="turbo")
    bar.set_axis_off()
    text = f"{near:.2f} to {far:.2f} m of depth (1 to 99 %), median {middle:.2f} m; white: not measured"
    figure.text(left + wide + 0.005, top - 2 * tall - 0.017, text, fontsize=9, color=INK)


def _draw_errors(axes: Axes, found: Check) -> None:
    """How far the places that two frames see lie apart."""
    _plain(axes, "reprojection error, overlapping frames")
    if found.overlap.error is None:
        axes.text(0.5, 0.5, "no frames overlap", ha="center", color=FAINT, transform=axes.transAxes)
        axes.set(xticks=[], yticks=[])
        return
    errors, median = found.overlap.errors, found.overlap.error
    longest = max(1.0, float(errors.max()))
    axes.hist(errors, bins=np.geomspace(SHORTEST, longest, 50), color=BLUE, alpha=0.75)
    axes.axvline(median, color=INK, lw=2)
    axes.axvline(TOO_FAR, color=BAD, lw=1, ls=(0, (3, 3)))
    for x, side, text, color in (
        (0, "left", f"median {length(median)}", INK),
        (1, "right", f"{length(TOO_FAR)} is too far", BAD),
    ):
        axes.text(x, 1.015, text, fontsize=9, color=color, ha=side, transform=axes.transAxes)
    axes.set(xscale="log", xlim=(SHORTEST, longest), yticks=[], xlabel=f"metres, {found.overlap.pairs} pairs of frames")


def _draw_readings(axes: Axes, found: Check) -> None:
    """The best of the conventions that were tried, by how well the frames agree."""
    _plain(axes, "how well the frames agree if ...")
    other = better(found.readings)
    shown = sorted(found.readings, key=lambda reading: (-reading.agreement.score, reading.name != AS_READ))[:READINGS]
    if all(reading.name != AS_READ for reading in shown):
        shown[-1] = found.readings[0]
    places = np.arange(len(shown))[::-1]
    colors = dict.fromkeys((reading.name for reading in shown), FAINT)
    colors[AS_READ] = BAD if other or (found.overlap.error or 0) > TOO_FAR else GOOD
    if other:
        colors[other.name] = GOOD
    axes.barh(places - 0.18, [reading.agreement.score for reading in shown], height=0.3, color=list(colors.values()))
    widest = max(reading.agreement.score for reading in shown) or 1.0
    for place, reading in zip(places, shown, strict=True):
        number = "no overlap" if reading.agreement.error is None else length(reading.agreement.error)
        axes.text(reading.agreement.score + 0.02 * widest, place - 0.18, number, fontsize=8, color=INK, va="center")
        axes.text(0, place + 0.05, _shortened(reading.name, 50), fontsize=8, color=INK, va="bottom", parse_math=False)
    axes.set(
        xlim=(0, 1.25 * widest),
        ylim=(-0.6, len(shown) - 0.3),
        xticks=[],
        yticks=[],
        xlabel="agreement, and median error",
    )


def _draw_coverage(axes: Axes, found: Check) -> None:
    _plain(axes, "seen by the best n frames")
    counts = np.arange(1, len(found.coverage) + 1)
    axes.plot(counts, 100 * found.coverage, color=BLUE, lw=2, marker="o", ms=3)
    axes.set(xlabel="frames", ylim=(0, 103), xlim=(0.5, max(2, len(counts)) + 0.5))
    axes.yaxis.set_major_formatter("{x:.0f} %")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="y", color="#e6eaef")


def _draw_map(axes: Axes, found: Check) -> None:
    """The scene from above, and the camera's way from its first frame to its last."""
    scene, widest = found.scene, float((found.high - found.low)[:2].max())
    if widest > LARGEST_MAP:
        axes.text(0.5, 0.5, f"no map: this would be {widest:,.0f} m wide", ha="center", color=FAINT, fontsize=12)
        axes.set_axis_off()
        return
    some = some_frames(scene, MAP_FRAMES)
    part = replace(scene, frames=tuple(scene.frames[index] for index in some))
    made = floor_map(part, range(len(some)), [found.voxels[index] for index in some])
    axes.imshow(made.image, extent=made.extent, origin="lower", interpolation="antialiased")
    path = np.stack([frame.pose[:2, 3] for frame in scene.frames])
    ahead = np.stack([frame.pose[:2, 2] for frame in scene.frames])
    axes.plot(*path.T, color=INK, lw=1, alpha=0.6)
    axes.quiver(*path[some].T, *ahead[some].T, np.arange(len(some)), cmap="turbo", scale=22, width=0.005, zorder=3)
    low = np.minimum(path.min(axis=0) - 0.2, [made.extent[0], made.extent[2]])
    high = np.maximum(path.max(axis=0) + 0.2, [made.extent[1], made.extent[3]])
    y = low[1] - 0.05 * (high[1] - low[1])
    axes.plot([low[0], low[0] + 1], [y, y], color=INK, lw=3, solid_capstyle="butt")
    axes.text(
        low[0] + 1.06, y, "1 m, from above; arrows: the camera, from blue to red", fontsize=9, color=INK, va="center"
    )
    axes.set(xlim=(low[0], high[0]), ylim=(low[1] - 0.1 * (high[1] - low[1]), high[1]), aspect="equal", anchor="C")
    axes.set_axis_off()


def _tell(figure: Figure, found: Check) -> None:
    """Faults, warnings and dropped frames, as many as there is room for."""
    drops = [f"dropped {drop.name}: {drop.reason}" for drop in found.scene.dropped]
    told = [(text, BAD) for text in found.faults] + [(text, INK) for text in (*found.warnings, *drops)]
    told = told or [("no faults, no warnings, no frames dropped", FAINT)]
    lines = [(line, color) for text, color in told for line in wrap(text, LINE, subsequent_indent="   ")]
    if len(lines) > LINES:
        lines[LINES - 1 :] = [("...", INK)]
    for place, (line, color) in enumerate(lines):
        figure.text(0.645, 0.255 - 0.0235 * place, line, fontsize=9.5, color=color, parse_math=False)


def _plain(axes: Axes, title: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, colors=INK)
    axes.set_facecolor(PAPER)
    axes.set_title(title, fontsize=10, color=INK, loc="left", pad=16)
    axes.xaxis.label.set(size=9, color=INK)
