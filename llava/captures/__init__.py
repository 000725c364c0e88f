"""Captures on disk become a ``Scene`` here, whatever their format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llava.types import Scene

FORMATS = """\
  a processed scene: scene.json with color/ and depth/
  ScanNet's posed_images/<scene>: intrinsic.txt, depth_intrinsic.txt, NNNNN.{jpg,png,txt}
  a posed folder: camera-intrinsics.txt, frame-NNNNNN.{color.jpg,depth.png,pose.txt}"""
NO_GRAVITY = (
    "nothing says which way is up: z is taken to be. If it is not, heights and floors are wrong: `llava import` looks "
    "for the floor, or is told with --up X Y Z where up is in the capture's own world"
)


def open_scene(path: str | Path) -> Scene:
    """Open a capture of any known format.

    Frames that cannot be used are left out and listed, with the reason, in ``Scene.dropped``. Where nobody says which
    way is up, ``Scene.doubts`` does; a stored scene brings its doubts along.

    Raises:
        ValueError: there is nothing at ``path``, its format is unknown, or it cannot be used as a whole.
    """
    path = Path(path)
    if not path.is_dir():
        raise ValueError(f"{path} is no folder; a capture is one of\n{FORMATS}")
    if (path / "scene.json").is_file():
        from llava.captures.store import load_scene

        return load_scene(path)
    if (path / "depth_intrinsic.txt").is_file() or any(path.glob("[0-9]*[0-9].jpg")):
        from llava.captures.scannet import read_posed_images

        return _doubted(read_posed_images(path))
    if (path / "camera-intrinsics.txt").is_file() or any(path.glob("frame-*.*")):
        from llava.captures.posed_folder import read_posed_folder

        return _doubted(read_posed_folder(path))
    hint = (
        "\n(it holds a .sens file: `llava prepare DATA` makes posed_images of it)" if any(path.glob("*.sens")) else ""
    )
    raise ValueError(f"{path} holds no capture that is known here; looked for\n{FORMATS}{hint}")


def _doubted(scene: Scene) -> Scene:
    return scene if scene.up else replace(scene, doubts=(*scene.doubts, NO_GRAVITY))
