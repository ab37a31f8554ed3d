"""Where kernels run, and what is left of them where they cannot."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from mimo_model.kernels.device import fused, num_processors

WITHOUT_TRITON = """
import sys
sys.modules["triton"] = None
import torch
from mimo_model import kernels
x = torch.ones(2, 8)
assert not kernels.fused(x)
assert torch.equal(kernels.norm_linear(x, torch.ones(8), 0.0, torch.ones(3, 8)), torch.full((2, 3), 8.0))
settings = (torch.zeros(2), None, None, torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))
proposals = torch.empty(2, 3)
assert kernels.draft_token(torch.tensor([[0.0, 1.0, 1.0]] * 2), *settings, proposals).tolist() == [1, 1]
assert proposals[0].tolist() == [0.0, 1.0, 0.0]
"""


def test_a_cpu_tensor_is_the_references():
    assert not fused(torch.zeros(1))


@pytest.mark.usefixtures("interpreter")
def test_a_cpu_tensor_is_the_kernels_in_the_interpreter():
    assert fused(torch.zeros(1))
    assert num_processors(torch.device("cpu")) == 4


@pytest.mark.slow
def test_the_interpreter_takes_cpu_tensors(run_interpreted):
    assert run_interpreted(__file__) == 1


def test_without_triton_the_references_work():
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    result = subprocess.run([sys.executable, "-c", WITHOUT_TRITON], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_importing_the_package_does_not_load_cuda_core():
    script = "import sys, mimo_model; print([name for name in sys.modules if name.startswith('cuda.core')])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
