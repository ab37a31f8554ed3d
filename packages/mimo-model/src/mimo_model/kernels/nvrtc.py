"""CUDA C++ compiled at run time: for the few kernels that Triton may lose, without a compiled extension.

Sources lie in `cuda/`. NVRTC, which comes with torch's CUDA wheels, makes a cubin of one for the device at hand,
through the package cuda-core (`pip install 'mimo-model[cuda]'`). Cubins are kept in a folder of the user's cache, named
by all that they depend on; a file that is cut short or altered is made anew.

Which of the two runs is `wants_cuda`'s to say. Triton does, unless the environment variable MIMO_KERNELS is "cuda":
there is no measurement yet that would speak for the other.
"""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mimo_model.errors import ModelError

_OPTIONS = ("--std=c++17", "--use_fast_math")


def wants_cuda(x: Tensor) -> bool:
    """Whether the CUDA C++ kernel, where there is one, takes this tensor instead of Triton's.

    Raises:
        ModelError: MIMO_KERNELS is neither "triton" nor "cuda".
    """
    choice = os.environ.get("MIMO_KERNELS", "triton")
    if choice not in ("triton", "cuda"):
        raise ModelError(f'MIMO_KERNELS is "{choice}": set it to "triton", which is the default, or to "cuda".')
    return choice == "cuda" and x.is_cuda


def launch(
    name: str, macros: Mapping[str, int], x: Tensor, *, grid: int, block: int, arguments: tuple[int | float, ...]
) -> None:
    """Puts the kernel `name` of `cuda/NAME.cu` on torch's current stream of x's device.

    Args:
        macros: the constants that the source is compiled with.
        arguments: addresses and integers are 64 bits wide in the kernel, and fractions are double.

    Raises:
        ModelError: cuda-core is not installed, or the source does not compile.
    """
    # What is current must be so again afterwards: cuda-core and torch share it.
    with torch.cuda.device(x.device):
        kernel = _load(name, tuple(sorted(macros.items())), x.device.index)
        from cuda.core import Device, LaunchConfig, Stream  # type: ignore[import-untyped]
        from cuda.core import launch as launch_kernel

        Device(x.device.index).set_current()
        stream = Stream.from_handle(torch.cuda.current_stream(x.device).cuda_stream)
        launch_kernel(stream, LaunchConfig(grid=grid, block=block), kernel, *arguments)


def cubin(name: str, macros: Mapping[str, int], *, arch: str, folder: Path | None = None) -> bytes:
    """The machine code of `cuda/NAME.cu`, from the cache or compiled.

    Args:
        arch: as "sm_90".
        folder: of the cache; by default $XDG_CACHE_HOME/mimo-model/cubins, or the same in ~/.cache.

    Raises:
        ModelError: cuda-core is not installed, or the source does not compile.
    """
    version = _nvrtc_version()
    source = files("mimo_model.kernels").joinpath("cuda", f"{name}.cu").read_text()
    options = (*_OPTIONS, *(f"-D{macro}={value}" for macro, value in sorted(macros.items())))
    key = hashlib.sha256("\0".join((source, arch, version, *options)).encode()).hexdigest()
    path = (folder or _cache_folder()) / f"{name}-{key[:32]}.cubin"
    code = _read(path)
    if code is None:
        code = _compile(name, source, macros, arch)
        _write(path, code)
    return code


@functools.lru_cache
def _load(name: str, macros: tuple[tuple[str, int], ...], device_index: int) -> Any:
    _nvrtc_version()
    from cuda.core import Device, ObjectCode

    # A module belongs to the context that is current when it is loaded.
    Device(device_index).set_current()
    major, minor = torch.cuda.get_device_capability(device_index)
    code = cubin(name, dict(macros), arch=f"sm_{major}{minor}")
    return ObjectCode.from_cubin(code).get_kernel(name)


@functools.lru_cache
def _nvrtc_version() -> str:
    try:
        import cuda.core  # type: ignore[import-untyped]
        from cuda.bindings import nvrtc  # type: ignore[import-untyped]
    except ImportError:
        raise ModelError(
            "CUDA C++ kernels need cuda-core, which is not installed. Run `pip install 'mimo-model[cuda]'`, or unset "
            "MIMO_KERNELS to use Triton's."
        ) from None
    _, major, minor = nvrtc.nvrtcVersion()
    return f"{major}.{minor} {cuda.core.__version__}"


def _compile(name: str, source: str, macros: Mapping[str, int], arch: str) -> bytes:
    from cuda.core import Program, ProgramOptions

    options = ProgramOptions(
        name=f"{name}.cu",
        arch=arch,
        std="c++17",
        use_fast_math=True,
        define_macro=[(macro, str(value)) for macro, value in sorted(macros.items())],
    )
    try:
        code = Program(source, "c++", options).compile("cubin").code
    except Exception as error:  # NVRTCError and RuntimeError, by version
        raise ModelError(f"{name}.cu does not compile for {arch}: {error}") from error
    assert isinstance(code, bytes)
    return code


def _cache_folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "mimo-model" / "cubins"


def _read(path: Path) -> bytes | None:
    """The code that stands behind its own SHA-256, or nothing where the file is missing or damaged."""
    try:
        digest, code = (content := path.read_bytes())[:32], content[32:]
    except OSError:
        return None
    return code if hashlib.sha256(code).digest() == digest else None


def _write(path: Path, code: bytes) -> None:
    """Whole or not at all: another process may be reading. A cache that cannot be written is done without."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(hashlib.sha256(code).digest() + code)
        Path(file.name).replace(path)
    except OSError:
        return
