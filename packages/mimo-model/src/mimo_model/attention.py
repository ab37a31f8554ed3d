"""How queries meet keys: one function per situation, so that the blocks know nothing of masks and caches.

Every block calls `attend(layer, q_BTHE, k_BTKE, v_BTKE)` with rotated queries and keys and gets [B, T, H, E] back.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from transformers import Cache

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]


def scaled_dot_product(q_BTHE: Tensor, k_BKSE: Tensor, v_BKSE: Tensor, mask: Tensor | None, *, causal: bool) -> Tensor:
    """Grouped-query attention through SDPA; mask is bool (true = visible), broadcastable to [B, H, T, S]."""
    is_grouped = q_BTHE.shape[2] > k_BKSE.shape[1]
    out_BHTE = F.scaled_dot_product_attention(
        q_BTHE.transpose(1, 2), k_BKSE, v_BKSE, attn_mask=mask, is_causal=causal, enable_gqa=is_grouped
    )
    return out_BHTE.transpose(1, 2)


def causal_attention(mask: Tensor | None = None) -> Attend:
    """Attention within the given tokens: causal, or as the bool mask [B, 1, T, T] says."""

    def attend(_layer: int, q_BTHE: Tensor, k_BTKE: Tensor, v_BTKE: Tensor) -> Tensor:
        return scaled_dot_product(q_BTHE, k_BTKE.transpose(1, 2), v_BTKE.transpose(1, 2), mask, causal=mask is None)

    return attend


def cached_attention(cache: Cache, mask: Tensor) -> Attend:
    """Attention to a transformers cache, which is extended by the given tokens; bool mask [B, 1, T, S]."""

    def attend(layer: int, q_BTHE: Tensor, k_BTKE: Tensor, v_BTKE: Tensor) -> Tensor:
        k_BKSE, v_BKSE = cache.update(k_BTKE.transpose(1, 2), v_BTKE.transpose(1, 2), layer)
        return scaled_dot_product(q_BTHE, k_BKSE, v_BKSE, mask, causal=False)

    return attend


def visible(num_queries: int, num_keys: int, *, start: int, device: torch.device) -> Tensor:
    """Bool [T, S]: query t, at place start + t of the sequence, sees key s when s comes no later."""
    places_T = torch.arange(start, start + num_queries, device=device)
    return torch.arange(num_keys, device=device) <= places_T[:, None]
