"""The two modes of DESIGN section 6: ours, and what the published weights and scores of Video-3D LLM depend on.

All that differs in data and prompt stands in `Mode`, and a recipe chooses one; the model knows of neither. What
the scores of both modes are made of, and what `llava prepare` does, is said where that is done (quirks Q8 to Q12).
The quirks Q1 ... are those of the reference's recordings (golden/README.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from llava.data.chat import Chat

Precision = Literal["float32", "float16", "bfloat16"]


@dataclass(frozen=True)
class Mode:
    """How scenes and questions become numbers; the defaults are ours."""

    labels: Literal["answer", "marks"] = "answer"  # "marks": turn marks and line breaks of all turns too (Q2)
    asks_as_trained: bool = True  # False: evaluation leaves out the spatial instruction (Q1)
    measured: bool = True  # False: pixels without depth count as well, at the camera's centre
    bf16_training: Precision = "float32"  # of coordinates and boxes, where training runs in bf16 (Q3)
    evaluation: Precision = "float32"  # the same at evaluation, whatever the model runs in (Q3)
    targets: Literal["overlap", "ids"] = "overlap"  # right answers: what overlaps the true boxes, or by object id
    max_new_tokens: int | None = None  # of an answer; None: as the task says (Q20)

    def asking(self, chat: Chat) -> Chat:
        """The prompt at evaluation."""
        return chat if self.asks_as_trained else replace(chat, instruction="")


OURS = Mode()
VIDEO3D = Mode(
    labels="marks",
    asks_as_trained=False,
    measured=False,
    bf16_training="bfloat16",
    evaluation="float16",
    targets="ids",
    max_new_tokens=512,
)
MODES = {"ours": OURS, "video3d": VIDEO3D}
