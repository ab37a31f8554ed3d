"""Runs programs that nobody has read, against tests, in isolation, and says what happened.

Read `judging.py` first, then `inside/agent.py`.
"""

from mimo_sandbox.client import SandboxClient
from mimo_sandbox.compare import COMPARATORS
from mimo_sandbox.judge import judge, judge_many
from mimo_sandbox.sandbox import Sandbox
from mimo_sandbox.verdict import Case, CaseResult, Limits, SandboxUnavailable, Status, Submission, Verdict

__all__ = [
    "COMPARATORS",
    "Case",
    "CaseResult",
    "Limits",
    "Sandbox",
    "SandboxClient",
    "SandboxUnavailable",
    "Status",
    "Submission",
    "Verdict",
    "judge",
    "judge_many",
]
