"""What can go wrong outside this package's own code."""

from __future__ import annotations


class RLError(Exception):
    """Bad input, or a run that has nothing to learn from: the message names it and says what to do."""

    exit_code = 1
