"""What a check found, in words and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from llava.captures.conventions import better
from llava.captures.overlap import Agreement

if TYPE_CHECKING:
    from llava.captures.check import Check

COUNTS = (1, 2, 4, 8, 16, 32)  # frames in the coverage table
MOST_TOLD = 10  # dropped frames by name


def describe(found: Check) -> str:
    """The findings as a text of one line a fact."""
    scene = found.scene
    dropped = len(scene.dropped)
    frames = f"{found.captured - dropped} usable of {found.captured}, {dropped} dropped"
    if len(scene.frames) < found.captured - dropped:
        frames += f"; the images of {found.looked_at} were looked at"
    lines = [("scene", scene.name), ("frames", frames)]
    lines += [("", f"dropped {drop.name}: {drop.reason}") for drop in scene.dropped[:MOST_TOLD]]
    if dropped > MOST_TOLD:
        lines.append(("", f"... and {dropped - MOST_TOLD} more"))
    near, middle, far = found.depth_range
    sides = found.high - found.low
    lines += [
        ("colour", f"{_size(scene.color_size)}, {_view_text(scene.color_intrinsics, scene.color_size)}"),
        ("depth", f"{_size(scene.depth_size)}, {_view_text(scene.depth_intrinsics, scene.depth_size)}"),
        ("", f"{near:.2f} m (1 %), {middle:.2f} m (median), {far:.2f} m (99 %); {found.valid_share:.0%} measured"),
        ("world", _align_text(scene.align)),
        ("up", _up_text(found)),
        ("extent", f"{sides[0]:.1f} x {sides[1]:.1f} x {sides[2]:.1f} m, z from {found.low[2]:.2f} m"),
        ("camera", f"moves {found.path_length:.1f} m"),
        ("overlap", _overlap_text(found)),
        ("coverage", "seen by the best n frames: " + ", ".join(f"{n}: {s:.0%}" for n, s in coverage(found).items())),
    ]
    lines += [("warning", warning) for warning in found.warnings]
    lines += [("fault", fault) for fault in found.faults]
    return "\n".join(f"{label:<10}{text}" for label, text in lines)


def verdict(found: Check) -> str:
    """One line: whether the capture is usable."""
    if found.usable:
        return "usable" + (", with the warnings above" if found.warnings else "")
    return "not usable, for the faults above"


def as_json(found: Check) -> dict[str, Any]:
    """The findings as JSON's types; lengths in metres, angles in degrees, shares 0..1."""
    scene, other = found.scene, better(found.readings)
    return {
        "scene": scene.name,
        "usable": found.usable,
        "faults": list(found.faults),
        "warnings": list(found.warnings),
        "frames": {
            "captured": found.captured,
            "kept": found.captured - len(scene.dropped),
            "looked_at": found.looked_at,
            "dropped": [{"name": drop.name, "reason": drop.reason} for drop in scene.dropped],
        },
        "depth": dict(zip(("near", "median", "far"), found.depth_range, strict=True)) | {"measured": found.valid_share},
        "reprojection": _agreement_json(found.overlap),
        "readings": [{"reading": reading.name, **_agreement_json(reading.agreement)} for reading in found.readings],
        "better_reading": other and other.name,
        "up": scene.up,
        "floor": found.floor and {"tilt": found.tilt, "confidence": found.floor.confidence},
        "extent": (found.high - found.low).tolist(),
        "camera_path": found.path_length,
        "coverage": coverage(found),
    }


def _agreement_json(found: Agreement) -> dict[str, Any]:
    return {"median_error": found.error, "pairs": found.pairs, "score": found.score}


def coverage(found: Check) -> dict[int, float]:
    """Frames -> share of the voxels that their best choice sees."""
    return {count: float(found.coverage[count - 1]) for count in COUNTS if count <= len(found.coverage)}


def view(k: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Width and height that a camera sees at a distance of one."""
    return np.array([size[0] / k[0, 0], size[1] / k[1, 1]])


def _view_text(k: np.ndarray, size: tuple[int, int]) -> str:
    across, down = np.degrees(2 * np.arctan(view(k, size) / 2))
    return f"field of view {across:.0f} x {down:.0f} degrees"


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _align_text(align: np.ndarray) -> str:
    if np.array_equal(align, np.eye(4)):
        return "as captured"
    angle = np.degrees(np.arccos(np.clip((np.trace(align[:3, :3]) - 1) / 2, -1, 1)))
    moved = np.linalg.norm(align[:3, 3])
    return f"turned by {angle:.1f} degrees and moved by {moved:.2f} m from the captured one"


def _up_text(found: Check) -> str:
    who = found.scene.up or "nobody says which way is up"
    if found.tilt is None:
        return f"{who}; no floor is clear enough to compare with"
    return f"{who}; the floor is {found.tilt:.1f} degrees off level (confidence {found.floor.confidence:.2f})"


def _overlap_text(found: Check) -> str:
    if found.overlap.error is None:
        return "no frames see the same place: depth and poses were not compared"
    error = f"frames disagree by {found.overlap.error * 1000:.1f} mm (median, {found.overlap.pairs} pairs)"
    others = [reading for reading in found.readings[1:] if reading.agreement.error is not None]
    if not others or better(found.readings) is not None:
        return error
    second = max(others, key=lambda reading: reading.agreement.score)
    return f"{error}; the next best reading: {second.agreement.error * 1000:.0f} mm if {second.name}"
