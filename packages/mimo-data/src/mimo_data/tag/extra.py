"""What tagging needs beyond a plain install."""

from __future__ import annotations

from mimo_data.run import DataError


def load_extra() -> None:
    """Loads torch and transformers, whose bars for the loading of a file would be noise in a command's log.

    Raises:
        DataError: one of them is missing.
    """
    try:
        import torch  # noqa: F401
        from transformers.utils import logging
    except ImportError as error:
        raise DataError(f"tagging needs {error.name}. Run `pip install 'mimo-data[tag]'`.") from None
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def first_line(error: Exception) -> str:
    """What a library says, of which it may say more in further lines, without a full stop."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(". ")
