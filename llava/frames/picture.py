"""The chosen frames beside a map of what they see, and of what they miss."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from llava.captures import open_scene
from llava.captures.pixels import load_color, scene_voxels
from llava.frames.floor_map import MISSED, floor_map
from llava.frames.sampling import canonical_strategy, sample, uniform_indices
from llava.geometry.voxels import max_coverage
from llava.types import Scene

if TYPE_CHECKING:  # matplotlib takes half a second to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, PAPER = "#20242b", "#8a8f98", "#fbfaf7"
THUMBNAIL = 360  # pixels wide


def sample_to_picture(path: str | Path, strategy: str, frames: int, out: str | Path) -> None:
    """Choose frames of the capture at ``path``, save their picture to ``out`` and print what was chosen.

    ValueError: no capture there, an unknown strategy, fewer than one frame asked for, or ``out`` names no picture.
    """
    out = check_picture_name(Path(out))
    scene = open_scene(path)
    strategy = canonical_strategy(strategy)
    voxels = scene_voxels(scene, threads=os.cpu_count() or 1)
    indices = sample(scene, strategy, frames, voxels=voxels)
    picture = frames_picture(scene, indices, strategy, voxels)
    out.parent.mkdir(parents=True, exist_ok=True)
    picture.save(out)
    for dropped in scene.dropped:
        print(f"left out {dropped.name}: {dropped.reason}")
    names = ", ".join(scene.frames[index].name for index in indices)
    share = _count(voxels, indices) / max(1, _count(voxels, range(len(voxels))))
    print(f"{len(indices)} of {len(scene.frames)} frames by {strategy}, {share:.1%} of the scene seen: {names}")
    print(f"picture: {out}")


def check_picture_name(out: Path) -> Path:
    """``out`` itself; ValueError where Pillow cannot tell from its ending how to write it."""
    if Image.registered_extensions().get(out.suffix.lower()) not in Image.SAVE:
        raise ValueError(f"a picture cannot be written to {out}: expected a name that ends in .png or .jpg")
    return out


def frames_picture(
    scene: Scene, indices: Sequence[int], strategy: str = "", voxels: list[np.ndarray] | None = None
) -> Image.Image:
    """Draw the chosen frames, a map from above of what they see and miss, and coverage against frame count.

    Args:
        scene: the scene.
        indices: chosen positions in ``scene.frames``; a repeated one is drawn once.
        strategy: its name, for the title.
        voxels: ``scene_voxels(scene)``, if at hand.

    ValueError: no frame was chosen, or a file cannot be decoded.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    chosen = sorted(set(indices))
    if not chosen:
        raise ValueError(f"no frame of scene {scene.name} was chosen: nothing to draw")
    voxels = scene_voxels(scene) if voxels is None else voxels
    figure = Figure(figsize=(16, 9), dpi=100, facecolor=PAPER)
    canvas = FigureCanvasAgg(figure)
    colors = _colors(len(chosen))
    _title(figure, scene, chosen, strategy, voxels)
    _draw_thumbnails(figure, scene, chosen, colors)
    _draw_map(figure.add_axes((0.565, 0.335, 0.425, 0.555)), scene, chosen, colors, voxels)
    _draw_curve(figure.add_axes((0.60, 0.075, 0.38, 0.175)), chosen, voxels)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def _colors(count: int) -> np.ndarray:
    from matplotlib import colormaps

    return colormaps["turbo"](np.linspace(0.06, 0.94, count))[:, :3]


def _count(voxels: list[np.ndarray], indices: Sequence[int]) -> int:
    return len(np.unique(np.concatenate([voxels[index] for index in indices])))


def _title(figure: Figure, scene: Scene, chosen: list[int], strategy: str, voxels: list[np.ndarray]) -> None:
    total = _count(voxels, range(len(voxels)))
    share = _count(voxels, chosen) / max(1, total)
    how = f" by {strategy}" if strategy else ""
    figure.text(0.015, 0.945, scene.name, fontsize=20, weight="bold", color=INK, parse_math=False)
    text = f"{len(chosen)} of {len(scene.frames)} frames{how} see {share:.1%} of the scene's {total:,} voxels of 10 cm"
    figure.text(0.985, 0.948, text, fontsize=14, color=INK, ha="right")


def _draw_thumbnails(figure: Figure, scene: Scene, chosen: list[int], colors: np.ndarray) -> None:
    from matplotlib.patches import Rectangle

    aspect = scene.depth_size[1] / scene.depth_size[0]
    left, bottom, width, height = 0.015, 0.03, 0.535, 0.86
    inches = np.array(figure.get_size_inches())
    # The grid whose pictures come out largest in the space on the left.
    grids = [(cols, -(-len(chosen) // cols)) for cols in range(1, len(chosen) + 1)]
    cols, rows = max(grids, key=lambda g: min(width * inches[0] / g[0], height * inches[1] / g[1] / aspect))
    cell_w = min(width / cols, height / rows * inches[1] / aspect / inches[0])
    cell_h = cell_w * aspect * inches[0] / inches[1]
    for place, index in enumerate(chosen):
        picture = load_color(scene, index)
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        row, col = divmod(place, cols)
        box = (left + col * cell_w, bottom + height - (row + 1) * cell_h, cell_w * 0.965, cell_h * 0.965)
        axes = figure.add_axes(box, anchor="NW")
        axes.imshow(picture, extent=(0, 1, 0, aspect))
        axes.set_axis_off()
        axes.add_patch(Rectangle((0, 0), 1, aspect, fill=False, lw=3.5, ec=colors[place], transform=axes.transData))
        _label(axes, 0.06, aspect - 0.065, str(place + 1), colors[place], 11)
        axes.text(0.975, 0.03, scene.frames[index].name, fontsize=8, color="white", ha="right", bbox=_shade())


def _shade() -> dict:
    return {"boxstyle": "round,pad=0.25", "fc": "#000000", "ec": "none", "alpha": 0.45}


def _label(axes: Axes, x: float, y: float, text: str, color: np.ndarray, size: float) -> None:
    ink = "white" if color @ (0.3, 0.59, 0.11) < 0.6 else INK
    box = {"boxstyle": "circle,pad=0.25", "fc": color, "ec": "white", "lw": 1}
    axes.text(x, y, text, fontsize=size, weight="bold", color=ink, ha="center", va="center", bbox=box, zorder=5)


def _draw_map(axes: Axes, scene: Scene, chosen: list[int], colors: np.ndarray, voxels: list[np.ndarray]) -> None:
    made = floor_map(scene, chosen, voxels)
    axes.imshow(made.image, extent=made.extent, origin="lower", interpolation="antialiased")
    path = np.stack([frame.pose[:2, 3] for frame in scene.frames])
    axes.plot(*path.T, color=INK, lw=1, alpha=0.35, marker="o", ms=2.5, mew=0)
    k = scene.depth_intrinsics
    reach = 0.09 * max(made.extent[1] - made.extent[0], made.extent[3] - made.extent[2])
    edges = (np.array([[0, 0], [scene.depth_size[0], 0]])[:, 0] - k[0, 2]) / k[0, 0]
    for place, index in enumerate(chosen):
        pose = scene.frames[index].pose
        rays = pose[:2, 0] * edges[:, None] + pose[:2, 2]
        corners = pose[:2, 3] + rays / np.linalg.norm(rays, axis=1, keepdims=True) * reach
        axes.fill(*np.vstack([pose[:2, 3], corners]).T, color=colors[place], alpha=0.35, lw=0)
        axes.plot(*np.vstack([corners[0], pose[:2, 3], corners[1]]).T, color=colors[place], lw=1.8)
    for place, index in enumerate(chosen):
        _label(axes, *scene.frames[index].pose[:2, 3], str(place + 1), colors[place], 8)
    low = np.minimum(path.min(axis=0) - reach / 2, [made.extent[0], made.extent[2]])
    high = np.maximum(path.max(axis=0) + reach / 2, [made.extent[1], made.extent[3]])
    _scale_bar(axes, low, high)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1] - 0.1 * (high[1] - low[1]), high[1]), aspect="equal")
    axes.set_axis_off()


def _scale_bar(axes: Axes, low: np.ndarray, high: np.ndarray) -> None:
    y = low[1] - 0.07 * (high[1] - low[1])
    axes.plot([low[0], low[0] + 1], [y, y], color=INK, lw=3, solid_capstyle="butt")
    axes.text(low[0] + 1.06, y, "1 m, from above", fontsize=9, color=INK, va="center")
    axes.text(high[0], y, "/// missed by these frames", fontsize=9, color=MISSED / 255, ha="right", va="center")


def _draw_curve(axes: Axes, chosen: list[int], voxels: list[np.ndarray]) -> None:
    total = max(1, _count(voxels, range(len(voxels))))
    counts = np.arange(1, min(len(voxels), max(32, len(chosen))) + 1)
    greedy = np.cumsum(max_coverage(voxels, counts[-1])[1]) / total
    even = [_count(voxels, uniform_indices(len(voxels), count)) / total for count in counts]
    axes.plot(counts, greedy, color="#1f6fb4", lw=2, label="maximum coverage")
    axes.plot(counts, even, color=FAINT, lw=2, label="uniform")
    axes.plot(len(chosen), _count(voxels, chosen) / total, "o", ms=9, color=MISSED / 255, label="this choice")
    axes.set(xlabel="frames", xlim=(0.5, counts[-1] + 0.5), ylim=(min(even[0], greedy[0]) - 0.05, 1.03))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_title("share of the scene seen", fontsize=10, color=INK, loc="left")
    axes.grid(alpha=0.25)
    axes.set_facecolor(PAPER)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9, colors=INK)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
