"""What the page says, as HTML. All that others wrote (questions, answers, names) is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from llava.found import color_of
from llava.scan import doubts
from llava.serve.conversation import Turn
from llava.serve.shapes import extent

if TYPE_CHECKING:
    from llava.scan import Scan
    from llava.serve.fusing import Cloud
    from llava.types import Scene

FAINT = "opacity:.62"
BOXES_FROM = {"pred": "a detector's", "gt": "the true ones", "own": "own proposals"}
WAITING = {"waiting": "waiting for the questions before it …", "thinking": "thinking …"}


def scan_html(scene: Scene, cloud: Cloud, chosen: Sequence[int], scan: Scan | None) -> str:
    """What is shown: the scan's name, its size, what was read of it, by whom, and what is doubtful about it."""
    low, high = extent(cloud.points)
    sides = " × ".join(f"{side:.1f}" for side in high - low)
    fused = f"{len(scene.frames):,} frames" + (f", {cloud.frames} drawn" if cloud.frames < len(scene.frames) else "")
    facts = [
        f"{fused}; {len(set(chosen))} of them chosen to be read",
        f"{sides} m, {len(cloud.points):,} points of {cloud.voxel_size * 100:.1f} cm",
        "no checkpoint: the scan alone",
    ]
    if scan is not None:
        boxes = f"{len(scan.boxes)} boxes to choose from ({BOXES_FROM[scan.boxes_from]})"
        facts[-1:] = [f"{boxes}, read by {scan.checkpoint.resolve().name}", "click on the scene to have it described"]
    lines = "".join(f"<div style='{FAINT}'>{escape(fact)}</div>" for fact in facts)
    warnings = "".join(f"<div class='doubt' style='color:#d9822b'>{escape(doubt)}</div>" for doubt in doubts(scene))
    title = f"<div style='font-size:1.15em;font-weight:600'>{escape(scene.name)}</div>"
    return f"<div style='padding:.2em .8em .5em;font-size:.85em;line-height:1.45'>{title}{lines}{warnings}</div>"


def turn_html(turn: Turn) -> str:
    """A question with what has become of it, and the boxes that it found in their colours."""
    asked = turn.question or "({:.2f}, {:.2f}, {:.2f})".format(*turn.place)
    style, answer = "", turn.answer
    boxes = "".join(
        f"<div style='padding-left:1em'><span style='color:rgb{color_of(rank)}'>■</span> "
        f"{rank + 1}: {found.confidence:.0%}</div>"
        for rank, found in enumerate(turn.found)
    )
    if turn.state in WAITING:
        style, answer = FAINT, WAITING[turn.state]
    elif turn.state == "failed":
        style, answer = "color:#d9534f", f"✗ {turn.answer}"
    return (
        f"<div data-turn='{turn.number}' data-state='{turn.state}' style='padding:.35em .8em;font-size:.9em'>"
        f"<div style='{FAINT}'><b>{turn.verb}</b> {escape(asked)}</div>"
        f"<div style='{style};padding-left:1em;overflow-wrap:anywhere'>{escape(answer)}</div>{boxes}</div>"
    )


def short(text: str, most: int = 36) -> str:
    """The text, cut to what fits on a label in the scene."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
