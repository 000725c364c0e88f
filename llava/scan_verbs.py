"""The commands about one scan, from import to view. What is heavy is imported when one runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

if TYPE_CHECKING:
    from llava.scan import Scan

AsJson = Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff]
OUT = Path("found")


def import_(
    capture: Path, out: Path, up: tuple[float, float, float] | None = None, depth_units: float | None = None
) -> None:
    """Make a scene of your own scan: recognised, checked, upright, walls on the axes, in metres.

    Args:
        capture: a file or folder of any known format; a wrong one lists them all.
        out: folder to write.
        up: where up is in the capture's own world, e.g. 0 1 0; default: what the capture says, else its floor.
        depth_units: of its depth images, a metre; default: what the format says.
    """
    from llava.captures.check import check
    from llava.captures.importing import import_scene

    scene = import_scene(capture, out, up, depth_units)
    for drop in scene.dropped[:10]:
        print(f"dropped {drop.name}: {drop.reason}")
    if len(scene.dropped) > 10:
        print(f"... and {len(scene.dropped) - 10} more")
    for doubt in (*scene.doubts, *check(scene).faults):
        print(f"warning: {doubt}", file=sys.stderr)
    print(f"{out}: {len(scene.frames)} frames, {len(scene.dropped)} dropped; up: {scene.up or 'not known'}")


def scene_info(path: Path) -> None:
    """Describe a capture: frames kept and dropped, sizes, depth range, extent.

    Args:
        path: a capture that can be read where it lies, or a stored scene.
    """
    from llava.captures import open_scene
    from llava.captures.check import check
    from llava.captures.telling import describe

    print(describe(check(open_scene(path))))


def scene_check(path: Path, out: Path | None = None, as_json: AsJson = False) -> None:
    """Say whether a capture is usable, and what is wrong with it; exit code 1 if it is not.

    It is not where overlapping frames disagree by more than 5 cm (median; which convention would fit better is said),
    where less than 5 % of the depth is measured or it is not of a room's size, or where most frames had to be dropped.

    Args:
        path: a capture that can be read where it lies, or a stored scene.
        out: PNG to draw it into: frames, errors, other conventions, coverage, a map with the camera's way.
        as_json: print the findings as JSON.
    """
    import json

    from llava.captures import open_scene, telling
    from llava.captures.check import check
    from llava.frames.check_picture import check_picture
    from llava.frames.picture import check_picture_name

    if out is not None:
        check_picture_name(out)
    found = check(open_scene(path))
    words = f"{telling.describe(found)}\n{telling.verdict(found)}"
    print(json.dumps(telling.as_json(found), indent=1) if as_json else words)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        check_picture(found).save(out)
        if not as_json:
            print(f"picture: {out}")
    if not found.usable:
        sys.exit(1)


def scene_store(path: Path, out: Path) -> None:
    """Copy a capture into the one processed format: checked, upright, in metres, bad frames left out.

    Args:
        path: a capture folder.
        out: folder to write.
    """
    from llava.captures import open_scene
    from llava.captures.store import save_scene

    save_scene(open_scene(path), out)
    print(out)


def sample(path: Path, strategy: str = "mc", frames: int = 8, out: Path = Path("picks.png")) -> None:
    """Choose frames of a capture and draw them with the area that they cover.

    Args:
        path: a capture folder.
        strategy: uniform, mc, mc-ratio95 or mc-ratio90.
        frames: at most so many.
        out: PNG to write.
    """
    from llava.frames import sample_to_picture

    sample_to_picture(path, strategy, frames, out)


def ask(
    checkpoint: Path,
    scene: Path,
    question: str,
    strategy: str | None = None,
    frames: int | None = None,
    as_json: AsJson = False,
) -> None:
    """Ask a question about a capture.

    Args:
        checkpoint: folder made by `llava train`.
        scene: a capture folder.
        question: in plain words.
        strategy: frame sampling; default: as in training.
        frames: at most so many; default: as in training.
        as_json: print one JSON object.
    """
    from llava.scan import check_words

    check_words(question)
    scan = _open(checkpoint, scene, strategy, frames)
    answer = scan.ask(question)
    _tell({**scan.about, "question": question, "answer": answer}, answer, as_json)


def find(
    checkpoint: Path,
    scene: Path,
    description: str,
    out: Path = OUT,
    strategy: str | None = None,
    frames: int | None = None,
    as_json: AsJson = False,
) -> None:
    """Find what a description is about in a capture: none, one or many boxes, as JSON, PLY and a picture.

    Args:
        checkpoint: folder made by `llava train`.
        scene: a capture folder.
        description: in plain words, e.g. "the chair by the window".
        out: folder for found.json, found.png (the frames that show the boxes best), world.ply and capture.ply (the
            boxes as coloured edges in the upright world and in the capture's own).
        strategy: frame sampling; default: as in training.
        frames: at most so many; default: as in training.
        as_json: print what found.json holds.
    """
    from llava.found import check_ours, told, write_found
    from llava.scan import check_words

    check_words(description)
    check_ours(out)  # before the work, not after it
    scan = _open(checkpoint, scene, strategy, frames)
    scan.check_finds()
    found = scan.find(description)
    content = write_found(scan, description, found, out)
    _tell(content, "\n".join([told(scan, found), *content["files"].values()]), as_json)


def describe(
    checkpoint: Path,
    scene: Path,
    x: float,
    y: float,
    z: float,
    capture: bool = False,
    strategy: str | None = None,
    frames: int | None = None,
    as_json: AsJson = False,
) -> None:
    """Describe what is at a point of a capture.

    Args:
        checkpoint: folder made by `llava train`.
        scene: a capture folder.
        x: metres; along a wall, 0 in the middle of the scan.
        y: metres; along the other walls.
        z: metres above the floor.
        capture: the point is one of the capture's own world, that of its poses, and not of the upright one.
        strategy: frame sampling; default: as in training.
        frames: at most so many; default: as in training.
        as_json: print one JSON object.
    """
    scan = _open(checkpoint, scene, strategy, frames)
    given = (x, y, z)
    point = scan.from_capture(given).tolist() if capture else list(given)
    text = scan.describe(*point)
    own = list(given) if capture else scan.to_capture(given).tolist()
    _tell({**scan.about, "point": point, "capture_point": own, "description": text}, text, as_json)


def chat(
    checkpoint: Path, scene: Path, out: Path = OUT, strategy: str | None = None, frames: int | None = None
) -> None:
    """Talk about a capture, a question a line; the scan is read once. Lines may come from a pipe.

    Args:
        checkpoint: folder made by `llava train`.
        scene: a capture folder.
        out: folder for what `/find` finds, as `llava find` writes it.
        strategy: frame sampling; default: as in training.
        frames: at most so many; default: as in training.
    """
    from llava.chatting import talk

    talk(_open(checkpoint, scene, strategy, frames), out)


def view(
    scene: Path,
    ckpt: Path | None = None,
    port: int = 8080,
    host: str = "127.0.0.1",
    strategy: str | None = None,
    frames: int | None = None,
) -> None:
    """Show a capture in the browser: points, chosen frames, boxes; with a checkpoint, ask it there.

    Args:
        scene: a capture folder.
        ckpt: folder made by `llava train`; without one the scan alone is shown.
        port: where the page is; 0: any port that is free.
        host: address to listen at. Others can open the page only with theirs, e.g. 0.0.0.0; nothing asks for a
            password.
        strategy: frame sampling; default: as in training, without a checkpoint mc.
        frames: at most so many; default: as in training, without a checkpoint 8.
    """
    try:
        from llava.serve.start import keep_open, open_viewer

        keep_open(open_viewer(scene, ckpt, host, port, strategy, frames), host)
    except KeyboardInterrupt:
        print("\nended", flush=True)


def _open(checkpoint: Path, scene: Path, strategy: str | None, frames: int | None) -> Scan:
    """A scan, after its doubts were told."""
    from llava.scan import Scan, doubts

    scan = Scan(checkpoint, scene, strategy, frames)
    for doubt in doubts(scan.scene):
        print(f"warning: {doubt}", file=sys.stderr)
    return scan


def _tell(content: dict[str, Any], text: str, as_json: bool) -> None:
    import json

    print(json.dumps(content) if as_json else text)
