"""`tagger.json`: what lies beside the student's model and tokenizer."""

from __future__ import annotations

from mimo_data.run import Record
from mimo_data.tag.card import LabelCard


class HeadCalibration(Record, frozen=True):
    """One head, measured on documents of sites that the model had not seen; kept in `tagger.json`."""

    scale: float
    """What this head's logits are multiplied by."""
    shifts: tuple[float, ...]
    """What is then added to each; zeros for the domain."""
    num_documents: int
    """Documents with a label for this head."""
    accuracy: float
    """Share of these whose tag is the label."""
    error_before: float
    """Expected calibration error, in ten bins, of the logits as they are."""
    error_after: float
    """The same with scale and shifts from the other folds."""


class TaggerFile(Record, frozen=True):
    """`tagger.json`."""

    card: LabelCard
    """What the tags mean."""
    num_windows: int
    """As in the recipe."""
    window_tokens: int
    """As in the recipe."""
    num_documents: int
    """Labelled documents that the student has learnt from."""
    heads: dict[str, HeadCalibration]
    """By tag; a tag of the card that no document had is not here, and is not given."""
