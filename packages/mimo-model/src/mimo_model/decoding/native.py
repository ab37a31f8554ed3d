"""Rounds on a CPU in C (`csrc/`), compiled when it is first needed by the machine's own C compiler.

PyTorch's matrix-vector products reach a fifth of the memory bandwidth on two cores (a quarter in bfloat16), and a
round of a small model is hundreds of operators; one C function does a whole round at the speed of memory. Where there
is no compiler, or the model is not what the C code knows, `available` says why and the engine decodes with PyTorch.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import operator
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import torch
from torch import Tensor

from mimo_model.decoding.fused import changed
from mimo_model.decoding.rows import Rows
from mimo_model.decoding.slots import SlotCache
from mimo_model.errors import ModelError
from mimo_model.model import MiMoForCausalLM, MTPLayer
from mimo_model.rope import rope_at

_SOURCES = Path(__file__).with_name("csrc")
_FLAGS = ("-O3", "-std=gnu11", "-fwrapv", "-shared", "-fPIC")
# Below so many multiplications a layer, or a checksum, is too short to share: waiting for the other threads would
# cost more.
_PRODUCTS_WORTH_A_THREAD = 1 << 18
# Beyond so many tokens in one forward PyTorch's matrix products are faster, above all in bfloat16, for which processors
# have instructions of their own. Small models' packed weights keep up for longer, and longest where a forward is so
# short that PyTorch's operators cost more than what they do.
_MOST_TOKENS = {torch.float32: 96, torch.bfloat16: 16}
_MOST_TOKENS_PACKED = 256
_FEW_PRODUCTS = 1 << 27
# Up to so many weights are packed: a second copy of them, laid out for the cache of a processor.
_MOST_PACKED_WEIGHTS = 1 << 23

# `BLOCK` in csrc/linear.h.
_BLOCK = 16

_LAYER_WEIGHTS = (
    "input_layernorm.weight",
    "self_attn.q_proj.weight",
    "self_attn.q_proj.bias",
    "self_attn.k_proj.weight",
    "self_attn.k_proj.bias",
    "self_attn.v_proj.weight",
    "self_attn.v_proj.bias",
    "self_attn.o_proj.weight",
    "post_attention_layernorm.weight",
    "mlp.gate_proj.weight",
    "mlp.up_proj.weight",
    "mlp.down_proj.weight",
)
_MTP_WEIGHTS = ("hidden_layernorm.weight", "token_layernorm.weight", "input_proj.weight", "final_layernorm.weight")


# Per model, for all its engines: packed copies of matrices, by the matrix's name, how many of its rows, and the
# checksum of what it held.
_PACKED: WeakKeyDictionary[MiMoForCausalLM, WeakValueDictionary[tuple[str, int, int], Tensor]] = WeakKeyDictionary()


class _Layer(ctypes.Structure):
    """`Layer` in csrc/types.h: pointers to weights in the order above, then to keys and values."""

    _fields_ = [(name, ctypes.c_void_p) for name in (*_LAYER_WEIGHTS, *_MTP_WEIGHTS, "keys", "values")]


_INTEGERS = (
    "is_bfloat16",
    "is_packed",
    "num_layers",
    "hidden_size",
    "num_heads",
    "num_key_heads",
    "head_dim",
    "feed_forward",
    "num_ids",
    "num_threads",
    "num_stop_ids",
    "num_places",
    "num_drafts",
    "max_drafts",
)
_POINTERS = ("layers", "embedding", "norm", "head", "stop_ids", "rope")
_ROWS = (
    "tokens",
    "num_tokens",
    "max_tokens",
    "hidden",
    "filled",
    "report",
    "logprobs",
    "seed",
    "temperature",
    "top_p",
    "top_k",
)


class _Model(ctypes.Structure):
    """`Model` in csrc/types.h."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in _INTEGERS),
        ("eps", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in (*_POINTERS, *_ROWS, "team")),
    ]


class NativeRound:
    """Rounds of one engine.

    It holds pointers to the model's parameters, and of a small model packed copies. `bind` notices parameters that
    were replaced, and by a checksum whatever was written into packed ones: tensors' version counters miss `.data` and
    fused optimizers. As with PyTorch's own threads, a process that has decoded with several cannot be forked and decode
    in the child.
    """

    def __init__(self, model: MiMoForCausalLM, cache: SlotCache, rows: Rows, *, num_ids: int, stop_ids: Tensor) -> None:
        self._library = _library()
        self._model, self._cache, self._rows = model, cache, rows
        self._num_ids, self._stop_ids = num_ids, stop_ids
        self._rope = self._scratch = torch.empty(0, dtype=torch.float32, device="cpu")
        self._struct = _Model()
        self._kept: list[object] = []
        self._num_weights = sum(parameter.numel() for parameter in model.model.layers.parameters())
        self._is_packed = self._num_weights <= _MOST_PACKED_WEIGHTS
        self._scratch_for = (0, 0, 0, 0)
        # `module.weight` looks through three dictionaries, and `named_parameters` through all modules; these are asked
        # for with every prompt.
        self._modules = [module._modules for module in model.modules() if module._modules]
        self._modules_then = [dict(children) for children in self._modules]
        found = [
            (module._parameters, name, f"{path}.{name}", parameter)
            for path, module in model.named_modules()
            for name, parameter in module._parameters.items()
            if parameter is not None
        ]
        self._places = [(where, name) for where, name, *_ in found]
        self._shapes = [(path, parameter.shape, parameter.dtype) for *_, path, parameter in found]
        network, num_layers = model.model, len(cache.layers)
        self._layers = [
            *((f"model.layers.{i}", layer) for i, layer in enumerate(network.layers)),
            *((f"model.mtp_layers.{i}", layer) for i, layer in enumerate(network.mtp_layers)),
        ][:num_layers]
        # What is packed: of the layers that take part, and the head.
        used = tuple(f"{path}." for path, _ in self._layers)
        self._matrices = [
            place
            for place, (*_, path, parameter) in enumerate(found)
            if parameter.ndim > 1 and (path.startswith(used) or path == "lm_head.weight")
        ]
        self._sizes = (ctypes.c_int64 * len(self._matrices))(*(found[place][-1].nbytes for place in self._matrices))
        self._sums = (ctypes.c_uint64 * len(self._matrices))()
        self._pointers = (ctypes.c_void_p * len(self._matrices))()
        self._bound_to: tuple[list[Tensor], list[int], bytes] = ([], [], b"")

    def bind(self, *, moved: bool) -> None:
        """Reads the addresses of parameters, cache and rows, all of which it keeps alive.

        Args:
            moved: cache and rows have been replaced; without it, nothing is done where parameters are as they were.

        Raises:
            ModelError: the model has become another one: other modules, shapes, types or devices.
        """
        if self._modules != self._modules_then:
            raise ModelError("The model got other modules (an adapter?) after this engine was made. Make a new Engine.")
        parameters = [where[name] for where, name in self._places]
        bound, addresses, sums = self._bound_to
        is_same = all(map(operator.is_, parameters, bound)) and list(map(Tensor.data_ptr, parameters)) == addresses
        if not is_same:
            self._require_same_shapes(parameters)
            addresses = [parameter.data_ptr() for parameter in parameters]
            self._pointers = (ctypes.c_void_p * len(self._matrices))(*(addresses[place] for place in self._matrices))
        if self._is_packed:
            num_threads = torch.get_num_threads() if self._num_weights >= _PRODUCTS_WORTH_A_THREAD else 1
            self._library.checksums(self._pointers, self._sizes, len(self._matrices), num_threads, self._sums)
        if is_same and bytes(self._sums) == sums and not moved:
            return
        config, cache, rows = self._model.config, self._cache, self._rows
        network = self._model.model
        sums_by_name = {self._shapes[place][0]: value for place, value in zip(self._matrices, self._sums, strict=True)}
        if len(self._rope) < cache.num_places:
            cosines, sines = rope_at(
                torch.arange(cache.num_places, device="cpu")[None],
                theta=config.rope_theta,
                head_dim=config.head_dim or 0,
                dtype=torch.float32,
            )
            half = (config.head_dim or 0) // 2
            self._rope = torch.cat((cosines[0, :, 0, :half], sines[0, :, 0, half:]), dim=1).contiguous()
        table = (_Layer * len(self._layers))()
        # Parameters, too: `parameter.data = …` would free what the addresses stand for.
        kept: list[object] = [table, self._rope, [(parameter, parameter.detach()) for parameter in parameters]]
        for entry, (path, layer), (keys, values) in zip(table, self._layers, cache.layers, strict=True):
            names = _LAYER_WEIGHTS + (_MTP_WEIGHTS if isinstance(layer, MTPLayer) else ())
            tensors = {name: self._weights(layer.get_parameter(name), f"{path}.{name}", sums_by_name) for name in names}
            tensors |= {"keys": keys, "values": values}
            for name, tensor in tensors.items():
                setattr(entry, name, tensor.data_ptr())
            kept.append(tensors)
        ends = {
            "embedding": network.embed_tokens.weight,
            "norm": network.norm.weight,
            "head": self._weights(self._model.lm_head.weight, "lm_head.weight", sums_by_name, self._num_ids),
        }
        state = {name: getattr(rows, name) for name in _ROWS}
        pointers = {**ends, **state, "stop_ids": self._stop_ids, "rope": self._rope}
        kept.append(pointers)
        self._struct = _Model(
            is_bfloat16=self._model.lm_head.weight.dtype == torch.bfloat16,
            is_packed=self._is_packed,
            num_layers=config.num_hidden_layers,
            hidden_size=config.hidden_size,
            num_heads=config.num_attention_heads,
            num_key_heads=config.num_key_value_heads,
            head_dim=config.head_dim,
            feed_forward=config.intermediate_size,
            num_ids=self._num_ids,
            num_stop_ids=len(self._stop_ids),
            num_places=cache.num_places,
            num_drafts=0,
            max_drafts=rows.filled.shape[1],
            eps=config.rms_norm_eps,
            layers=ctypes.addressof(table),
            **{name: tensor.data_ptr() for name, tensor in pointers.items()},
        )
        self._kept = kept
        self._bound_to = parameters, addresses, bytes(self._sums)

    def _require_same_shapes(self, parameters: list[Tensor | None]) -> None:
        for parameter, (path, shape, dtype) in zip(parameters, self._shapes, strict=True):
            if parameter is None:
                raise ModelError(f"{path} has been removed. Make a new Engine.")
            is_same = (parameter.shape, parameter.dtype, parameter.device.type) == (shape, dtype, "cpu")
            if not is_same or not parameter.is_contiguous():
                raise ModelError(
                    f"{path} has become {parameter.dtype} {list(parameter.shape)} on {parameter.device}; the engine "
                    f"was made for a contiguous {dtype} {list(shape)} on the CPU. Make a new Engine."
                )

    def _weights(self, parameter: Tensor, name: str, sums: dict[str, int], num_rows: int | None = None) -> Tensor:
        """The parameter itself, or a matrix's packed copy."""
        if not self._is_packed or parameter.ndim == 1:
            return parameter
        rows, width = num_rows or parameter.shape[0], parameter.shape[1]
        copies = _PACKED.setdefault(self._model, WeakValueDictionary())
        packed = copies.get((name, rows, sums[name]))
        if packed is None:
            packed = torch.empty(-(-rows // _BLOCK) * _BLOCK * width, dtype=torch.float32, device="cpu")
            is_bfloat16 = parameter.dtype == torch.bfloat16
            self._library.pack(parameter.data_ptr(), rows, width, is_bfloat16, packed.data_ptr())
            copies[name, rows, sums[name]] = packed
        return packed

    def fits(self, num_tokens: int) -> bool:
        """Whether a forward of so many tokens is faster here than with PyTorch's operators."""
        most = _MOST_TOKENS_PACKED if self._is_packed else _MOST_TOKENS[self._model.lm_head.weight.dtype]
        return num_tokens <= most or num_tokens * self._num_weights <= _FEW_PRODUCTS

    def prefill(self, start: int, num_prompts: int, num_tokens: int) -> None:
        """Reads prompts, `num_tokens` in all, into the slots from `start` on: all but their last tokens.

        The first round reads those. MTP layers catch up when they first draft.
        """
        self._run(self._library.prefill, start, num_prompts, num_drafts=0, num_tokens=num_tokens)

    def decode(self, start: int, batch_size: int, num_drafts: int) -> None:
        """One round for the rows from `start` on; `Rows.report` and `Rows.logprobs` say what it brought."""
        num_tokens = batch_size * (num_drafts + 1)
        self._run(self._library.decode_round, start, batch_size, num_drafts=num_drafts, num_tokens=num_tokens)

    def _run(self, function: Any, start: int, batch_size: int, *, num_drafts: int, num_tokens: int) -> None:
        struct = self._struct
        is_long = num_tokens * self._num_weights >= _PRODUCTS_WORTH_A_THREAD * struct.num_layers
        num_threads = torch.get_num_threads() if is_long else 1
        struct.num_drafts, struct.num_threads = num_drafts, num_threads
        needs = batch_size, num_drafts, num_threads, struct.num_places
        if needs != self._scratch_for:
            size = self._library.scratch_size(ctypes.byref(struct), batch_size)
            if len(self._scratch) < size:
                self._scratch = torch.empty(size, dtype=torch.float32, device="cpu")
            self._scratch_for = needs
        function(ctypes.byref(struct), start, batch_size, self._scratch.data_ptr())


def available(model: MiMoForCausalLM) -> str | None:
    """None when `NativeRound` can decode this model here, else the reason why not."""
    parameters = list(model.parameters())
    dtype = model.lm_head.weight.dtype
    if model.lm_head.weight.device.type != "cpu":
        return f"the model is on {model.lm_head.weight.device}"
    if dtype not in (torch.float32, torch.bfloat16):
        return f"weights are {dtype}"
    if any(parameter.dtype != dtype or not parameter.is_contiguous() for parameter in parameters):
        return "weights are of several types, or not contiguous"
    if (reason := changed(model)) is not None:
        return reason
    try:
        _library()
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        return f"the C compiler failed: {said[-1] if said else error}"
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        return " ".join(str(error).split())
    return None


@functools.cache
def _library() -> ctypes.CDLL:
    """The compiled `csrc/`, from the user's cache folder or compiled now.

    Raises:
        OSError: there is no C compiler, no place for what it makes, or that cannot be loaded.
        RuntimeError: there is no home folder.
        subprocess.SubprocessError: it failed.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise FileNotFoundError("there is no C compiler (`cc`, or the one that CC names)")
    native = "-mcpu=native" if platform.machine() in ("aarch64", "arm64") else "-march=native"
    command = [compiler, *_FLAGS, native]
    file = _cache_folder() / f"native-{_fingerprint(command)}.so"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            made = Path(folder) / file.name
            command += [str(_SOURCES / "round.c"), "-o", str(made), "-lm"]
            # A compiler may lack OpenMP: then one thread decodes.
            for options in (["-fopenmp"], []):
                result = subprocess.run([*command, *options], capture_output=True, timeout=300)
                if result.returncode == 0:
                    break
            result.check_returncode()
            made.rename(file)
    library = ctypes.CDLL(str(file))
    library.scratch_size.restype = ctypes.c_int64
    library.scratch_size.argtypes = [ctypes.c_void_p, ctypes.c_int64]
    library.checksums.restype = None
    library.checksums.argtypes = [
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_void_p,
    ]
    library.pack.restype = None
    library.pack.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
    for function in (library.prefill, library.decode_round):
        function.restype = None
        function.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
    return library


def _fingerprint(command: list[str]) -> str:
    """Of source, compiler, flags and processor: a home folder may be shared by machines that differ."""
    version = subprocess.run([command[0], "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = "".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))
    except OSError:
        processor = platform.processor()
    sources = [file.read_text() for file in sorted(_SOURCES.iterdir())]
    parts = (*sources, " ".join(command), version, processor)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mimo-model"
