"""Which numbers a recipe's keys take: each table names its bounds once, and anything else is one line for the user."""

from __future__ import annotations

from mimo_data.run import Record

MOST_BYTES = 1_000_000_000_000
"""Of a page, a part or a process."""
MOST_COUNT = 1_000_000_000
"""Of whatever is counted: a key that stands for more is a slip of the pen."""

MOST_MONEY = 1_000_000_000_000
"""Of a price or a budget, in any currency."""


def check_numbers(settings: Record, table: str = "", /, **bounds: tuple[float, float]) -> None:
    """Checks fields of a table that hold numbers, or None.

    Args:
        table: what goes before the names of the fields in an error, such as "pages.".
        bounds: least and greatest value by field, both of them allowed.

    Raises:
        ValueError: a number lies outside of its bounds, or is not a number (nan).
    """
    for name, (least, most) in bounds.items():
        value = getattr(settings, name)
        if value is not None:
            check_number(f"{table}{name}", value, least, most)


def check_number(key: str, value: float, least: float, most: float) -> None:
    """Checks one number.

    Raises:
        ValueError: it lies outside of the bounds, or is not a number (nan).
    """
    # Not `value < least or value > most`, which nan would pass.
    if not least <= value <= most:
        raise ValueError(f"{key} is {value}, but must lie between {least:_} and {most:_}")
