"""The catalogue: every class, its colours and materials, and `design`, which makes one instance of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from llava.rooms import fixtures, props, seating, storage
from llava.rooms.parts import NEUTRALS, RGB, Look
from llava.rooms.room import Part

# Prototypes far apart in hue or lightness, so that shading does not turn one into another.
COLORS: dict[str, RGB] = {
    "red": (198, 36, 38),
    "orange": (244, 134, 24),
    "yellow": (244, 212, 56),
    "green": (48, 146, 66),
    "blue": (40, 88, 192),
    "purple": (126, 54, 162),
    "pink": (244, 150, 184),
    "brown": (104, 66, 42),
    "black": (34, 34, 38),
    "white": (238, 238, 234),
    "gray": (136, 138, 142),
}

_TEXTURES = {
    "wooden": ("wood",),
    "metal": ("metal",),
    "plastic": ("plain",),
    "fabric": ("fabric", "fabric", "fabric", "stripes", "checker", "dots"),
    "leather": ("leather",),
    "ceramic": ("plain",),
    "cardboard": ("cardboard",),
    "paper": ("plain",),
    "glass": ("glass",),
}


@dataclass(frozen=True)
class Kind:
    """One class of the catalogue."""

    build: Callable[[Look], list[Part]]
    nyu40: int  # ScanNet's nyu40 id; 39 otherfurniture, 40 otherprop
    materials: tuple[str, ...]
    natural: tuple[str, ...] = ()  # colours it takes more often than the others
    only: bool = False  # takes no other colours


_WOOD, _SOFT = ("wooden", "wooden", "metal", "plastic"), ("fabric", "fabric", "leather")
_BATH = ("white", "white", "pink")

# Clutter (below) is drawn and scanned like the rest, but too small to be asked about.
CATALOGUE: dict[str, Kind] = {
    "chair": Kind(seating.chair, 5, ("wooden", "plastic", "metal")),
    "office chair": Kind(seating.office_chair, 5, ("fabric", "leather"), ("black",)),
    "armchair": Kind(seating.armchair, 5, _SOFT),
    "couch": Kind(seating.couch, 6, _SOFT),
    "stool": Kind(seating.stool, 40, ("wooden", "plastic", "metal")),
    "bed": Kind(seating.bed, 4, ("fabric",)),
    "pillow": Kind(seating.pillow, 18, ("fabric",)),
    "table": Kind(storage.table, 7, _WOOD, ("brown", "white")),
    "coffee table": Kind(storage.coffee_table, 7, _WOOD, ("brown",)),
    "desk": Kind(storage.desk, 14, _WOOD, ("brown", "white")),
    "nightstand": Kind(storage.nightstand, 32, ("wooden",)),
    "cabinet": Kind(storage.cabinet, 3, ("wooden", "metal")),
    "wardrobe": Kind(storage.wardrobe, 39, ("wooden",)),
    "bookshelf": Kind(storage.bookshelf, 10, ("wooden", "metal"), ("brown",)),
    "counter": Kind(storage.counter, 12, ("wooden",), ("white",)),
    "refrigerator": Kind(storage.refrigerator, 24, ("metal",), ("white", "gray")),
    "stove": Kind(fixtures.stove, 38, ("metal",), ("white", "gray", "black")),
    "sink": Kind(fixtures.sink, 34, ("ceramic",), _BATH),
    "toilet": Kind(fixtures.toilet, 33, ("ceramic",), _BATH),
    "bathtub": Kind(fixtures.bathtub, 36, ("ceramic",), _BATH),
    "washing machine": Kind(fixtures.washing_machine, 39, ("metal",), ("white", "gray")),
    "door": Kind(fixtures.door, 8, ("wooden",), ("white", "brown", "gray")),
    "window": Kind(fixtures.window, 9, ("glass",), ("blue", "white", "gray"), only=True),
    "curtain": Kind(fixtures.curtain, 16, ("fabric",)),
    "picture": Kind(fixtures.picture, 11, ("paper",)),
    "mirror": Kind(fixtures.mirror, 19, ("glass",), ("gray", "white"), only=True),
    "whiteboard": Kind(fixtures.whiteboard, 30, ("plastic",), ("white",), only=True),
    "radiator": Kind(fixtures.radiator, 39, ("metal",), ("white", "gray", "black"), only=True),
    "tv": Kind(props.tv, 25, ("plastic",), ("black", "black")),
    "monitor": Kind(props.monitor, 40, ("plastic",), ("black", "black")),
    "lamp": Kind(props.lamp, 35, ("fabric",)),
    "floor lamp": Kind(props.floor_lamp, 35, ("fabric",)),
    "plant": Kind(props.plant, 40, ("plant",), ("green",), only=True),
    "trash can": Kind(props.trash_can, 39, ("plastic", "metal")),
    "box": Kind(props.carton, 29, ("cardboard", "plastic"), ("brown",)),
    "backpack": Kind(props.backpack, 37, ("fabric",)),
    "microwave": Kind(props.microwave, 40, ("metal",), ("black", "white")),
    "laptop": Kind(props.laptop, 40, ("metal",)),
    "cup": Kind(props.cup, 40, ("ceramic",)),
    "vase": Kind(props.vase, 40, ("ceramic",)),
    "books": Kind(props.books, 23, ("paper",)),
    "bottle": Kind(props.bottle, 40, ("glass",)),
}
CLUTTER: tuple[str, ...] = ("laptop", "cup", "vase", "books", "bottle")
CLASSES: tuple[str, ...] = tuple(label for label in CATALOGUE if label not in CLUTTER)
NYU40: dict[str, int] = {"wall": 1, "floor": 2, "ceiling": 22} | {
    label: kind.nyu40 for label, kind in CATALOGUE.items()
}

# Bands with gaps between them: a "small" chair is smaller than a "medium" one whatever its own proportions do.
_BANDS = {"small": (0.0, 0.2), "medium": (0.42, 0.58), "large": (0.8, 1.0)}
NATURAL_SHARE = 0.3


@dataclass(frozen=True)
class Design:
    """One instance before it is put anywhere; words as in `Item`."""

    label: str
    color: str
    material: str
    size: str
    parts: tuple[Part, ...]


def choose_color(label: str, rng: np.random.Generator) -> str:
    """A colour word for `label`: mostly any, sometimes a natural one, so that the class does not tell the colour."""
    kind = CATALOGUE[label]
    if kind.natural and (kind.only or rng.random() < NATURAL_SHARE):
        return kind.natural[int(rng.integers(len(kind.natural)))]
    return tuple(COLORS)[int(rng.integers(len(COLORS)))]


def color_rgb(color: str, rng: np.random.Generator) -> RGB:
    """The prototype of a colour word, varied as paints of one name vary."""
    base = np.array(COLORS[color], float) * rng.uniform(0.93, 1.06) + rng.uniform(-9, 9, 3)
    return tuple(int(c) for c in np.clip(base, 8, 250))


def design(label: str, rng: np.random.Generator, color: str, size: str | None = None) -> Design:
    """One instance of `label` in `color`; the same generator state and another colour: the same model, repainted.

    Raises ValueError for a label that the catalogue does not have.
    """
    if label not in CATALOGUE:
        raise ValueError(f"expected a class of the catalogue, found {label!r}; it has: {', '.join(CATALOGUE)}")
    kind = CATALOGUE[label]
    size = size or tuple(_BANDS)[int(rng.integers(3))]
    scale = float(rng.uniform(*_BANDS[size]))
    material = kind.materials[int(rng.integers(len(kind.materials)))]
    textures = _TEXTURES.get(material, ("plain",))
    texture = textures[int(rng.integers(len(textures)))]
    trim = NEUTRALS[int(rng.integers(len(NEUTRALS)))]
    main = color_rgb(color, rng)
    parts = kind.build(Look(rng, scale, main, texture, trim))
    return Design(label, color, material, size, tuple(parts))
