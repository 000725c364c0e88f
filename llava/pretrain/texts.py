"""What the base model's tokenizer is learnt from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llava.rooms.describe import multi3drefer, scanrefer
from llava.rooms.image_text import FIND_ANY, QA, SITUATED, image_facts
from llava.rooms.pictures import room_of
from llava.rooms.questions import scanqa
from llava.rooms.situations import sqa3d

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llava.data.chat import Chat


def corpus_texts(rooms: int, chat: Chat) -> Iterator[str]:
    """What the tokenizer is learnt from: the language of the benchmarks about these rooms, and of the base itself."""
    for index in range(rooms):
        # As often as questions are asked, so that the words around them take few ids.
        yield from ["system", "user", "assistant", chat.system, chat.instruction] * 10
        rng = np.random.default_rng([index, 5])
        room = room_of(index)
        visible = {item.id for item in room.items if not item.shell}
        for record in scanrefer(room, visible, rng) + multi3drefer(room, visible, rng):
            yield FIND_ANY.format(record["description"].capitalize())
            yield record["description"].capitalize()
        for record in scanqa(room, visible, rng, "train"):
            yield QA.format(record["question"])
            yield from record["answers"]
        questions, annotations = sqa3d(room, visible, rng)
        for record in questions:
            for situation in (record["situation"], *record["alternative_situation"]):
                yield SITUATED.format(f"{situation} {record['question']}")
        yield from (answer["answer"] for record in annotations for answer in record["answers"])
        for fact in image_facts([i for i in room.items if not i.shell], 30, rng, marks=True):
            yield fact.question.replace("<coord>", "")
            yield fact.answer
