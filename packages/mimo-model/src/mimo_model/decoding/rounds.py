"""One decoding round on tensors: K drafts, one verifying forward, and 1 … K + 1 new tokens for every request (§2.2).

MTP layers 1 … K draft x_{n+1} … x_{n+K} one after the other; the main model reads x_n and the drafts in one forward;
Leviathan's rule accepts a prefix of them and draws one token more. So the new tokens' distribution is the main
model's own. Nothing here waits for a device, and shapes follow from the arguments alone: a round can be recorded as a
CUDA graph. `Rows.report` is read by the caller.

Shapes: B running requests, T tokens, K drafts, D hidden, V tokenizer ids (padded ids have no logits here, so they
cannot be sampled). Position i of MTP layer k pairs h_i with embed(x_{i+k}).
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from mimo_model.decoding.rows import FINISH, FIRST_TOKEN, LENGTH, NUM_ACCEPTED, NUM_NEW, RUNNING, STOP, Rows
from mimo_model.decoding.sampling import ACCEPT, uniforms
from mimo_model.decoding.slots import SlotCache
from mimo_model.kernels.verify import draft_token, verify
from mimo_model.model import MiMoForCausalLM, MTPLayer
from mimo_model.rope import Rope


class Network(Protocol):
    """What a round asks of the model; every method writes keys and values into the cache of the first B slots."""

    def trunk(self, ids_BT: Tensor, positions_BT: Tensor, num_keys: int) -> Tensor:
        """Hidden states [B, T, D]."""

    def logits(self, hidden_BTD: Tensor) -> Tensor:
        """[B, T, V]: of the ids that the tokenizer knows."""

    def write_entries(self, k: int, hidden_BTD: Tensor, embeddings_BTD: Tensor, positions_BT: Tensor) -> None:
        """Entries of MTP layer k, and no more."""

    def draft_logits(
        self, k: int, hidden_BTD: Tensor, embeddings_BTD: Tensor, positions_BT: Tensor, num_keys: int
    ) -> Tensor:
        """[B, V]: what layer k says at the last of these entries, all of which it writes."""


class Round:
    """Rounds of one engine."""

    def __init__(
        self,
        model: MiMoForCausalLM,
        network: Network,
        rows: Rows,
        *,
        num_ids: int,
        stop_ids: Tensor,
        simulated_acceptance_K: Tensor,
    ) -> None:
        """
        Args:
            simulated_acceptance_K: empty, or how often so many drafts are to count as accepted (see `Engine`).
        """
        self._model, self._network, self._rows = model, network, rows
        self._num_ids, self._stop_ids = num_ids, stop_ids
        self._simulated_acceptance_K = simulated_acceptance_K

    def __call__(self, batch_size: int, num_drafts: int, *, num_keys: int, restricted: bool) -> None:
        """One round for the first `batch_size` rows; `Rows.report` and `Rows.logprobs` say what it brought.

        Args:
            num_keys: more than every position of the round.
            restricted: some request has a top-k or top-p that restricts; without it both are skipped.
        """
        rows, network = self._rows, self._network
        batch = slice(0, batch_size)
        last_B = rows.num_tokens[batch] - 1
        rows_B = torch.arange(batch_size, device=last_B.device)
        top_p_B, top_k_B = (rows.top_p[batch], rows.top_k[batch]) if restricted else (None, None)
        settings = (rows.temperature[batch], top_p_B, top_k_B, rows.seed[batch])
        proposals_BKV = torch.empty(batch_size, num_drafts, self._num_ids, device=last_B.device)
        for k in range(1, num_drafts + 1):
            entries = self._entries(k, last_B, num_drafts + k)
            logits_BV = network.draft_logits(k, *entries, num_keys)
            drafts_B = draft_token(logits_BV, *settings, last_B + k, proposals_BKV[:, k - 1])
            rows.tokens[rows_B, last_B + k] = drafts_B

        positions_BT = last_B[:, None] + torch.arange(num_drafts + 1, device=last_B.device)
        ids_BT = rows.tokens[batch].gather(1, positions_BT)
        hidden_BTD = network.trunk(ids_BT, positions_BT, num_keys)
        if rows.filled.shape[1]:
            rows.hidden[rows_B[:, None], positions_BT] = hidden_BTD
        tokens_BT, num_accepted_B, logprobs_BT = verify(
            network.logits(hidden_BTD), ids_BT[:, 1:], proposals_BKV, *settings, last_B + 1
        )
        if len(self._simulated_acceptance_K):
            chances_B1 = uniforms(rows.seed[batch], last_B[:, None], ACCEPT)
            num_accepted_B = (chances_B1 < self._simulated_acceptance_K[:num_drafts]).sum(1)
        # Entry i of layer k stands on x_{i+k}: right as far as drafts were accepted.
        layers_K = torch.arange(1, num_drafts + 1, device=last_B.device)
        right_BK = torch.minimum((last_B + 1 + num_accepted_B)[:, None] - layers_K, last_B[:, None])
        rows.filled[batch, :num_drafts] = right_BK
        self.append(batch, tokens_BT, num_accepted_B, logprobs_BT)

    def catch_up(self, batch_size: int, num_drafts: int) -> None:
        """Makes the first `num_drafts` layers' caches as full as a round leaves them; waits for the device.

        A round expects its layers to have drafted in the round before. After rounds with fewer drafts they have not.
        """
        last_B = self._rows.num_tokens[:batch_size] - 1
        for k in range(1, num_drafts + 1):
            width = int((last_B - self._rows.filled[:batch_size, k - 1]).max())
            if width > num_drafts + k:
                self._network.write_entries(k, *self._entries(k, last_B, width))

    def append(self, batch: slice, tokens_BT: Tensor, num_accepted_B: Tensor, logprobs_BT: Tensor) -> None:
        """Adds the accepted tokens and one more to each row, up to its stop token and its limit; reports them."""
        rows = self._rows
        num_tokens_B = rows.num_tokens[batch]
        steps_T = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
        rows_B1 = torch.arange(batch.start, batch.stop, device=tokens_BT.device)[:, None]
        rows.tokens[rows_B1, num_tokens_B[:, None] + steps_T] = tokens_BT
        room_B = torch.minimum(num_accepted_B + 1, rows.max_tokens[batch] - num_tokens_B)
        is_stop_BT = (tokens_BT[..., None] == self._stop_ids).any(-1) & (steps_T < room_B[:, None])
        stops_B = is_stop_BT.any(1)
        num_new_B = torch.where(stops_B, is_stop_BT.long().argmax(1) + 1, room_B)
        at_limit_B = num_tokens_B + num_new_B >= rows.max_tokens[batch]
        report = rows.report[batch]
        report[:, FINISH] = torch.where(stops_B, STOP, torch.where(at_limit_B, LENGTH, RUNNING))
        report[:, NUM_NEW] = num_new_B
        report[:, NUM_ACCEPTED] = num_accepted_B
        report[:, FIRST_TOKEN : FIRST_TOKEN + tokens_BT.shape[1]] = tokens_BT
        rows.logprobs[batch, : tokens_BT.shape[1]] = logprobs_BT
        rows.num_tokens[batch] = num_tokens_B + num_new_B

    def _entries(self, k: int, last_B: Tensor, num_entries: int) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden states and embeddings [B, T, D] of layer k's latest entries up to n - 1, and their positions [B, T].

        Entries that stood on drafts since rejected, or that had no token yet, are among them.
        """
        rows = self._rows
        positions_BT = last_B[:, None] + torch.arange(-num_entries, 0, device=last_B.device)
        rows_B1 = torch.arange(len(last_B), device=last_B.device)[:, None]
        ids_BT = rows.tokens[: len(last_B)].gather(1, (positions_BT + k).clamp(min=0))
        embeddings_BTD = self._model.model.embed_tokens(ids_BT) * (positions_BT != 0).unsqueeze(-1)
        return rows.hidden[rows_B1, positions_BT.clamp(min=0)], embeddings_BTD, positions_BT


class ModuleNetwork:
    """The model's own modules."""

    def __init__(self, model: MiMoForCausalLM, cache: SlotCache, *, num_ids: int) -> None:
        self._model, self._cache, self._num_ids = model, cache, num_ids
        self._rope_table: Rope = (torch.empty(0), torch.empty(0))

    def trunk(self, ids_BT: Tensor, positions_BT: Tensor, num_keys: int) -> Tensor:
        network = self._model.model
        attend = self._cache.decode(positions_BT, num_keys)
        hidden_BTD: Tensor = network.trunk(network.embed_tokens(ids_BT), self.rope(positions_BT), attend)
        return hidden_BTD

    def logits(self, hidden_BTD: Tensor) -> Tensor:
        return self._head(self._model.model.norm(hidden_BTD))

    def write_entries(self, k: int, hidden_BTD: Tensor, embeddings_BTD: Tensor, positions_BT: Tensor) -> None:
        layer = self._layer(k)
        keys, values = layer.keys_values(hidden_BTD, embeddings_BTD, self.rope(positions_BT))
        self._cache.write(layer.self_attn.layer, self._cache.places(positions_BT), keys, values)

    def draft_logits(
        self, k: int, hidden_BTD: Tensor, embeddings_BTD: Tensor, positions_BT: Tensor, num_keys: int
    ) -> Tensor:
        layer = self._layer(k)
        self.write_entries(k, hidden_BTD[:, :-1], embeddings_BTD[:, :-1], positions_BT[:, :-1])
        inputs_B1D = layer.combine(hidden_BTD[:, -1:], embeddings_BTD[:, -1:])
        attend = self._cache.decode(positions_BT[:, -1:], num_keys)
        outputs_B1D = layer(inputs_B1D, self.rope(positions_BT[:, -1:]), attend)
        return self._head(layer.final_layernorm(outputs_B1D))[:, 0]

    def rope(self, positions_BT: Tensor) -> Rope:
        """From a table; negative positions, which nothing reads, get the first entry."""
        cos, sin = self.rope_table()
        places_BT = positions_BT.clamp(min=0)
        return cos[0, places_BT], sin[0, places_BT]

    def rope_table(self) -> Rope:
        """Of every place of the cache."""
        num_places = self._cache.num_places
        if self._rope_table[0].shape[1:2] != (num_places,):
            weight = self._model.lm_head.weight
            positions = torch.arange(num_places, device=weight.device)[None]
            self._rope_table = self._model.model.rope(positions, weight.dtype)
        return self._rope_table

    def _layer(self, k: int) -> MTPLayer:
        layer = self._model.model.mtp_layers[k - 1]
        assert isinstance(layer, MTPLayer)
        return layer

    def _head(self, normed_BTD: Tensor) -> Tensor:
        return F.linear(normed_BTD, self._model.lm_head.weight[: self._num_ids])
