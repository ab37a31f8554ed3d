"""The decoding engine: continuous batching with MTP drafts, lossless (§2.2).

One round of K drafts for every running request at once: MTP layers 1 … K draft x_{n+1} … x_{n+K} one after the
other; the main model reads x_n and the drafts in one forward; Leviathan's rule accepts a prefix of them and draws
one more token. So a round yields 1 … K + 1 tokens whose distribution is the main model's own.

Shapes: B running requests, T tokens, K drafts of a round, D hidden, V tokenizer ids (padded ids have no logits here,
so they cannot be sampled), W ring places. Position i of MTP layer k pairs h_i with embed(x_{i+k}).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from mimo_model.checkpoint import num_tokenizer_ids
from mimo_model.errors import ModelError
from mimo_model.model import MiMoForCausalLM
from mimo_model.rope import Rope, rope_at
from mimo_model.sampling import ACCEPT, DRAFT, SAMPLE, Completion, Sampling, distributions, draw, uniforms
from mimo_model.slots import SlotCache

_FINISHES: tuple[Literal["stop", "length", "abort"], ...] = ("stop", "length", "abort")
_RUNNING, _STOP, _LENGTH, _ABORT = 0, 1, 2, 3

# Unique prompt tokens read in one forward: bounds the memory of a burst of long prompts.
_MAX_PREFILL_TOKENS = 16_384


@dataclass
class _Rows:
    """The state of every slot, first dimension S; row b of the first B rows is a running request."""

    tokens: Tensor
    """int64 [S, C]: prompt, then what was generated, then the drafts of the round."""

    logprobs: Tensor
    """float32 [S, C], by position."""

    num_tokens: Tensor
    """int64 [S]: prompt and accepted tokens, x_0 … x_n; the main cache holds all but x_n."""

    max_tokens: Tensor
    """int64 [S]: where the request's length limit ends it, prompt included."""

    finish: Tensor
    """int64 [S]: 0 while running, else 1 + index into `_FINISHES`."""

    hidden: Tensor
    """[S, W, D]: h_i of the latest positions, at place i modulo W."""

    num_accepted: Tensor
    """int64 [S, K]."""

    num_rounds: Tensor
    """int64 [S]: rounds that put drafts to the main model."""

    seed: Tensor
    temperature: Tensor
    top_p: Tensor
    top_k: Tensor

    def all(self) -> list[Tensor]:
        return [getattr(self, field.name) for field in fields(self)]


@dataclass(frozen=True)
class _Request:
    id: int
    prompt: tuple[int, ...]
    sampling: Sampling


class Engine:
    """Decodes many requests at once; each `step` is one round for all that are running.

    It reads the model's own parameters, so a model that is trained in place is sampled as it is. A request's
    tokens depend on its prompt and sampling (seed included), not on its batch-mates.
    """

    def __init__(
        self,
        model: MiMoForCausalLM,
        tokenizer: PreTrainedTokenizerBase,
        *,
        num_drafts: int = 0,
        max_batch_size: int = 256,
    ) -> None:
        """
        Args:
            num_drafts: K, how many MTP layers draft; 0 decodes plainly.
            max_batch_size: so many requests run at a time, the others wait.

        Raises:
            ValueError: the model has fewer MTP layers, or no stop token.
        """
        if not 0 <= num_drafts <= len(model.model.mtp_layers):
            raise ValueError(
                f"num_drafts={num_drafts}, but the model has {len(model.model.mtp_layers)} MTP layers. "
                "Ask for fewer, or make copies with replicate_mtp."
            )
        if max_batch_size < 1:
            raise ValueError(f"max_batch_size={max_batch_size}: at least 1.")
        eos = model.generation_config.eos_token_id
        if eos is None:
            raise ValueError("The model's generation_config has no eos_token_id, so nothing would ever stop.")
        self.model = model
        self._num_drafts = num_drafts
        self._max_batch_size = max_batch_size
        self._num_ids = min(num_tokenizer_ids(tokenizer), model.config.vocab_size)
        self._device = model.lm_head.weight.device
        self._stop_ids = torch.tensor([eos] if isinstance(eos, int) else list(eos), device=self._device)
        num_layers = model.config.num_hidden_layers + num_drafts
        dtype = model.lm_head.weight.dtype
        self._cache = SlotCache(model.config, num_layers, device=self._device, dtype=dtype)
        self._rows = _empty_rows(model, num_drafts, self._device)
        self._rope_table: Rope = (torch.empty(0), torch.empty(0))
        self._queue: deque[_Request] = deque()
        self._running: list[_Request] = []
        self._lengths: list[int] = []
        self._aborted: list[_Request] = []
        self._num_submitted = 0

    @property
    def pending(self) -> int:
        """How many submitted requests have not been returned by `step`."""
        return len(self._queue) + len(self._running) + len(self._aborted)

    def submit(self, prompt_ids: Sequence[int], sampling: Sampling) -> int:
        """Queues a request and returns its id.

        Raises:
            ValueError: the prompt is empty, has an id outside the vocabulary, or leaves too little context.
        """
        prompt = tuple(prompt_ids)
        if not prompt or min(prompt) < 0 or max(prompt) >= self.model.config.vocab_size:
            raise ValueError(
                f"A prompt needs at least one id, all from 0 to {self.model.config.vocab_size - 1}; got {prompt[:8]}…"
            )
        context = self.model.config.max_position_embeddings
        if len(prompt) + sampling.max_tokens > context:
            raise ValueError(
                f"A prompt of {len(prompt)} tokens and max_tokens={sampling.max_tokens} exceed the model's context "
                f"of {context} (max_position_embeddings). Shorten one of them."
            )
        request = _Request(self._num_submitted, prompt, sampling)
        self._num_submitted += 1
        self._queue.append(request)
        return request.id

    @torch.inference_mode()
    def abort(self, request_id: int) -> None:
        """Ends a request early: the next `step` returns what it has, with finish "abort".

        Raises:
            ValueError: no such request is pending.
        """
        for row, request in enumerate(self._running):
            if request.id == request_id:
                self._rows.finish[row] = _ABORT
                return
        for request in self._queue:
            if request.id == request_id:
                self._queue.remove(request)
                self._aborted.append(request)
                return
        raise ValueError(f"Request {request_id} is not pending: never submitted, or already returned.")

    def update_weights(self, state: Mapping[str, Tensor]) -> None:
        """Copies new weights into the model. Running requests go on with the cache that the old weights made.

        Raises:
            ModelError: the names or shapes are not the model's.
        """
        try:
            self.model.load_state_dict(state)
        except RuntimeError as error:
            raise ModelError(f"update_weights: {' '.join(str(error).split())}") from None

    @torch.inference_mode()
    def step(self) -> list[tuple[int, Completion]]:
        """Admits waiting requests, runs one round, and returns the requests that finished, with their ids."""
        num_drafts = self._num_drafts
        finished = [
            (request.id, Completion((), (), "abort", (0,) * num_drafts, (0,) * num_drafts)) for request in self._aborted
        ]
        self._aborted.clear()
        finished += self._collect()
        num_free = self._max_batch_size - len(self._running)
        # Admitting one by one would spend a forward on each: wait until an eighth of the batch is free.
        if self._queue and num_free >= min(len(self._queue), max(self._max_batch_size // 8, 1)):
            self._admit(num_free)
            finished += self._collect()
        if self._running:
            self._round()
            finished += self._collect()
        return finished

    def _admit(self, num_free: int) -> None:
        """Reads waiting prompts, equal ones once, and draws each request's first token."""
        start = len(self._running)
        admitted: list[_Request] = []
        unique: dict[tuple[int, ...], int] = {}
        longest = 0
        while self._queue and len(admitted) < num_free:
            prompt = self._queue[0].prompt
            longest = max(longest, len(prompt))
            num_unique = len(unique) + (prompt not in unique)
            if admitted and num_unique * longest > _MAX_PREFILL_TOKENS:
                break
            unique.setdefault(prompt, len(unique))
            admitted.append(self._queue.popleft())
        longest = max(len(prompt) for prompt in unique)
        self._running += admitted
        self._lengths += [len(request.prompt) for request in admitted]
        self._reserve()

        ids_UT = torch.zeros(len(unique), longest, dtype=torch.int64)
        for row, prompt in enumerate(unique):
            ids_UT[row, : len(prompt)] = torch.tensor(prompt)
        ids_UT = ids_UT.to(self._device)
        sources = torch.tensor([unique[request.prompt] for request in admitted], device=self._device)
        lengths_U = torch.tensor([len(prompt) for prompt in unique], device=self._device)
        hidden_UTD = self._prefill(ids_UT, start)
        self._cache.spread(start, sources, longest)

        rows = self._rows
        new = slice(start, start + len(admitted))
        lengths_B = lengths_U[sources]
        rows.tokens[new, :longest] = ids_UT[sources]
        rows.num_tokens[new] = lengths_B
        rows.finish[new] = _RUNNING
        rows.num_accepted[new] = 0
        rows.num_rounds[new] = 0
        settings = [request.sampling for request in admitted]
        rows.seed[new] = torch.tensor([_signed(sampling.seed) for sampling in settings], device=self._device)
        rows.temperature[new] = torch.tensor([sampling.temperature for sampling in settings], device=self._device)
        rows.top_p[new] = torch.tensor([sampling.top_p for sampling in settings], device=self._device)
        rows.top_k[new] = torch.tensor([sampling.top_k for sampling in settings], device=self._device)
        limits = [len(request.prompt) + request.sampling.max_tokens for request in admitted]
        rows.max_tokens[new] = torch.tensor(limits, device=self._device)
        ring = rows.hidden.shape[1]
        latest_UW = lengths_U[:, None] + torch.arange(-ring, 0, device=self._device)
        ring_UWD = torch.empty_like(rows.hidden[: len(unique)])
        rows_U1 = torch.arange(len(unique), device=self._device)[:, None]
        ring_UWD[rows_U1, latest_UW % ring] = hidden_UTD[rows_U1, latest_UW.clamp(min=0)]
        rows.hidden[new] = ring_UWD[sources]

        logits_U1V = self._logits(hidden_UTD[rows_U1, lengths_U[:, None] - 1])
        sampled_B1V, model_B1V = self._distributions(logits_U1V[sources], new)
        uniforms_B = uniforms(rows.seed[new], lengths_B[:, None], SAMPLE)[:, 0]
        tokens_B1 = draw(sampled_B1V[:, 0], uniforms_B)[:, None]
        self._append(new, tokens_B1, torch.ones_like(lengths_B), model_B1V)

    def _prefill(self, ids_UT: Tensor, start: int) -> Tensor:
        """Hidden states [U, T, D] of whole prompts, with every layer's keys and values written from slot `start` on."""
        network = self.model.model
        num_tokens = ids_UT.shape[1]
        rope = self._rope(torch.arange(num_tokens, device=self._device)[None])
        embeddings_UTD = network.embed_tokens(ids_UT)
        hidden_UTD: Tensor = network.trunk(embeddings_UTD, rope, self._cache.prefill(start))
        for k in range(1, self._num_drafts + 1):
            layer = network.mtp_layers[k - 1]
            shifted_UTD = F.pad(embeddings_UTD[:, k:], (0, 0, 0, min(k, num_tokens)))
            shifted_UTD[:, 0] = 0.0
            # The last k entries lack their token; the first draft round writes them anew.
            keys, values = layer.keys_values(hidden_UTD, shifted_UTD, rope)
            self._cache.write_prompt(layer.self_attn.layer, start, keys, values)
        return hidden_UTD

    def _round(self) -> None:
        """K drafts, one verifying forward, and 1 … K + 1 new tokens for every running request."""
        rows, num_drafts = self._rows, self._num_drafts
        batch = slice(0, len(self._running))
        self._reserve()
        last_B = rows.num_tokens[batch] - 1
        proposals_BTV = self._draft(batch, last_B)

        steps_T = torch.arange(num_drafts + 1, device=self._device)
        positions_BT = last_B[:, None] + steps_T
        ids_BT = rows.tokens[batch].gather(1, positions_BT)
        network = self.model.model
        hidden_BTD = network.trunk(
            network.embed_tokens(ids_BT),
            self._rope(positions_BT),
            self._cache.decode(positions_BT, max(self._lengths) + num_drafts),
        )
        sampled_BTV, model_BTV = self._distributions(self._logits(hidden_BTD), batch)
        rows_B = torch.arange(len(self._running), device=self._device)
        if num_drafts == 0:
            drawn_B = draw(sampled_BTV[:, 0], uniforms(rows.seed[batch], positions_BT + 1, SAMPLE)[:, 0])
            self._append(batch, drawn_B[:, None], torch.ones_like(drawn_B), model_BTV)
            return

        rows.hidden[rows_B[:, None], positions_BT % rows.hidden.shape[1]] = hidden_BTD
        drafts_BK1 = ids_BT[:, 1:, None]
        wanted_BK = sampled_BTV[:, :-1].gather(2, drafts_BK1)[..., 0]
        proposed_BK = proposals_BTV[:, :-1].gather(2, drafts_BK1)[..., 0]
        chances_BK = uniforms(rows.seed[batch], positions_BT[:, 1:], ACCEPT)
        accepted_BK = (chances_BK * proposed_BK < wanted_BK).long().cumprod(1)
        num_accepted_B = accepted_BK.sum(1)
        rows.num_accepted[batch] += accepted_BK
        rows.num_rounds[batch] += 1

        # After a rejection: what the target has in excess of the proposal. After none, the proposal is all zeros.
        target_BV = sampled_BTV[rows_B, num_accepted_B]
        excess_BV = (target_BV - proposals_BTV[rows_B, num_accepted_B]).clamp_(min=0.0)
        # Equal distributions leave no excess; a rejection there comes from rounding alone.
        excess_BV = torch.where(excess_BV.sum(-1, keepdim=True) > 0, excess_BV, target_BV)
        next_B1 = (last_B + 1 + num_accepted_B)[:, None]
        drawn_B = draw(excess_BV, uniforms(rows.seed[batch], next_B1, SAMPLE)[:, 0])
        tokens_BT = F.pad(ids_BT[:, 1:], (0, 1)).scatter_(1, num_accepted_B[:, None], drawn_B[:, None])
        self._append(batch, tokens_BT, num_accepted_B + 1, model_BTV)

    def _draft(self, batch: slice, last_B: Tensor) -> Tensor:
        """Writes drafts of x_{n+1} … x_{n+K} behind the tokens; returns what they were drawn from.

        Each MTP layer's cache is repaired on the way: the entries that stood on drafts since rejected, or that had
        no token yet, are among the K + k latest, which are written anew.

        Returns:
            float32 [B, K + 1, V], the last of them zeros.
        """
        rows, network = self._rows, self.model.model
        num_drafts = self._num_drafts
        proposals_BTV = torch.zeros(len(last_B), num_drafts + 1, self._num_ids, device=self._device)
        rows_B1 = torch.arange(len(last_B), device=self._device)[:, None]
        for k in range(1, num_drafts + 1):
            layer = network.mtp_layers[k - 1]
            positions_BT = last_B[:, None] + torch.arange(-num_drafts - k, 0, device=self._device)
            hidden_BTD = rows.hidden[rows_B1, positions_BT % rows.hidden.shape[1]]
            ids_BT = rows.tokens[batch].gather(1, (positions_BT + k).clamp_(min=0))
            embeddings_BTD = network.embed_tokens(ids_BT) * (positions_BT != 0).unsqueeze(-1)
            rope = self._rope(positions_BT)
            earlier = slice(0, -1)
            keys, values = layer.keys_values(
                hidden_BTD[:, earlier], embeddings_BTD[:, earlier], (rope[0][:, earlier], rope[1][:, earlier])
            )
            places = self._cache.places(positions_BT[:, earlier])
            self._cache.write(layer.self_attn.layer, places, keys, values)

            inputs_B1D = layer.combine(hidden_BTD[:, -1:], embeddings_BTD[:, -1:])
            attend = self._cache.decode(positions_BT[:, -1:], max(self._lengths) + num_drafts)
            outputs_B1D = layer(inputs_B1D, (rope[0][:, -1:], rope[1][:, -1:]), attend)
            logits_B1V = self._head(layer.final_layernorm(outputs_B1D))
            proposal_BV = self._distributions(logits_B1V, batch)[0][:, 0]
            place_B1 = (last_B + k)[:, None]
            drafts_B = draw(proposal_BV, uniforms(rows.seed[batch], place_B1, DRAFT)[:, 0])
            rows.tokens[rows_B1, place_B1] = drafts_B[:, None]
            proposals_BTV[:, k - 1] = proposal_BV
        return proposals_BTV

    def _append(self, batch: slice, tokens_BT: Tensor, num_new_B: Tensor, model_BTV: Tensor) -> None:
        """Adds the first `num_new_B` tokens of each row, up to its stop token and its limit."""
        rows = self._rows
        steps_T = torch.arange(tokens_BT.shape[1], device=self._device)
        places_BT = rows.num_tokens[batch, None] + steps_T
        rows_B1 = torch.arange(batch.start, batch.stop, device=self._device)[:, None]
        rows.tokens[rows_B1, places_BT] = tokens_BT
        rows.logprobs[rows_B1, places_BT] = model_BTV.gather(2, tokens_BT[..., None])[..., 0].log()
        room_B = torch.minimum(num_new_B, rows.max_tokens[batch] - rows.num_tokens[batch])
        is_stop_BT = (tokens_BT[..., None] == self._stop_ids).any(-1) & (steps_T < room_B[:, None])
        stops_B = is_stop_BT.any(1)
        rows.num_tokens[batch] += torch.where(stops_B, is_stop_BT.long().argmax(1) + 1, room_B)
        at_limit_B = rows.num_tokens[batch] >= rows.max_tokens[batch]
        rows.finish[batch] = torch.where(stops_B, _STOP, torch.where(at_limit_B, _LENGTH, _RUNNING))

    def _collect(self) -> list[tuple[int, Completion]]:
        """Takes out the finished requests and closes their gaps; the one host synchronisation of a round."""
        num_running = len(self._running)
        if not num_running:
            return []
        rows = self._rows
        finishes, self._lengths = torch.stack((rows.finish, rows.num_tokens))[:, :num_running].tolist()
        done = [row for row, finish in enumerate(finishes) if finish]
        if not done:
            return []
        longest = max(self._lengths[row] for row in done)
        tokens = rows.tokens[done, :longest].tolist()
        logprobs = rows.logprobs[done, :longest].tolist()
        accepted = rows.num_accepted[done].tolist()
        num_rounds = rows.num_rounds[done].tolist()
        finished = []
        for i, row in enumerate(done):
            request = self._running[row]
            new = slice(len(request.prompt), self._lengths[row])
            finished.append(
                (
                    request.id,
                    Completion(
                        tokens=tuple(tokens[i][new]),
                        logprobs=tuple(logprobs[i][new]),
                        finish=_FINISHES[finishes[row] - 1],
                        num_drafted=(num_rounds[i],) * self._num_drafts,
                        num_accepted=tuple(accepted[i]),
                    ),
                )
            )
        self._close_gaps(done)
        return finished

    def _close_gaps(self, done: list[int]) -> None:
        """Moves the last running rows into the finished ones, so that the first B rows are the running ones."""
        num_left = len(self._running) - len(done)
        gaps = [row for row in done if row < num_left]
        gone = set(done)
        movers = [row for row in range(num_left, len(self._running)) if row not in gone]
        if movers:
            self._cache.move(gaps, movers)
            for tensor in self._rows.all():
                tensor[gaps] = tensor[movers]
            for gap, mover in zip(gaps, movers, strict=True):
                self._running[gap] = self._running[mover]
                self._lengths[gap] = self._lengths[mover]
        del self._running[num_left:]
        del self._lengths[num_left:]

    def _reserve(self) -> None:
        """Room for the running requests and one more round of each."""
        # One place more for the first token of a prompt that has just been read.
        self._cache.reserve(len(self._running), max(self._lengths) + self._num_drafts + 2)
        num_slots, num_places = self._cache.num_slots, self._cache.num_places
        rows = self._rows
        if rows.tokens.shape == (num_slots, num_places):
            return
        for field, tensor in zip(fields(rows), rows.all(), strict=True):
            by_place = field.name in ("tokens", "logprobs")
            shape = (num_slots, num_places) if by_place else (num_slots, *tensor.shape[1:])
            grown = tensor.new_zeros(shape)
            grown[tuple(slice(0, size) for size in tensor.shape)] = tensor
            setattr(rows, field.name, grown)
        config = self.model.config
        positions = torch.arange(num_places, device=self._device)[None]
        dtype = self.model.lm_head.weight.dtype
        self._rope_table = rope_at(positions, theta=config.rope_theta, head_dim=config.head_dim or 0, dtype=dtype)

    def _rope(self, positions_BT: Tensor) -> Rope:
        places_BT = positions_BT.clamp(min=0)
        return self._rope_table[0][0][places_BT], self._rope_table[1][0][places_BT]

    def _logits(self, hidden_BTD: Tensor) -> Tensor:
        return self._head(self.model.model.norm(hidden_BTD))

    def _head(self, normed_BTD: Tensor) -> Tensor:
        """Logits of the ids that the tokenizer knows, and of no other."""
        return F.linear(normed_BTD, self.model.lm_head.weight[: self._num_ids])

    def _distributions(self, logits_BTV: Tensor, batch: slice) -> tuple[Tensor, Tensor]:
        rows = self._rows
        settings = [request.sampling for request in self._running[batch]]
        return distributions(
            logits_BTV,
            rows.temperature[batch],
            rows.top_p[batch],
            rows.top_k[batch],
            restricted=any(sampling.top_k or sampling.top_p < 1.0 for sampling in settings),
            greedy=any(sampling.temperature == 0.0 for sampling in settings),
        )


def _signed(seed: int) -> int:
    """Any Python integer as the int64 of its low 64 bits."""
    seed &= 2**64 - 1
    return seed - 2**64 if seed >= 2**63 else seed


def _empty_rows(model: MiMoForCausalLM, num_drafts: int, device: torch.device) -> _Rows:
    def integers(*shape: int) -> Tensor:
        return torch.zeros(*shape, dtype=torch.int64, device=device)

    def floats(*shape: int) -> Tensor:
        return torch.zeros(*shape, device=device)

    # A draft reads up to 2K positions back, after the K drafts of the round before may have been rejected.
    num_ring_places = 3 * num_drafts + 1
    return _Rows(
        tokens=integers(0, 0),
        logprobs=floats(0, 0),
        num_tokens=integers(0),
        max_tokens=integers(0),
        finish=integers(0),
        hidden=torch.zeros(
            0, num_ring_places, model.config.hidden_size, dtype=model.lm_head.weight.dtype, device=device
        ),
        num_accepted=integers(0, num_drafts),
        num_rounds=integers(0),
        seed=integers(0),
        temperature=floats(0),
        top_p=floats(0),
        top_k=integers(0),
    )
