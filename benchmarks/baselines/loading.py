"""A scene loaded the plain way: one frame after the other, whole pictures, every pixel of every box.

What a straightforward script does, and the published loader does (Video-3D LLM, `process_3d_video`; golden 02 holds
its output): decode the colour images, resize them whole and crop; decode the depth images, give every pixel its place
in the world, resize that to the picture by picking pixels, crop; then average the places over patches, and look which
pixels lie in which box. Arithmetic is float32 in the order of `llava.geometry`, so that results can be compared
exactly; the means over patches are its own, taken over all views at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from llava.encoders.siglip import Siglip
from llava.geometry.camera import nearest_rows_cols, square_crop
from llava.geometry.voxels import patch_coords
from llava.types import Scene


def load(scene: Scene, chosen: Sequence[int], boxes: np.ndarray, encoder: Siglip) -> dict[str, torch.Tensor]:
    """The tensors of the frames ``chosen`` and the boxes (n, 6) as `SceneSource` gives them, in mode ours."""
    size = encoder.image_size
    crop = square_crop(*scene.depth_size, size)
    rows, cols = nearest_rows_cols(*scene.depth_size, size)
    images, coords, valid = [], [], []
    for index in chosen:
        frame = scene.frames[index]
        picture = Image.open(frame.color).convert("RGB").resize((crop.width, crop.height), Image.Resampling.BICUBIC)
        images.append(np.asarray(picture)[crop.top : crop.top + size, crop.left : crop.left + size])
        depth = np.asarray(Image.open(frame.depth)).astype(np.float32) / np.float32(scene.depth_scale)
        places = unproject(depth, scene.depth_intrinsics, frame.pose)
        coords.append(places[np.ix_(rows, cols)])
        valid.append(depth[np.ix_(rows, cols)] > 0)
    used, cell = encoder.grid * encoder.patch_size, encoder.grid * encoder.patch_size // encoder.cells
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    places, known = np.stack(coords)[:, :used, :used], np.stack(valid)[:, :used, :used]
    means, some = patch_coords(places, known, encoder.cells, cell)
    return {
        "pixel_values": pixels,
        "coords": torch.from_numpy(means),
        "valid": torch.from_numpy(some),
        "object_masks": torch.from_numpy(membership(places, known, boxes, encoder.patch_size, encoder.grid)),
    }


def unproject(depth: np.ndarray, intrinsics: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """World points (H, W, 3) of depth (H, W) in metres."""
    height, width = depth.shape
    u, v = np.meshgrid(np.arange(width, dtype=float), np.arange(height, dtype=float))
    x = ((u - intrinsics[0, 2]) / intrinsics[0, 0]).astype(np.float32)
    y = ((v - intrinsics[1, 2]) / intrinsics[1, 1]).astype(np.float32)
    pose = np.asarray(pose, np.float32)
    return np.stack([((x * p[0] + p[2]) + y * p[1]) * depth + p[3] for p in pose[:3]], axis=-1)


def membership(places: np.ndarray, known: np.ndarray, boxes: np.ndarray, patch: int, grid: int) -> np.ndarray:
    """(n, V, grid, grid) bool: half of the patch's pixels lie in the box."""
    masks = np.zeros((len(boxes), len(places), grid, grid), bool)
    for mask, box in zip(masks, np.asarray(boxes, np.float32), strict=True):
        low, high = box[:3] - box[3:] / 2, box[:3] + box[3:] / 2
        inside = known.copy()
        for axis in range(3):
            inside &= (places[..., axis] >= low[axis]) & (places[..., axis] <= high[axis])
        counts = inside.reshape(-1, grid, patch, grid, patch).sum(axis=(2, 4))
        mask[:] = counts >= patch * patch // 2
    return masks
