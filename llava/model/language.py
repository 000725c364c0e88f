"""The size of the language model; the model itself is Hugging Face's Qwen2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import Qwen2Config


@dataclass(frozen=True)
class Language:
    """Qwen2-7B by default."""

    hidden_size: int = 3584
    intermediate_size: int = 18944
    num_layers: int = 28
    num_heads: int = 28
    num_kv_heads: int = 4
    tie_embeddings: bool = False
    max_positions: int = 32768
    rope_theta: float = 1e6
    initializer_range: float = 0.02  # of random weights; about 1 / sqrt(hidden_size) suits small models

    def __post_init__(self) -> None:
        for name in ("hidden_size", "intermediate_size", "num_layers", "num_heads", "num_kv_heads", "max_positions"):
            if vars(self)[name] < 1:
                raise ValueError(f"{name} must be at least 1, got {vars(self)[name]}")
        if self.hidden_size % self.num_heads or self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size}, num_heads {self.num_heads} and num_kv_heads {self.num_kv_heads}: "
                "expected each to be a multiple of the next"
            )

    @classmethod
    def of(cls, config: Qwen2Config) -> Language:
        """The sizes that a Hugging Face config says."""
        return cls(
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_layers=config.num_hidden_layers,
            num_heads=config.num_attention_heads,
            num_kv_heads=config.num_key_value_heads,
            tie_embeddings=config.tie_word_embeddings,
            max_positions=config.max_position_embeddings,
            rope_theta=config.rope_parameters["rope_theta"],
            initializer_range=config.initializer_range,
        )

    def to_qwen2(self, vocab_size: int) -> Qwen2Config:
        """The Hugging Face config for a tokenizer of `vocab_size` ids."""
        from transformers import Qwen2Config

        return Qwen2Config(
            vocab_size=vocab_size,
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size,
            num_hidden_layers=self.num_layers,
            num_attention_heads=self.num_heads,
            num_key_value_heads=self.num_kv_heads,
            tie_word_embeddings=self.tie_embeddings,
            max_position_embeddings=self.max_positions,
            initializer_range=self.initializer_range,
            rope_parameters={"rope_type": "default", "rope_theta": self.rope_theta},
        )
