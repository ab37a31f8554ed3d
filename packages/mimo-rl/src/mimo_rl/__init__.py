"""Reinforcement learning with verifiable rewards (§3.2–3.4): start at `training.py`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from mimo_rl.errors import RLError
from mimo_rl.pool import EasyPool
from mimo_rl.rewards import difficulty_levels, soft_reward, strict_reward

if TYPE_CHECKING:
    from mimo_rl.curation import curate
    from mimo_rl.grpo import group_advantages, policy_loss
    from mimo_rl.recipe import CurateRecipe, RLRecipe
    from mimo_rl.training import train

# These load torch, which `mimo-rl --help` must not wait for.
_EXPORTS = {
    "CurateRecipe": "mimo_rl.recipe",
    "RLRecipe": "mimo_rl.recipe",
    "curate": "mimo_rl.curation",
    "group_advantages": "mimo_rl.grpo",
    "policy_loss": "mimo_rl.grpo",
    "train": "mimo_rl.training",
}


def __getattr__(name: str) -> object:
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "CurateRecipe",
    "EasyPool",
    "RLError",
    "RLRecipe",
    "curate",
    "difficulty_levels",
    "group_advantages",
    "policy_loss",
    "soft_reward",
    "strict_reward",
    "train",
]
