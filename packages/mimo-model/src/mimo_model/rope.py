"""Rotary position embedding, in the half-split form that Qwen2 and MiMo use."""

from __future__ import annotations

import torch
from torch import Tensor

Rope = tuple[Tensor, Tensor]
"""cos, and sin with the sign of its first half turned, each [B or 1, T, 1, E], to broadcast over heads."""


def rope_at(positions_BT: Tensor, *, theta: float, head_dim: int, dtype: torch.dtype) -> Rope:
    """The turn of every position: computed in float32, returned in `dtype`."""
    exponents = torch.arange(0, head_dim, 2, device=positions_BT.device, dtype=torch.float32) / head_dim
    angles_BTF = positions_BT[..., None].float() * (1.0 / theta**exponents)
    cos_BT1F, sin_BT1F = angles_BTF.cos().unsqueeze(2), angles_BTF.sin().unsqueeze(2)
    return (
        torch.cat((cos_BT1F, cos_BT1F), dim=-1).to(dtype),
        torch.cat((-sin_BT1F, sin_BT1F), dim=-1).to(dtype),
    )


def rotate(x_BTHE: Tensor, rope: Rope) -> Tensor:
    """Turns each pair (e, e + E/2) of every head by its position's angle."""
    cos_BT1E, sin_BT1E = rope
    # Rolling by half a head swaps the pair; the sign is in the sine already.
    return x_BTHE * cos_BT1E + x_BTHE.roll(x_BTHE.shape[-1] // 2, dims=-1) * sin_BT1E
