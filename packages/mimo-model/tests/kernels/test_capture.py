"""Rounds as CUDA graphs, as far as that shows without a GPU.

A round runs on fake CUDA tensors: they have a device and a shape but no values, mixing devices raises, and whatever
asks for a value raises. Kernels are not launched, but all that surrounds a launch runs, inside custom operators too.
What this cannot see: Triton compiling in the middle of a recording, and what cuBLAS or the driver refuse.

And an engine decodes on the CPU through `GraphRound` and the kernels' references, with graphs that call what was
recorded when they are replayed: what it records, when, and for which rows.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import torch
from torch._library.custom_ops import OPDEFS
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from mimo_model import Engine, MiMoConfig, MiMoForCausalLM, Sampling
from mimo_model.decoding.fused import FusedNetwork
from mimo_model.decoding.graphs import GraphRound
from mimo_model.decoding.rounds import Round
from mimo_model.decoding.rows import Rows
from mimo_model.decoding.slots import SlotCache
from mimo_model.kernels import decode_attention

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


class CalledGraph:
    """Stands in for a CUDA graph: recording notes the round's arguments, replaying runs it with them."""

    recording: CalledGraph | None = None
    num_replays = 0

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def replay(self) -> None:
        CalledGraph.num_replays += 1
        (call,) = self.calls
        call()


class RecordedRound:
    """A round that does nothing while it is recorded, as on a device."""

    def __init__(self, decode_round: Round) -> None:
        self.decode_round = decode_round
        self.sizes: Counter[int] = Counter()

    def __call__(self, batch_size: int, num_drafts: int, **arguments: object) -> None:
        self.sizes[batch_size] += 1

        def call() -> None:
            # A graph holds no number that changes from round to round: all keys there may be.
            everything = {**arguments, "num_keys": self.decode_round._network._cache.num_places - 1}
            self.decode_round(batch_size, num_drafts, **everything)

        if CalledGraph.recording is None:
            call()
        else:
            CalledGraph.recording.calls.append(call)


@pytest.fixture
def called_graphs(monkeypatch):
    @contextlib.contextmanager
    def record(graph: CalledGraph, **_options: object) -> Iterator[None]:
        CalledGraph.recording = graph
        yield
        CalledGraph.recording = None

    monkeypatch.setattr(torch.cuda, "CUDAGraph", CalledGraph)
    monkeypatch.setattr(torch.cuda, "graph", record)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 0))
    monkeypatch.setattr(torch.cuda, "Stream", lambda _device: None)
    monkeypatch.setattr(torch.cuda, "device", lambda _device: contextlib.nullcontext())
    monkeypatch.setattr(CalledGraph, "num_replays", 0)


@pytest.mark.parametrize("num_drafts", [0, 1, 3])
def test_rows_without_a_request_take_part_and_change_nothing(called_graphs, drafting_model, tokenizer, num_drafts):
    draws = random.Random(num_drafts)
    prompts = [[draws.randrange(256) for _ in range(draws.randrange(1, 14))] for _ in range(40)]
    samplings = [
        Sampling(
            max_tokens=3 + 17 * i % 80,  # the cache grows on the way
            seed=i,
            temperature=(0.0, 1.0)[i % 2],
            top_p=(1.0, 0.9)[i // 8 % 2],
        )
        for i in range(40)
    ]
    results, sizes = [], Counter()
    for is_recorded in (False, True):
        engine = Engine(drafting_model, tokenizer, num_drafts=num_drafts, max_batch_size=7, backend="torch")
        # On CPU tensors its kernels are their references.
        engine._torch._network = FusedNetwork(drafting_model, engine._cache, num_ids=261)
        if is_recorded:
            decode_round = RecordedRound(engine._torch)
            sizes = decode_round.sizes
            engine._graphs = GraphRound(decode_round, engine._rows)
        finished = {}
        for prompt, sampling in zip(prompts, samplings, strict=True):
            engine.submit(prompt, sampling)
            if len(finished) % 5 == 0:
                finished.update(engine.step())
        while engine.pending:
            finished.update(engine.step())
        results.append([(finished[i].tokens, finished[i].finish, finished[i].num_accepted) for i in range(40)])
    assert results[0] == results[1]
    assert set(sizes) <= {1, 2, 4, 8}
    assert 8 in sizes  # seven requests and a row without
    assert CalledGraph.num_replays > 5 * sizes.total()
