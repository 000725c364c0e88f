"""Tables, and what things are kept in. Every builder: Look -> parts, front towards +y, floor at z = 0."""

from __future__ import annotations

from llava.rooms.parts import CHROME, Look, ball, box, legs, shade
from llava.rooms.room import Part

BOOKS = ((140, 40, 40), (40, 70, 130), (50, 110, 70), (200, 180, 120), (60, 50, 70), (190, 110, 50), (210, 210, 205))


def table(look: Look) -> list[Part]:
    w, d, h = look.span(1.0, 1.8), look.span(0.70, 0.95), look.span(0.70, 0.78)
    parts = [box((0, 0, h - 0.05), (w, d, 0.05), look.main, look.texture)]
    parts += [box((0, s * (d / 2 - 0.07), h - 0.14), (w - 0.16, 0.03, 0.09), look.main, look.texture) for s in (-1, 1)]
    if look.pick("legs", "legs", "trestle") == "legs":
        return parts + legs(w, d, h - 0.05, look.span(0.06, 0.09), look.main)
    return parts + [box((s * w * 0.36, 0, 0), (0.08, d * 0.8, h - 0.05), look.main, look.texture) for s in (-1, 1)]


def coffee_table(look: Look) -> list[Part]:
    w, d, h = look.span(0.75, 1.2), look.span(0.45, 0.65), look.span(0.34, 0.46)
    return [
        box((0, 0, h - 0.06), (w, d, 0.06), look.main, look.texture),
        box((0, 0, 0.1), (w - 0.1, d - 0.1, 0.03), look.main, look.texture),
        *legs(w, d, h - 0.06, 0.06, look.trim),
    ]


def desk(look: Look) -> list[Part]:
    w, d, h = look.span(1.1, 1.7), look.span(0.58, 0.78), look.span(0.70, 0.77)
    parts = [
        box((0, 0, h - 0.05), (w, d, 0.05), look.main, look.texture),
        box((0, -d / 2 + 0.05, 0.3), (w - 0.1, 0.03, h - 0.35), look.tone(0.92), look.texture),
        box((-w / 2 + 0.03, 0, 0), (0.05, d - 0.04, h - 0.05), look.main, look.texture),
    ]
    if look.pick("pedestal", "panel") == "pedestal":
        p = 0.38
        parts.append(box((w / 2 - p / 2 - 0.02, -0.02, 0.04), (p, d - 0.08, h - 0.09), look.main, look.texture))
        for i in range(3):
            z = 0.07 + i * (h - 0.14) / 3
            parts.append(
                box(
                    (w / 2 - p / 2 - 0.02, d / 2 - 0.055, z),
                    (p - 0.04, 0.02, (h - 0.14) / 3 - 0.03),
                    look.tone(1.1),
                    look.texture,
                )
            )
            parts.append(box((w / 2 - p / 2 - 0.02, d / 2 - 0.04, z + 0.09), (0.12, 0.02, 0.02), look.trim, "metal"))
    else:
        parts.append(box((w / 2 - 0.03, 0, 0), (0.05, d - 0.04, h - 0.05), look.main, look.texture))
    return parts


def _fronts(look: Look, w: float, d: float, low: float, high: float, rows: int, columns: int, knob: str) -> list[Part]:
    """Drawer or door fronts with handles on the +y face of a `w` x `d` carcass."""
    parts = []
    cw, ch = w / columns, (high - low) / rows
    for r in range(rows):
        for c in range(columns):
            x, z = (c - (columns - 1) / 2) * cw, low + r * ch
            parts.append(
                box((x, d / 2 + 0.01, z + 0.012), (cw - 0.024, 0.02, ch - 0.024), look.tone(1.08), look.texture)
            )
            if knob == "knob":
                parts.append(ball((x, d / 2 + 0.035, z + ch / 2 - 0.02), (0.04, 0.04, 0.04), look.trim, "metal"))
            elif knob == "bar":
                parts.append(
                    box((x, d / 2 + 0.03, z + ch * 0.6), (min(0.16, cw * 0.4), 0.02, 0.02), look.trim, "metal")
                )
            else:
                side = -1 if c >= columns / 2 else 1
                parts.append(
                    box(
                        (x + side * (cw / 2 - 0.06), d / 2 + 0.03, z + ch * 0.4),
                        (0.02, 0.02, min(0.22, ch * 0.4)),
                        look.trim,
                        "metal",
                    )
                )
    return parts


def _carcass(look: Look, w: float, d: float, low: float, high: float) -> list[Part]:
    return [
        box((0, 0, 0), (w - 0.06, d - 0.06, low), shade(look.trim, 0.8)),
        box((0, 0, low), (w, d, high - low), look.main, look.texture),
    ]


def nightstand(look: Look) -> list[Part]:
    w, d, h = look.span(0.38, 0.55), look.span(0.36, 0.45), look.span(0.44, 0.62)
    rows = look.count(1, 3)
    top = box((0, 0.005, h - 0.03), (w + 0.02, d + 0.02, 0.03), look.main, look.texture)
    return [
        *_carcass(look, w, d, 0.06, h - 0.03),
        *_fronts(look, w, d, 0.08, h - 0.04, rows, 1, look.pick("knob", "bar")),
        top,
    ]


def cabinet(look: Look) -> list[Part]:
    w, d, h = look.span(0.6, 1.1), look.span(0.38, 0.5), look.span(0.75, 1.25)
    columns = 1 if w < 0.7 else 2
    return [*_carcass(look, w, d, 0.07, h), *_fronts(look, w, d, 0.09, h - 0.02, look.count(1, 2), columns, "side")]


def wardrobe(look: Look) -> list[Part]:
    w, d, h = look.span(0.9, 1.7), look.span(0.52, 0.62), look.span(1.8, 2.15)
    columns = 2 if w < 1.35 else 3
    crown = box((0, 0, h - 0.05), (w + 0.04, d + 0.04, 0.05), look.tone(0.85), look.texture)
    return [*_carcass(look, w, d, 0.08, h - 0.05), *_fronts(look, w, d, 0.1, h - 0.07, 1, columns, "side"), crown]


def bookshelf(look: Look) -> list[Part]:
    w, d, h = look.span(0.7, 1.15), look.span(0.26, 0.34), look.span(1.3, 2.05)
    shelves = 4 if h < 1.65 else 5
    gap = (h - 0.06) / shelves
    parts = [box((s * (w / 2 - 0.02), 0, 0), (0.04, d, h), look.main, look.texture) for s in (-1, 1)]
    parts.append(box((0, -d / 2 + 0.012, 0), (w, 0.024, h), look.main, look.texture))
    parts += [box((0, 0, 0.03 + i * gap), (w - 0.06, d, 0.035), look.main, look.texture) for i in range(shelves)]
    parts.append(box((0, 0, h - 0.035), (w, d, 0.035), look.main, look.texture))
    for i in range(shelves):
        x = -w / 2 + 0.05
        end = x + (w - 0.1) * float(look.rng.uniform(0.15, 0.8))
        while x < end:
            thick = float(look.rng.uniform(0.05, 0.11))
            tall = gap * float(look.rng.uniform(0.5, 0.72))
            rgb = BOOKS[look.count(0, len(BOOKS) - 1)]
            parts.append(box((x + thick / 2, -0.02, 0.065 + i * gap), (thick - 0.006, d * 0.6, tall), rgb))
            x += thick
    return parts


def counter(look: Look) -> list[Part]:
    w, d, h = look.span(1.2, 2.0), 0.6, look.span(0.86, 0.93)
    stone = look.pick("plain", "marble")
    fronts = _fronts(look, w, d, 0.1, h - 0.06, 1, max(2, round(w / 0.5)), "side")
    return [
        *_carcass(look, w, d, 0.09, h - 0.04),
        *fronts,
        box((0, 0.012, h - 0.04), (w, d + 0.025, 0.04), (206, 202, 196), stone),
    ]


def refrigerator(look: Look) -> list[Part]:
    w, d, h = look.span(0.58, 0.85), look.span(0.58, 0.7), look.span(1.4, 1.85)
    split = h * look.span(0.58, 0.66)
    parts = [
        box((0, 0, 0.03), (w, d - 0.06, h - 0.03), look.main, look.texture),
        box((0, -0.02, 0), (w * 0.9, d * 0.8, 0.03), (40, 40, 42)),
    ]
    for low, high in ((0.06, split), (split + 0.015, h)):
        parts.append(box((0, d / 2 - 0.01, low), (w - 0.01, 0.05, high - low), look.tone(1.05), look.texture))
        parts.append(
            box(
                (-w / 2 + 0.07, d / 2 + 0.03, low + (high - low) * 0.25),
                (0.03, 0.03, (high - low) * 0.5),
                CHROME,
                "metal",
            )
        )
    return parts
