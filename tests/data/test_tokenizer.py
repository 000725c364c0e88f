"""The small tokenizer: Qwen2's way of cutting, its special tokens in order, and nothing that it cannot write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava.data.chat import COORD, GROUND, SCENE
from llava.data.tokenizer import SPECIAL, train_tokenizer

TEXTS = [" the red chair is next to the table.", "Is there a lamp? yes", "two office chairs, 3 doors"] * 4


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, vocab_size=320)


@given(st.text(max_size=40).filter(lambda text: not any(mark in text for mark in (*SPECIAL, SCENE, GROUND, COORD))))
def test_any_text_is_written_and_read_back(tokenizer, text: str) -> None:
    import unicodedata

    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == unicodedata.normalize("NFC", text)


def test_frequent_words_take_one_id(tokenizer) -> None:
    assert all(len(tokenizer(word)["input_ids"]) == 1 for word in (" the", " chair"))


def test_special_tokens_stand_as_in_qwen2(tokenizer) -> None:
    marks = (*SPECIAL, SCENE, GROUND, COORD)
    ids = tokenizer.convert_tokens_to_ids(list(marks))
    assert ids == list(range(len(tokenizer) - len(marks), len(tokenizer)))
    assert tokenizer("a<coord>b<|im_end|>")["input_ids"].count(ids[-1]) == 1
    assert tokenizer.eos_token == "<|im_end|>" and tokenizer.pad_token == "<|endoftext|>"


def test_marks_of_the_project_survive_skipping_special_tokens(tokenizer) -> None:
    """As with Qwen2, whose `<ground>` and `<coord>` are added tokens but not special ones."""
    assert tokenizer.decode(tokenizer("<ground><|im_end|>")["input_ids"], skip_special_tokens=True) == "<ground>"


def test_the_same_texts_give_the_same_tokenizer(tokenizer, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    again = train_tokenizer(iter(TEXTS), vocab_size=320)
    assert again.get_vocab() == tokenizer.get_vocab()
    tokenizer.save_pretrained(tmp_path)
    read = AutoTokenizer.from_pretrained(tmp_path)
    for text in (*TEXTS, "<|im_start|>user\n<image><image>\nthe chair at <coord> , 12"):
        assert read(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert read.chat_template == tokenizer.chat_template


def test_chat_template_says_what_chat_says(tokenizer) -> None:
    said = tokenizer.apply_chat_template(
        [{"role": "system", "content": "Help."}, {"role": "user", "content": "Why?"}],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert said == "<|im_start|>system\nHelp.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"


def test_it_cuts_text_where_qwen2_does(tokenizer, golden: Callable[[str], Path]) -> None:
    from transformers import AutoTokenizer

    qwen2 = AutoTokenizer.from_pretrained(golden("qwen2_tokenizer")).backend_tokenizer.pre_tokenizer
    own = tokenizer.backend_tokenizer.pre_tokenizer
    for text in (*TEXTS, "it's 12345 km", "questions.\n Given an object", "a\n\n \t b", "I'LL don't", "(3.5cm)… é"):
        assert own.pre_tokenize_str(text) == qwen2.pre_tokenize_str(text)
