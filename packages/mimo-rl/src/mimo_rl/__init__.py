"""Reinforcement learning with verifiable rewards (§3.2–3.4)."""

from __future__ import annotations

from mimo_rl.grpo import group_advantages, policy_loss
from mimo_rl.pool import EasyPool
from mimo_rl.rewards import difficulty_levels, soft_reward, strict_reward

__all__ = ["EasyPool", "difficulty_levels", "group_advantages", "policy_loss", "soft_reward", "strict_reward"]
