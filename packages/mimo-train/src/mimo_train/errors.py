"""What can go wrong outside this package's own code."""

from __future__ import annotations


class TrainError(Exception):
    """Bad input, a broken state or a run that diverged: the message names it and says what to do."""

    exit_code = 1
