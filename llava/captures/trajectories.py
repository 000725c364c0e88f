"""Text files of poses and of time stamps, as SLAM systems, motion capture and robots write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

UNIT_TOLERANCE = 0.05  # on the length of a quaternion; text files carry four digits and more


def read_table(path: Path, columns: str) -> list[list[str]]:
    """The words of each line that is neither empty nor a comment (#); the last column may hold spaces.

    Args:
        path: the text file.
        columns: what the columns are called, with a space between.

    Raises:
        ValueError: there is no such file, it is no text, or a line has another number of columns.
    """
    expected = f"expected lines of {columns!r}"
    if not path.is_file():
        raise ValueError(f"{path} is missing: {expected}")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text ({error.reason}): {expected}") from error
    count, rows = len(columns.split()), []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            row = line.split(maxsplit=count - 1)
            if len(row) < count or (len(row[-1].split()) > 1 and _is_number(row[-1].split()[0])):
                raise ValueError(f"{path}, line {number}: {line.strip()!r}; {expected}")
            rows.append(row)
    return rows


def read_numbers(path: Path, columns: str) -> np.ndarray:
    """The same table (rows, columns), of numbers alone, float64. ValueError: also for a word that is no number."""
    rows = read_table(path, columns)
    try:
        values = [[float(word) for word in row] for row in rows]
    except ValueError as error:
        raise ValueError(f"{path}: {error}; expected lines of {columns!r}") from error
    return np.array(values, np.float64).reshape(len(rows), len(columns.split()))


def quaternion_poses(rows: np.ndarray, source: Path) -> np.ndarray:
    """Poses (n, 4, 4) of rows (n, 7) ``tx ty tz qx qy qz qw``; NaN where a row is not finite or no rotation.

    ValueError names ``source`` where most quaternions are none: the columns mean something else.
    """
    from scipy.spatial.transform import Rotation

    poses = np.full((len(rows), 4, 4), np.nan)
    finite = np.isfinite(rows).all(axis=1)
    unit = finite & (np.abs(np.linalg.norm(rows[:, 3:], axis=1) - 1) < UNIT_TOLERANCE)
    if unit.sum() * 2 < finite.sum():
        found = " ".join(f"{value:g}" for value in rows[finite & ~unit][0, 3:])
        raise ValueError(f"{source}: the last four columns ({found} ...) are no unit quaternions, expected qx qy qz qw")
    if unit.any():
        poses[unit] = np.eye(4)
        poses[unit, :3, :3] = Rotation.from_quat(rows[unit, 3:]).as_matrix()
        poses[unit, :3, 3] = rows[unit, :3]
    return poses


def nearest(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Index (m,) of the one of ``times`` (n,), n > 0, that is nearest to each of ``wanted`` (m,)."""
    order = np.argsort(times, kind="stable")
    ordered = times[order]
    after = np.clip(np.searchsorted(ordered, wanted), 1, max(1, len(times) - 1))
    after = np.minimum(after, len(times) - 1)
    before = np.maximum(after - 1, 0)
    earlier = np.abs(wanted - ordered[before]) <= np.abs(ordered[after] - wanted)
    return order[np.where(earlier, before, after)]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
