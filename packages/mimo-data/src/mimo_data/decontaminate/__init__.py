"""Documents that contain a problem of an evaluation benchmark, out of the corpus (§3.1 for the 16-gram; §2.1, §3.2)."""

from __future__ import annotations

from mimo_data.decontaminate.problems import BenchmarkPrompt, DecontaminateRecipe, Hit, decontaminate, read_prompts

__all__ = ["BenchmarkPrompt", "DecontaminateRecipe", "Hit", "decontaminate", "read_prompts"]
