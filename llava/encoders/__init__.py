"""Scene encoders: each file a way to turn the views of a scene into tokens.

An encoder is a frozen configuration with ``debug()``, ``build_processor()`` and ``build_module(width)``;
the processor maps ``Views`` to tensors on the CPU and knows how many tokens they will become, the
module maps those tensors to ``SceneTokens``.
"""

from llava.encoders.siglip import Siglip

ENCODERS = {"siglip": Siglip}
