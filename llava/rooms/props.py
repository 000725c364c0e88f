"""Smaller things, on the floor and on tables. Every builder: Look -> parts, front towards +y, lowest point at z = 0."""

from __future__ import annotations

import numpy as np

from llava.rooms.parts import CREAM, IRON, Look, ball, box, cone, legs, tube
from llava.rooms.room import Part


def tv(look: Look) -> list[Part]:
    w = look.span(0.8, 1.4)
    h = w * 0.58
    return [
        *(box((s * w * 0.33, 0, 0), (0.05, 0.16, 0.04), IRON) for s in (-1, 1)),
        box((0, 0, 0.03), (w, 0.05, h), (26, 26, 28)),
        box((0, 0.024, 0.05), (w - 0.04, 0.012, h - 0.04), look.main, "screen"),
        box((0, -0.03, 0.09), (w * 0.7, 0.06, h * 0.6), look.main),
    ]


def monitor(look: Look) -> list[Part]:
    w = look.span(0.46, 0.66)
    h = w * 0.62
    return [
        tube((0, 0, 0), (0.22, 0.18, 0.02), look.trim, "metal"),
        box((0, -0.02, 0.02), (0.05, 0.04, 0.14), look.trim, "metal"),
        box((0, 0.01, 0.1), (w, 0.035, h), (30, 30, 32)),
        box((0, 0.026, 0.115), (w - 0.03, 0.012, h - 0.03), look.main, "screen"),
        box((0, -0.012, 0.115), (w - 0.03, 0.014, h - 0.03), look.main),
    ]


def laptop(look: Look) -> list[Part]:
    w = look.span(0.30, 0.40)
    d = w * 0.68
    return [
        box((0, 0.05, 0), (w, d, 0.02), look.main, "metal"),
        box((0, 0.08, 0.02), (w * 0.9, d * 0.5, 0.004), (40, 40, 42)),
        box((0, 0.05 - d / 2, 0.01), (w, 0.02, d), look.main, "metal"),
        box((0, 0.062 - d / 2, 0.03), (w - 0.03, 0.006, d - 0.04), (70, 90, 130), "screen"),
    ]


def lamp(look: Look) -> list[Part]:
    w, h = look.span(0.24, 0.36), look.span(0.40, 0.62)
    stem = h * 0.55
    foot = look.pick("ball", "stick")
    base = (
        ball((0, 0, 0.01), (w * 0.45, w * 0.45, stem * 0.8), look.trim)
        if foot == "ball"
        else tube((0, 0, 0), (0.04, 0.04, stem), look.trim, "metal")
    )
    shade_top = tube((0, 0, h * 0.86), (w * 0.6, w * 0.6, h * 0.14), look.main, "lampshade")
    return [
        tube((0, 0, 0), (w * 0.5, w * 0.5, 0.025), look.trim, "metal"),
        base,
        tube((0, 0, stem), (w, w, h * 0.32), look.main, "lampshade"),
        shade_top,
    ]


def floor_lamp(look: Look) -> list[Part]:
    w, h = look.span(0.34, 0.50), look.span(1.35, 1.75)
    cover = look.span(0.26, 0.36)
    return [
        tube((0, 0, 0), (0.28, 0.28, 0.03), look.trim, "metal"),
        tube((0, 0, 0.03), (0.035, 0.035, h - cover - 0.03), look.trim, "metal"),
        tube((0, 0, h - cover), (w, w, cover), look.main, "lampshade"),
    ]


def plant(look: Look) -> list[Part]:
    pot, h = look.span(0.24, 0.38), look.span(0.7, 1.4)
    rim = pot * 0.9
    parts = [
        tube((0, 0, 0), (pot, pot, rim), look.trim),
        tube((0, 0, rim - 0.005), (pot * 0.86, pot * 0.86, 0.02), (70, 50, 36)),
    ]
    if look.pick("tree", "bush", "bush") == "tree":
        parts.append(tube((0, 0, rim), (0.05, 0.05, (h - rim) * 0.5), (104, 76, 48)))
        crown = (h - rim) * 0.62
        parts.append(ball((0, 0, h - crown), (pot * 1.7, pot * 1.7, crown), look.main, "leaves"))
        parts.append(ball((pot * 0.4, pot * 0.2, h - crown * 1.15), (pot, pot, crown * 0.7), look.tone(0.85), "leaves"))
        return parts
    n = look.count(5, 7)
    for i in range(n):
        a = 2 * np.pi * i / n + float(look.rng.uniform(-0.3, 0.3))
        r, tall = pot * float(look.rng.uniform(0.3, 0.55)), (h - rim) * float(look.rng.uniform(0.6, 0.95))
        size = (pot * 0.7, pot * 0.7, tall)
        parts.append(
            ball(
                (r * np.cos(a), r * np.sin(a), rim - 0.02),
                size,
                look.tone(float(look.rng.uniform(0.8, 1.15))),
                "leaves",
            )
        )
    return [*parts, ball((0, 0, rim), (pot * 0.8, pot * 0.8, h - rim), look.main, "leaves")]


def trash_can(look: Look) -> list[Part]:
    w, h = look.span(0.24, 0.40), look.span(0.30, 0.62)
    if look.pick("round", "square") == "round":
        body = [
            tube((0, 0, 0), (w * 0.9, w * 0.9, h), look.main, look.texture),
            tube((0, 0, h - 0.03), (w, w, 0.04), look.tone(0.85)),
        ]
        return [*body, tube((0, 0, h), (w * 0.8, w * 0.8, 0.012), look.tone(0.5))]
    body = [
        box((0, 0, 0), (w * 0.9, w * 0.75, h), look.main, look.texture),
        box((0, 0, h - 0.04), (w, w * 0.85, 0.05), look.tone(0.85)),
    ]
    return [*body, box((0, 0, h), (w * 0.8, w * 0.66, 0.014), look.tone(0.5))]


def carton(look: Look) -> list[Part]:
    w, d, h = look.span(0.34, 0.66), look.span(0.30, 0.52), look.span(0.24, 0.50)
    parts = [box((0, 0, 0), (w, d, h), look.main, look.texture)]
    if look.pick("tape", "lid") == "tape":
        parts.append(box((0, 0, h), (0.06, d, 0.004), CREAM))
        parts.append(box((0, d / 2, h * 0.6), (0.06, 0.004, h * 0.4), CREAM))
        return [*parts, box((w * 0.25, d / 2, h * 0.2), (w * 0.25, 0.004, h * 0.25), CREAM)]
    return [*parts, box((0, 0, h - 0.06), (w + 0.02, d + 0.02, 0.07), look.tone(0.9), look.texture)]


def backpack(look: Look) -> list[Part]:
    w, d, h = look.span(0.28, 0.38), look.span(0.18, 0.26), look.span(0.40, 0.54)
    return [
        box((0, 0, 0), (w, d, h * 0.8), look.main, look.texture),
        ball((0, 0, h * 0.55), (w, d, h * 0.45), look.main, look.texture),
        box((0, d / 2 + 0.03, 0.04), (w * 0.75, 0.07, h * 0.42), look.tone(0.85), look.texture),
        box((0, d / 2 + 0.068, h * 0.36), (w * 0.6, 0.008, 0.015), IRON),
        *(box((s * w * 0.28, -d / 2 - 0.02, h * 0.1), (0.05, 0.03, h * 0.65), look.tone(0.7)) for s in (-1, 1)),
    ]


def microwave(look: Look) -> list[Part]:
    w, d, h = look.span(0.44, 0.54), look.span(0.32, 0.40), look.span(0.26, 0.31)
    return [
        box((0, 0, 0.015), (w, d, h), look.main, look.texture),
        *legs(w, d, 0.015, 0.04, IRON),
        box((-w * 0.12, d / 2 + 0.006, 0.05), (w * 0.62, 0.012, h - 0.08), (32, 34, 38)),
        box((w * 0.22, d / 2 + 0.02, 0.06), (0.02, 0.03, h - 0.1), look.trim, "metal"),
        box((w * 0.37, d / 2 + 0.004, h * 0.65), (w * 0.18, 0.008, h * 0.2), (60, 90, 70)),
    ]


def cup(look: Look) -> list[Part]:
    w, h = look.span(0.08, 0.11), look.span(0.09, 0.13)
    return [tube((0, 0, 0), (w, w, h), look.main), box((w * 0.55, 0, h * 0.25), (w * 0.3, 0.02, h * 0.5), look.main)]


def vase(look: Look) -> list[Part]:
    w, h = look.span(0.12, 0.18), look.span(0.16, 0.26)
    flower = ball((0, 0, h * 1.05), (w * 1.5, w * 1.5, w * 1.3), (70, 130, 60), "leaves")
    return [
        ball((0, 0, 0), (w, w, h * 0.75), look.main),
        tube((0, 0, h * 0.6), (w * 0.5, w * 0.5, h * 0.5), look.main),
        flower,
    ]


def books(look: Look) -> list[Part]:
    n, z, parts = look.count(2, 4), 0.0, []
    for i in range(n):
        thick = look.span(0.03, 0.05)
        size = (look.span(0.22, 0.28) * (1 - 0.08 * i), look.span(0.16, 0.2) * (1 - 0.06 * i), thick)
        parts.append(box((0.01 * (i % 2), 0, z), size, look.main if i % 2 == 0 else look.tone(0.8)))
        z += thick
    return parts


def bottle(look: Look) -> list[Part]:
    w, h = look.span(0.07, 0.09), look.span(0.22, 0.30)
    return [
        tube((0, 0, 0), (w, w, h * 0.65), look.main),
        cone((0, 0, h * 0.65), (w, w, h * 0.25), look.main),
        tube((0, 0, h * 0.75), (w * 0.35, w * 0.35, h * 0.25), look.trim),
    ]
