"""How queries meet keys: SDPA, FlexAttention, FlashAttention or plain matrix products, so that the blocks know none.

Every block calls `attend(layer, q_BTHE, k_BTKE, v_BTKE)` with rotated queries and keys and gets [B, T, H, E] back.
`choose_attention` makes that function once a forward, by the model's `attn_implementation`. What a token sees is one
rule in all of them: itself and what comes before it, within its document, and no padding.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from transformers import Cache, PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

_Result = TypeVar("_Result")

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]

_Core = Callable[[Tensor, Tensor, Tensor], Tensor]
"""q_BTHE, k_BKSE, v_BKSE -> [B, T, H, E]."""


@dataclass(frozen=True)
class Sight:
    """What the queries of one forward may see."""

    num_queries: int
    start: int
    """Place of the first query in its sequence: how many tokens the cache holds already."""

    cache: Cache | None = None
    attention_mask: Tensor | BlockMask | None = None
    """[B, S], nonzero for real tokens; or a ready mask: bool or additive [B, 1, T, S], or a block mask."""

    document_ids: Tensor | None = None
    """int [B, T]: a token sees its own document."""

    @property
    def num_keys(self) -> int:
        """Length of the keys that a block meets: the whole of a static cache."""
        return self.num_queries if self.cache is None else int(self.cache.get_mask_sizes(self.num_queries, 0)[0])


def choose_attention(model: PreTrainedModel, sight: Sight, device: torch.device) -> Attend:
    """Attention as `model.config` names it: "sdpa", "eager", "flex_attention", or one that transformers knows.

    Raises:
        ValueError: FlashAttention with a mask that it cannot take.
    """
    backend = model.config._attn_implementation
    cache = sight.cache
    core: _Core
    if backend == "sdpa":
        mask = dense_mask(sight, device)
        core = functools.partial(scaled_dot_product, mask=mask, causal=mask is None)
    elif backend == "eager":
        mask = dense_mask(sight, device)
        causal = visible(sight.num_queries, sight.num_keys, start=sight.start, device=device)
        core = functools.partial(matrix_products, mask=causal if mask is None else mask)
    elif backend == "flex_attention":
        core = functools.partial(flex, mask=block_mask(sight, device))
    else:
        core = _interface_of_transformers(model, backend, sight)

    def attend(layer: int, q_BTHE: Tensor, k_BTKE: Tensor, v_BTKE: Tensor) -> Tensor:
        k_BKSE, v_BKSE = k_BTKE.transpose(1, 2), v_BTKE.transpose(1, 2)
        if cache is not None:
            k_BKSE, v_BKSE = cache.update(k_BKSE, v_BKSE, layer)
        return core(q_BTHE, k_BKSE, v_BKSE)

    return attend


# -- The backends.


def scaled_dot_product(q_BTHE: Tensor, k_BKSE: Tensor, v_BKSE: Tensor, mask: Tensor | None, *, causal: bool) -> Tensor:
    """Grouped-query attention through SDPA; mask is bool (true = visible), broadcastable to [B, H, T, S]."""
    is_grouped = q_BTHE.shape[2] > k_BKSE.shape[1]
    out_BHTE = F.scaled_dot_product_attention(
        q_BTHE.transpose(1, 2), k_BKSE, v_BKSE, attn_mask=mask, is_causal=causal, enable_gqa=is_grouped
    )
    return out_BHTE.transpose(1, 2)


def matrix_products(q_BTHE: Tensor, k_BKSE: Tensor, v_BKSE: Tensor, mask: Tensor) -> Tensor:
    """The formula itself, softmax in float32; mask is bool, or added to the scores."""
    num_groups = q_BTHE.shape[2] // k_BKSE.shape[1]
    k_BHSE, v_BHSE = k_BKSE.repeat_interleave(num_groups, 1), v_BKSE.repeat_interleave(num_groups, 1)
    scores_BHTS: Tensor = q_BTHE.transpose(1, 2) @ k_BHSE.transpose(2, 3) * q_BTHE.shape[-1] ** -0.5
    scores_BHTS = scores_BHTS.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores_BHTS + mask
    weights_BHTS: Tensor = scores_BHTS.float().softmax(-1).to(v_BHSE.dtype)
    out_BHTE: Tensor = weights_BHTS @ v_BHSE
    return out_BHTE.transpose(1, 2)


def flex(q_BTHE: Tensor, k_BKSE: Tensor, v_BKSE: Tensor, mask: BlockMask) -> Tensor:
    """FlexAttention: whole blocks that no query sees are skipped. Compiled on CUDA; forward only on a CPU."""
    function = _compiled(flex_attention) if q_BTHE.is_cuda else flex_attention
    out_BHTE: Tensor = function(  # type: ignore[operator]
        q_BTHE.transpose(1, 2), k_BKSE, v_BKSE, block_mask=mask, enable_gqa=True
    )
    return out_BHTE.transpose(1, 2)


@functools.cache
def _compiled(function: Callable[..., _Result]) -> Callable[..., _Result]:
    return torch.compile(function)


def _interface_of_transformers(model: PreTrainedModel, backend: str, sight: Sight) -> _Core:
    """FlashAttention and what else is registered with transformers' `AttentionInterface`."""
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(backend, matrix_products)
    padding, end = sight.attention_mask, sight.start + sight.num_queries
    bounds = {}
    if padding is not None and (not isinstance(padding, Tensor) or padding.ndim != 2):
        raise ValueError(f"{backend} takes an attention_mask of shape [B, S] only. Use sdpa for a ready mask.")
    if sight.document_ids is not None:
        if padding is not None:
            raise ValueError(
                f"{backend} takes document_ids or attention_mask, not both. Give padding a document of its own."
            )
        starts, longest = varlen_bounds(sight.document_ids)
        bounds = {"cu_seq_lens_q": starts, "cu_seq_lens_k": starts, "max_length_q": longest, "max_length_k": longest}
    elif padding is not None:
        padding = None if bool(padding.all()) else F.pad(padding != 0, (0, end - padding.shape[1]), value=True)

    def core(q_BTHE: Tensor, k_BKSE: Tensor, v_BKSE: Tensor) -> Tensor:
        # Beyond `end` a static cache holds nothing yet.
        out_BTHE, _ = interface(
            model,
            q_BTHE.transpose(1, 2),
            k_BKSE[:, :, :end],
            v_BKSE[:, :, :end],
            padding,
            scaling=q_BTHE.shape[-1] ** -0.5,
            is_causal=True,
            **bounds,
        )
        return out_BTHE  # type: ignore[no-any-return]

    return core


# -- Who sees whom, in the form each backend takes.


def dense_mask(sight: Sight, device: torch.device) -> Tensor | None:
    """Bool [B or 1, 1, T, S] (true = visible), or the ready mask; None for plain causal attention without a cache.

    A padding query sees itself, for a softmax over nothing is NaN.
    """
    num_queries, num_keys, start = sight.num_queries, sight.num_keys, sight.start
    documents, padding = sight.document_ids, sight.attention_mask
    if sight.cache is None and padding is None and documents is None:
        return None
    if isinstance(padding, BlockMask):
        raise ValueError("a block mask is for attn_implementation='flex_attention' only.")
    if padding is not None and padding.ndim == 4:
        return padding[..., :num_keys]
    mask = visible(num_queries, num_keys, start=start, device=device)[None, None]
    if documents is not None:
        mask = mask & (documents[:, None, :, None] == documents[:, None, None, :])
    if padding is not None:
        real_BS = F.pad(padding != 0, (0, num_keys - padding.shape[1]), value=True)
        itself = torch.arange(num_keys, device=device) == torch.arange(
            start, start + num_queries, device=device
        ).unsqueeze(-1)
        mask = (mask & real_BS[:, None, None, :]) | itself
    return mask


def block_mask(sight: Sight, device: torch.device) -> BlockMask:
    """The same as a block mask: which blocks of keys each block of queries sees."""
    num_queries, num_keys, start = sight.num_queries, sight.num_keys, sight.start
    documents, padding = sight.document_ids, sight.attention_mask
    if isinstance(padding, BlockMask):
        return padding
    ready = padding if padding is not None and padding.ndim == 4 else None
    real_BS = None
    if padding is not None and ready is None:
        real_BS = F.pad(padding != 0, (0, num_keys - padding.shape[1]), value=True)

    def sees(b: Tensor, _head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        if ready is not None:
            entry = ready[b % ready.shape[0], 0, q, k]
            return entry if ready.dtype == torch.bool else entry == 0
        seen = k <= q + start
        if documents is not None:
            seen = seen & (documents[b, q] == documents[b, k])
        if real_BS is not None:
            seen = (seen & real_BS[b, k]) | (k == q + start)
        return seen

    several = next((x for x in (documents, padding) if x is not None), None)
    # Compiled, it never holds T x S entries; a single query is not worth compiling for.
    create = _compiled(create_block_mask) if device.type == "cuda" and num_queries > 1 else create_block_mask
    return create(
        sees,
        B=None if several is None else several.shape[0],
        H=None,
        Q_LEN=num_queries,
        KV_LEN=num_keys,
        device=str(device),
    )


def varlen_bounds(document_ids_BT: Tensor) -> tuple[Tensor, int]:
    """Where the documents of a batch begin, rows laid end to end, as FlashAttention's varlen functions take them.

    Returns:
        int32 [number of documents + 1], the last B * T; and the length of the longest document.
    """
    is_first_BT = F.pad(document_ids_BT[:, 1:] != document_ids_BT[:, :-1], (1, 0), value=True)
    starts = F.pad(is_first_BT.flatten().nonzero().flatten(), (0, 1), value=is_first_BT.numel()).to(torch.int32)
    return starts, int(starts.diff().max())


def visible(num_queries: int, num_keys: int, *, start: int, device: torch.device) -> Tensor:
    """Bool [T, S]: query t, at place start + t of the sequence, sees key s when s comes no later."""
    places_T = torch.arange(start, start + num_queries, device=device)
    return torch.arange(num_keys, device=device) <= places_T[:, None]
