"""`triton` and `tl`, or stand-ins where triton is not installed (torch's CPU wheels leave it out).

Kernel modules import both from here, so that their torch references work without triton.
"""

from __future__ import annotations

import importlib
from typing import Any


class _Absent:
    """Leaves a decorated kernel a plain function, which nothing launches."""

    def jit(self, function: Any = None, **_options: object) -> Any:
        return (lambda function: function) if function is None else function

    def __getattr__(self, _name: str) -> Any:
        return self

    def __call__(self, *_arguments: object, **_options: object) -> Any:
        return self


triton: Any = _Absent()
tl: Any = _Absent()

try:
    triton = importlib.import_module("triton")
    tl = importlib.import_module("triton.language")
except ImportError:
    pass
