"""`triton` and `tl`, or stand-ins where triton is not installed (torch's CPU wheels leave it out).

Kernel modules import both from here, so that their torch references work without triton; and `dot`, the matrix product
that also works in the interpreter.
"""

# Triton's kernels are untyped.
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import importlib
from typing import Any

from mimo_model.kernels.device import INTERPRETED


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

_INTERPRETED: Any = tl.constexpr(INTERPRETED)


@triton.jit
def dot(a, b, accumulator):
    """`tl.dot` that multiplies float32 as such; widens first in the interpreter, whose own takes no bfloat16."""
    if _INTERPRETED:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, accumulator, input_precision="ieee")
