"""`llava view`: open a scan, and a checkpoint with it where one is given, and serve their page until Ctrl-C."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import numpy as np

from llava.captures.pixels import load_views
from llava.encoders.siglip import Siglip
from llava.frames import sample
from llava.model.positions import Positions
from llava.scan import Scan, doubts, open_settled
from llava.serve.fusing import fuse
from llava.serve.shapes import Cells, encoding_cells
from llava.serve.viewer import Viewer, check_port
from llava.types import Scene

LOOK = ("mc", 8)  # strategy and number of frames where no checkpoint says otherwise


def open_viewer(
    path: Path,
    checkpoint: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8080,
    strategy: str | None = None,
    frames: int | None = None,
) -> Viewer:
    """The page of a capture, served.

    Args:
        path: a capture of any known format.
        checkpoint: what answers; None: the scan alone is shown.
        host, port: where to listen; port 0: any that is free.
        strategy, frames: which frames are chosen; None: as the checkpoint was trained, `LOOK` without one.

    Raises:
        ValueError: the capture or the checkpoint cannot be opened, or the port is taken.
    """
    check_port(host, port)  # before the work, not after it
    if checkpoint is None:
        scan, opened = None, open_settled(path)
        scene, threads = opened.scene, os.cpu_count() or 1
        chosen = sample(
            scene, strategy or LOOK[0], LOOK[1] if frames is None else frames, opened.selection, threads=threads
        )
    else:
        scan = Scan(checkpoint, path, strategy, frames)
        scene, chosen = scan.scene, scan.chosen
    for doubt in doubts(scene):
        print(f"warning: {doubt}", file=sys.stderr)
    cloud = fuse(scene)
    return Viewer(scene, cloud, chosen, lambda: _cells(scene, chosen, scan), scan, host, port)


def keep_open(viewer: Viewer, host: str) -> None:
    """Say where the page is, and wait for Ctrl-C, which is raised as KeyboardInterrupt once the page is closed."""
    place = f"[{host}]" if ":" in host else host
    place = "this machine's address" if host in ("0.0.0.0", "::") else place
    try:
        print(f"open http://{place}:{viewer.port} in a browser; Ctrl-C ends it", flush=True)
        threading.Event().wait()
    finally:
        viewer.close()


def _cells(scene: Scene, chosen: list[int], scan: Scan | None) -> Cells:
    """The cells of what the checkpoint reads; without one of what Video-3D LLM would read."""
    encoder, positions = (Siglip(), Positions()) if scan is None else (scan.recipe.encoder, scan.recipe.positions)
    views = load_views(scene, chosen, encoder.image_size) if scan is None else scan.views
    inputs = encoder.build_processor()(views, np.empty((0, 6), np.float32))
    return encoding_cells(inputs["coords"].numpy(), inputs["valid"].numpy(), positions)
