"""Rooms told in words: what stands where, without a picture, and the benchmarks' language about it.

A base that knows only the terse questions about pictures spends most of a short fine-tuning on learning what
descriptions, captions and situations say. It can learn that from words at places; what rooms look like it learns from
pictures, and both at once, depth and pose included, only in fine-tuning.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from llava.pretrain.posters import Posters, in_patches
from llava.rooms.describe import multi3drefer, scanrefer
from llava.rooms.image_text import FIND, FIND_ANY, POINT, QA, SITUATED, dot
from llava.rooms.pictures import room_of
from llava.rooms.questions import scanqa
from llava.rooms.room import Room
from llava.rooms.situations import sqa3d
from llava.rooms.words import chance, pick
from llava.types import Sample

SHELL_SHARE = 0.2  # cells that tell of walls, floor and ceiling, which fill most of what a camera sees


def layout(room: Room, size: int, grid: int, cells: int, rng: np.random.Generator) -> Posters:
    """The room's things as words in the cells of two boards or more, each cell at a point on its thing's box.

    Every thing has at least one cell; the larger it is, the more. Cells are two patches wide.

    Args:
        size, grid, cells: pixels, patches and cells a side.
    """
    things = [item for item in room.items if not item.shell]
    shell = [item for item in room.items if item.shell]
    count = cells * cells * max(int(rng.integers(2, 5)), -(-len(things) // cells**2))
    spread = np.array([np.sort(item.box[3:])[1:].prod() for item in things]) ** 0.5  # of the largest face
    few = rng.choice(len(things), size=count - len(things), p=spread / spread.sum())
    more = [pick(rng, shell) if chance(rng, SHELL_SHARE) else things[i] for i in few]
    told = [(things + more)[i] for i in rng.permutation(count)]
    places = np.stack([_on_surface(item.box, rng) for item in told])
    shape = (-1, cells, cells)
    patches, places = np.reshape([item.id for item in told], shape), places.reshape(*shape, 3)
    patches, places = (in_patches(x, grid) for x in (patches, places))
    images = np.zeros((len(patches), size, size, 3), dtype=np.uint8)
    return Posters(images, patches, places, {item.id: item for item in room.items}, solid=True)


def _on_surface(box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(3,) a point on a box (6,), where a camera sees it: on the larger sides more often."""
    sides = box[3:].prod() / np.maximum(box[3:], 1e-3)
    axis = int(rng.choice(3, p=sides / sides.sum()))
    offset = rng.uniform(-0.5, 0.5, 3)
    offset[axis] = rng.choice((-0.5, 0.5))
    return box[:3] + box[3:] * offset


def things_at_places(room: Room, rng: np.random.Generator) -> list[Sample]:
    """The shortest question about a place at every thing's middle, as far off as a detector's box may be."""
    found = []
    for item in room.items:
        if not item.shell:
            fact, box = dot(item), item.box + np.array([*rng.normal(0, 0.05, 3), 0, 0, 0])
            meta = {"kind": fact.kind, "words": fact.words}
            found.append(Sample(item.id, "words", room.name, fact.question, fact.answer, coord=box, meta=meta))
    return found


@lru_cache(maxsize=4096)
def benchmark_samples(index: int) -> tuple[Sample, ...]:
    """What the five benchmarks would ask about room number `index` if all of it were seen, worded as they word it."""
    room, rng = room_of(index), np.random.default_rng([index, 6])
    boxes = {item.id: item.box.astype(np.float32) for item in room.items}
    things = {item.id for item in room.items if not item.shell}
    found: list[Sample] = []

    def add(kind: str, question: str, answer: str, **about: np.ndarray) -> None:
        found.append(Sample(len(found), "words", room.name, question, answer, meta={"kind": kind}, **about))

    def find(kind: str, question: str, targets: list[int]) -> None:
        add(kind, question, "<ground>", boxes=np.reshape([boxes[i] for i in targets], (-1, 6)))

    for record in scanrefer(room, things, rng):
        text = record["description"].capitalize()
        find("scanrefer", FIND.format(text), [int(record["object_id"])])
        add("scan2cap", POINT, text, coord=boxes[int(record["object_id"])])
    for record in multi3drefer(room, things, rng):
        find("multi3drefer", FIND_ANY.format(record["description"].capitalize()), record["object_ids"])
    for record in scanqa(room, things, rng, "train"):
        add("scanqa", QA.format(record["question"]), record["answers"][int(rng.integers(len(record["answers"])))])
    questions, annotations = sqa3d(room, things, rng)
    for record, annotation in zip(questions, annotations, strict=True):
        for situation in (record["situation"], *record["alternative_situation"]):
            question = SITUATED.format(f"{situation} {record['question']}")
            add("sqa3d", question, annotation["answers"][0]["answer"])
    return tuple(found)
