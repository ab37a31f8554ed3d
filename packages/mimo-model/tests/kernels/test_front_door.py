"""What the package of kernels promises on a machine without Triton."""

from __future__ import annotations

import subprocess
import sys

WITHOUT_TRITON = """
import sys

sys.modules["triton"] = None
import torch
from mimo_model import kernels

x = torch.ones(2, 4, requires_grad=True)
kernels.rms_norm(kernels.swiglu(x, x), torch.ones(4), 1e-5).sum().backward()
losses = kernels.linear_cross_entropy(x, torch.zeros(5, 4), torch.tensor([1, -100]))
print(*(f"{loss:.4f}" for loss in losses.tolist()), kernels.fused(x))
"""


def test_kernels_compute_their_references_where_triton_is_missing():
    result = subprocess.run([sys.executable, "-c", WITHOUT_TRITON], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "1.6094 0.0000 False\n"
