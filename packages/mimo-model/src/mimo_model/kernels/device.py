"""Where fused kernels run: on a CUDA device, or on the CPU in Triton's interpreter."""

from __future__ import annotations

import functools
import importlib.util
import os

import torch
from torch import Tensor

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Kernels run on CPU tensors, one program after the other: for tests. Set it before triton is imported."""

_HAS_TRITON = importlib.util.find_spec("triton") is not None


def fused(x: Tensor) -> bool:
    """Whether the fused kernels take this tensor; the torch reference takes every other."""
    return _HAS_TRITON and (x.is_cuda or INTERPRETED)


@functools.lru_cache
def num_processors(device: torch.device) -> int:
    """Streaming multiprocessors of a CUDA device, by which grids are sized; 4 in the interpreter."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 4
