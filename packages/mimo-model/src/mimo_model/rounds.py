"""One decoding round in PyTorch: K drafts, one verifying forward, and 1 … K + 1 new tokens for every request (§2.2).

MTP layers 1 … K draft x_{n+1} … x_{n+K} one after the other; the main model reads x_n and the drafts in one forward;
Leviathan's rule accepts a prefix of them and draws one token more. So the new tokens' distribution is the main
model's own. Nothing here waits for a device: `Rows.report` is read by the caller.

Shapes: B running requests, T tokens, K drafts, D hidden, V tokenizer ids (padded ids have no logits here, so they
cannot be sampled). Position i of MTP layer k pairs h_i with embed(x_{i+k}).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from mimo_model.model import MiMoForCausalLM, MTPLayer
from mimo_model.rope import Rope
from mimo_model.rows import FINISH, FIRST_TOKEN, LENGTH, NUM_ACCEPTED, NUM_NEW, RUNNING, STOP, Rows
from mimo_model.sampling import ACCEPT, DRAFT, SAMPLE, distributions, draw, uniforms
from mimo_model.slots import SlotCache


class TorchRound:
    """Rounds of one engine with PyTorch's operators, on any device."""

    def __init__(self, model: MiMoForCausalLM, cache: SlotCache, rows: Rows, *, num_ids: int, stop_ids: Tensor) -> None:
        self._model, self._cache, self._rows = model, cache, rows
        self._num_ids, self._stop_ids = num_ids, stop_ids
        self._device = model.lm_head.weight.device
        self._rope_table: Rope = (torch.empty(0), torch.empty(0))

    def __call__(self, batch_size: int, num_drafts: int, *, num_keys: int, restricted: bool, greedy: bool) -> None:
        """One round for the first `batch_size` rows; `Rows.report` and `Rows.logprobs` say what it brought.

        Args:
            num_keys: more than every position of the round.
            restricted: some request has a top-k or top-p that restricts; without it both are skipped.
            greedy: some request is greedy.
        """
        rows, network = self._rows, self._model.model
        batch = slice(0, batch_size)
        last_B = rows.num_tokens[batch] - 1
        settings = (rows.temperature[batch], rows.top_p[batch], rows.top_k[batch])
        proposals_BTV = torch.zeros(batch_size, num_drafts + 1, self._num_ids, device=self._device)
        rows_B = torch.arange(batch_size, device=self._device)
        for k in range(1, num_drafts + 1):
            logits_BV = self._draft_logits(k, last_B, num_drafts + k, num_keys)
            proposal_BTV = distributions(logits_BV[:, None], *settings, restricted=restricted, greedy=greedy)[0]
            drafts_B = draw(proposal_BTV[:, 0], uniforms(rows.seed[batch], (last_B + k)[:, None], DRAFT)[:, 0])
            rows.tokens[rows_B, last_B + k] = drafts_B
            proposals_BTV[:, k - 1] = proposal_BTV[:, 0]

        positions_BT = last_B[:, None] + torch.arange(num_drafts + 1, device=self._device)
        ids_BT = rows.tokens[batch].gather(1, positions_BT)
        attend = self._cache.decode(positions_BT, num_keys)
        hidden_BTD = network.trunk(network.embed_tokens(ids_BT), self.rope(positions_BT), attend)
        if rows.filled.shape[1]:
            rows.hidden[rows_B[:, None], positions_BT] = hidden_BTD
        sampled_BTV, model_BTV = distributions(self.logits(hidden_BTD), *settings, restricted=restricted, greedy=greedy)

        drafts_BK1 = ids_BT[:, 1:, None]
        wanted_BK = sampled_BTV[:, :-1].gather(2, drafts_BK1)[..., 0]
        proposed_BK = proposals_BTV[:, :-1].gather(2, drafts_BK1)[..., 0]
        chances_BK = uniforms(rows.seed[batch], positions_BT[:, 1:], ACCEPT)
        num_accepted_B = (chances_BK * proposed_BK < wanted_BK).long().cumprod(1).sum(1)
        # After a rejection: what the target has in excess of the proposal. After none, the proposal is all zeros.
        target_BV = sampled_BTV[rows_B, num_accepted_B]
        excess_BV = (target_BV - proposals_BTV[rows_B, num_accepted_B]).clamp_(min=0.0)
        # Equal distributions leave no excess; a rejection there comes from rounding alone.
        excess_BV = torch.where(excess_BV.sum(-1, keepdim=True) > 0, excess_BV, target_BV)
        next_B1 = (last_B + 1 + num_accepted_B)[:, None]
        drawn_B = draw(excess_BV, uniforms(rows.seed[batch], next_B1, SAMPLE)[:, 0])
        tokens_BT = F.pad(ids_BT[:, 1:], (0, 1)).scatter(1, num_accepted_B[:, None], drawn_B[:, None])
        # Entry i of layer k stands on x_{i+k}: right as far as drafts were accepted.
        layers_K = torch.arange(1, num_drafts + 1, device=self._device)
        right_BK = torch.minimum((last_B + 1 + num_accepted_B)[:, None] - layers_K, last_B[:, None])
        rows.filled[batch, :num_drafts] = right_BK
        self.append(batch, tokens_BT, num_accepted_B, model_BTV)

    def catch_up(self, batch_size: int, num_drafts: int) -> None:
        """Makes the first `num_drafts` layers' caches as full as a round leaves them; waits for the device.

        A round expects its layers to have drafted in the round before. After rounds with fewer drafts they have not.
        """
        last_B = self._rows.num_tokens[:batch_size] - 1
        for k in range(1, num_drafts + 1):
            width = int((last_B - self._rows.filled[:batch_size, k - 1]).max())
            if width > num_drafts + k:
                self._write_entries(k, last_B, width)

    def append(self, batch: slice, tokens_BT: Tensor, num_accepted_B: Tensor, model_BTV: Tensor) -> None:
        """Adds the accepted tokens and one more to each row, up to its stop token and its limit; reports them.

        Args:
            model_BTV: the probabilities that log-probabilities are of.
        """
        rows = self._rows
        num_tokens_B = rows.num_tokens[batch]
        steps_T = torch.arange(tokens_BT.shape[1], device=self._device)
        rows_B1 = torch.arange(batch.start, batch.stop, device=self._device)[:, None]
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
        rows.logprobs[batch, : tokens_BT.shape[1]] = model_BTV.gather(2, tokens_BT[..., None])[..., 0].log()
        rows.num_tokens[batch] = num_tokens_B + num_new_B

    def logits(self, hidden_BTD: Tensor) -> Tensor:
        """Of the ids that the tokenizer knows, and of no other."""
        return self._head(self._model.model.norm(hidden_BTD))

    def rope(self, positions_BT: Tensor) -> Rope:
        """From a table; negative positions, which nothing reads, get the first entry."""
        num_places = self._cache.num_places
        if self._rope_table[0].shape[0] < num_places:
            positions = torch.arange(num_places, device=self._device)[None]
            cos, sin = self._model.model.rope(positions, self._model.lm_head.weight.dtype)
            self._rope_table = (cos[0], sin[0])
        places_BT = positions_BT.clamp(min=0)
        return self._rope_table[0][places_BT], self._rope_table[1][places_BT]

    def _draft_logits(self, k: int, last_B: Tensor, num_entries: int, num_keys: int) -> Tensor:
        """[B, V]: what layer k says of x_{n+k}, from entry n - 1, with the entries before it written anew.

        Entries that stood on drafts since rejected, or that had no token yet, are among the latest.
        """
        layer = self._layer(k)
        inputs_BTD, rope, positions_BT = self._entries(k, last_B, num_entries)
        earlier = slice(0, -1)
        normed_BTD = layer.input_layernorm(inputs_BTD[:, earlier])
        keys, values = layer.self_attn.keys_values(normed_BTD, (rope[0][:, earlier], rope[1][:, earlier]))
        self._cache.write(layer.self_attn.layer, self._cache.places(positions_BT[:, earlier]), keys, values)
        attend = self._cache.decode(positions_BT[:, -1:], num_keys)
        outputs_B1D = layer(inputs_BTD[:, -1:], (rope[0][:, -1:], rope[1][:, -1:]), attend)
        return self._head(layer.final_layernorm(outputs_B1D))[:, 0]

    def _write_entries(self, k: int, last_B: Tensor, num_entries: int) -> None:
        layer = self._layer(k)
        inputs_BTD, rope, positions_BT = self._entries(k, last_B, num_entries)
        keys, values = layer.self_attn.keys_values(layer.input_layernorm(inputs_BTD), rope)
        self._cache.write(layer.self_attn.layer, self._cache.places(positions_BT), keys, values)

    def _entries(self, k: int, last_B: Tensor, num_entries: int) -> tuple[Tensor, Rope, Tensor]:
        """Layer k's inputs [B, T, D] at the latest entries up to n - 1, with their rotations and positions [B, T]."""
        rows, network = self._rows, self._model.model
        positions_BT = last_B[:, None] + torch.arange(-num_entries, 0, device=self._device)
        places_BT = positions_BT.clamp(min=0)
        rows_B1 = torch.arange(len(last_B), device=self._device)[:, None]
        ids_BT = rows.tokens[: len(last_B)].gather(1, (positions_BT + k).clamp(min=0))
        embeddings_BTD = network.embed_tokens(ids_BT) * (positions_BT != 0).unsqueeze(-1)
        inputs_BTD = self._layer(k).combine(rows.hidden[rows_B1, places_BT], embeddings_BTD)
        return inputs_BTD, self.rope(positions_BT), positions_BT

    def _layer(self, k: int) -> MTPLayer:
        layer = self._model.model.mtp_layers[k - 1]
        assert isinstance(layer, MTPLayer)
        return layer

    def _head(self, normed_BTD: Tensor) -> Tensor:
        return F.linear(normed_BTD, self._model.lm_head.weight[: self._num_ids])
