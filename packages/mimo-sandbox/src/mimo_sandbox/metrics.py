"""The server's counts in Prometheus' text format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from mimo_sandbox.verdict import CaseResult, Status

_WALL_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """What happened since the server started."""

    def __init__(self) -> None:
        """Starts at nothing."""
        self.num_refused: Counter[str] = Counter()
        """Requests that were not judged, by reason."""

        self.num_cancelled = 0
        """Requests cancelled as their client left."""

        self.num_failures = 0
        """Requests that the judge failed on."""

        self._num_cases: Counter[Status] = Counter()
        self._num_below: Counter[float] = Counter()
        self._num_run = 0
        self._wall_s = 0.0

    def observe(self, results: Iterable[CaseResult]) -> None:
        """Counts results; the histogram takes those of programs that ran."""
        for result in results:
            self._num_cases[result.status] += 1
            if result.exit_code is None:
                continue
            self._num_run += 1
            self._wall_s += result.wall_s
            self._num_below.update(bound for bound in _WALL_BOUNDS_S if result.wall_s <= bound)

    def text(self, *, num_requests: int, num_cases: int, max_cases: int, num_workers: int) -> str:
        """What a scrape of /metrics gets.

        Args:
            num_requests: being judged, or waiting for it.
            num_cases: of those requests.
        """
        by_status = {f'{{status="{status}"}}': self._num_cases[status] for status in Status}
        by_reason = {f'{{reason="{reason}"}}': count for reason, count in sorted(self.num_refused.items())}
        walls: dict[str, float] = {f'_bucket{{le="{bound}"}}': self._num_below[bound] for bound in _WALL_BOUNDS_S}
        walls |= {'_bucket{le="+Inf"}': self._num_run, "_sum": self._wall_s, "_count": self._num_run}
        return "".join(
            (
                _metric("cases_total", "counter", "Cases judged, by how they ended.", by_status),
                _metric("case_wall_seconds", "histogram", "Time on the clock of the cases that ran.", walls),
                _metric("judge_failures_total", "counter", "Requests the judge failed on.", {"": self.num_failures}),
                _metric("refused_requests_total", "counter", "Requests that were not judged, by reason.", by_reason),
                _metric(
                    "cancelled_requests_total",
                    "counter",
                    "Requests cancelled as their client left.",
                    {"": self.num_cancelled},
                ),
                _metric("running_requests", "gauge", "Requests admitted and not yet answered.", {"": num_requests}),
                _metric("queued_cases", "gauge", "Cases of those requests, waiting or running.", {"": num_cases}),
                _metric("max_queued_cases", "gauge", "Cases admitted at one time.", {"": max_cases}),
                _metric("workers", "gauge", "Programs that can run at one time.", {"": num_workers}),
            )
        )


def _metric(name: str, kind: str, summary: str, values: Mapping[str, float]) -> str:
    lines = [f"# HELP mimo_sandbox_{name} {summary}", f"# TYPE mimo_sandbox_{name} {kind}"]
    lines += [f"mimo_sandbox_{name}{rest} {value}" for rest, value in values.items()]
    return "\n".join(lines) + "\n"
