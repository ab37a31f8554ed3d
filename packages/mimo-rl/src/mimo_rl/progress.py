"""The progress that a person sees: a bar on a terminal, a line every few seconds in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

LINE_INTERVAL_S = 10.0


class Progress:
    """Steps done of a known number, as a context manager."""

    def __init__(self, title: str, *, num_steps: int, first_step: int) -> None:
        self._title = title
        self._num_steps = num_steps
        self._line_s = time.monotonic()
        self._bar = (
            tqdm(total=num_steps, initial=first_step - 1, desc=title, unit="step") if sys.stderr.isatty() else None
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, step: int, text: str) -> None:
        """Shows that `step` (counted from 1) is done."""
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update()
            return
        now_s = time.monotonic()
        if now_s - self._line_s >= LINE_INTERVAL_S or step == self._num_steps:
            self._line_s = now_s
            print(f"{self._title}: step {step} of {self._num_steps}  {text}", file=sys.stderr, flush=True)
