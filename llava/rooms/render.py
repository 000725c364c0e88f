"""Colour, depth and instance ids of a room, ray-cast with Open3D and shaded in numpy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from llava.rooms.light import bake
from llava.rooms.mesh import Mesh, room_mesh
from llava.rooms.room import Room
from llava.rooms.textures import LEVELS, PATTERNS, RESOLUTION, atlas

FOV = 62.0  # degrees, horizontal
SIZE = (192, 144)  # (width, height)
_NOTHING = 0xFFFFFFFF  # Open3D's primitive id of a ray that hits nothing


@dataclass(frozen=True)
class Frames:
    """What a camera saw. F frames."""

    color: np.ndarray  # (F, H, W, 3) uint8 RGB
    depth: np.ndarray  # (F, H, W) float32, metres along the optical axis; 0: nothing hit
    ids: np.ndarray  # (F, H, W) int16, Item.id; -1: nothing hit


def intrinsics(size: tuple[int, int] = SIZE, fov: float = FOV) -> np.ndarray:
    """Pinhole matrix (3, 3) float64 for (width, height) and a horizontal field of view in degrees.

    Pixel (0, 0) is the middle of the top left pixel.
    """
    width, height = size
    f = width / 2 / math.tan(math.radians(fov) / 2)
    return np.array([[f, 0, (width - 1) / 2], [0, f, (height - 1) / 2], [0, 0, 1.0]])


def raycaster(mesh: Mesh):
    """Open3D RaycastingScene of a mesh; primitive ids are face indices."""
    import open3d as o3d

    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(o3d.core.Tensor(mesh.vertices), o3d.core.Tensor(mesh.faces.astype(np.uint32)))
    return scene


def camera_rays(size: tuple[int, int], fov: float) -> np.ndarray:
    """Directions (H * W, 3) float32 in camera axes with z = 1, so that a hit's distance along them is its depth."""
    width, height = size
    k = intrinsics(size, fov)
    u, v = np.meshgrid((np.arange(width) - k[0, 2]) / k[0, 0], (np.arange(height) - k[1, 2]) / k[1, 1])
    return np.stack([u.ravel(), v.ravel(), np.ones(u.size)], 1).astype(np.float32)


def cast(scene, rays: np.ndarray, pose: np.ndarray) -> dict:
    """Shoot camera rays (n, 3) from `pose` (4, 4): Open3D's answer as numpy arrays."""
    import open3d as o3d

    world = np.empty((len(rays), 6), np.float32)
    world[:, :3] = pose[:3, 3]
    world[:, 3:] = rays @ pose[:3, :3].T.astype(np.float32)
    return {k: v.numpy() for k, v in scene.cast_rays(o3d.core.Tensor(world), nthreads=1).items()}


def render(room: Room, poses: np.ndarray, size: tuple[int, int] = SIZE, fov: float = FOV) -> Frames:
    """Frames from camera-to-world `poses` (F, 4, 4), OpenCV axes, in the room's aligned world.

    `size` is (width, height); `fov` the horizontal field of view in degrees. The same room and poses give the same
    bytes: exposure, white balance and noise come from the room's seed.
    """
    width, height = size
    mesh = room_mesh(room)
    scene = raycaster(mesh)
    surface = _surface(mesh, bake(room, mesh, scene))
    rays = camera_rays(size, fov)
    camera = _camera(np.random.default_rng([0xCA3E, room.seed]))
    color = np.empty((len(poses), height * width, 3), np.uint8)
    depth = np.empty((len(poses), height * width), np.float32)
    ids = np.empty((len(poses), height * width), np.int16)
    pixel = np.float32(2 * math.tan(math.radians(fov) / 2) / width)  # metres a pixel covers at 1 m
    for f, pose in enumerate(np.asarray(poses)):
        hit = cast(scene, rays, pose)
        missed = hit["primitive_ids"] == _NOTHING
        face = np.where(missed, 0, hit["primitive_ids"]).astype(np.int32)
        depth[f] = np.where(missed, 0, hit["t_hit"])
        ids[f] = np.where(missed, -1, mesh.face_item[face])
        color[f] = camera(surface(face, hit["primitive_uvs"], depth[f] * pixel), f, missed)
    shape = (len(poses), height, width)
    return Frames(color.reshape(*shape, 3), depth.reshape(shape), ids.reshape(shape))


def _surface(mesh: Mesh, light: np.ndarray):
    """A function (face, barycentrics, pixel size in metres) -> linear colour (n, 3) float32, about 0..1.2."""
    table = atlas()
    glow = table.glow[mesh.face_texture][:, None, None]
    light = light * (1 - glow) + glow * np.float32(1.05)
    periods = np.array([p.period or 0.8 for p in PATTERNS.values()], np.float32)
    # Row: light (3) and uv (2) at the first corner, then what they gain towards the second and third.
    corners = np.concatenate([light, mesh.uv[mesh.faces]], 2).astype(np.float32)
    packed = np.concatenate([corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]], 1)
    start = table.start[mesh.face_texture]
    texels_per_metre = (RESOLUTION / periods)[mesh.face_texture]
    paint = mesh.face_rgb.astype(np.float32) / (255 * 128)

    def shade(face: np.ndarray, bary: np.ndarray, footprint: np.ndarray) -> np.ndarray:
        row = packed[face]
        value = row[:, :5] + bary[:, :1] * row[:, 5:10] + bary[:, 1:] * row[:, 10:]
        level = np.log2(np.maximum(footprint * texels_per_metre[face], 1)).astype(np.int32)
        level = np.minimum(level, LEVELS - 1)
        side = RESOLUTION >> level
        place = (value[:, 3:] * side[:, None]).astype(np.int32) & (side - 1)[:, None]
        texel = table.texels[start[face, level] + place[:, 1] * side + place[:, 0]]
        return paint[face] * texel * value[:, :3]

    return shade


def _camera(rng: np.random.Generator):
    """A function (linear colour (n, 3), frame number, missed (n,)) -> (n, 3) uint8: exposure, white balance, noise."""
    gain = rng.uniform(0.9, 1.08) * (1 + rng.uniform(-0.03, 0.03, 3))
    drift = rng.uniform(0, 2 * np.pi)
    noise = rng.normal(0, rng.uniform(1.0, 2.5), 1 << 16).astype(np.float32)

    def expose(color: np.ndarray, frame: int, missed: np.ndarray) -> np.ndarray:
        color = color * (gain * (1 + 0.03 * math.sin(0.7 * frame + drift)) * 255).astype(np.float32)
        color = np.where(
            color > 200, 200 + (color - 200) * np.float32(0.6), color
        )  # a soft shoulder instead of clipping
        grain = np.resize(np.roll(noise, 7919 * frame), len(color))
        color += grain[:, None]
        color[missed] = 0
        return np.clip(color, 0, 255).astype(np.uint8)

    return expose


def sensor(depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a structured-light sensor makes of true depth (..., H, W) metres: uint16 millimetres, 0 = unknown.

    Holes beyond 6 m, under 0.35 m, along depth edges, at grazing angles and in a few blobs; noise grows with the square
    of the distance (Khoshelham and Elberink 2012: about 1.4e-3 z^2 m), and depth is quantised in steps of z^2 / 400 mm.
    """
    depth = np.asarray(depth, np.float32)
    frames = depth.reshape(-1, *depth.shape[-2:])
    out = np.empty(frames.shape, np.uint16)
    for f, z in enumerate(frames):
        noisy = z + rng.standard_normal(z.shape, np.float32) * np.float32(0.0014) * z * z
        step = np.maximum(z * z * np.float32(0.0025), np.float32(0.001))
        noisy = np.round(noisy / step) * step
        lost = (z > 6) | (z < 0.35) | _steep(z, rng) | _blobs(z.shape, rng)
        out[f] = np.where(lost, 0, np.round(noisy * 1000)).astype(np.uint16)
    return out.reshape(depth.shape)


def _steep(z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Where depth jumps (mostly lost) or runs away from the camera (sometimes lost)."""
    slope = np.zeros_like(z)
    slope[:, 1:] = np.abs(np.diff(z, axis=1))
    slope[1:] = np.maximum(slope[1:], np.abs(np.diff(z, axis=0)))
    dice = rng.random(z.shape, np.float32)
    scale = np.float32(192 / z.shape[1])  # the same surface slopes less from pixel to pixel in a larger picture
    return ((slope > 0.12 * scale * z) & (dice < 0.7)) | ((slope > 0.035 * scale * z) & (dice < 0.35)) | (dice < 0.004)


def _blobs(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A few blind spots: shiny or black surfaces."""
    height, width = shape
    rows, columns = np.ogrid[:height, :width]
    lost = np.zeros(shape, bool)
    for _ in range(int(rng.integers(0, 4))):
        r, c = rng.uniform(0, height), rng.uniform(0, width)
        a, b = rng.uniform(0.015, 0.06, 2) * width
        lost |= ((rows - r) / a) ** 2 + ((columns - c) / b) ** 2 < 1
    return lost
