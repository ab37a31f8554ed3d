"""The settings of every step, one table a command, as `data.toml` holds them."""

from __future__ import annotations

import msgspec

from mimo_data.decontaminate import DecontaminateRecipe
from mimo_data.dedup.minhash import DeduplicateRecipe
from mimo_data.extract import ExtractRecipe
from mimo_data.filter import FilterRecipe
from mimo_data.mixture import Mixture
from mimo_data.run import Record
from mimo_data.sft.filtering import FilterSFTRecipe
from mimo_data.shards import TokenizeRecipe
from mimo_data.sources.hub import ImportRecipe
from mimo_data.synth.strategy import SynthesizeRecipe


class DataRecipe(Record, frozen=True):
    """A whole `data.toml`; each command reads its own table, and a table left out has its defaults."""

    extract: ExtractRecipe = ExtractRecipe()
    deduplicate: DeduplicateRecipe = DeduplicateRecipe()
    decontaminate: DecontaminateRecipe = DecontaminateRecipe()
    filter: FilterRecipe = FilterRecipe()
    tokenize: TokenizeRecipe = TokenizeRecipe()
    imports: ImportRecipe | None = msgspec.field(name="import", default=None)
    """What `mimo-data import` reads; needed by that command only."""
    synthesize: SynthesizeRecipe = SynthesizeRecipe()
    filter_sft: FilterSFTRecipe = msgspec.field(name="filter-sft", default=FilterSFTRecipe())
    stages: dict[str, Mixture] = msgspec.field(default_factory=dict)
    """Mixture by stage of pre-training."""
