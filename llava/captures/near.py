"""A capture's cameras near the origin and near each other, because points are float32: 5,000 km away they are half a
metre coarse. Robots' and drones' logs stand in the coordinates of maps, and trackers that lose themselves leave a room.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llava.types import Dropped, Scene

FAR = 1000.0  # metres from the origin up to which float32 is exact to a tenth of a millimetre
ASTRAY = 20  # times the median distance from the middle, and FAR: where a camera cannot have been
MOST_APART = 50_000.0  # metres; no poses of one place are


def brought_near(scene: Scene) -> Scene:
    """The same scene moved to the origin, where it is far from it; ``Scene.align`` holds the move.

    A frame whose camera is further than all others' whereabouts explain is dropped.

    ValueError: the cameras are everywhere.
    """
    places = np.stack([frame.pose[:3, 3] for frame in scene.frames])
    middle = np.median(places, axis=0)
    away = np.abs(places - middle).max(axis=1)  # along an axis: the squares of what is lost may overflow
    astray = away > FAR + ASTRAY * np.median(away)
    if (away[~astray] > MOST_APART).any():
        raise ValueError(
            f"the cameras of {scene.name} are up to {away[~astray].max():.3g} m away from their middle: expected poses "
            f"within {MOST_APART:g}, in metres, camera to world"
        )
    dropped = [
        Dropped(frame.name, f"its camera is {far:.3g} m away from the others (the tracker lost it)")
        for frame, far, lost in zip(scene.frames, away, astray, strict=True)
        if lost
    ]
    frames = [frame for frame, lost in zip(scene.frames, astray, strict=True) if not lost]
    scene = replace(scene, frames=tuple(frames), dropped=(*scene.dropped, *dropped))
    if np.abs(middle).max() <= FAR:
        return scene
    move = np.eye(4)
    move[:3, 3] = -np.rint(middle)  # whole metres are exact, and easy to read
    moved = tuple(replace(frame, pose=move @ frame.pose) for frame in frames)
    return replace(scene, frames=moved, align=move @ scene.align)
