"""Scene encoders: each file a way to turn the views of a scene into tokens.

An encoder is a frozen configuration with ``image_size`` (pixels a side of the views it reads), ``debug()``,
``build_processor()`` and ``build_module(width)``; the processor maps ``Views`` (of a blind model: none) to tensors on
the CPU and knows how many tokens they will become, the module maps those tensors to ``SceneTokens``.

The processor treats each view by itself, because scenes are read view by view, and is a dataclass of plain values, by
which the cache knows again what it made. What the module calls ``tower`` and ``projector`` can be trained at rates
of their own, the rest learns with the language model. A module with a ``tower`` has ``look(inputs)``, what the tower
makes of the views; given back among the inputs as ``features``, it spares a frozen tower looking again.
"""

from __future__ import annotations

from dataclasses import asdict
from difflib import get_close_matches
from typing import Any

from llava.encoders.siglip import Siglip

ENCODERS = {"siglip": Siglip}


def find_encoder(name: str) -> type:
    """The configuration class of that name; ValueError with the nearest name for an unknown one."""
    if name not in ENCODERS:
        near = get_close_matches(name, ENCODERS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown encoder {name!r}: expected one of {', '.join(ENCODERS)}{hint}")
    return ENCODERS[name]


def encoder_fields(encoder: Any) -> dict[str, Any]:
    """An encoder's configuration as ``config.json`` and ``recipe.json`` hold it: its name, then its fields.

    ValueError: its class is not among ``ENCODERS``.
    """
    name = next((name for name, kind in ENCODERS.items() if type(encoder) is kind), None)
    if name is None:
        raise ValueError(f"{type(encoder).__name__} is no encoder that can be found again: give it a name in ENCODERS")
    return {"name": name, **asdict(encoder)}
