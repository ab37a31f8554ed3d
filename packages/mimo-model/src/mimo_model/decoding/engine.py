"""The decoding engine: continuous batching with MTP drafts, lossless (§2.2).

`step` admits waiting requests, decodes one round for all that run, and returns those that finished. A round is
`native.py`'s on a CPU and `rounds.py`'s elsewhere, over the fused kernels (`fused.py`) and recorded as a CUDA graph
(`graphs.py`) where it can be. All read and write the same `Rows` and cache.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from mimo_model import kernels
from mimo_model.checkpoint import num_tokenizer_ids
from mimo_model.decoding import fused, native
from mimo_model.decoding.drafting import DraftChooser
from mimo_model.decoding.graphs import GraphRound
from mimo_model.decoding.rounds import ModuleNetwork, Round
from mimo_model.decoding.rows import FIRST_TOKEN, RUNNING, STOP, Rows
from mimo_model.decoding.sampling import Completion, Sampling
from mimo_model.decoding.slots import SlotCache
from mimo_model.errors import ModelError
from mimo_model.kernels.verify import verify
from mimo_model.model import MiMoForCausalLM, MTPLayer

if TYPE_CHECKING:
    from mimo_model.text import TextStream

OnTokens = Callable[[tuple[int, ...], tuple[float, ...]], None]
"""Called inside `step` with a request's new tokens and their log-probabilities; it may abort requests."""

# Unique prompt tokens read in one forward: bounds the memory of a burst of long prompts.
_MAX_PREFILL_TOKENS = 16_384


@dataclass
class _Request:
    id: int
    prompt: tuple[int, ...]
    sampling: Sampling
    on_tokens: OnTokens | None
    text: TextStream | None
    """Where stop strings are looked for."""

    num_drafted: list[int]
    num_accepted: list[int]
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: Literal["stop", "length", "abort"] | None = None

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.tokens)

    def completion(self) -> Completion:
        assert self.finish is not None
        return Completion(
            tokens=tuple(self.tokens),
            logprobs=tuple(self.logprobs),
            finish=self.finish,
            num_drafted=tuple(self.num_drafted),
            num_accepted=tuple(self.num_accepted),
        )


class Engine:
    """Decodes many requests at once; each `step` is one round for all that are running.

    It reads the model's own parameters: what is written into them, by an optimizer say, counts from the next request on
    that is admitted, and `update_weights` at once. With a fixed number of drafts, a request's tokens depend on its
    prompt and sampling (seed included), not on its batch-mates.
    """

    def __init__(
        self,
        model: MiMoForCausalLM,
        tokenizer: PreTrainedTokenizerBase,
        *,
        num_drafts: int | Literal["auto"] = 0,
        max_batch_size: int = 256,
        backend: Literal["auto", "torch"] = "auto",
        simulated_acceptance: Sequence[float] | None = None,
    ) -> None:
        """
        Args:
            num_drafts: K, how many MTP layers draft; 0 decodes plainly. "auto" chooses for every round what has
                paid best so far, up to all layers: what a greedy request gets stays the same, a sampled one gets
                other draws from the same distribution.
            max_batch_size: so many requests run at a time, the others wait.
            backend: "auto" decodes with compiled C on a CPU and with fused kernels in CUDA graphs on a GPU, where it
                can; "torch" with PyTorch's operators only.
            simulated_acceptance: for benchmarks of models with random weights: drafts count as accepted as often as
                this says, layer by layer with all earlier ones (0.9, 0.83, 0.75), whatever they are.

        Raises:
            ValueError: the model has fewer MTP layers, or no stop token.
        """
        num_layers = len(model.model.mtp_layers)
        if num_drafts != "auto" and not 0 <= num_drafts <= num_layers:
            raise ValueError(
                f"num_drafts={num_drafts}, but the model has {num_layers} MTP layers. "
                "Ask for fewer, or make copies with replicate_mtp."
            )
        if max_batch_size < 1:
            raise ValueError(f"max_batch_size={max_batch_size}: at least 1.")
        eos = model.generation_config.eos_token_id
        if eos is None:
            raise ValueError("The model's generation_config has no eos_token_id, so nothing would ever stop.")
        self.model = model
        self._tokenizer = tokenizer
        self._max_batch_size = max_batch_size
        # Read with every prompt, and a config looks through its layers' own settings each time.
        self._vocab_size, self._context = model.config.vocab_size, model.config.max_position_embeddings
        self._max_drafts = max_drafts = num_layers if num_drafts == "auto" else num_drafts
        self._chooser = DraftChooser(max_drafts) if num_drafts == "auto" else None
        self._device = model.lm_head.weight.device
        self._cache = SlotCache(
            model.config,
            model.config.num_hidden_layers + max_drafts,
            device=self._device,
            dtype=model.lm_head.weight.dtype,
        )
        self._rows = Rows.empty(model, max_drafts, self._device)
        stop_ids = torch.tensor([eos] if isinstance(eos, int) else list(eos), device=self._device)
        num_ids = min(num_tokenizer_ids(tokenizer), model.config.vocab_size)
        self._modules = ModuleNetwork(model, self._cache, num_ids=num_ids)
        self._native: native.NativeRound | None = None
        self._fused: fused.FusedNetwork | None = None
        self._graphs: GraphRound | None = None
        self._reason: str | None = f"backend={backend!r}"
        if backend == "auto" and kernels.fused(model.lm_head.weight):
            self._reason = fused.takes(model)
            if self._reason is None:
                self._fused = self._modules = fused.FusedNetwork(model, self._cache, num_ids=num_ids)
        elif backend == "auto":
            self._reason = "simulated acceptance" if simulated_acceptance else native.available(model)
            if self._device.type == "cuda":
                self._reason = "triton is not installed"
            if self._reason is None:
                self._native = native.NativeRound(model, self._cache, self._rows, num_ids=num_ids, stop_ids=stop_ids)
        simulated = torch.tensor(simulated_acceptance or (), device=self._device)
        self._torch = Round(
            model, self._modules, self._rows, num_ids=num_ids, stop_ids=stop_ids, simulated_acceptance_K=simulated
        )
        if self._fused and self._device.type == "cuda":
            self._graphs = GraphRound(self._torch, self._rows)
        self._queue: deque[_Request] = deque()
        self._running: list[_Request] = []
        self._finished: list[_Request] = []
        self._last_num_drafts = max_drafts
        self._num_submitted = 0

    @property
    def pending(self) -> int:
        """How many submitted requests have not been returned by `step`."""
        return len(self._queue) + len(self._running) + len(self._finished)

    @property
    def backend(self) -> str:
        """What decodes the rounds, and why it is only PyTorch's operators where it is."""
        if self._native:
            return "compiled C"
        if self._fused:
            return "fused kernels" + (" in CUDA graphs" if self._graphs else "")
        return f"PyTorch's operators ({self._reason})"

    def submit(self, prompt_ids: Sequence[int], sampling: Sampling, *, on_tokens: OnTokens | None = None) -> int:
        """Queues a request and returns its id.

        Args:
            on_tokens: streams the response: called inside `step` with new tokens as soon as they are decided.

        Raises:
            ValueError: the prompt is empty, has an id outside the vocabulary, or leaves too little context.
        """
        prompt = tuple(prompt_ids)
        if not prompt:
            raise ValueError("The prompt is empty: give it at least one token.")
        if min(prompt) < 0 or max(prompt) >= self._vocab_size:
            raise ValueError(f"The ids of a prompt are from 0 to {self._vocab_size - 1}; got {prompt[:8]}…")
        if len(prompt) + sampling.max_tokens > self._context:
            raise ValueError(
                f"A prompt of {len(prompt)} tokens and max_tokens={sampling.max_tokens} exceed the model's context "
                f"of {self._context} (max_position_embeddings). Shorten one of them."
            )
        text = None
        if sampling.stop:
            from mimo_model.text import TextStream

            text = TextStream(self._tokenizer, sampling.stop)
        counts = [0] * self._max_drafts
        request = _Request(self._num_submitted, prompt, sampling, on_tokens, text, counts, list(counts))
        self._num_submitted += 1
        self._queue.append(request)
        return request.id

    def abort(self, request_id: int) -> None:
        """Ends a request early: the next `step` returns what it has, with finish "abort".

        Raises:
            ValueError: no such request is pending.
        """
        for request in (*self._running, *self._queue, *self._finished):
            if request.id == request_id:
                request.finish = request.finish or "abort"
                if request in self._queue:
                    self._queue.remove(request)
                    self._finished.append(request)
                return
        raise ValueError(f"Request {request_id} is not pending: never submitted, or already returned.")

    def update_weights(self, state: Mapping[str, Tensor]) -> None:
        """Copies new weights into the model. Running requests go on with the cache that the old weights made.

        Raises:
            ModelError: the names or shapes are not the model's.
        """
        own = self.model.state_dict()
        wrong = [name for name in own.keys() | state.keys() if name not in own or name not in state]
        wrong += [name for name in own.keys() & state.keys() if own[name].shape != state[name].shape]
        if wrong:
            raise ModelError(
                f"update_weights: {len(wrong)} tensors are missing, unknown or of another shape, {min(wrong)} among "
                "them. Nothing was changed: give the whole state of a model of this shape."
            )
        self.model.load_state_dict(state)
        self._bind()

    @torch.inference_mode()
    def step(self) -> list[tuple[int, Completion]]:
        """Admits waiting requests, runs one round, and returns the requests that finished, with their ids."""
        self._remove_finished()
        num_free = self._max_batch_size - len(self._running)
        # Admitting one by one would spend a forward on each: wait until an eighth of the batch is free.
        if self._queue and num_free >= min(len(self._queue), max(self._max_batch_size // 8, 1)):
            self._admit(num_free)
            self._remove_finished()
        if self._running:
            self._round()
            self._remove_finished()
        finished, self._finished = self._finished, []
        return [(request.id, request.completion()) for request in finished]

    def _admit(self, num_free: int) -> None:
        """Reads waiting prompts, equal ones once, and draws each request's first token."""
        start = len(self._running)
        readers: dict[tuple[int, ...], _Request] = {}
        copiers: list[_Request] = []
        longest = 0
        while self._queue and len(readers) + len(copiers) < num_free:
            request = self._queue[0]
            longest = max(longest, len(request.prompt))
            if readers and request.prompt not in readers and (len(readers) + 1) * longest > _MAX_PREFILL_TOKENS:
                break
            if readers.setdefault(request.prompt, request) is not request:
                copiers.append(request)
            self._queue.popleft()
        admitted = [*readers.values(), *copiers]
        self._running += admitted
        try:
            self._read(start, list(readers.values()), admitted)
        except BaseException:
            del self._running[start:]
            self._queue.extendleft(reversed(admitted))
            raise
        self._collect(slice(start, start + len(admitted)), num_drafts=0)

    def _read(self, start: int, readers: Sequence[_Request], admitted: Sequence[_Request]) -> None:
        """Fills the rows of admitted requests, the readers first, up to their first token."""
        self._bind(moved=self._reserve())
        longest = max(len(request.prompt) for request in readers)
        rows = self._rows
        new = slice(start, start + len(admitted))
        tokens_BT = torch.zeros(len(admitted), longest, dtype=torch.int64)
        for row, request in enumerate(admitted):
            tokens_BT[row, : len(request.prompt)] = torch.tensor(request.prompt)
        settings = [request.sampling for request in admitted]
        for name, values in (
            ("num_tokens", [len(request.prompt) for request in admitted]),
            ("max_tokens", [len(request.prompt) + request.sampling.max_tokens for request in admitted]),
            ("seed", [_signed(sampling.seed) for sampling in settings]),
            ("temperature", [sampling.temperature for sampling in settings]),
            ("top_p", [sampling.top_p for sampling in settings]),
            ("top_k", [sampling.top_k for sampling in settings]),
        ):
            getattr(rows, name)[new] = torch.tensor(values, device=self._device)
        rows.tokens[new, :longest] = tokens_BT.to(self._device)

        places = {request.prompt: i for i, request in enumerate(readers)}
        sources = [places[request.prompt] for request in admitted]
        num_tokens = sum(len(request.prompt) for request in readers)
        if self._native and self._native.fits(num_tokens):
            rows.filled[new] = 0
            self._native.prefill(start, len(readers), num_tokens)
            self._last_num_drafts = -1  # the MTP layers' caches are empty: a round in PyTorch has to catch up
            self._copy(start, sources, len(readers), longest)
            self._native.decode(start, len(admitted), 0)
        else:
            self._read_with_torch(new, sources, len(readers), longest)

    def _copy(self, start: int, sources: list[int], num_readers: int, num_places: int) -> None:
        """Gives the requests behind the readers what was read of their prompts: `sources[i]` is for row start + i."""
        if len(sources) == num_readers:
            return
        places = torch.tensor(sources[num_readers:], device=self._device)
        self._cache.copy(start + num_readers, start + places, num_places)
        if self._max_drafts:
            copies = slice(start + num_readers, start + len(sources))
            self._rows.hidden[copies, :num_places] = self._rows.hidden[start + places, :num_places]

    def _read_with_torch(self, new: slice, sources: list[int], num_readers: int, longest: int) -> None:
        """Prefill and first tokens by PyTorch: whole prompts in one forward, padded on the right."""
        rows, network = self._rows, self.model.model
        readers = slice(new.start, new.start + num_readers)
        rope = self._modules.rope(torch.arange(longest, device=self._device)[None])
        embeddings_UTD = network.embed_tokens(rows.tokens[readers, :longest])
        hidden_UTD: Tensor = network.trunk(embeddings_UTD, rope, self._cache.prefill(new.start))
        for k in range(1, self._max_drafts + 1):
            layer = network.mtp_layers[k - 1]
            assert isinstance(layer, MTPLayer)
            shifted_UTD = F.pad(embeddings_UTD[:, k:], (0, 0, 0, min(k, longest)))
            shifted_UTD[:, 0] = 0.0
            # The last k entries lack their token; the first draft round writes them anew.
            keys, values = layer.keys_values(hidden_UTD, shifted_UTD, rope)
            self._cache.write_prompt(layer.self_attn.layer, new.start, keys, values)
        lengths_B = rows.num_tokens[new]
        if self._max_drafts:
            rows.hidden[readers, :longest] = hidden_UTD
            layers_M = torch.arange(1, self._max_drafts + 1, device=self._device)
            rows.filled[new] = (lengths_B[:, None] - layers_M).clamp(min=0)
        self._copy(new.start, sources, num_readers, longest)

        rows_U1 = torch.arange(num_readers, device=self._device)[:, None]
        logits_U1V = self._modules.logits(hidden_UTD[rows_U1, rows.num_tokens[readers, None] - 1])
        logits_B1V = logits_U1V[torch.tensor(sources, device=self._device)]
        is_restricted = _restricted(self._running[new])
        top_p_B, top_k_B = (rows.top_p[new], rows.top_k[new]) if is_restricted else (None, None)
        nothing_BK = rows.tokens[new, :0]
        outcome = verify(
            logits_B1V,
            nothing_BK,
            logits_B1V[:, :0].float(),
            rows.temperature[new],
            top_p_B,
            top_k_B,
            rows.seed[new],
            lengths_B,
        )
        self._torch.append(new, *outcome)

    def _round(self) -> None:
        """K drafts, one verifying forward, and 1 … K + 1 new tokens for every running request."""
        batch_size = len(self._running)
        start_s = time.perf_counter()
        num_drafts = self._chooser.choose(batch_size) if self._chooser else self._max_drafts
        if self._reserve():
            self._bind(moved=True)
        is_typical = True
        if self._native and self._native.fits(batch_size * (num_drafts + 1)):
            self._native.decode(0, batch_size, num_drafts)
        else:
            if num_drafts != self._last_num_drafts:
                self._torch.catch_up(batch_size, num_drafts)
            num_keys = max(request.length for request in self._running) + num_drafts
            restricted = _restricted(self._running)
            if self._graphs:
                is_typical = self._graphs(batch_size, num_drafts, num_keys=num_keys, restricted=restricted)
            else:
                self._torch(batch_size, num_drafts, num_keys=num_keys, restricted=restricted)
        self._last_num_drafts = num_drafts
        num_tokens = self._collect(slice(0, batch_size), num_drafts=num_drafts)
        if self._chooser and is_typical:
            seconds = time.perf_counter() - start_s
            self._chooser.note(batch_size, num_drafts, num_tokens=num_tokens, seconds=seconds)

    def _collect(self, batch: slice, *, num_drafts: int) -> int:
        """Hands the new tokens to their requests, and returns how many; the one host synchronisation of a round."""
        width, steps = FIRST_TOKEN + num_drafts + 1, num_drafts + 1
        if self._device.type == "cpu":
            # Slices and lists of NumPy take a third of the time of a tensor's.
            report = self._rows.report.numpy()[batch, :width]
            logprobs = self._rows.logprobs.numpy()[batch, :steps]
        else:
            # One copy, which is what waits: the bits of the log-probabilities travel as integers.
            bits = self._rows.logprobs[batch, :steps].view(torch.int32).long()
            packed = torch.cat((self._rows.report[batch, :width], bits), dim=1).cpu()
            report, logprobs = packed[:, :width].numpy(), packed[:, width:].int().view(torch.float32).numpy()
        total = 0
        calls: list[tuple[OnTokens, tuple[int, ...], tuple[float, ...]]] = []
        for request, (finish, num_new, num_accepted, *tokens), values in zip(
            self._running[batch], report.tolist(), logprobs.tolist(), strict=True
        ):
            for k in range(num_drafts):
                request.num_drafted[k] += 1
                request.num_accepted[k] += k < num_accepted
            if request.finish:  # aborted by another request's callback
                continue
            if request.text:
                for place, token in enumerate(tokens[:num_new]):
                    request.text.push((token,))
                    if request.text.stopped:
                        finish, num_new = STOP, place + 1
                        break
            if num_new < steps:
                del tokens[num_new:], values[num_new:]
            request.tokens += tokens
            request.logprobs += values
            total += num_new
            if finish != RUNNING:
                request.finish = "stop" if finish == STOP else "length"
            if request.on_tokens:
                calls.append((request.on_tokens, tuple(tokens), tuple(values)))
        # Only now: a listener that raises must not cost other requests their tokens.
        errors = []
        for on_tokens, new_tokens, new_logprobs in calls:
            try:
                on_tokens(new_tokens, new_logprobs)
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return total

    def _remove_finished(self) -> None:
        """Takes out finished requests and moves the last rows into their places, so that the first B run."""
        done = [row for row, request in enumerate(self._running) if request.finish]
        if not done:
            return
        self._finished += [self._running[row] for row in done]
        num_left = len(self._running) - len(done)
        gaps = [row for row in done if row < num_left]
        movers = [row for row in range(num_left, len(self._running)) if not self._running[row].finish]
        if movers:
            self._cache.move(gaps, movers)
            self._rows.move(gaps, movers)
            for gap, mover in zip(gaps, movers, strict=True):
                self._running[gap] = self._running[mover]
        self._rows.release(num_left, len(self._running))
        del self._running[num_left:]

    def _reserve(self) -> bool:
        """Room for the running requests and one more round of each; True when cache and rows were replaced."""
        # One place more for the first token of a prompt that has just been read.
        longest = max([len(request.prompt) + len(request.tokens) for request in self._running])
        num_places = longest + self._max_drafts + 2
        moved = self._cache.reserve(len(self._running), num_places)
        # The second half is false only after memory ran out between the two.
        if not moved and self._rows.tokens.shape == (self._cache.num_slots, self._cache.num_places):
            return False
        self._rows.reserve(self._cache.num_slots, self._cache.num_places)
        if self._graphs:
            self._graphs.forget()
        return True

    def _bind(self, *, moved: bool = False) -> None:
        """Looks where parameters, cache and rows lie now: a model that is trained meanwhile may have got new ones."""
        if self._native and self._running:
            self._native.bind(moved=moved)
        if self._fused and self._fused.bind() and self._graphs:
            self._graphs.forget()


def _restricted(requests: Sequence[_Request]) -> bool:
    """Whether some request has a top-k or top-p that restricts."""
    return any(request.sampling.top_k or request.sampling.top_p < 1.0 for request in requests)


def _signed(seed: int) -> int:
    """Any Python integer as the int64 of its low 64 bits."""
    seed &= 2**64 - 1
    return seed - 2**64 if seed >= 2**63 else seed
