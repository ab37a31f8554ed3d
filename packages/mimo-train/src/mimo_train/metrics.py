"""`metrics.jsonl`, one object per step, and the progress that a person sees."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import TracebackType

import msgspec
from tqdm import tqdm

from mimo_train.processes import is_leader
from mimo_train.schedule import Record

_LINE_INTERVAL_S = 10.0


class StepMetrics(Record, frozen=True, kw_only=True):
    """One line of `metrics.jsonl`."""

    step: int
    """Counts from 1."""

    tokens: int
    """Tokens of this run after the step, padding included."""

    num_targets: int
    """Tokens that the main loss of this step counts."""

    loss: float | None
    """Mean cross-entropy of the main head, in nats; null when the step had nothing to predict."""

    mtp_losses: tuple[float | None, ...]
    """Mean cross-entropy of each MTP layer, in nats."""

    mtp_weight: float
    """Weight of the mean MTP loss in the total."""

    lr: float
    """Learning rate of the step."""

    grad_norm: float
    """Norm of the gradient before clipping."""

    batch_sequences: int
    """Sequences in the step."""

    tokens_by_source: dict[str, int] = msgspec.field(default_factory=dict)
    """Tokens of this run after the step, by source; empty in fine-tuning, which knows no sources."""

    seconds: float
    """Wall time of the step."""


class StepLog:
    """Appends steps to `metrics.jsonl` and shows them: a bar on a terminal, a line now and then in a log.

    A resumed run first drops the lines after the step that it resumes from: each step stands there once. Of
    several processes only the first one writes.
    """

    def __init__(self, path: Path, *, step: int, tokens: int, total_tokens: int) -> None:
        self._leads = is_leader()
        if self._leads:
            kept = path.read_bytes().splitlines(keepends=True)[:step] if path.exists() else []
            temporary = path.with_name(path.name + ".tmp")
            temporary.write_bytes(b"".join(kept))
            temporary.replace(path)
        self._file = (path if self._leads else Path(os.devnull)).open("ab", buffering=0)
        self._encoder = msgspec.json.Encoder()
        self._total = total_tokens
        self._first_tokens = tokens
        self._start_s = self._step_s = self._line_s = time.monotonic()
        terminal = self._leads and sys.stderr.isatty()
        self._bar = tqdm(total=total_tokens, initial=tokens, unit="tok", unit_scale=True) if terminal else None

    def step_seconds(self) -> float:
        """Time since it was last asked for."""
        now_s = time.monotonic()
        seconds, self._step_s = now_s - self._step_s, now_s
        return seconds

    def write(self, metrics: StepMetrics) -> None:
        """Adds one step."""
        self._file.write(self._encoder.encode(metrics) + b"\n")
        loss = "-" if metrics.loss is None else f"{metrics.loss:.3f}"
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss}", refresh=False)
            self._bar.update(metrics.tokens - self._bar.n)
        elif self._leads and (self._step_s - self._line_s >= _LINE_INTERVAL_S or metrics.tokens >= self._total):
            self._line_s = self._step_s
            rate = (metrics.tokens - self._first_tokens) / max(self._step_s - self._start_s, 1e-9)
            print(
                f"{metrics.tokens / self._total:6.1%}  step {metrics.step}  loss {loss}  "
                f"lr {metrics.lr:.3g}  {rate:,.0f} tokens/s",
                file=sys.stderr,
                flush=True,
            )

    def __enter__(self) -> StepLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._bar is not None:
            self._bar.close()
