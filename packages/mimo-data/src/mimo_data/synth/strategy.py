"""The settings of `mimo-data synthesize`: what decides the data (a strategy), and what only how it is asked for."""

from __future__ import annotations

import msgspec

from mimo_data.dedup.minhash import DeduplicateRecipe
from mimo_data.run import RecipeError, Record
from mimo_data.settings import MOST_COUNT, MOST_MONEY, check_numbers
from mimo_data.synth.endpoint import EndpointRecipe, SamplingRecipe
from mimo_data.synth.seeds import SelectRecipe


class StrategyRecipe(Record, frozen=True):
    """One of the three ways of §2.1 to synthetic data, or another; the report gives none of its numbers."""

    endpoint: str
    """Name of a table of `synthesize.endpoints`."""
    prompts: tuple[str, ...]
    """Templates, of which each request draws one: names of this package's (see `prompts.py`), or `.txt` files."""
    sampling: SamplingRecipe = SamplingRecipe()
    samples_per_seed: int = 1
    """Requests about each seed, every one with its own sampling seed."""
    seed: int = 0
    """Of the draws: seeds, templates, passages, sampling."""
    select: SelectRecipe = SelectRecipe()
    max_seed_characters: int = 24_000
    """A longer document is asked about by passages of at most this, another each sample; a longer problem is not."""
    checker: tuple[str, ...] = ()
    """A command, word by word, that says which responses are right: see `checking.py`. () where no answer is known."""
    deduplicate: DeduplicateRecipe = DeduplicateRecipe()
    """Of the seeds before they are asked about, and of the responses."""

    def __post_init__(self) -> None:
        if not self.prompts:
            raise ValueError("prompts: name at least one template")
        check_numbers(self, samples_per_seed=(1, 1_000_000), max_seed_characters=(1, MOST_COUNT))


class SynthesizeRecipe(Record, frozen=True):
    """The table of the command. Only the strategy and its endpoint's model decide the data: the rest may change between
    a run and its resumption."""

    endpoints: dict[str, EndpointRecipe] = msgspec.field(default_factory=dict)
    """By a name of the reader's."""
    strategies: dict[str, StrategyRecipe] = msgspec.field(default_factory=dict)
    """By a name of the reader's, which the documents' meta repeats."""
    budget: float | None = None
    """What one run may cost, in the currency of the prices. Requests in flight when it is reached are paid, too."""

    def __post_init__(self) -> None:
        check_numbers(self, budget=(0, MOST_MONEY))

    def strategy(self, name: str) -> tuple[StrategyRecipe, EndpointRecipe]:
        """A strategy and its endpoint.

        Raises:
            RecipeError: either is not in the recipe.
        """
        if name not in self.strategies:
            raise RecipeError(f"--strategy {name}: the recipe's synthesize.strategies has {_names(self.strategies)}.")
        strategy = self.strategies[name]
        if strategy.endpoint not in self.endpoints:
            raise RecipeError(
                f"synthesize.strategies.{name}: endpoint {strategy.endpoint!r}, "
                f"but synthesize.endpoints has {_names(self.endpoints)}."
            )
        return strategy, self.endpoints[strategy.endpoint]


def _names(tables: dict[str, EndpointRecipe] | dict[str, StrategyRecipe]) -> str:
    return ", ".join(tables) or "no table"
