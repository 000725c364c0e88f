"""Which objects a kind of room holds. Numbers are (least, most) of a class in one room."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RoomKind:
    """The class distribution of one kind of room."""

    side: tuple[float, float]  # metres, both sides are drawn from it
    core: tuple[str, ...]  # always there, once (more if also drawn from `several`)
    several: dict[str, tuple[int, int]]  # one to three of these occur several times
    once: tuple[str, ...]  # the rest is filled up from these, one of each


ROOM_KINDS: dict[str, RoomKind] = {
    "bedroom": RoomKind(
        (4.2, 6.2),
        ("bed", "door"),
        {"nightstand": (2, 2), "pillow": (2, 3), "picture": (2, 4), "box": (2, 4), "window": (2, 2), "curtain": (2, 2),
         "armchair": (2, 2), "lamp": (2, 2), "plant": (2, 3), "stool": (2, 2)},
        ("window", "nightstand", "wardrobe", "desk", "chair", "bookshelf", "armchair", "tv", "mirror", "plant",
         "trash can", "floor lamp", "lamp", "backpack", "picture", "curtain", "pillow", "radiator", "box"),
    ),
    "office": RoomKind(
        (4.4, 6.8),
        ("desk", "office chair", "door"),
        {"desk": (2, 3), "office chair": (2, 3), "monitor": (2, 3), "bookshelf": (2, 3), "box": (2, 4),
         "picture": (2, 3), "trash can": (2, 2), "chair": (2, 3), "cabinet": (2, 3), "window": (2, 2),
         "plant": (2, 2)},
        ("monitor", "bookshelf", "cabinet", "whiteboard", "window", "plant", "trash can", "lamp", "floor lamp",
         "picture", "couch", "box", "backpack", "radiator", "stool", "armchair", "chair", "microwave", "curtain"),
    ),
    "living room": RoomKind(
        (4.8, 7.0),
        ("couch", "coffee table", "door"),
        {"armchair": (2, 3), "couch": (2, 2), "picture": (2, 4), "plant": (2, 3), "window": (2, 3), "curtain": (2, 2),
         "bookshelf": (2, 2), "floor lamp": (2, 2), "lamp": (2, 2), "cabinet": (2, 2), "box": (2, 3)},
        ("armchair", "tv", "bookshelf", "lamp", "floor lamp", "plant", "picture", "window", "curtain", "cabinet",
         "radiator", "mirror", "desk", "chair", "trash can", "box", "stool", "backpack"),
    ),
    "kitchen": RoomKind(
        (4.2, 6.2),
        ("counter", "refrigerator", "stove", "sink", "door"),
        {"chair": (2, 4), "stool": (2, 4), "counter": (2, 2), "cabinet": (2, 3), "window": (2, 2), "picture": (2, 2),
         "box": (2, 3), "trash can": (2, 2)},
        ("table", "cabinet", "microwave", "trash can", "window", "plant", "washing machine", "chair", "picture", "box",
         "radiator", "lamp", "curtain", "stool", "backpack"),
    ),
    "dining room": RoomKind(
        (4.6, 7.0),
        ("table", "door"),
        {"chair": (2, 4), "picture": (2, 4), "window": (2, 3), "plant": (2, 3), "cabinet": (2, 3), "curtain": (2, 2),
         "armchair": (2, 2), "floor lamp": (2, 2), "stool": (2, 3)},
        ("chair", "cabinet", "bookshelf", "whiteboard", "tv", "plant", "picture", "window", "curtain", "floor lamp",
         "lamp", "mirror", "trash can", "radiator", "box", "armchair", "couch"),
    ),
    "bathroom": RoomKind(
        (4.0, 4.8),
        ("toilet", "sink", "door"),
        {"cabinet": (2, 3), "sink": (2, 2), "mirror": (2, 2), "stool": (2, 3), "trash can": (2, 2), "picture": (2, 3),
         "plant": (2, 2), "box": (2, 3), "window": (2, 2)},
        ("bathtub", "mirror", "washing machine", "cabinet", "trash can", "stool", "plant", "window", "radiator",
         "picture", "curtain", "box", "wardrobe", "armchair"),
    ),
    "classroom": RoomKind(
        (5.6, 7.0),
        ("whiteboard", "desk", "door"),
        {"chair": (3, 4), "table": (2, 2), "desk": (2, 3), "bookshelf": (2, 3), "window": (2, 3), "picture": (2, 3),
         "box": (2, 4), "monitor": (2, 2), "cabinet": (2, 3), "stool": (2, 4)},
        ("office chair", "chair", "table", "bookshelf", "cabinet", "trash can", "plant", "window", "monitor", "tv",
         "picture", "box", "backpack", "radiator", "lamp", "floor lamp"),
    ),
}  # fmt: skip
