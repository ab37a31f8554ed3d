"""Milliseconds that one mathematical comparison takes, by kind of answer. Run with no arguments."""

from __future__ import annotations

import argparse
import platform
import time
from importlib.metadata import version

from mimo_eval import math_equal

NUM_PAIRS = 300
KINDS = {
    "plain number (exact)": lambda n: (str(n), str(n + 1), False),
    "identical LaTeX (exact)": lambda n: (rf"\sqrt{{{n}}}", rf"\sqrt{{{n}}}", True),
    "number with a unit": lambda n: (str(n), f"{n} dollars", True),
    "fraction": lambda n: (rf"\frac{{{n}}}{{7}}", f"{2 * n}/14", True),
    "root": lambda n: (rf"{n}\sqrt{{2}}", rf"\sqrt{{{2 * n * n}}}", True),
    "interval": lambda n: (f"({n}, {n + 1}]", f"[{n}, {n + 1}]", False),
    "polynomial": lambda n: (f"x^2+{2 * n}x+{n * n}", f"(x+{n})^2", True),
}


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    math_equal(r"\frac{1}{2}", "0.5")  # starts the worker
    print(f"{platform.machine()}, one worker, {NUM_PAIRS} different pairs a kind, math-verify {version('math-verify')}")
    print("| kind of answer | first time, ms | again, ms |\n| --- | --- | --- |")
    for kind, pair in KINDS.items():
        pairs = [pair(n) for n in range(2, 2 + NUM_PAIRS)]
        spent = []
        for _ in range(2):
            start_s = time.perf_counter()
            for expected, answer, equal in pairs:
                assert math_equal(expected, answer) is equal, (expected, answer)
            spent.append((time.perf_counter() - start_s) * 1e3 / NUM_PAIRS)
        print(f"| {kind} | {spent[0]:.3f} | {spent[1]:.3f} |")
    start_s = time.perf_counter()
    assert not math_equal("2", "9^{9^{9^9}}")
    print(f"| an endless power (ended by its CPU limit) | {(time.perf_counter() - start_s) * 1e3:.0f} | |")


if __name__ == "__main__":
    main()
