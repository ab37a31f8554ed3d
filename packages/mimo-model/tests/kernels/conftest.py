"""How kernels are tested without a GPU.

A test that takes the fixture `interpreter` runs kernels on CPU tensors in Triton's interpreter. TRITON_INTERPRET=1
must be set before triton is imported, so those tests are collected only in a process that has it; each file has one
driver test that starts such a process with `run_interpreted`. A test that takes `compile_kernel` compiles a kernel
for a GPU that is not there and looks at what ptxas made of it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

TYPES = {
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.float32: "*fp32",
    torch.float64: "*fp64",
    torch.int32: "*i32",
    torch.int64: "*i64",
    torch.int8: "*i8",
    torch.uint8: "*u8",
    torch.bool: "*i1",
}


@dataclass(frozen=True)
class CompiledKernel:
    """What one kernel needs of one GPU."""

    registers: int
    """Per thread."""

    shared_bytes: int
    """Per program, static and dynamic; from sm_90 on 1 KiB of it is the system's."""

    stack_bytes: int
    """Per thread; spilled registers are among it."""

    num_spills: int
    """Instructions that store to or load from local memory."""

    sass: str


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    unwanted = {item for item in here if ("interpreter" in getattr(item, "fixturenames", ())) is not INTERPRETED}
    if unwanted:
        config.hook.pytest_deselected(items=list(unwanted))
        items[:] = [item for item in items if item not in unwanted]


@pytest.fixture
def interpreter() -> None:
    """Marks a test that runs kernels in Triton's interpreter; see the module's docstring."""


@pytest.fixture
def run_interpreted() -> Callable[[str], int]:
    """Runs the interpreter tests of a file in a process of their own and returns how many passed."""

    def run(path: str) -> int:
        result = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", path],
            env={**os.environ, "TRITON_INTERPRET": "1", "PYTEST_ADDOPTS": ""},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stdout[-8_000:] + result.stderr[-2_000:]
        passed = re.search(r"(\d+) passed", result.stdout)
        assert passed is not None, result.stdout
        return int(passed[1])

    return run


@pytest.fixture(scope="session")
def compile_kernel() -> Callable[..., CompiledKernel]:
    """Compiles a Triton kernel ahead of time: `compile_kernel(kernel, 90, num_warps=4, x=torch.bfloat16, n=4096, …)`.

    Arguments go by name: a dtype for a pointer (aligned to 16 bytes), a number for a number, which is specialised as
    a launch would, None for an absent pointer, and the value of a constexpr.
    """
    triton = pytest.importorskip("triton", reason="triton is not installed")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    def compile_for(
        kernel,
        capability: int,
        *,
        num_warps: int = 4,
        num_stages: int = 3,
        maxnreg: int | None = None,
        **arguments: object,
    ) -> CompiledKernel:
        signature: dict[str, str] = {}
        constants: dict[str, object] = {}
        attributes: dict[tuple[int, ...], list[list[object]]] = {}
        assert set(arguments) == set(kernel.arg_names), set(arguments) ^ set(kernel.arg_names)
        for index, parameter in enumerate(kernel.params):
            name, value = parameter.name, arguments[parameter.name]
            if parameter.is_constexpr or value is None or value is True or value is False:
                signature[name], constants[name] = "constexpr", value
            elif isinstance(value, torch.dtype):
                signature[name] = TYPES[value]
                attributes[(index,)] = [["tt.divisibility", 16]]
            elif isinstance(value, int):
                if value == 1 and not parameter.do_not_specialize:
                    signature[name], constants[name] = "constexpr", 1
                    continue
                signature[name] = "i32" if abs(value) < 2**31 else "i64"
                if value % 16 == 0 and not parameter.do_not_specialize:
                    attributes[(index,)] = [["tt.divisibility", 16]]
            else:
                assert isinstance(value, float), (name, value)
                signature[name] = "fp32"
        options = {"num_warps": num_warps, "num_stages": num_stages, "maxnreg": maxnreg}
        source = ASTSource(kernel, signature, constants, attributes)
        compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
        (usage,) = _usages(compiled.asm["cubin"]).values()
        return replace(usage, shared_bytes=usage.shared_bytes + compiled.metadata.shared)

    return compile_for


@pytest.fixture(scope="session")
def cubin_usages() -> Callable[[bytes], dict[str, CompiledKernel]]:
    """What each kernel of a cubin needs, by its symbol."""
    pytest.importorskip("triton", reason="triton, which brings cuobjdump, is not installed")
    return _usages


def _usages(cubin: bytes) -> dict[str, CompiledKernel]:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        resources = _tool("cuobjdump", "--dump-resource-usage", file.name)
        sass = _tool("nvdisasm", "--print-code", file.name)
    usages = {}
    for symbol, registers, stack, shared in re.findall(
        r"Function (\S+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+)", resources
    ):
        _, _, code = sass.partition(f".text.{symbol}:")
        code = code.partition("//--------------------- .text.")[0]
        usages[symbol] = CompiledKernel(
            registers=int(registers),
            shared_bytes=int(shared),
            stack_bytes=int(stack),
            num_spills=len(re.findall(r"\b(?:STL|LDL)\b", code)),
            sass=code,
        )
    return usages


def _tool(name: str, *arguments: str) -> str:
    import triton

    tool = Path(triton.__file__).parent / "backends/nvidia/bin" / name
    return subprocess.run([str(tool), *arguments], capture_output=True, text=True, check=True).stdout
