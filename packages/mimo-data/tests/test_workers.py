from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module

import pytest

from mimo_data.workers import WorkError, map_in_processes

LIMITS = {"task_limit_s": 1.0, "memory_limit_bytes": 2_000_000_000}


# A module of its own, for the processes import what they are told to run.
BEHAVIOUR = """
import os
import time


def behave(task: str) -> str:
    match task:
        case "slow":
            time.sleep(60)
        case "crash":
            os._exit(3)
        case "fail":
            raise ValueError("broken page")
        case "large":
            return "x" * 4_000_000_000
        case "deep":
            return behave("deep")
    return task.upper()
"""


@pytest.fixture
def behave(tmp_path, monkeypatch) -> Callable[[str], str]:
    (tmp_path / "behaviour.py").write_text(BEHAVIOUR)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "behaviour", raising=False)
    return import_module("behaviour").behave


@pytest.mark.slow
def test_every_task_has_its_result_or_its_reason_in_order(behave):
    # The one process has started by the time of "slow", so that the limit is the task's own.
    tasks = ["a", "slow", "b", "crash", "c", "fail", "large", "deep", "d"]
    results = list(map_in_processes(behave, tasks, num_workers=1, **LIMITS))
    assert [task for task, _ in results] == tasks
    assert [result.reason if isinstance(result, WorkError) else result for _, result in results] == [
        "A", "time_limit", "B", "crashed", "C", "failed", "out_of_memory", "failed", "D",
    ]  # fmt: skip


def test_the_order_does_not_depend_on_the_number_of_processes(behave):
    tasks = [str(number) for number in range(40)]
    assert [result for _, result in map_in_processes(behave, tasks, num_workers=2, **LIMITS)] == tasks
