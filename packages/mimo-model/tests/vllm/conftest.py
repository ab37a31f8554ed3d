"""Lets vLLM's newer model runner, whose kernels are Triton's, run without a GPU: in Triton's interpreter.

`scripts/test-vllm.sh` sets both variables for its second pass. vLLM looks for the CPU back end that Triton builds from
PyPI lack; the interpreter needs none, so a name is enough.
"""

from __future__ import annotations

import os
from types import SimpleNamespace

if os.environ.get("VLLM_USE_V2_MODEL_RUNNER") == "1" and os.environ.get("TRITON_INTERPRET") == "1":
    from triton.backends import backends

    backends["cpu"] = SimpleNamespace(driver=SimpleNamespace(is_active=lambda: True), compiler=None)
