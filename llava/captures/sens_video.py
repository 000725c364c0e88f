"""ScanNet's ``.sens`` video, with the axis alignment of ``<scene>.txt`` where that lies beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from llava.captures.gather import Listed, check_intrinsics, gather
from llava.captures.pixels import save_depth
from llava.captures.scannet import ALIGNMENT, align_from_text, read_align
from llava.captures.sens import SensReader, usual_step
from llava.types import Dropped, Scene

NAME = "ScanNet video"
LAYOUT = "<scene>.sens, or a folder that holds one; optional: <scene>.txt with axisAlignment"
PACKED = True


def fits(path: Path) -> bool:
    return path.suffix == ".sens" or any(path.glob("*.sens"))


def read(path: Path, scratch: Path) -> Scene:
    """Unpack the video: every frame, or every 10th of a long one, as ScanNet's users do.

    Raises:
        ValueError: several videos, a damaged file, no usable frame, or intrinsics that do not fit the images.
    """
    video = _only_video(path)
    reader = SensReader(video)
    if not 0 < reader.depth_shift < np.inf:
        raise ValueError(f"{video}: {reader.depth_shift:g} depth units cannot be a metre: copy or download it again")
    align = _alignment(video)
    listed, dropped = [], []
    step = usual_step(len(reader))
    for frame in tqdm(reader.frames(step), "unpacking", -(-len(reader) // step), leave=False, disable=None):
        name = f"{frame.index:05d}"
        color, depth = scratch / f"{name}.jpg", scratch / f"{name}.png"
        try:
            save_depth(frame.depth(), depth)
        except ValueError as error:
            dropped.append(Dropped(name, str(error)))
            continue
        color.write_bytes(frame.color)
        listed.append(Listed(name, color, depth, frame.pose.astype(np.float64)))
    gathered = gather(listed, np.eye(4) if align is None else align, dropped)
    return Scene(
        name=f"scannet/{video.stem}",
        frames=gathered.frames,
        color_size=gathered.color_size,
        depth_size=gathered.depth_size,
        color_intrinsics=check_intrinsics(reader.color_intrinsics.astype(np.float64), gathered.color_size, video),
        depth_intrinsics=check_intrinsics(reader.depth_intrinsics.astype(np.float64), gathered.depth_size, video),
        depth_scale=reader.depth_shift,
        align=np.eye(4) if align is None else align,
        up=None if align is None else ALIGNMENT,
        dropped=gathered.dropped,
    )


def _only_video(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.sens"))
    if len(found) > 1:
        raise ValueError(f"{path} holds {len(found)} videos ({found[0].name}, {found[1].name} ...): name one of them")
    return found[0]


def _alignment(video: Path) -> np.ndarray | None:
    video = video.resolve()
    text = video.with_suffix(".txt")
    if text.is_file() and (align := align_from_text(text)) is not None:
        return align
    return read_align(video.parents[3], video.stem) if len(video.parents) > 3 else None
