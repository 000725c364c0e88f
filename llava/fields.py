"""What the fields of JSON made elsewhere (answers, configurations) may hold: looked at before use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

SHOWN = 60  # characters of a value that is not as expected
LARGEST = 1 << 24  # of a size: the product of two is still a number of bytes


@dataclass(frozen=True)
class Field:
    """What a field may hold, in words and as a test."""

    expected: str
    holds: Callable[[Any], bool]

    def or_null(self) -> Field:
        """The same, or null."""
        return Field(f"{self.expected}, or null", lambda value: value is None or self.holds(value))


def _is_number(value: Any) -> bool:
    # compared, not asked for finiteness: JSON's whole numbers may be beyond any float, and a bool is a number to Python
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_list_of(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(holds, value))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_box(value: Any) -> bool:
    return _is_list_of(_is_number)(value) and len(value) == 6


TEXT = Field("a text", _is_text)
TEXTS = Field("a list of texts", _is_list_of(_is_text))
NUMBERS = Field("a list of finite numbers, one at least", lambda value: _is_list_of(_is_number)(value) and value != [])
POSITIVE = Field("a number above 0", lambda value: _is_number(value) and value > 0)
BOX = Field("a box of 6 finite numbers", _is_box)
BOXES = Field("a list of boxes of 6 finite numbers", _is_list_of(_is_box))
NAME = Field("a text or a whole number", lambda value: _is_text(value) or _is_whole(value))
FLAG = Field("true or false", lambda value: isinstance(value, bool))
SIZE = Field("a whole number above 0", lambda value: _is_whole(value) and 0 < value <= LARGEST)
SHARE = Field("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)
POINT = Field("a list of 3 numbers", lambda value: _is_list_of(_is_number)(value) and len(value) == 3)
IDS = Field("a list of whole numbers", _is_list_of(_is_whole))


PIXELS = Field("a width and a height", lambda value: _is_list_of(SIZE.holds)(value) and len(value) == 2)


def matrix(side: int) -> Field:
    """A square one of finite numbers, a list a row."""

    def is_row(value: Any) -> bool:
        return _is_list_of(_is_number)(value) and len(value) == side

    return Field(f"{side}x{side} finite numbers", lambda value: _is_list_of(is_row)(value) and len(value) == side)


def one_of(*values: Any) -> Field:
    """One of these."""
    return Field(" or ".join(map(repr, values)), lambda value: value in values)


def check_fields(values: Mapping[str, Any], fields: Mapping[str, Field]) -> None:
    """Raise ValueError for the first of these fields that is there and holds something else."""
    for name, field in fields.items():
        if name in values and not field.holds(values[name]):
            found = repr(values[name])
            shown = found if len(found) <= SHOWN else f"{found[:SHOWN]}..."
            raise ValueError(f"{name} is {shown}, expected {field.expected}")
