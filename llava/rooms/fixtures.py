"""What is built in or hangs on a wall. Every builder: Look -> parts, front towards +y, lowest point at z = 0.

Things for a wall have their back at y = 0 or a little behind it; the layout moves them by their box.
"""

from __future__ import annotations

from llava.rooms.parts import CHROME, IRON, STEEL, Look, ball, box, shade, tube
from llava.rooms.room import Part


def stove(look: Look) -> list[Part]:
    w, d, h = look.span(0.56, 0.74), 0.6, look.span(0.86, 0.92)
    parts = [
        box((0, 0, 0.06), (w, d, h - 0.08), look.main, look.texture),
        box((0, 0, 0), (w - 0.06, d - 0.08, 0.06), IRON),
        box((0, 0.0, h - 0.02), (w, d, 0.02), (36, 36, 40)),
        box((0, d / 2 + 0.01, 0.42), (w * 0.7, 0.02, 0.2), (30, 30, 34)),
        box((0, d / 2 + 0.03, 0.66), (w * 0.8, 0.03, 0.025), CHROME, "metal"),
        box((0, -d / 2 + 0.03, h), (w, 0.06, 0.14), look.main, look.texture),
    ]
    parts += [
        tube((sx * w * 0.25, sy * 0.14, h), (0.17, 0.17, 0.015), (70, 70, 74)) for sx in (-1, 1) for sy in (-1, 1)
    ]
    return parts + [ball((i * w * 0.16, d / 2 + 0.02, h - 0.12), (0.05, 0.04, 0.05), STEEL) for i in (-2, -1, 0, 1, 2)]


def sink(look: Look) -> list[Part]:
    w, d, h = look.span(0.48, 0.75), look.span(0.42, 0.52), look.span(0.80, 0.88)
    rim = 0.05
    parts = [box((0, s * (d - rim) / 2, h - 0.13), (w, rim, 0.13), look.main, look.texture) for s in (-1, 1)]
    parts += [box((s * (w - rim) / 2, 0, h - 0.13), (rim, d, 0.13), look.main, look.texture) for s in (-1, 1)]
    parts.append(box((0, 0, h - 0.15), (w, d, 0.03), look.main, look.texture))
    if look.pick("pedestal", "cupboard") == "pedestal":
        parts.append(tube((0, -0.04, 0), (w * 0.36, d * 0.42, h - 0.15), look.main, look.texture))
    else:
        parts.append(box((0, -0.01, 0), (w * 0.92, d * 0.9, h - 0.15), look.main, look.texture))
        parts += [box((s * w * 0.06, d * 0.45, h * 0.4), (0.02, 0.02, 0.12), CHROME, "metal") for s in (-1, 1)]
    tap = [
        tube((0, -d / 2 + 0.04, h), (0.03, 0.03, 0.16), CHROME, "metal"),
        box((0, -d / 2 + 0.1, h + 0.14), (0.03, 0.14, 0.03), CHROME, "metal"),
    ]
    return parts + tap


def toilet(look: Look) -> list[Part]:
    w, h = look.span(0.36, 0.42), look.span(0.38, 0.44)
    return [
        box((0, -0.26, 0.30), (w + 0.06, 0.18, 0.46), look.main, look.texture),
        box((0, -0.26, 0.76), (w + 0.08, 0.2, 0.03), look.tone(1.05), look.texture),
        tube((0, 0.08, 0), (w * 0.6, 0.38, h * 0.7), look.main, look.texture),
        box((0, -0.15, 0), (w * 0.6, 0.3, h * 0.9), look.main, look.texture),
        tube((0, 0.08, h * 0.62), (w, 0.52, h * 0.38), look.main, look.texture),
        tube((0, 0.08, h), (w * 1.02, 0.54, 0.035), look.tone(1.08), look.texture),
        tube((0.1, -0.26, 0.79), (0.05, 0.05, 0.015), CHROME, "metal"),
    ]


def bathtub(look: Look) -> list[Part]:
    w, d, h, rim = look.span(1.4, 1.75), look.span(0.68, 0.82), look.span(0.48, 0.6), 0.09
    parts = [box((0, s * (d - rim) / 2, 0), (w, rim, h), look.main, look.texture) for s in (-1, 1)]
    parts += [box((s * (w - rim * 1.4) / 2, 0, 0), (rim * 1.4, d, h), look.main, look.texture) for s in (-1, 1)]
    parts.append(box((0, 0, 0.06), (w, d, 0.06), look.tone(0.95), look.texture))
    if look.pick("water", "dry") == "water":
        parts.append(box((0, 0, 0.12), (w - 0.2, d - 0.16, h * 0.45), (150, 196, 208), "glass"))
    tap = [
        box((w * 0.42, 0, h), (0.05, 0.05, 0.12), CHROME, "metal"),
        box((w * 0.38, 0, h + 0.1), (0.14, 0.04, 0.03), CHROME, "metal"),
    ]
    return parts + tap


def washing_machine(look: Look) -> list[Part]:
    w, d, h = look.span(0.54, 0.64), look.span(0.5, 0.62), look.span(0.8, 0.9)
    parts = [
        box((0, 0, 0), (w, d, h), look.main, look.texture),
        box((0, d / 2 + 0.005, h - 0.14), (w * 0.94, 0.012, 0.1), look.tone(0.8)),
    ]
    for i, (r, rgb) in enumerate(((0.42, STEEL), (0.34, (44, 52, 60)), (0.2, (90, 104, 116)))):
        parts.append(ball((0, d / 2 - 0.01 + i * 0.012, 0.4 - r / 2), (r, 0.06, r), rgb))
    return [*parts, ball((w * 0.32, d / 2 + 0.01, h - 0.12), (0.06, 0.04, 0.06), STEEL)]


def door(look: Look) -> list[Part]:
    w, h = look.span(0.76, 0.98), look.span(1.96, 2.1)
    parts = [box((0, 0.015, 0), (w, 0.04, h), look.main, look.texture)]
    parts += [box((s * (w / 2 + 0.035), 0.03, 0), (0.07, 0.06, h + 0.07), look.trim, "wood") for s in (-1, 1)]
    parts.append(box((0, 0.03, h), (w, 0.06, 0.07), look.trim, "wood"))
    style = look.pick("two panels", "four panels", "flat")
    if style != "flat":
        columns = (0,) if style == "two panels" else (-1, 1)
        pw = w * 0.66 if style == "two panels" else w * 0.34
        rows = ((0.15, h * 0.4), (h * 0.52, h * 0.4))
        parts += [
            box((c * w * 0.22, 0.04, z), (pw, 0.02, t), look.tone(0.88), look.texture) for c in columns for z, t in rows
        ]
    return [*parts, ball((w * 0.4, 0.07, 0.98), (0.06, 0.07, 0.06), CHROME, "metal")]


def window(look: Look) -> list[Part]:
    w, h, f = look.span(0.9, 1.6), look.span(0.9, 1.3), 0.06
    frame = shade((236, 234, 228), 1.0) if look.pick("white", "own") == "white" else look.trim
    parts = [box((0, 0.01, f), (w - 2 * f, 0.02, h - 2 * f), look.main, "sky")]
    parts += [box((s * (w - f) / 2, 0.025, 0), (f, 0.05, h), frame) for s in (-1, 1)]
    parts += [box((0, 0.025, z), (w, 0.05, f), frame) for z in (0, h - f)]
    bars = look.count(1, 2)
    parts += [box(((i + 1) / (bars + 1) * w - w / 2, 0.025, f), (0.035, 0.04, h - 2 * f), frame) for i in range(bars)]
    return [*parts, box((0, 0.05, 0), (w + 0.06, 0.1, 0.035), frame)]


def curtain(look: Look) -> list[Part]:
    w, h = look.span(0.4, 0.75), look.span(1.7, 2.2)
    folds = max(4, round(w / 0.1))
    step = w / folds
    panels = [
        box(
            ((i - (folds - 1) / 2) * step, 0.05 + 0.02 * (i % 2), 0),
            (step, 0.05, h),
            look.tone(1.06 if i % 2 else 0.94),
            look.texture,
        )
        for i in range(folds)
    ]
    return [*panels, box((0, 0.06, h), (w + 0.1, 0.03, 0.03), look.trim, "metal")]


def picture(look: Look) -> list[Part]:
    w, h = look.span(0.42, 0.95), look.span(0.38, 0.75)
    return [
        box((0, 0.012, 0), (w, 0.024, h), look.trim, "wood"),
        box((0, 0.02, 0.035), (w - 0.07, 0.02, h - 0.07), look.main, look.pick("art", "art2")),
    ]


def mirror(look: Look) -> list[Part]:
    w, h = look.span(0.45, 0.8), look.span(0.6, 1.1)
    return [
        box((0, 0.012, 0), (w, 0.024, h), look.trim, "wood"),
        box((0, 0.02, 0.03), (w - 0.06, 0.02, h - 0.06), look.main, "glass"),
    ]


def whiteboard(look: Look) -> list[Part]:
    w, h = look.span(1.1, 1.9), look.span(0.8, 1.1)
    return [
        box((0, 0.01, 0.03), (w, 0.02, h), STEEL, "metal"),
        box((0, 0.02, 0.06), (w - 0.05, 0.02, h - 0.06), look.main, "scribble"),
        box((0, 0.05, 0), (w * 0.6, 0.08, 0.03), STEEL, "metal"),
    ]


def radiator(look: Look) -> list[Part]:
    w, h = look.span(0.6, 1.2), look.span(0.45, 0.65)
    ribs = max(6, round(w / 0.08))
    step = w / ribs
    parts = [box(((i - (ribs - 1) / 2) * step, 0.06, 0.1), (step * 0.75, 0.1, h), look.main) for i in range(ribs)]
    return [*parts, box((0, 0.06, 0.14), (w, 0.05, 0.05), look.main), box((0, 0.06, h), (w, 0.05, 0.05), look.main)]
