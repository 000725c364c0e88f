"""What the fields of answer lines may hold: anybody may have written them, so they are looked at before they count."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

SHOWN = 60  # characters of a value that is not as expected


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
NAME = Field("a text or a whole number", lambda value: _is_text(value) or (_is_number(value) and value == int(value)))


def check_fields(line: Mapping[str, Any], fields: Mapping[str, Field]) -> None:
    """Raise ValueError for the first of these fields that the line has and that holds something else."""
    for name, field in fields.items():
        if name in line and not field.holds(line[name]):
            found = repr(line[name])
            shown = found if len(found) <= SHOWN else f"{found[:SHOWN]}..."
            raise ValueError(f"{name} is {shown}, expected {field.expected}")
