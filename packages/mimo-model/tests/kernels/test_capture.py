"""A round can be recorded as a CUDA graph, as far as that shows without a GPU.

The round runs on fake CUDA tensors: they have a device and a shape but no values, mixing devices raises, and whatever
asks for a value raises. Kernels are not launched, but all that surrounds a launch runs, inside custom operators too.
What this cannot see: Triton compiling in the middle of a recording, and what cuBLAS or the driver refuse.
"""

from __future__ import annotations

import contextlib
from collections import Counter

import pytest
import torch
from torch._library.custom_ops import OPDEFS
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from mimo_model import MiMoConfig, MiMoForCausalLM
from mimo_model.fused import FusedNetwork
from mimo_model.kernels import decode_attention
from mimo_model.rounds import Round
from mimo_model.rows import Rows
from mimo_model.slots import SlotCache

# What waits for the device, or copies from the host's memory, which a replay would not do again.
ILLEGAL = {
    "_local_scalar_dense",
    "equal",
    "is_nonzero",
    "item",
    "lift_fresh",
    "masked_select",
    "nonzero",
    "pin_memory",
    "_pin_memory",
    "repeat_interleave",
    "unique",
    "_unique2",
}


class Recorder(TorchDispatchMode):
    """Every operator of torch that ran, those inside this package's custom operators among them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.illegal: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func._schema.name
        if func.namespace == "mimo":
            self.found[name] += 1
            with self:
                return OPDEFS[name]._init_fn(*args, **kwargs)
        result = func(*args, **kwargs)
        tensors = [x for x in torch.utils._pytree.tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor)]
        short = name.removeprefix("aten::")
        self.found[short] += 1
        if short in ILLEGAL or {x.device.type for x in tensors} - {"cuda"}:
            self.illegal.append(f"{short} on {[f'{x.device}{list(x.shape)}' for x in tensors]}")
        return result


@pytest.fixture
def fake_cuda(monkeypatch):
    """Fake tensors of a CUDA device that need not be there, and kernels that are called but not launched."""
    jit = pytest.importorskip("triton", reason="triton is not installed").runtime.jit
    launches: Counter[str] = Counter()

    def launch(kernel, *arguments, grid, warmup, **options):
        launches[kernel.fn.__name__] += 1
        devices = {x.device.type for x in arguments if isinstance(x, torch.Tensor)}
        assert devices == {"cuda"}, f"{kernel.fn.__name__} is launched on {devices}"

    monkeypatch.setattr(jit.JITFunction, "run", launch)
    monkeypatch.setattr(torch.cuda, "device_of", lambda _x: contextlib.nullcontext())
    # The name of the function hides the module's.
    monkeypatch.setitem(decode_attention.__globals__, "num_processors", lambda _device: 132)
    with FakeTensorMode(), torch.inference_mode():
        yield launches


def a_round(*, num_simulated: int = 0) -> Round:
    """Of a model with three MTP layers, eight slots and 128 places."""
    device = torch.device("cuda")
    config = MiMoConfig(
        vocab_size=264,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_nextn_predict_layers=3,
    )
    model = MiMoForCausalLM(config)
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:  # `to` cannot move fake parameters
                module._parameters[name] = torch.nn.Parameter(parameter.to(device), requires_grad=False)
    cache = SlotCache(config, 5, device=device, dtype=torch.float32)
    rows = Rows.empty(model, 3, device)
    cache.reserve(8, 100)
    rows.reserve(cache.num_slots, cache.num_places)
    network = FusedNetwork(model, cache, num_ids=257)
    network.rope_table()  # in the engine, reading a prompt makes it
    return Round(
        model,
        network,
        rows,
        num_ids=257,
        stop_ids=torch.zeros(1, dtype=torch.int64, device=device),
        simulated_acceptance_K=torch.zeros(num_simulated, device=device),
    )


@pytest.mark.parametrize("restricted", [False, True])
@pytest.mark.parametrize("num_drafts", [0, 1, 3])
@pytest.mark.parametrize("batch_size", [1, 8])
def test_nothing_in_a_round_leaves_the_device(fake_cuda, batch_size, num_drafts, restricted):
    decode_round = a_round()
    fake_cuda.clear()
    with Recorder() as recorder:
        decode_round(batch_size, num_drafts, num_keys=100, restricted=restricted)
    assert recorder.illegal == []
    assert recorder.found["mimo::verify"] == 1
    assert recorder.found["mimo::draft_token"] == num_drafts
    assert recorder.found["index_put_"] > 0  # what is not in an operator of our own was seen too
    assert fake_cuda["emit_kernel"] == 1
    assert fake_cuda["attend_kernel"] == 2 + num_drafts  # two blocks, and one in each MTP layer
    assert (fake_cuda["search_kernel"] > 0) == restricted


def test_nothing_leaves_the_device_with_simulated_acceptance(fake_cuda):
    decode_round = a_round(num_simulated=3)
    with Recorder() as recorder:
        decode_round(2, 3, num_keys=100, restricted=False)
    assert recorder.illegal == []


@pytest.mark.parametrize(
    "leave",
    [
        lambda x: x + torch.tensor([1.0], device="cpu").to("cuda"),
        lambda x: x.clone().index_put_((torch.tensor([0], device="cpu"),), x[1]),
        lambda x: x.to("cpu"),
        lambda x: torch.tensor(2.0, device="cuda") * x,
    ],
    ids=["host to device", "index on the host", "device to host", "a number made into a tensor"],
)
def test_what_leaves_the_device_is_seen(fake_cuda, leave):
    x = torch.zeros(4, device="cuda")
    with Recorder() as recorder, contextlib.suppress(RuntimeError):
        leave(x)
    assert recorder.illegal


def test_asking_for_a_value_raises(fake_cuda):
    with pytest.raises(RuntimeError):
        int(torch.zeros(1, device="cuda"))
