"""The one prompt template, for training and for evaluation alike.

A conversation about a scene is a *prefix*, which all questions about the scene share, and a *branch*, which
belongs to one question:

    <|im_start|>system\\n{system}<|im_end|>\\n<|im_start|>user\\n<image> ... <image>\\n{instruction}\\n     prefix
    {question}<|im_end|>\\n<|im_start|>assistant\\n{answer}<|im_end|>                                     branch

What is labelled is the answer and its end mark; the published rule ("marks", quirk Q2) also labels turn marks and
line breaks of all turns, the assistant's header, and a line break after the end.

The two are tokenised apart; because the prefix ends with a line break and no question starts with one, Qwen's
pre-tokeniser splits there anyway and the ids equal those of the joined text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from llava.types import Sample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SCENE, GROUND, COORD = "<image>", "<ground>", "<coord>"
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MARKS = (SCENE, GROUND, COORD, *SPECIAL)  # what the prompt is built of, so that no question may hold it
IGNORE = -100


@dataclass(frozen=True)
class Chat:
    """What is said around every question."""

    system: str = "You are a helpful assistant."
    instruction: str = (
        "The video captures 3D spatial information of a scene. Please focus on the spatial relationships "
        "in the video and answer the following questions."
    )


@dataclass(frozen=True)
class Branch:
    """Token ids and labels, of one length."""

    ids: list[int]
    labels: list[int]


def prefix(
    tokenizer: PreTrainedTokenizerBase, chat: Chat, scene_tokens: int, labels: Literal["answer", "marks"] = "answer"
) -> Branch:
    """The shared prefix with `scene_tokens` placeholders; none for a model that is asked blindly."""
    scene_id = tokenizer.convert_tokens_to_ids(SCENE)
    before = _encode(tokenizer, f"<|im_start|>system\n{chat.system}<|im_end|>\n<|im_start|>user\n")
    after = _encode(tokenizer, f"\n{chat.instruction}\n" if chat.instruction else "\n")
    ids = before + [scene_id] * scene_tokens + after
    return Branch(ids, _marks(tokenizer, ids) if labels == "marks" else [IGNORE] * len(ids))


def prefix_ids(tokenizer: PreTrainedTokenizerBase, chat: Chat, scene_tokens: int) -> list[int]:
    """Ids of the shared prefix."""
    return prefix(tokenizer, chat, scene_tokens).ids


def question_ids(tokenizer: PreTrainedTokenizerBase, question: str) -> list[int]:
    """Ids of a branch up to where the answer starts."""
    return _encode(tokenizer, f"{question}<|im_end|>\n<|im_start|>assistant\n")


def branch(tokenizer: PreTrainedTokenizerBase, sample: Sample, labels: Literal["answer", "marks"] = "answer") -> Branch:
    """A question with its answer, labelled as the rule says; by ours a grounding answer is not labelled at all.

    Raises ValueError for a sample whose answer is unknown (a test split cannot be trained on).
    """
    if sample.answer is None:
        raise ValueError(f"{sample.task} {sample.id}: the answer is unknown, so this sample cannot be trained on")
    question = question_ids(tokenizer, sample.question)
    if labels == "marks":
        header = _encode(tokenizer, "assistant\n")
        told = header + _encode(tokenizer, f"{sample.answer}<|im_end|>\n")
        asked = question[: len(question) - len(header)]
        return Branch(asked + told, _marks(tokenizer, asked) + told)
    if sample.boxes is not None:
        answer = [tokenizer.convert_tokens_to_ids(GROUND)]
        return Branch(question + answer, [IGNORE] * (len(question) + 1))
    answer = _encode(tokenizer, f"{sample.answer}<|im_end|>")
    return Branch(question + answer, [IGNORE] * len(question) + answer)


def _marks(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[int]:
    """Labels for turn marks and for line breaks that are a token of their own."""
    marks = {*tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"]), *_encode(tokenizer, "\n")}
    return [token if token in marks else IGNORE for token in ids]


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]
