"""The benchmark runs to its end in a few steps and prints its table."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.mark.slow
def test_loop_overhead(tmp_path):
    code = "import loop_overhead; loop_overhead.NUM_STEPS = 3; loop_overhead.main()"
    environment = os.environ | {"PYTHONPATH": str(BENCHMARKS), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    _, _, *rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("|")]
    assert [row[0] for row in rows] == ["| forward and backward", "| with clipping and AdamW", "| the whole loop"]
    times_ms = [float(row[1]) for row in rows]
    assert 0 < times_ms[0] <= times_ms[1] <= times_ms[2] < 60_000
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("torchinductor_")] == []
