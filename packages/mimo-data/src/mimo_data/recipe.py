"""The settings of every step, one table a command, as `data.toml` holds them."""

from __future__ import annotations

from mimo_data.mixture import Mixture
from mimo_data.run import Record


class DataRecipe(Record):
    """A whole `data.toml`; a command reads its own table."""

    stages: dict[str, Mixture] = {}
    """Mixture by stage of pre-training."""
