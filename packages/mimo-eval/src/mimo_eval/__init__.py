"""Is this response right, and how often: problems, grades and evaluation (§2.4, §3.5).

Read `problem.py` for the record, `grading.py` for what a right response is, then `evaluation.py`.
"""

from __future__ import annotations

from mimo_eval.benchmarks import BENCHMARKS
from mimo_eval.equality import math_equal
from mimo_eval.estimate import pass_at_k
from mimo_eval.evaluation import EvalResult, compare, evaluate
from mimo_eval.grading import Grade, grade
from mimo_eval.problem import Problem, read_problems, write_problems
from mimo_eval.run import EvalError

__all__ = [
    "BENCHMARKS",
    "EvalError",
    "EvalResult",
    "Grade",
    "Problem",
    "compare",
    "evaluate",
    "grade",
    "math_equal",
    "pass_at_k",
    "read_problems",
    "write_problems",
]
