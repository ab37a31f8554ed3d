"""Settings of training a tagger and of the teacher's labels."""

from __future__ import annotations

from mimo_data.run import Record
from mimo_data.settings import check_numbers

BAG = "bag"
"""The base that is trained from nothing (`bag.py`)."""


class TaggerRecipe(Record, frozen=True):
    """How a student is trained; the defaults are for a bag and some hundred labels. None of them is in the report."""

    base: str = BAG
    """`bag`, or a folder or hub id of the Hugging Face model to fine-tune."""
    card: str = ""
    """The label card's TOML file; empty for this package's."""
    num_windows: int = 3
    """Most windows that are read of a document: its head, its tail, and others at even distances."""
    window_tokens: int = 512
    """Longest window."""
    num_epochs: int = 12
    """Passes over the documents."""
    batch_documents: int = 32
    """Documents of a step, each with all its windows."""
    peak_learning_rate: float = 0.2
    """Of AdamW; about 2e-5 for a pretrained base."""
    weight_decay: float = 1e-4
    """Of AdamW."""
    num_folds: int = 5
    """Students that are trained besides, each without one share of the sites, to calibrate by what they say of it."""
    seed: int = 0
    """Of the order of documents and of the new layer."""

    def __post_init__(self) -> None:
        check_numbers(
            self,
            num_windows=(1, 10_000),
            window_tokens=(1, 1_000_000),
            num_epochs=(1, 10_000),
            batch_documents=(1, 1_000_000),
            peak_learning_rate=(1e-9, 10),
            weight_decay=(0, 1),
            num_folds=(2, 1000),
            seed=(0, 2**63 - 1),
        )
        if self.base != BAG and self.peak_learning_rate > 0.01:
            raise ValueError(
                f"peak_learning_rate {self.peak_learning_rate} is for `{BAG}`; a pretrained base needs 2e-5"
            )
