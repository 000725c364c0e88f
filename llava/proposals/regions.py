"""From points to a tree of regions: small even patches, merged pair by pair, the most alike first.

Every node of the tree may be an object. How dear the merge was in which it vanished says how likely it is one: an
object differs from what it touches, its parts from each other less so. Merging neighbours bottom up to get candidates
is selective search (Uijlings et al., IJCV 2013); that parts meet in convex edges and objects in concave ones is LCCP
(Stein et al., CVPR 2014).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

REACH = 2.0  # voxels within which two points touch
EVEN_COLOR = 0.2  # difference of colour up to which touching points are one patch from the start
CONCAVE = -0.15  # how far two normals lean towards each other, -2..2, from which an edge is concave and no noise
UNLIKE = 0.05  # that two regions differ by for being two
ISOLATED = 1.0  # that a region differs by from the air around it


@dataclass(frozen=True)
class Cues:
    """What makes two touching regions different things; 0 leaves a cue out."""

    color: float = 0.5
    concavity: float = 1.0
    walls: float = 0.5  # how much what hangs on a wall counts beside what stands in the room


@dataclass(frozen=True)
class Regions:
    """The m nodes of the trees that grew on some points."""

    points: np.ndarray  # (m,) how many
    low: np.ndarray  # (m, 3) metres
    high: np.ndarray  # (m, 3) metres
    sums: np.ndarray  # (m, k) of the values that were given with the points
    contrast: np.ndarray  # (m,) metres: difference from its neighbour times the side of the smaller of the two
    alone: np.ndarray  # (m,) bool: nothing touches it


def opponent(rgb: np.ndarray) -> np.ndarray:
    """Colours (n, 3) of which the sum of absolute differences is about 1 between clearly different ones.

    Brightness counts half, as it changes with the light.
    """
    red, green, blue = rgb.T
    return np.stack([(red + green + blue) / 6, red - green, (red + green) / 2 - blue], axis=1) / 60


def grow(
    points: np.ndarray,
    normals: np.ndarray,
    colors: np.ndarray,
    values: np.ndarray,
    voxel: float,
    cues: Cues,
    even_angle: float = 25.0,
) -> Regions:
    """Grow trees of regions on n points.

    Args:
        points: (n, 3) metres, about one a voxel.
        normals: (n, 3) unit vectors.
        colors: (n, 3), see ``opponent``.
        values: (n, k) numbers to be summed over each region.
        voxel: metres.
        cues: what counts.
        even_angle: degrees between normals up to which touching points may be one patch from the start.
    """
    if len(points) == 0:
        nothing = np.zeros((0, 3))
        return Regions(
            nothing[:, 0], nothing, nothing, np.zeros((0, values.shape[1])), nothing[:, 0], nothing[:, 0] > 0
        )
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    first, second = cKDTree(points).query_pairs(REACH * voxel, output_type="ndarray").T
    cosine = np.sum(normals[first] * normals[second], axis=1)
    way = points[second] - points[first]
    lean = np.sum((normals[second] - normals[first]) * way, axis=1) / np.linalg.norm(way, axis=1)
    bend = np.where(lean < CONCAVE, 1 - cosine, 0)
    even = np.abs(colors[first] - colors[second]).sum(axis=1) < EVEN_COLOR
    even &= cosine > np.cos(np.radians(even_angle))
    graph = coo_matrix((np.ones(np.count_nonzero(even)), (first[even], second[even])), shape=(len(points),) * 2)
    count, patch = connected_components(graph, directed=False)
    sizes = np.bincount(patch, minlength=count)
    total = np.stack([np.bincount(patch, column, minlength=count) for column in colors.T], axis=1)
    pairs = _patch_pairs(patch[first], patch[second], bend, count)
    children, vanished = _merge(sizes.tolist(), total.tolist(), pairs, cues)
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    np.minimum.at(low, patch, points)
    np.maximum.at(high, patch, points)
    summed = np.stack([sizes, *(np.bincount(patch, column, minlength=count) for column in values.T)], axis=1)
    summed, low, high = _of_all_nodes(summed.astype(np.float64), low, high, children)
    alone = np.isinf(vanished)
    cost = np.where(alone, ISOLATED * summed[:, 0] ** 0.5, vanished)
    return Regions(summed[:, 0], low, high, summed[:, 1:], cost * voxel, alone)


def _patch_pairs(
    first: np.ndarray, second: np.ndarray, bend: np.ndarray, count: int
) -> list[tuple[int, int, int, float]]:
    """Touching patches, the lower one first, with the edges between their points and the sum of their bends."""
    between = first != second
    low, high = np.minimum(first, second)[between], np.maximum(first, second)[between]
    keys, place = np.unique(low.astype(np.int64) * count + high, return_inverse=True)
    edges, bends = np.bincount(place, minlength=len(keys)), np.bincount(place, bend[between], minlength=len(keys))
    return list(zip((keys // count).tolist(), (keys % count).tolist(), edges.tolist(), bends.tolist(), strict=True))


def _merge(
    sizes: list[int], colors: list[list[float]], pairs: list[tuple[int, int, int, float]], cues: Cues
) -> tuple[list[tuple[int, int]], list[float]]:
    """Merge the two most alike neighbours until none touch.

    Returns the children of each new node and, of all nodes, the cost at which each vanished; inf: it never did.
    """
    around: list[dict[int, tuple[int, float]] | None] = [{} for _ in sizes]
    for a, b, edges, bends in pairs:
        around[a][b] = around[b][a] = (edges, bends)

    def cost(a: int, b: int, edges: int, bends: float) -> float:
        m, n = sizes[a], sizes[b]
        color = sum(abs(x / m - y / n) for x, y in zip(colors[a], colors[b], strict=True))
        unlike = cues.color * color + cues.concavity * bends / edges + UNLIKE
        return unlike * (m * n / (m + n)) ** 0.5

    heap = [(cost(a, b, edges, bends), a, b) for a, b, edges, bends in pairs]
    heapq.heapify(heap)
    children: list[tuple[int, int]] = []
    vanished = [np.inf] * len(sizes)
    dearest = [0.0] * len(sizes)  # a merge costs at least as much as those below it
    while heap:
        price, a, b = heapq.heappop(heap)
        if vanished[a] < np.inf or vanished[b] < np.inf:
            continue
        price = max(price, dearest[a], dearest[b])
        vanished[a] = vanished[b] = price
        node, joined, others = len(sizes), around[a], around[b]
        for other, (edges, bends) in others.items():
            known = joined.get(other, (0, 0.0))
            joined[other] = (known[0] + edges, known[1] + bends)
        del joined[a], joined[b]
        around[a] = around[b] = None
        around.append(joined)
        sizes.append(sizes[a] + sizes[b])
        colors.append([x + y for x, y in zip(colors[a], colors[b], strict=True)])
        children.append((a, b))
        vanished.append(np.inf)
        dearest.append(price)
        for other, (edges, bends) in joined.items():
            around[other].pop(a, None)
            around[other].pop(b, None)
            around[other][node] = (edges, bends)
            heapq.heappush(heap, (cost(other, node, edges, bends), other, node))
    return children, vanished


def _of_all_nodes(
    sums: np.ndarray, low: np.ndarray, high: np.ndarray, children: list[tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums and bounds of the patches, followed by those of the nodes above them."""
    count = len(sums)
    sums, low, high = (np.concatenate([v, np.empty((len(children), v.shape[1]))]) for v in (sums, low, high))
    for node, (a, b) in enumerate(children, count):
        np.add(sums[a], sums[b], out=sums[node])
        np.minimum(low[a], low[b], out=low[node])
        np.maximum(high[a], high[b], out=high[node])
    return sums, low, high
