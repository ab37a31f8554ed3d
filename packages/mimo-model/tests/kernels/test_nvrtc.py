"""CUDA C++ compiled at run time: the cache, what the compiler makes of it, and its arithmetic on a CPU.

Without a GPU the source itself is run: a C++ compiler takes it with a few stand-ins for CUDA's words, and a thread of
the CPU stands for each of the GPU's.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from importlib.resources import files

import pytest
import torch

from mimo_model import ModelError
from mimo_model.kernels import nvrtc
from mimo_model.kernels.norm_linear import (
    cuda_grid,
    cuda_macros,
    fits_cuda,
    norm_linear,
    norm_linear_reference,
    norm_swiglu,
    norm_swiglu_reference,
)

# Of the largest output, which is rounded to bfloat16 once.
TOLERANCE = 5e-3

MACROS = {"NUM_TOKENS": 1, "IS_GATED": 0, "HAS_NORM": 0}

STAND_INS = r"""
#include <barrier>
#include <cmath>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct Index { unsigned x; };
static thread_local Index threadIdx, blockIdx;
static std::unique_ptr<std::barrier<>> barriers[4];
static float exchanged[4][32];

static float __uint_as_float(unsigned bits) { float value; std::memcpy(&value, &bits, 4); return value; }
static unsigned __float_as_uint(float value) { unsigned bits; std::memcpy(&bits, &value, 4); return bits; }
static float rsqrtf(float value) { return 1.0f / std::sqrt(value); }

static float __shfl_xor_sync(unsigned, float value, int distance) {
    unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    exchanged[warp][lane] = value;
    barriers[warp]->arrive_and_wait();
    float other = exchanged[warp][lane ^ distance];
    barriers[warp]->arrive_and_wait();
    return other;
}

#include "norm_linear.cu"

extern "C" void run(int grid, const unsigned short* x, const unsigned short* norm_weight, const unsigned short* weight,
                    const unsigned short* bias, const unsigned short* residual, unsigned short* y, double eps,
                    long long num_outputs, long long size, long long x_stride, long long weight_stride,
                    long long residual_stride) {
    for (auto& barrier : barriers) barrier = std::make_unique<std::barrier<>>(32);
    std::vector<std::thread> threads;
    for (unsigned thread = 0; thread < 128; ++thread)
        threads.emplace_back([=] {
            threadIdx.x = thread;
            for (int block = 0; block < grid; ++block) {
                blockIdx.x = block;
                norm_linear(x, norm_weight, weight, bias, residual, y, eps, num_outputs, size, x_stride, weight_stride,
                            residual_stride);
            }
        });
    for (auto& thread : threads) thread.join();
}
"""


@pytest.fixture
def run_on_cpu(tmp_path):
    """Compiles the source for the CPU with these macros; the result takes tensors in the kernel's order."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")

    def compile_for(macros):
        (tmp_path / "stand_ins.cpp").write_text(STAND_INS)
        library = tmp_path / "kernel.so"
        folder = files("mimo_model.kernels") / "cuda"
        options = ["-std=c++20", "-O1", "-w", "-shared", "-fPIC", "-pthread", f"-I{folder}"]
        defines = [f"-D{name}={value}" for name, value in macros.items()]
        subprocess.run([compiler, *options, *defines, tmp_path / "stand_ins.cpp", "-o", library], check=True)
        function = ctypes.CDLL(str(library)).run
        function.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 6, ctypes.c_double, *[ctypes.c_longlong] * 5]

        def run(grid, tensors, eps, *sizes):
            function(grid, *(None if tensor is None else tensor.data_ptr() for tensor in tensors), eps, *sizes)

        return run

    return compile_for


def _case(num_rows, size, num_weights, num_outputs, *, device="cpu"):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape, scale=1.0, shift=0.0):
        return (scale * torch.randn(shape, generator=generator) + shift).to(device, torch.bfloat16)

    return (
        normal(num_rows, size, scale=3.0),
        normal(size, scale=0.2, shift=1.0),
        normal(num_weights, size, scale=size**-0.5),
        normal(num_outputs),
        normal(num_rows, num_outputs),
    )


def _check(found, wanted_in_float32):
    difference = ((found.float() - wanted_in_float32).abs().max() / wanted_in_float32.abs().max()).item()
    assert difference <= TOLERANCE, difference


# 1,304 columns are five rounds of a warp and a part; 9 rows leave the last warp one, and the last block warps without.
@pytest.mark.parametrize(("num_rows", "normed"), [(1, True), (3, True), (4, False)])
def test_the_source_computes_the_linear_layer(run_on_cpu, num_rows, normed):
    x_ND, norm_weight_D, weight_OD, bias_O, residual_NO = _case(num_rows, 1304, 9, 9)
    norm = norm_weight_D if normed else None
    run = run_on_cpu(cuda_macros(num_rows, gated=False, normed=normed))
    for bias, residual in ((None, residual_NO), (bias_O, None)):
        y_NO = torch.zeros(num_rows, 9, dtype=torch.bfloat16)
        run(cuda_grid(9, gated=False), (x_ND, norm, weight_OD, bias, residual, y_NO), 1e-5, 9, 1304, 1304, 1304, 9)
        wide = [None if tensor is None else tensor.float() for tensor in (norm, weight_OD, bias, residual)]
        _check(y_NO, norm_linear_reference(x_ND.float(), wide[0], 1e-5, *wide[1:]))


@pytest.mark.parametrize("num_rows", [1, 2])
def test_the_source_computes_swiglu(run_on_cpu, num_rows):
    x_ND, norm_weight_D, weight_ZD, _, _ = _case(num_rows, 520, 14, 7)
    y_NF = torch.zeros(num_rows, 7, dtype=torch.bfloat16)
    run = run_on_cpu(cuda_macros(num_rows, gated=True, normed=True))
    run(cuda_grid(7, gated=True), (x_ND, norm_weight_D, weight_ZD, None, None, y_NF), 1e-5, 7, 520, 520, 520, 0)
    _check(y_NF, norm_swiglu_reference(x_ND.float(), norm_weight_D.float(), 1e-5, weight_ZD.float()))


def test_only_whole_vectors_of_bfloat16_fit():
    x_ND, norm_weight_D, weight_OD, bias_O, residual_NO = _case(4, 64, 9, 9)
    assert fits_cuda(x_ND, norm_weight_D, weight_OD, bias_O, residual_NO)
    assert fits_cuda(x_ND[::2], None, weight_OD)
    assert not fits_cuda(x_ND.repeat(2, 1), None, weight_OD)
    assert not fits_cuda(x_ND.float(), None, weight_OD)
    assert not fits_cuda(x_ND[:, 4:60], None, weight_OD[:, 4:60])
    assert not fits_cuda(x_ND[:, :60], None, weight_OD[:, :60])


@pytest.fixture
def _needs_cuda_core():
    pytest.importorskip("cuda.core", reason="cuda-core is not installed")


@pytest.mark.slow
@pytest.mark.usefixtures("_needs_cuda_core")
@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_100"])
@pytest.mark.parametrize("num_rows", [1, 4])
@pytest.mark.parametrize("gated", [False, True])
def test_the_compiler_spills_nothing_and_loads_whole_vectors(cubin_usages, tmp_path, arch, num_rows, gated):
    macros = cuda_macros(num_rows, gated=gated, normed=True)
    usages = cubin_usages(nvrtc.cubin("norm_linear", macros, arch=arch, folder=tmp_path))
    usage = usages["norm_linear"]
    assert (usage.stack_bytes, usage.num_spills) == (0, 0)
    # Seven blocks of 128 threads fit the 65,536 registers of a processor for one token, five for more.
    assert usage.registers <= (72 if num_rows == 1 else 96)
    assert "LDG.E.NA.LTC128B.128" in usage.sass


@pytest.mark.usefixtures("_needs_cuda_core")
def test_a_cubin_is_compiled_once_and_again_when_its_file_is_damaged(tmp_path, monkeypatch):
    compiled = []

    def count(name, source, macros, arch, compile_=nvrtc._compile):
        compiled.append(arch)
        return compile_(name, source, macros, arch)

    monkeypatch.setattr(nvrtc, "_compile", count)
    code = nvrtc.cubin("norm_linear", MACROS, arch="sm_90", folder=tmp_path)
    assert nvrtc.cubin("norm_linear", MACROS, arch="sm_90", folder=tmp_path) == code
    assert compiled == ["sm_90"]
    (path,) = tmp_path.iterdir()

    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:10], b"", whole[:-1] + b"x"):
        path.write_bytes(damaged)
        assert nvrtc.cubin("norm_linear", MACROS, arch="sm_90", folder=tmp_path) == code
        assert path.read_bytes() == whole
    assert compiled == ["sm_90"] * 5

    nvrtc.cubin("norm_linear", {**MACROS, "NUM_TOKENS": 2}, arch="sm_90", folder=tmp_path)
    nvrtc.cubin("norm_linear", MACROS, arch="sm_80", folder=tmp_path)
    assert compiled[5:] == ["sm_90", "sm_80"]
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.usefixtures("_needs_cuda_core")
def test_a_folder_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "file").write_text("")
    assert nvrtc.cubin("norm_linear", MACROS, arch="sm_90", folder=tmp_path / "file")


@pytest.mark.usefixtures("_needs_cuda_core")
def test_a_source_that_does_not_compile_names_file_and_device(tmp_path):
    with pytest.raises(ModelError, match=r"(?s)norm_linear.cu does not compile for sm_90: .*NUM_TOKENS"):
        nvrtc.cubin("norm_linear", {"IS_GATED": 0, "HAS_NORM": 0}, arch="sm_90", folder=tmp_path)


def test_without_cuda_core_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.core", None)
    nvrtc._nvrtc_version.cache_clear()
    try:
        with pytest.raises(ModelError, match=r"Run `pip install 'mimo-model\[cuda\]'`, or unset MIMO_KERNELS"):
            nvrtc.cubin("norm_linear", MACROS, arch="sm_90", folder=tmp_path)
    finally:
        nvrtc._nvrtc_version.cache_clear()


def test_triton_runs_unless_cuda_is_asked_for(monkeypatch):
    monkeypatch.delenv("MIMO_KERNELS", raising=False)
    assert not nvrtc.wants_cuda(torch.zeros(1))
    monkeypatch.setenv("MIMO_KERNELS", "cuda")
    assert not nvrtc.wants_cuda(torch.zeros(1))
    monkeypatch.setenv("MIMO_KERNELS", "cutlass")
    with pytest.raises(ModelError, match=r'MIMO_KERNELS is "cutlass": set it to "triton"'):
        nvrtc.wants_cuda(torch.zeros(1))


@pytest.mark.gpu
@pytest.mark.usefixtures("_needs_cuda_core")
@pytest.mark.parametrize("num_rows", [1, 2, 3, 4])
def test_the_kernel_equals_the_formula_on_a_gpu_and_in_a_graph(monkeypatch, num_rows):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    monkeypatch.setenv("MIMO_KERNELS", "cuda")
    x_ND, norm_weight_D, weight_ZD, bias_Z, residual_NZ = _case(num_rows, 4096, 2048, 2048, device="cuda")
    wide = [tensor.float() for tensor in (x_ND, norm_weight_D, weight_ZD, bias_Z, residual_NZ)]
    for _ in range(2):
        y_NZ = norm_linear(x_ND, norm_weight_D, 1e-5, weight_ZD, bias_Z, residual_NZ)
        _check(y_NZ, norm_linear_reference(*wide[:2], 1e-5, *wide[2:]))
        _check(norm_swiglu(x_ND, norm_weight_D, 1e-5, weight_ZD), norm_swiglu_reference(*wide[:2], 1e-5, wide[2]))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y_NZ = norm_linear(x_ND, norm_weight_D, 1e-5, weight_ZD)
    x_ND.mul_(-2.0)
    graph.replay()
    _check(y_NZ, norm_linear_reference(x_ND.float(), *wide[1:2], 1e-5, wide[2]))
