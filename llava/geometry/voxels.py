"""Points into cells: voxels of the world, patches of a picture, and which patch sees which object."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np

from llava.geometry.boxes import bounds

VOXEL_SIZE = 0.1  # metres
KEY_BITS = 21  # an axis of a voxel key: +-104 km at 0.1 m
MOST_CELLS = 2**24  # of the box that `voxel_keys` marks: 167 m x 10 m x 10 m at 0.1 m, 16 MiB
FEW_POINTS = 200_000  # that `VoxelSums` brings into its sums at once
UNION_SETS = 64  # brought together at a time: bounds the memory that the union of many sets takes


def voxel_keys(points: np.ndarray, voxel_size: float = VOXEL_SIZE, valid: np.ndarray | None = None) -> np.ndarray:
    """The distinct voxels of points (..., 3), as ascending int64 keys (k,).

    Voxel indices are ``round(point / voxel_size)``; nothing is clipped. ``valid`` (...) bool leaves points out.
    ValueError: a point is not finite, or a million voxels away.
    """
    if points.size == 0 or (valid is not None and not valid.any()):
        return np.zeros(0, np.int64)
    planes = [np.rint(points[..., axis] / np.float32(voxel_size)) for axis in range(3)]
    if valid is not None and not valid.all():
        for plane in planes:  # cheaper than to leave them out: they take the place of one that counts
            np.copyto(plane, plane.flat[valid.argmax()], where=~valid)
    lowest = np.array([plane.min() for plane in planes])
    highest = np.array([plane.max() for plane in planes])
    corner, _ = unpack_keys(pack_keys(np.stack([lowest, highest])))
    sides = (highest - lowest).astype(np.int64) + 1
    if sides.prod() > MOST_CELLS:
        return _distinct(pack_keys(np.stack(planes, axis=-1)).ravel())
    # The box around all points has few cells, so marking those hit beats sorting the points. Whole numbers up to
    # MOST_CELLS are exact in float32, and cells ascend as keys do.
    cells = np.zeros_like(planes[0])
    for plane, low, side in zip(planes, lowest, sides.tolist(), strict=True):
        cells *= side
        cells += np.subtract(plane, low, out=plane)
    hit = np.zeros(sides.prod(), bool)
    hit[cells.astype(np.intp)] = True
    return pack_keys(np.stack(np.unravel_index(np.flatnonzero(hit), sides), axis=-1) + corner)


def pack_keys(indices: np.ndarray) -> np.ndarray:
    """One int64 key (...) for integer voxel indices (..., 3); ValueError beyond a million voxels from the origin."""
    if indices.size and not np.abs(indices).max() < 2 ** (KEY_BITS - 1):
        raise ValueError(f"voxel indices go up to {np.abs(indices).max()}: are the points in metres, and finite?")
    shifted = indices.astype(np.int64) + 2 ** (KEY_BITS - 1)
    return (shifted[..., 0] << 2 * KEY_BITS) | (shifted[..., 1] << KEY_BITS) | shifted[..., 2]


def unpack_keys(keys: np.ndarray) -> np.ndarray:
    """Voxel indices (..., 3) int64 of keys (...)."""
    mask = 2**KEY_BITS - 1
    shifted = np.stack([keys >> 2 * KEY_BITS, (keys >> KEY_BITS) & mask, keys & mask], axis=-1)
    return shifted - 2 ** (KEY_BITS - 1)


class VoxelSums:
    """Sums over the points of each voxel, in memory that is bounded however many points come.

    Points are added some at a time; where there are too many voxels, all grow, and what was summed moves along with
    its mean position.
    """

    def __init__(self, voxel_size: float, values: int, most: int, growth: float = 2.0) -> None:
        """Nothing yet.

        Args:
            voxel_size: metres, to begin with.
            values: how many numbers a point has beside its position.
            most: voxels.
            growth: by which voxels grow where there would be more.
        """
        self.voxel_size, self.most, self.growth = voxel_size, most, growth
        self._keys = np.zeros(0, np.int64)  # sorted
        self._sums = np.zeros((0, 4 + values))  # weight, then weighted: position, values
        self._new: list[tuple[np.ndarray, np.ndarray]] = []  # points and what is to be summed, not yet in the sums

    def add(self, points: np.ndarray, weight: np.ndarray, values: np.ndarray) -> None:
        """Points (p, 3) in metres, how much each counts (p, 1), and their values (p, v)."""
        self._new.append((points, np.concatenate([weight, points * weight, values * weight], axis=1)))
        # As much again as there is: each merge sorts all, and so few are needed.
        if sum(len(some) for some, _ in self._new) > max(FEW_POINTS, len(self._keys)):
            self._settle()

    def means(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each voxel the weight (k,), and the weighted means of its points (k, 3) and of their values (k, v)."""
        self._settle()
        means = self._sums[:, 1:] / self._sums[:, :1]
        return self._sums[:, 0], means[:, :3], means[:, 3:]

    def _settle(self) -> None:
        """Bring what was added into the sums."""
        keys = [pack_keys(np.floor(points / self.voxel_size)) for points, _ in self._new]
        self._merge([self._keys, *keys], [self._sums, *(sums for _, sums in self._new)])
        self._new = []
        while len(self._keys) > self.most:
            self.voxel_size *= self.growth
            middle = self._sums[:, 1:4] / self._sums[:, :1]
            self._merge([pack_keys(np.floor(middle / self.voxel_size))], [self._sums])

    def _merge(self, keys: list[np.ndarray], sums: list[np.ndarray]) -> None:
        found, values = np.concatenate(keys), np.concatenate(sums)
        order = np.argsort(found, kind="stable")
        found = found[order]
        starts = np.flatnonzero(np.diff(found, prepend=-1))
        self._keys, self._sums = found[starts], np.add.reduceat(values[order], starts) if len(starts) else values


def patch_coords(coords: np.ndarray, valid: np.ndarray | None, cells: int, cell: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean position of each patch.

    Args:
        coords: (V, H, W, 3) metres, H and W at least ``cells * cell``; the rest is cut off.
        valid: (V, H, W) bool: pixels that count. None: all do, also those without depth, whose position is
            the camera centre (the reference's behaviour, for its published weights).
        cells: patches along a side.
        cell: pixels along a patch's side.

    Returns:
        Positions (V, cells, cells, 3) float32, zeros where no pixel counts, and (V, cells, cells) bool: one does.
    """
    if valid is None:
        mean = _patches(coords, cells, cell).mean(axis=(2, 4), dtype=np.float32)
        return mean, np.ones(mean.shape[:-1], bool)
    known = _patches(valid, cells, cell)
    counts = known.sum(axis=2, dtype=np.int32).sum(axis=3)
    # An axis at a time, down the rows first: long inner loops. What an invalid pixel holds, maybe NaN, is left out.
    axes = (np.where(known, _patches(coords[..., axis], cells, cell), np.float32(0)) for axis in range(3))
    total = np.stack([values.sum(axis=2).sum(axis=3) for values in axes], axis=-1)
    return total / np.maximum(counts, 1).astype(np.float32)[..., None], counts > 0


def patch_points(
    coords: np.ndarray, valid: np.ndarray, cells: int, cell: int, kind: str
) -> tuple[np.ndarray, np.ndarray]:
    """The points that say where each patch is.

    Args:
        coords, valid, cells, cell: as in ``patch_coords``.
        kind: "avg", the mean; "minmax", the lowest and the highest corner; or pixels of the patch: "sample1", the
            one in the middle, "sample9", the middles of its 3x3 parts, "sample5", every second one of these.

    Returns:
        (V, cells, cells, 3 p) float32 metres, p points a patch, and (V, cells, cells) bool: they are known. That
        is so where one pixel counts, and of samples where each does.
    """
    if kind == "avg":
        return patch_coords(coords, valid, cells, cell)
    if kind == "minmax":
        known = _patches(valid, cells, cell)
        patches, where = _patches(coords, cells, cell), known[..., None]
        corners = [
            patches.min(axis=(2, 4), where=where, initial=np.inf),
            patches.max(axis=(2, 4), where=where, initial=-np.inf),
        ]
        some = known.any(axis=(2, 4))
        return np.where(some[..., None], np.concatenate(corners, axis=-1), 0).astype(np.float32), some
    chosen = {"sample1": (4,), "sample5": (0, 2, 4, 6, 8), "sample9": range(9)}
    if kind not in chosen:
        raise ValueError(f"unknown points {kind!r}: expected avg, minmax or one of {', '.join(chosen)}")
    middles = (cell // 6, cell // 2, cell * 5 // 6)
    at = [(middles[number // 3], middles[number % 3]) for number in chosen[kind]]
    points = np.concatenate([_patches(coords, cells, cell)[:, :, row, :, column] for row, column in at], axis=-1)
    known = np.all([_patches(valid, cells, cell)[:, :, row, :, column] for row, column in at], axis=0)
    return np.where(known[..., None], points, 0).astype(np.float32), known


def object_masks(
    coords: np.ndarray,
    boxes: np.ndarray,
    patch: int,
    cells: int,
    min_share: float,
    valid: np.ndarray | None = None,
) -> np.ndarray:
    """Which patches belong to which object: (n, V, cells, cells) bool.

    A patch belongs to a box when at least ``int(patch * patch * min_share)`` of its pixels lie in it, faces
    included (golden 03). Pixels that are not ``valid`` (V, H, W), or whose position is NaN, never count.

    Args:
        coords: (V, H, W, 3) metres, H and W at least ``cells * patch``.
        boxes: (n, 6) metres.
        patch: pixels along a patch's side.
        cells: patches along a side.
        min_share: the share of a patch's pixels, 0..1.
    """
    # An axis at a time, down the rows first: long inner loops. NaN marks what is unknown; fmin and fmax pass over it.
    axes = [_patches(coords[..., axis], cells, patch) for axis in range(3)]
    if valid is not None:
        axes = [np.where(_patches(valid, cells, patch), values, np.float32(np.nan)) for values in axes]
    known = ~np.isnan(axes[0])
    lowest = [np.fmin.reduce(np.fmin.reduce(values, axis=2), axis=3) for values in axes]
    highest = [np.fmax.reduce(np.fmax.reduce(values, axis=2), axis=3) for values in axes]
    wanted = max(1, int(patch * patch * min_share))
    enough = known.sum(axis=2, dtype=np.int32).sum(axis=3) >= wanted
    masks = np.zeros((len(boxes), *enough.shape), bool)
    for mask, low, high in zip(masks, *bounds(np.asarray(boxes, np.float32)), strict=True):
        # A patch wholly in the box needs no counting, one that does not touch it neither: few are left, and of these
        # only those axes are looked at along which a face of the box passes through.
        within = [(lowest[axis] >= low[axis]) & (highest[axis] <= high[axis]) for axis in range(3)]
        touched = [(highest[axis] >= low[axis]) & (lowest[axis] <= high[axis]) for axis in range(3)]
        mask[:] = enough & within[0] & within[1] & within[2]
        at = np.nonzero(enough & ~mask & touched[0] & touched[1] & touched[2])
        inside = known[at[0], at[1], :, at[2]]
        for axis, values in enumerate(axes):
            cut = np.flatnonzero(~within[axis][at])
            some = values[at[0][cut], at[1][cut], :, at[2][cut]]
            inside[cut] &= (some >= low[axis]) & (some <= high[axis])
        mask[at] = inside.sum(axis=(1, 2)) >= wanted
    return masks


def max_coverage(voxels: list[np.ndarray], limit: int) -> tuple[list[int], list[int]]:
    """Greedy maximum coverage: again and again the set that adds most new voxels, ties to the earlier set.

    The greedy order covers at least 1 - 1/e of what the best choice of the same size does (Nemhauser et al.,
    1978). Lazy: a set's gain only falls, so an outdated gain is an upper bound, recounted when it leads
    (Minoux, 1978).

    Args:
        voxels: distinct voxel keys of each set, as ``voxel_keys`` makes them.
        limit: sets wanted; fewer come back only where there are fewer.

    Returns:
        Chosen positions in order, and how many new voxels each one added (0 once everything is covered).
    """
    every = union(voxels)
    members = [np.searchsorted(every, keys).astype(np.int32) for keys in voxels]
    covered = np.zeros(len(every), bool)
    heap = [(-len(keys), position, 0) for position, keys in enumerate(voxels)]  # gain, set, round it was counted in
    heapq.heapify(heap)
    order: list[int] = []
    gains: list[int] = []
    while heap and len(order) < limit:
        gain, position, counted = heapq.heappop(heap)
        if counted < len(order):
            fresh = int(np.count_nonzero(~covered[members[position]]))
            heapq.heappush(heap, (-fresh, position, len(order)))
            continue
        covered[members[position]] = True
        order.append(position)
        gains.append(-gain)
    return order, gains


def union(voxels: Sequence[np.ndarray]) -> np.ndarray:
    """The distinct keys of all sets, ascending int64 (k,)."""
    every = np.zeros(0, np.int64)
    for start in range(0, len(voxels), UNION_SETS):
        every = _distinct(np.concatenate([every, *voxels[start : start + UNION_SETS]]))
    return every


def _distinct(keys: np.ndarray) -> np.ndarray:
    """The distinct keys, ascending. Sorting takes a third of `np.unique`, which hashes integers from NumPy 2.3 on."""
    keys = np.sort(keys)
    first = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    return keys[first]


def _patches(values: np.ndarray, cells: int, cell: int) -> np.ndarray:
    """A view (V, cells, cell, cells, cell, ...) of pixels (V, H, W, ...), cut to whole patches."""
    side = cells * cell
    if min(values.shape[1:3]) < side:
        raise ValueError(f"{cells} patches of {cell} pixels need {side} pixels a side, got {values.shape[1:3]}")
    return values[:, :side, :side].reshape(len(values), cells, cell, cells, cell, *values.shape[3:])
