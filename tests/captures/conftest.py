"""Small captures on disk, made from a tilted plane, in each format that a reader knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COLOR, DEPTH = (64, 48), (32, 24)
COLOR_K = np.array([[60.0, 0, 31.5], [0, 60, 23.5], [0, 0, 1]])
DEPTH_K = np.array([[30.0, 0, 15.5], [0, 30, 11.5], [0, 0, 1]])


def write_frame(color: Path, depth: Path, pose: Path, shift: float) -> None:
    """A picture with a gradient, a depth ramp of 1.5 to 2.5 m with a hole, and a camera moved along x."""
    v, u = np.mgrid[: COLOR[1], : COLOR[0]]
    Image.fromarray(np.stack([u * 3, v * 4, 128 + 0 * u], axis=-1).astype(np.uint8)).save(color, quality=95)
    ramp = np.linspace(1500, 2500, DEPTH[0] * DEPTH[1]).reshape(DEPTH[1], DEPTH[0]).astype(np.uint16)
    ramp[:4, :4] = 0
    Image.fromarray(ramp).save(depth)
    matrix = np.eye(4)
    matrix[0, 3] = shift
    np.savetxt(pose, matrix)


def pad(k: np.ndarray) -> np.ndarray:
    whole = np.eye(4)
    whole[:3, :3] = k
    return whole


@pytest.fixture
def posed_images(tmp_path: Path) -> Path:
    """Four frames 00000, 00010, 00020, 00030 as ``data/scannet/posed_images/scene0000_00``."""
    folder = tmp_path / "data" / "scannet" / "posed_images" / "scene0000_00"
    folder.mkdir(parents=True)
    for number in range(0, 40, 10):
        stem = folder / f"{number:05d}"
        write_frame(stem.with_suffix(".jpg"), stem.with_suffix(".png"), stem.with_suffix(".txt"), number / 100)
    np.savetxt(folder / "intrinsic.txt", pad(COLOR_K))
    np.savetxt(folder / "depth_intrinsic.txt", pad(DEPTH_K))
    return folder


@pytest.fixture
def posed_folder(tmp_path: Path) -> Path:
    """Four frames as 7-Scenes names them, without a gravity direction."""
    folder = tmp_path / "desk"
    folder.mkdir()
    for number in range(4):
        stem = f"frame-{number:06d}"
        paths = [folder / f"{stem}.{end}" for end in ("color.jpg", "depth.png", "pose.txt")]
        write_frame(*paths, number / 10)
    np.savetxt(folder / "camera-intrinsics.txt", DEPTH_K)
    return folder


@pytest.fixture
def damage() -> dict[str, tuple[str, Callable[[Path], object], str]]:
    """Every fault that drops a frame: which file, what happens to it, and what the reason must say."""

    def resized(path: Path) -> None:
        with Image.open(path) as image:
            half = image.resize((image.width // 2, image.height // 2), Image.Resampling.NEAREST)
        half.save(path)

    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:-200])

    def pose(text: str) -> Callable[[Path], object]:
        return lambda path: path.write_text(text)

    infinite = "\n".join(["-inf -inf -inf -inf"] * 4)
    mirrored = "1 0 0 0\n0 1 0 0\n0 0 -1 0\n0 0 0 1\n"
    eight_bit = np.zeros((DEPTH[1], DEPTH[0]), np.uint8)
    return {
        "no colour": ("color", Path.unlink, "missing"),
        "no depth": ("depth", Path.unlink, "missing"),
        "no pose": ("pose", Path.unlink, "missing"),
        "cut colour": ("color", cut, "truncated"),
        "cut depth": ("depth", cut, "truncated"),
        "folder as colour": ("color", lambda path: path.unlink() or path.mkdir(), "cannot be read (Is a directory)"),
        "bytes as pose": ("pose", lambda path: path.write_bytes(b"\xff\xfe\x00"), "no matrix"),
        "empty colour": ("color", lambda path: path.write_bytes(b""), "empty"),
        "text as colour": ("color", lambda path: path.write_text("hello"), "neither JPEG nor PNG"),
        "other colour size": ("color", resized, "colour image is 32x24, the other frames' are 64x48"),
        "other depth size": ("depth", resized, "depth image is 16x12, the other frames' are 32x24"),
        "8-bit depth": ("depth", lambda path: Image.fromarray(eight_bit).save(path), "16-bit"),
        "infinite pose": ("pose", pose(infinite), "not finite"),
        "mirrored pose": ("pose", pose(mirrored), "rigid"),
        "half a pose": ("pose", pose("1 0 0 0\n0 1 0 0\n"), "shape"),
        "words as pose": ("pose", pose("lost lost\n"), "no matrix"),
    }
