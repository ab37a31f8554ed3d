"""Rotary position embedding, in the half-split form that Qwen2 and MiMo use."""

from __future__ import annotations

import torch
from torch import Tensor

Rope = tuple[Tensor, Tensor]
"""cos and sin, each [B or 1, T, 1, E], to broadcast over heads."""


def rope_at(positions_BT: Tensor, *, theta: float, head_dim: int, dtype: torch.dtype) -> Rope:
    """cos and sin of every position's angles; computed in float32, returned in `dtype`, [B, T, 1, E]."""
    exponents = torch.arange(0, head_dim, 2, device=positions_BT.device, dtype=torch.float32) / head_dim
    angles_BTF = positions_BT[..., None].float() * (1.0 / theta**exponents)
    angles_BT1E = torch.cat((angles_BTF, angles_BTF), dim=-1).unsqueeze(2)
    return angles_BT1E.cos().to(dtype), angles_BT1E.sin().to(dtype)


def rotate(x_BTHE: Tensor, rope: Rope) -> Tensor:
    """Turns each pair (e, e + E/2) of every head by its position's angle."""
    cos_BT1E, sin_BT1E = rope
    first, second = x_BTHE.chunk(2, dim=-1)
    return x_BTHE * cos_BT1E + torch.cat((-second, first), dim=-1) * sin_BT1E
