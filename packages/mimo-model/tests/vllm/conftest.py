"""Lets vLLM's newer model runner, whose kernels are Triton's, run without a GPU: in Triton's interpreter.

`scripts/test-vllm.sh` asks for that runner in its second pass. vLLM looks for the CPU back end that Triton builds from
PyPI lack; the interpreter needs none, so a name is enough.
"""

from __future__ import annotations

import importlib.util
import os
from types import SimpleNamespace

import torch

if (
    os.environ.get("VLLM_USE_V2_MODEL_RUNNER") == "1"
    and importlib.util.find_spec("vllm") is not None
    and not torch.cuda.is_available()
):
    os.environ["TRITON_INTERPRET"] = "1"
    from triton.backends import backends

    backends["cpu"] = SimpleNamespace(driver=SimpleNamespace(is_active=lambda: True), compiler=None)

    # mimo-model's own kernels would run there too, slowly; they have tests of their own.
    from mimo_model.kernels import device

    device.INTERPRETED = False
