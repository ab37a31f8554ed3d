"""The MiMo network: a Qwen2-like decoder and parallel multi-token-prediction layers (§2.2, figure 2).

Shapes: B batch, T tokens, D hidden, H query heads, K key-value heads, E head width, F feed-forward, V vocabulary.
Read `MiMoForCausalLM.forward` first. The attribute names are the released tensor names.
"""

# transformers leaves these calls untyped.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Cache,
    DynamicCache,
    GenerationMixin,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

from mimo_model.attention import Attend, cached_attention, causal_attention, visible
from mimo_model.config import MiMoConfig
from mimo_model.rope import Rope, rope_at, rotate


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + eps), times a learned weight; the mean is taken in float32."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x_BTD: Tensor) -> Tensor:
        x32_BTD = x_BTD.float()
        scale_BT1 = torch.rsqrt(x32_BTD.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * (x32_BTD * scale_BT1).to(x_BTD.dtype)


class Attention(nn.Module):
    """Grouped-query attention: biases on queries, keys and values, none on the output."""

    def __init__(self, config: MiMoConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.head_dim = config.head_dim or 0
        query_size = config.num_attention_heads * self.head_dim
        key_size = config.num_key_value_heads * self.head_dim
        self.q_proj = nn.Linear(config.hidden_size, query_size, bias=True)
        self.k_proj = nn.Linear(config.hidden_size, key_size, bias=True)
        self.v_proj = nn.Linear(config.hidden_size, key_size, bias=True)
        self.o_proj = nn.Linear(query_size, config.hidden_size, bias=False)

    def forward(self, x_BTD: Tensor, rope: Rope, attend: Attend) -> Tensor:
        q_BTHE = rotate(self.q_proj(x_BTD).unflatten(-1, (-1, self.head_dim)), rope)
        k_BTKE, v_BTKE = self.keys_values(x_BTD, rope)
        return self.o_proj(attend(self.layer, q_BTHE, k_BTKE, v_BTKE).flatten(2))  # type: ignore[no-any-return]

    def keys_values(self, x_BTD: Tensor, rope: Rope) -> tuple[Tensor, Tensor]:
        """What a cache holds of these tokens: rotated keys, and values, [B, T, K, E] each."""
        heads = (-1, self.head_dim)
        return rotate(self.k_proj(x_BTD).unflatten(-1, heads), rope), self.v_proj(x_BTD).unflatten(-1, heads)


class SwiGLU(nn.Module):
    """The gated feed-forward layer: down(silu(gate(x)) * up(x))."""

    def __init__(self, config: MiMoConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD))  # type: ignore[no-any-return]


class Block(nn.Module):
    """One transformer block: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: MiMoConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = SwiGLU(config)

    def forward(self, x_BTD: Tensor, rope: Rope, attend: Attend) -> Tensor:
        x_BTD = x_BTD + self.self_attn(self.input_layernorm(x_BTD), rope, attend)
        return x_BTD + self.mlp(self.post_attention_layernorm(x_BTD))  # type: ignore[no-any-return]


class MTPLayer(Block):
    """Layer k of multi-token prediction: from h_i and embed(x_{i+k}) towards x_{i+k+1} (figure 2).

    Parallel, not chained: every layer takes the main model's hidden state. `self_attn.layer` counts on after
    the main model's layers, so that one cache serves both.
    """

    def __init__(self, config: MiMoConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.hidden_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.token_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.input_proj = nn.Linear(2 * config.hidden_size, config.hidden_size, bias=False)
        self.final_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def combine(self, hidden_BTD: Tensor, embedding_BTD: Tensor) -> Tensor:
        """The block's input: the hidden state first, then the embedding.

        Args:
            hidden_BTD: h_i, the main model's output before its final norm.
            embedding_BTD: embed(x_{i+k}), zeros at the first position of a document.
        """
        return self.input_proj(  # type: ignore[no-any-return]
            torch.cat((self.hidden_layernorm(hidden_BTD), self.token_layernorm(embedding_BTD)), dim=-1)
        )

    def keys_values(self, hidden_BTD: Tensor, embedding_BTD: Tensor, rope: Rope) -> tuple[Tensor, Tensor]:
        """Only what this layer's cache holds of these positions, for those that draft nothing."""
        normed_BTD = self.input_layernorm(self.combine(hidden_BTD, embedding_BTD))
        return self.self_attn.keys_values(normed_BTD, rope)


class MiMoPreTrainedModel(PreTrainedModel):
    """What transformers needs to know to create, split and load a MiMo model."""

    config: MiMoConfig
    config_class = MiMoConfig
    base_model_prefix = "model"
    _no_split_modules = ["Block", "MTPLayer"]  # noqa: RUF012
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012
    _supports_sdpa = True

    def _init_weights(self, module: nn.Module) -> None:
        """Normal with `initializer_range` for matrices, zero for biases, one for norms; the report names none."""
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, RMSNorm):
            nn.init.ones_(module.weight)


class MiMoModel(MiMoPreTrainedModel):
    """Embedding, main layers, final norm, and the MTP layers beside them."""

    def __init__(self, config: MiMoConfig) -> None:
        super().__init__(config)
        num_layers = config.num_hidden_layers
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(num_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mtp_layers = nn.ModuleList(
            MTPLayer(config, num_layers + k) for k in range(config.num_nextn_predict_layers)
        )
        self.post_init()

    def rope(self, positions_BT: Tensor, dtype: torch.dtype) -> Rope:
        return rope_at(positions_BT, theta=self.config.rope_theta, head_dim=self.config.head_dim or 0, dtype=dtype)

    def trunk(self, x_BTD: Tensor, rope: Rope, attend: Attend) -> Tensor:
        """The main layers: embeddings in, h_BTD before the final norm out."""
        for layer in self.layers:
            x_BTD = layer(x_BTD, rope, attend)
        return x_BTD


@dataclass
class MiMoOutput(CausalLMOutputWithPast):
    """What `MiMoForCausalLM.forward` returns."""

    hidden: Tensor | None = None
    """[B, T, D]: the main model's output before its final norm."""

    mtp_logits: tuple[Tensor, ...] | None = None
    """One [B, T, V] per MTP layer asked for; entry i of layer k (from 1) predicts x_{i+k+1}. Entries whose tokens
    x_{i+k} or x_{i+k+1} lie past the end or in another document mean nothing: the caller masks them."""


class MiMoForCausalLM(MiMoPreTrainedModel, GenerationMixin):
    """MiMo with its language-model head, which the MTP layers share (§2.2)."""

    def __init__(self, config: MiMoConfig) -> None:
        super().__init__(config)
        self.model = MiMoModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        document_ids: Tensor | None = None,
        num_mtp_layers: int = 0,
        return_dict: bool = True,
    ) -> MiMoOutput:
        """Next-token logits, and those of the first `num_mtp_layers` MTP layers.

        Args:
            input_ids: int64 [B, T]; or give `inputs_embeds` [B, T, D].
            attention_mask: [B, S], nonzero for real tokens; or a ready bool mask [B, 1, T, S].
            past_key_values: a transformers cache, extended by these tokens; with `use_cache`, a new one.
            labels: int64 [B, T], -100 where none: adds the next-token `loss` that transformers' trainers expect.
            logits_to_keep: only the last so many positions get logits; 0 for all.
            document_ids: int [B, T], ascending: attention, positions and MTP stay within a document.
            num_mtp_layers: how many MTP layers to run. They need whole sequences: no cache, no left padding.
            return_dict: must be true; transformers passes it.

        Raises:
            ValueError: arguments that exclude each other, or more MTP layers than the model has.
        """
        self._check_arguments(
            input_ids=input_ids,
            inputs_embeds=inputs_embeds,
            past_key_values=past_key_values,
            use_cache=use_cache,
            document_ids=document_ids,
            num_mtp_layers=num_mtp_layers,
        )
        x_BTD = self.model.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        num_tokens = x_BTD.shape[1]
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        start = past_key_values.get_seq_length() if past_key_values is not None else 0
        if position_ids is None:
            position_ids = (
                torch.arange(start, start + num_tokens, device=x_BTD.device)[None]
                if document_ids is None
                else positions_in_documents(document_ids)
            )
        attend = self._attend(x_BTD, attention_mask, past_key_values, document_ids, start=int(start))
        rope = self.model.rope(position_ids, x_BTD.dtype)

        h_BTD = self.model.trunk(x_BTD, rope, attend)
        kept = slice(-logits_to_keep, None) if logits_to_keep else slice(None)
        logits_BTV = self.lm_head(self.model.norm(h_BTD[:, kept]))
        mtp_logits = tuple(
            self.lm_head(layer.final_layernorm(y_BTD[:, kept]))
            for layer, y_BTD in self._mtp(h_BTD, x_BTD, position_ids, rope, attend, num_mtp_layers)
        )
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits_BTV, labels=labels, vocab_size=self.config.vocab_size)
        return MiMoOutput(
            loss=loss, logits=logits_BTV, past_key_values=past_key_values, hidden=h_BTD, mtp_logits=mtp_logits
        )

    def _mtp(
        self,
        h_BTD: Tensor,
        x_BTD: Tensor,
        position_ids: Tensor,
        rope: Rope,
        attend: Attend,
        num_mtp_layers: int,
    ) -> Sequence[tuple[Any, Tensor]]:
        """Each MTP layer with its output before `final_layernorm`."""
        inside_BT1 = (position_ids != 0).unsqueeze(-1)
        outputs = []
        for k, layer in enumerate(self.model.mtp_layers[:num_mtp_layers], start=1):
            shifted_BTD = F.pad(x_BTD[:, k:], (0, 0, 0, min(k, x_BTD.shape[1]))) * inside_BT1
            outputs.append((layer, layer(layer.combine(h_BTD, shifted_BTD), rope, attend)))
        return outputs

    def _attend(
        self,
        x_BTD: Tensor,
        attention_mask: Tensor | None,
        cache: Cache | None,
        document_ids: Tensor | None,
        *,
        start: int,
    ) -> Attend:
        num_queries = x_BTD.shape[1]
        if cache is None and attention_mask is None and document_ids is None:
            return causal_attention()
        num_keys = cache.get_mask_sizes(num_queries, 0)[0] if cache is not None else num_queries
        if attention_mask is not None and attention_mask.ndim == 4:
            mask = attention_mask[..., :num_keys] if attention_mask.dtype == torch.bool else attention_mask
        else:
            mask = visible(num_queries, num_keys, start=start, device=x_BTD.device)[None, None]
            if document_ids is not None:
                mask = mask & (document_ids[:, None, :, None] == document_ids[:, None, None, :])
            if attention_mask is not None:
                real_BS = F.pad(attention_mask != 0, (0, num_keys - attention_mask.shape[1]), value=True)
                # A padding query sees itself, for a softmax over nothing is NaN.
                itself = torch.arange(num_keys, device=x_BTD.device) == torch.arange(
                    start, start + num_queries, device=x_BTD.device
                ).unsqueeze(-1)
                mask = (mask & real_BS[:, None, None, :]) | itself
        return causal_attention(mask) if cache is None else cached_attention(cache, mask)

    def _check_arguments(
        self,
        *,
        input_ids: Tensor | None,
        inputs_embeds: Tensor | None,
        past_key_values: Cache | None,
        use_cache: bool | None,
        document_ids: Tensor | None,
        num_mtp_layers: int,
    ) -> None:
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give exactly one of input_ids and inputs_embeds.")
        if num_mtp_layers > len(self.model.mtp_layers):
            raise ValueError(
                f"num_mtp_layers={num_mtp_layers}, but this model has {len(self.model.mtp_layers)} "
                "(config.num_nextn_predict_layers). Ask for fewer, or make copies with replicate_mtp."
            )
        cached = past_key_values is not None or use_cache
        if cached and (num_mtp_layers or document_ids is not None):
            raise ValueError(
                "num_mtp_layers and document_ids need whole sequences without a cache. Use Engine to decode with "
                "MTP drafts."
            )


def positions_in_documents(document_ids_BT: Tensor) -> Tensor:
    """int64 [B, T]: each token's place in its document, counted from 0; a new id starts a new document."""
    places_T = torch.arange(document_ids_BT.shape[1], device=document_ids_BT.device)
    is_first_BT = F.pad(document_ids_BT[:, 1:] != document_ids_BT[:, :-1], (1, 0), value=True)
    return places_T - torch.where(is_first_BT, places_T, 0).cummax(dim=1).values


AutoConfig.register(MiMoConfig.model_type, MiMoConfig)
AutoModelForCausalLM.register(MiMoConfig, MiMoForCausalLM)
