"""What one sits and lies on. Every builder: Look -> parts, front towards +y, floor at z = 0."""

from __future__ import annotations

from llava.rooms.parts import CREAM, IRON, Look, ball, box, legs, shade, tube
from llava.rooms.room import Part


def chair(look: Look) -> list[Part]:
    w, d, seat, back = look.span(0.40, 0.52), look.span(0.40, 0.52), look.span(0.42, 0.48), look.span(0.36, 0.55)
    parts = legs(w, d, seat, 0.04, look.trim, look.pick("box", "cylinder"), inset=0.0)
    parts.append(box((0, 0, seat), (w, d, 0.06), look.main, look.texture))
    style = look.pick("panel", "panel", "slats", "ladder")
    y = -d / 2 + 0.025
    if style == "panel":
        parts.append(box((0, y, seat + 0.06), (w, 0.05, back), look.main, look.texture))
    elif style == "slats":
        n = look.count(4, 5)
        parts += [
            box(((i - (n - 1) / 2) * w * 0.8 / (n - 1), y, seat + 0.06), (w * 0.13, 0.035, back), look.main)
            for i in range(n)
        ]
        parts.append(box((0, y, seat + 0.06 + back), (w, 0.05, 0.09), look.main, look.texture))
    else:
        parts += [
            box((s * (w / 2 - 0.025), y, seat + 0.06), (0.05, 0.05, back), look.main, look.texture) for s in (-1, 1)
        ]
        parts += [
            box((0, y, seat + 0.06 + back * f), (w - 0.1, 0.03, back * 0.2), look.main, look.texture)
            for f in (0.2, 0.5, 0.8)
        ]
    return parts


def office_chair(look: Look) -> list[Part]:
    w, seat, back = look.span(0.46, 0.58), look.span(0.44, 0.52), look.span(0.42, 0.66)
    arm = w * 0.52
    parts = [
        box((0, 0, 0.05), (w * 1.1, 0.06, 0.05), IRON),
        box((0, 0, 0.05), (0.06, w * 1.1, 0.05), IRON),
        tube((0, 0, 0.08), (0.07, 0.07, seat - 0.08), look.trim, "metal"),
        box((0, 0, seat), (w, w, 0.09), look.main, look.texture),
        box((0, -w / 2 + 0.04, seat + 0.12), (w * 0.92, 0.09, back), look.main, look.texture),
    ]
    parts += [
        ball((sx * w * 0.5, sy * w * 0.5, 0), (0.07, 0.07, 0.07), IRON) for sx, sy in ((1, 0), (-1, 0), (0, 1), (0, -1))
    ]
    if look.pick("arms", "arms", "none") == "arms":
        for s in (-1, 1):
            parts.append(box((s * arm, 0, seat + 0.09), (0.04, 0.05, 0.16), IRON))
            parts.append(box((s * arm, 0.02, seat + 0.25), (0.07, w * 0.6, 0.04), IRON))
    return parts


def _upholstered(look: Look, width: float, cushions: int, pillows: bool) -> list[Part]:
    depth, seat, back = look.span(0.74, 0.95), look.span(0.38, 0.46), look.span(0.72, 0.95)
    arm, rest = look.span(0.12, 0.20), look.span(0.54, 0.66)
    inner = width - 2 * arm
    parts = legs(width, depth, 0.09, 0.06, look.trim)
    parts += [
        box((0, 0, 0.09), (width, depth, seat - 0.22), look.tone(0.9), look.texture),
        box((0, -depth / 2 + 0.11, 0.09), (width, 0.22, back - 0.09), look.main, look.texture),
    ]
    parts += [
        box((s * (width - arm) / 2, 0.02, 0.09), (arm, depth - 0.04, rest - 0.09), look.main, look.texture)
        for s in (-1, 1)
    ]
    step = inner / cushions
    for i in range(cushions):
        x = (i - (cushions - 1) / 2) * step
        parts.append(box((x, 0.11, seat - 0.13), (step - 0.015, depth - 0.23, 0.13), look.tone(1.05), look.texture))
        parts.append(
            box((x, -depth / 2 + 0.27, seat), (step - 0.03, 0.12, back - seat - 0.06), look.tone(1.05), look.texture)
        )
    if pillows:
        parts.append(box((inner / 2 - 0.2, -depth / 2 + 0.4, seat), (0.34, 0.1, 0.3), shade(look.trim, 1.1), "fabric"))
    return parts


def armchair(look: Look) -> list[Part]:
    return _upholstered(look, look.span(0.78, 1.0), 1, pillows=False)


def couch(look: Look) -> list[Part]:
    width = look.span(1.4, 2.3)
    return _upholstered(look, width, 2 if width < 1.75 else 3, pillows=look.pick("yes", "no") == "yes")


def stool(look: Look) -> list[Part]:
    w, h = look.span(0.30, 0.42), look.span(0.42, 0.70)
    if look.pick("round", "square") == "round":
        seat = tube((0, 0, h - 0.09), (w, w, 0.09), look.main, look.texture)
    else:
        seat = box((0, 0, h - 0.09), (w, w, 0.09), look.main, look.texture)
    rung = box((0, 0, h * 0.3), (w * 0.7, 0.025, 0.025), look.main)
    return [seat, rung, *legs(w, w, h - 0.09, 0.045, look.main, inset=0.045)]


def bed(look: Look) -> list[Part]:
    w, d = look.span(0.95, 1.8), look.span(1.9, 2.15)
    base, mattress, head = look.span(0.26, 0.34), 0.2, look.span(0.8, 1.15)
    top = base + mattress
    parts = [
        *legs(w, d, 0.12, 0.08, look.trim),
        box((0, 0.0, 0.12), (w, d, base - 0.12), look.trim, "wood"),
        box((0, -d / 2 - 0.03, 0), (w + 0.06, 0.06, head), look.trim, "wood"),
        box((0, 0.0, base), (w - 0.04, d - 0.04, mattress), CREAM, "fabric"),
        box((0, d * 0.13, base - 0.1), (w + 0.03, d * 0.74 + 0.03, mattress + 0.1 + 0.03), look.main, look.texture),
        box((0, -d * 0.2, top + 0.03), (w + 0.03, d * 0.09, 0.03), look.tone(1.12), look.texture),
    ]
    if look.pick("foot", "none") == "foot":
        parts.append(box((0, d / 2 + 0.04, 0), (w + 0.06, 0.05, top * 0.9), look.trim, "wood"))
    return parts


def pillow(look: Look) -> list[Part]:
    w, d, h = look.span(0.42, 0.62), look.span(0.30, 0.42), look.span(0.12, 0.17)
    return [
        ball((0, 0, 0), (w, d, h), look.main, look.texture),
        box((0, 0, h * 0.22), (w * 0.86, d * 0.86, h * 0.52), look.main, look.texture),
    ]


def mattress(parts: tuple[Part, ...]) -> Part:
    """The part of a bed that pillows lie on."""
    return parts[6]
