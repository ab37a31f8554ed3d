"""The MiMo network: a Qwen2-like decoder and parallel multi-token-prediction layers (§2.2, figure 2).

Shapes: B batch, T tokens, D hidden, H query heads, K key-value heads, E head width, F feed-forward, V vocabulary.
Read `MiMoModel.forward` first, then `MiMoForCausalLM.forward`. The attribute names are the released tensor names.
"""

# transformers leaves these calls untyped.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import Cache, DynamicCache, GenerationMixin, PreTrainedModel
from transformers.masking_utils import create_masks_for_generate
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from mimo_model.attention import Attend, Sight, choose_attention
from mimo_model.config import MiMoConfig
from mimo_model.rope import Rope, rope_at, rotate

IGNORED = -100
"""Label or target of a position that no loss counts (PyTorch's default `ignore_index`)."""


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + eps), times a learned weight; the mean is taken in float32."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x_BTD: Tensor) -> Tensor:
        if (kernels := _fused_kernels(x_BTD)) is not None:
            return kernels.rms_norm(x_BTD, self.weight, self.eps)  # type: ignore[no-any-return]
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
        if (kernels := _fused_kernels(x_BTD)) is not None:
            projections = (self.q_proj, self.k_proj, self.v_proj)
            q_BTHE, k_BTKE, v_BTKE = (project(x_BTD).unflatten(-1, (-1, self.head_dim)) for project in projections)
            q_BTHE, k_BTKE = kernels.rotate(q_BTHE, k_BTKE, *rope)
        else:
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
        gate_BTF, up_BTF = self.gate_proj(x_BTD), self.up_proj(x_BTD)
        kernels = _fused_kernels(x_BTD)
        gated_BTF = F.silu(gate_BTF) * up_BTF if kernels is None else kernels.swiglu(gate_BTF, up_BTF)
        return self.down_proj(gated_BTF)  # type: ignore[no-any-return]


class Block(GradientCheckpointingLayer):
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


class Head(nn.Linear):
    """The head that main model and MTP layers share: logits, or the loss of given tokens without their logits."""

    def forward(self, x_BTD: Tensor, targets_BT: Tensor | None = None) -> Tensor:
        """Logits [B, T, V]; or -log p(target), float32 [B, T], zero where the target is `IGNORED`."""
        if targets_BT is None:
            return super().forward(x_BTD)
        return cross_entropy(self, x_BTD, targets_BT)


class MiMoPreTrainedModel(PreTrainedModel):
    """What transformers needs to know to create, split and load a MiMo model."""

    config: MiMoConfig
    config_class = MiMoConfig
    base_model_prefix = "model"
    _no_split_modules = ["Block", "MTPLayer"]  # noqa: RUF012
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_flash_attn = True
    supports_gradient_checkpointing = True
    # `loss` is divided by `num_items_in_batch` where transformers' Trainer counts over several forwards.
    accepts_loss_kwargs = True

    @classmethod
    def _can_set_attn_implementation(cls) -> bool:
        return True

    def _flash_attn_can_dispatch(self, flash_attn_version: int, is_init_check: bool = False) -> bool:
        try:
            return bool(super()._flash_attn_can_dispatch(flash_attn_version, is_init_check))
        except ImportError as error:
            package = "flash-attn" if flash_attn_version == 2 else f"flash-attn-{flash_attn_version}"
            raise ImportError(
                f"attn_implementation='flash_attention_{flash_attn_version}' needs the package {package}: {error} "
                f"Run `pip install {package}` on a machine with CUDA, or use 'sdpa' or 'flex_attention'."
            ) from None

    def _init_weights(self, module: nn.Module) -> None:
        """Normal with `initializer_range` for matrices, zero for biases, one for norms; the report names none."""
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, RMSNorm):
            nn.init.ones_(module.weight)


@dataclass
class MiMoModelOutput(BaseModelOutputWithPast):
    """What `MiMoModel.forward` returns; `last_hidden_state` is after the final norm."""

    hidden: Tensor | None = None
    """[B, T, D]: the main model's output before its final norm."""

    mtp_states: tuple[Tensor, ...] | None = None
    """One [B, T, D] per MTP layer asked for, after its `final_layernorm`: what the head reads."""


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

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        document_ids: Tensor | None = None,
        num_mtp_layers: int = 0,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = True,
    ) -> MiMoModelOutput:
        """What the heads read: the main model's states, and those of the first `num_mtp_layers` MTP layers.

        Arguments and errors are those of `MiMoForCausalLM.forward`.
        """
        self._check_arguments(
            input_ids=input_ids,
            inputs_embeds=inputs_embeds,
            past_key_values=past_key_values,
            use_cache=use_cache,
            document_ids=document_ids,
            num_mtp_layers=num_mtp_layers,
            output_attentions=output_attentions,
        )
        x_BTD = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        num_tokens = x_BTD.shape[1]
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        start = int(past_key_values.get_seq_length()) if past_key_values is not None else 0
        if position_ids is None:
            position_ids = (
                torch.arange(start, start + num_tokens, device=x_BTD.device)[None]
                if document_ids is None
                else positions_in_documents(document_ids)
            )
        elif document_ids is None and attention_mask is None and past_key_values is None:
            document_ids = documents_of_positions(position_ids)
        sight = Sight(num_tokens, start, past_key_values, attention_mask, document_ids)
        attend = choose_attention(self, sight, x_BTD.device)
        rope = self.rope(position_ids, x_BTD.dtype)

        states: list[Tensor] | None = [] if output_hidden_states else None
        h_BTD = self.trunk(x_BTD, rope, attend, states)
        # A view of its own: the norm's two gradients are one sum before those of the MTP layers join it.
        normed_BTD = self.norm(h_BTD[:])
        if states is not None:
            states.append(normed_BTD)
        return MiMoModelOutput(
            last_hidden_state=normed_BTD,
            past_key_values=past_key_values,
            hidden_states=None if states is None else tuple(states),  # type: ignore[arg-type]
            hidden=h_BTD,
            mtp_states=self._mtp_states(h_BTD, x_BTD, position_ids, rope, attend, num_mtp_layers),
        )

    def trunk(self, x_BTD: Tensor, rope: Rope, attend: Attend, states: list[Tensor] | None = None) -> Tensor:
        """The main layers: embeddings in, h_BTD before the final norm out; `states` collects what each is given."""
        for layer in self.layers:
            if states is not None:
                states.append(x_BTD)
            x_BTD = layer(x_BTD, rope, attend)
        return x_BTD

    def _mtp_states(
        self,
        h_BTD: Tensor,
        x_BTD: Tensor,
        position_ids: Tensor,
        rope: Rope,
        attend: Attend,
        num_mtp_layers: int,
    ) -> tuple[Tensor, ...]:
        inside_BT1 = (position_ids != 0).unsqueeze(-1)
        outputs = []
        for k, layer in enumerate(self.mtp_layers[:num_mtp_layers], start=1):
            shifted_BTD = F.pad(x_BTD[:, k:], (0, 0, 0, min(k, x_BTD.shape[1]))) * inside_BT1
            outputs.append((layer, layer(layer.combine(h_BTD, shifted_BTD), rope, attend)))  # type: ignore[operator]
        # After all layers: gradients of what they share add up in the order of these calls, to the bit.
        return tuple(layer.final_layernorm(output_BTD) for layer, output_BTD in outputs)  # type: ignore[operator]

    def _check_arguments(
        self,
        *,
        input_ids: Tensor | None,
        inputs_embeds: Tensor | None,
        past_key_values: Cache | None,
        use_cache: bool | None,
        document_ids: Tensor | None,
        num_mtp_layers: int,
        output_attentions: bool | None,
    ) -> None:
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give exactly one of input_ids and inputs_embeds.")
        if num_mtp_layers > len(self.mtp_layers):
            raise ValueError(
                f"num_mtp_layers={num_mtp_layers}, but this model has {len(self.mtp_layers)} "
                "(config.num_nextn_predict_layers). Ask for fewer, or make copies with replicate_mtp."
            )
        if output_attentions:
            raise ValueError("output_attentions=True: attention weights are not kept. Leave it out.")
        cached = past_key_values is not None or use_cache
        if cached and (num_mtp_layers or document_ids is not None):
            raise ValueError(
                "num_mtp_layers and document_ids need whole sequences without a cache. Use Engine to decode with "
                "MTP drafts."
            )
        if cached and self.training and self.is_gradient_checkpointing:
            raise ValueError(
                "gradient checkpointing runs each layer twice and would extend the cache twice. Pass "
                "use_cache=False, or call model.eval() first."
            )


@dataclass
class MiMoOutput(CausalLMOutputWithPast):
    """What `MiMoForCausalLM.forward` returns."""

    hidden: Tensor | None = None
    """[B, T, D]: the main model's output before its final norm."""

    mtp_logits: tuple[Tensor, ...] | None = None
    """One [B, T, V] per MTP layer asked for; entry i of layer k (from 1) predicts x_{i+k+1}. Entries whose tokens
    x_{i+k} or x_{i+k+1} lie past the end or in another document mean nothing: the caller masks them."""

    head_losses: tuple[Tensor, ...] | None = None
    """One float32 [B, T] per element of `targets`: -log p(target), zero where the target is -100."""


class MiMoForCausalLM(MiMoPreTrainedModel, GenerationMixin):
    """MiMo with its language-model head, which the MTP layers share (§2.2)."""

    def __init__(self, config: MiMoConfig) -> None:
        super().__init__(config)
        self.model = MiMoModel(config)
        self.lm_head = Head(config.hidden_size, config.vocab_size, bias=False)
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
        targets: Sequence[Tensor] | None = None,
        num_items_in_batch: Tensor | int | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = True,
    ) -> MiMoOutput:
        """Next-token logits, and those of the first `num_mtp_layers` MTP layers.

        Args:
            input_ids: int64 [B, T]; or give `inputs_embeds` [B, T, D].
            attention_mask: [B, S], nonzero for real tokens; or a ready mask: bool or additive [B, 1, T, S].
            position_ids: int [B, T]. Without a mask and a cache, every place where they do not count on by one
                starts a document, as transformers' padding-free collators mean it.
            past_key_values: a transformers cache, extended by these tokens; with `use_cache`, a new one.
            labels: int64 [B, T], -100 where none: adds the next-token `loss` that transformers' trainers expect.
                In training on CUDA, `logits` are None then: they are never held.
            logits_to_keep: only the last so many positions get logits; 0 for all.
            document_ids: int [B, T], ascending: attention, positions and MTP stay within a document.
            num_mtp_layers: how many MTP layers to run. They need whole sequences: no cache, no left padding.
            targets: for training: int64 [B, T] of what each position has to predict, -100 where nothing, for the
                main head, then for each MTP layer that is to run. Gives `head_losses` and no logits.
            num_items_in_batch: what `loss` is divided by, instead of the number of labels here.
            output_hidden_states: adds `hidden_states`: what each layer is given, and the final norm's output.
            output_attentions: must not be true: no backend here keeps attention weights.
            return_dict: must be true; transformers passes it.

        Raises:
            ValueError: arguments that exclude each other, or more MTP layers than the model has.
        """
        if targets is not None:
            num_mtp_layers = num_mtp_layers or max(len(targets) - 1, 0)
            if not targets or len(targets) != num_mtp_layers + 1 or labels is not None:
                raise ValueError(
                    f"targets are for the main head and for each MTP layer, in the place of labels: {len(targets)} "
                    f"given, {num_mtp_layers} MTP layers asked for{'' if labels is None else ', and labels'}."
                )
        read = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            document_ids=document_ids,
            num_mtp_layers=num_mtp_layers,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        output = MiMoOutput(past_key_values=read.past_key_values, hidden_states=read.hidden_states, hidden=read.hidden)
        kept = slice(-logits_to_keep, None) if logits_to_keep else slice(None)
        normed_BTD, *outputs_BTD = (state_BTD[:, kept] for state_BTD in (read.last_hidden_state, *read.mtp_states))
        if targets is not None:
            heads = zip((read.last_hidden_state, *read.mtp_states), targets, strict=True)
            output.head_losses = tuple(self._losses(y_BTD, targets_BT) for y_BTD, targets_BT in heads)
            return output
        if labels is not None and self.training and _fused_kernels(normed_BTD) is not None:
            shifted_BT = F.pad(labels[:, 1:], (0, 1), value=IGNORED)
            num_items = (shifted_BT != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
            output.loss = self._losses(normed_BTD, shifted_BT).sum() / num_items  # type: ignore[assignment]
        else:
            output.logits = self.lm_head(normed_BTD)
            if labels is not None:
                output.loss = self.loss_function(
                    logits=output.logits,
                    labels=labels,
                    vocab_size=self.config.vocab_size,
                    num_items_in_batch=num_items_in_batch,
                )
        output.mtp_logits = tuple(self.lm_head(y_BTD) for y_BTD in outputs_BTD)
        return output

    @staticmethod
    def create_masks_for_generate(config: MiMoConfig, attention_mask: Tensor | None, **others: Any) -> Any:
        """The mask that transformers' `generate` passes on with a static cache."""
        if config._attn_implementation in ("sdpa", "eager"):
            return create_masks_for_generate(config=config, attention_mask=attention_mask, **others)
        return attention_mask

    def _losses(self, x_BTD: Tensor, targets_BT: Tensor) -> Tensor:
        """The head's loss at every position, also where an adapter or a resized one stands in its place."""
        if isinstance(self.lm_head, Head):
            return self.lm_head(x_BTD, targets_BT)  # type: ignore[no-any-return]
        logits_BVT = self.lm_head(x_BTD).float().transpose(1, 2)
        return F.cross_entropy(logits_BVT, targets_BT, ignore_index=IGNORED, reduction="none")


def positions_in_documents(document_ids_BT: Tensor) -> Tensor:
    """int64 [B, T]: each token's place in its document, counted from 0; a new id starts a new document."""
    places_T = torch.arange(document_ids_BT.shape[1], device=document_ids_BT.device)
    is_first_BT = F.pad(document_ids_BT[:, 1:] != document_ids_BT[:, :-1], (1, 0), value=True)
    return places_T - torch.where(is_first_BT, places_T, 0).cummax(dim=1).values


def documents_of_positions(positions_BT: Tensor) -> Tensor | None:
    """int64 [B, T]: the document of each token, a new one wherever positions do not count on; None where all do."""
    restarts_BT = F.pad(positions_BT[:, 1:] != positions_BT[:, :-1] + 1, (1, 0))
    return restarts_BT.cumsum(1) if bool(restarts_BT.any()) else None


def cross_entropy(head: nn.Linear, x_BTD: Tensor, targets_BT: Tensor) -> Tensor:
    """-log p(target) by the head, float32 [B, T], zero where ignored; chunk by chunk where mimo-model is installed."""
    kernels = _kernels()
    if kernels is None:
        logits_BVT = F.linear(x_BTD, head.weight).float().transpose(1, 2)
        return F.cross_entropy(logits_BVT, targets_BT, ignore_index=IGNORED, reduction="none")
    losses_N: Tensor = kernels.linear_cross_entropy(
        x_BTD.flatten(0, 1), head.weight, targets_BT.flatten(), ignore_index=IGNORED
    )
    return losses_N.view_as(targets_BT)


def _fused_kernels(x: Tensor) -> ModuleType | None:
    """The fused kernels where they run: for CUDA tensors, when mimo-model is installed."""
    kernels = _kernels() if x.is_cuda else None
    return kernels if kernels is not None and kernels.fused(x) else None


@functools.cache
def _kernels() -> ModuleType | None:
    # An exported copy of this file has to open without mimo-model.
    try:
        from mimo_model import kernels
    except ModuleNotFoundError as error:
        if error.name != "mimo_model":
            raise
        return None
    return kernels
