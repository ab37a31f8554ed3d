"""The configuration of a MiMo model, as the released `config.json` spells it (§2.2, §2.3)."""

# transformers leaves these calls untyped.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class MiMoConfig(PreTrainedConfig):
    """Shape of a MiMo model; the defaults are MiMo-7B's (§2.2, and the released `config.json`).

    Reads `rope_theta` (as released) and `rope_parameters` (as transformers 5 writes it), and writes both.

    Raises:
        ValueError: the heads do not divide, or the file asks for something MiMo does not have
            (sliding windows, scaled rotary embeddings, another activation, tied embeddings).
    """

    model_type = "mimo"
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012
    default_theta = 640_000.0

    vocab_size: int = 151_680
    hidden_size: int = 4096
    intermediate_size: int = 11_008
    num_hidden_layers: int = 36
    num_attention_heads: int = 32
    num_key_value_heads: int = 8
    head_dim: int | None = None
    hidden_act: str = "silu"
    max_position_embeddings: int = 32_768
    rms_norm_eps: float = 1e-5
    rope_parameters: dict[str, Any] | None = None
    num_nextn_predict_layers: int = 1
    attention_bias: bool = True
    attention_dropout: float | int = 0.0
    use_sliding_window: bool = False
    initializer_range: float = 0.02
    use_cache: bool = True
    tie_word_embeddings: bool = False
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if self.head_dim is None:
            self.head_dim = self.hidden_size // self.num_attention_heads
        super().__post_init__(**kwargs)
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads={self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads={self.num_key_value_heads}: every key-value head serves equally many queries."
            )
        unsupported = {
            "use_sliding_window": (self.use_sliding_window, False),
            "hidden_act": (self.hidden_act, "silu"),
            "attention_bias": (self.attention_bias, True),
            "attention_dropout": (self.attention_dropout, 0.0),
            "tie_word_embeddings": (self.tie_word_embeddings, False),
            "rope_type": ((self.rope_parameters or {}).get("rope_type", "default"), "default"),
        }
        for key, (found, wanted) in unsupported.items():
            if found != wanted:
                raise ValueError(f"{key}={found!r}: MiMo has {key}={wanted!r} only.")

    @property
    def rope_theta(self) -> float:
        """Base of the rotary embedding: 10,000 in pre-training stages 1 and 2, 640,000 after (§2.3)."""
        return float((self.rope_parameters or {}).get("rope_theta", self.default_theta))

    @rope_theta.setter
    def rope_theta(self, value: float) -> None:
        self.rope_parameters = {
            "rope_type": "default",
            **(self.rope_parameters or {}),
            "rope_theta": float(value),
        }

    def to_dict(self) -> dict[str, Any]:
        """The fields as `config.json` holds them, `rope_theta` included for readers older than transformers 5."""
        return {**super().to_dict(), "rope_theta": self.rope_theta}
