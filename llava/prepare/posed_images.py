"""`.sens` -> a folder of posed images a scene: NNNNN.{jpg,png,txt}, intrinsic.txt, depth_intrinsic.txt."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import numpy as np

from llava.captures.pixels import save_depth
from llava.captures.sens import SensFrame, SensReader, usual_step
from llava.resumable import replaced

MILLIMETRES = 1000  # depth units a metre


def extract_frames(sens: Path, out: Path, every: int | None = None, compat: Literal["video3d"] | None = None) -> int:
    """Write the frames 0, every, 2*every, ... of a `.sens` file to the folder `out`, and return their number.

    JPEG bytes are copied as they are; depth becomes 16-bit PNG; poses (camera to the scan's raw world) become text
    with six decimals, lost ones as "-inf". `every=None` takes `usual_step`. `compat="video3d"` encodes the JPEGs a
    second time, as the reference does. The folder appears whole or not at all. ValueError: a damaged file.
    """
    if every is not None and every < 1:
        raise ValueError(f"every {every}th frame cannot be taken: expected a step of 1 or more")

    reader = SensReader(sens)
    if reader.depth_shift != MILLIMETRES:
        raise ValueError(
            f"{sens}: depth has {reader.depth_shift:g} units a metre, ScanNet's and posed images have 1000: write the "
            "file again with that depth shift"
        )
    count = 0
    with replaced(out) as folder:
        folder.mkdir()
        for frame in reader.frames(every or usual_step(len(reader))):
            stem = folder / f"{frame.index:05d}"
            color = _encoded_again(frame) if compat == "video3d" else frame.color
            stem.with_suffix(".jpg").write_bytes(color)
            save_depth(frame.depth(), stem.with_suffix(".png"))
            stem.with_suffix(".txt").write_text(_matrix_text(frame.pose))
            count += 1
        if count == 0:
            raise ValueError(f"{sens} holds no frame: copy or download it again")
        (folder / "intrinsic.txt").write_text(_matrix_text(reader.color_intrinsics))
        (folder / "depth_intrinsic.txt").write_text(_matrix_text(reader.depth_intrinsics))
    return count


def _matrix_text(matrix: np.ndarray) -> str:
    return "".join(" ".join(f"{value:.6f}" for value in row) + "\n" for row in matrix)


def _encoded_again(frame: SensFrame) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    try:
        Image.open(io.BytesIO(frame.color)).convert("RGB").save(buffer, "JPEG", quality=75)
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for damaged files
        raise ValueError(f"frame {frame.index}: the colour image cannot be decoded ({error})") from error
    return buffer.getvalue()
