"""Drafting with parallel MTP layers in vLLM's older model runner, which knows a single layer.

vLLM calls a proposer after each step of the main model, with the tokens of that step. Its own runs the first MTP layer
over them and then again over one token per further draft, so a second layer would never see the prompt. This one runs
every layer over all of them. Layer k pairs h_i with x_{i+k}, so the last k - 1 entries it writes in a step stand on
drafts. Where those are rejected they are written anew in the next step, in the places that the rejected tokens leave
free in it, from what `_Latest` remembers.

Letters: B requests, T tokens of the step, D hidden, K layers.
"""

# vLLM is not installed where mypy runs.
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import dataclasses
import functools
import inspect
import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from vllm.forward_context import set_forward_context
from vllm.v1.spec_decode.eagle import EagleProposer
from vllm.v1.worker.gpu_model_runner import GPUModelRunner

logger = logging.getLogger("vllm.mimo_model")

# What `Drafter` uses of vLLM's proposer and of its runner.
_PROPOSER_METHODS = (
    "_determine_batch_execution_and_padding",
    "_get_slot_mapping",
    "_sample_draft_tokens",
    "build_per_group_and_layer_attn_metadata",
)
_RUNNER_ATTRIBUTES = ("discard_request_mask", "input_batch", "requests")
_PROPOSE_ARGUMENTS = (
    "num_speculative_tokens",
    "target_token_ids",
    "target_positions",
    "target_hidden_states",
    "next_token_ids",
    "token_indices_to_sample",
    "common_attn_metadata",
    "sampling_metadata",
    "mm_embed_inputs",
    "num_rejected_tokens_gpu",
    "slot_mappings",
)


def missing_feature() -> str | None:
    """What this vLLM's older runner lacks that `Drafter` needs, as the end of a sentence."""
    arguments = tuple(inspect.signature(EagleProposer.propose).parameters)[1:]
    if arguments != _PROPOSE_ARGUMENTS:
        return f"calls its proposer with {', '.join(sorted(set(arguments) ^ set(_PROPOSE_ARGUMENTS)))} changed"
    for owner, names in ((EagleProposer, _PROPOSER_METHODS), (GPUModelRunner, ("propose_draft_token_ids",))):
        for name in names:
            if not hasattr(owner, name):
                return f"has no {owner.__name__}.{name}"
    return None


def install(speculative_config: Any) -> None:
    """Lets the runner of this process, whose draft model is being made, propose with a `Drafter`.

    Raises:
        ValueError: the proposer is told to leave rejected tokens out; their places are needed.
    """
    if speculative_config.disable_padded_drafter_batch:
        raise ValueError(
            "disable_padded_drafter_batch leaves MiMo's further MTP layers no room to repair their caches. "
            "Remove it from --speculative-config."
        )
    original = GPUModelRunner.propose_draft_token_ids
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def propose_draft_token_ids(runner: Any, *arguments: Any, **named: Any) -> Any:
        proposer = runner.drafter
        # Other models, and MiMo with one layer, may be served by the same process.
        if "propose" not in vars(proposer) and getattr(getattr(proposer, "model", None), "is_parallel", False):
            missing = [name for name in _RUNNER_ATTRIBUTES if not hasattr(runner, name)]
            if missing:
                logger.warning("mimo-model: vLLM's runner has no %s; the first MTP layer drafts alone.", missing[0])
                proposer.model.is_parallel = False
            else:
                proposer.propose = Drafter(proposer, runner).propose
        return original(runner, *arguments, **named)

    GPUModelRunner.propose_draft_token_ids = propose_draft_token_ids


@dataclass(frozen=True)
class _Latest:
    """The latest positions of each request in the step before: at most K - 1, aligned at their ends."""

    rows: dict[str, int]
    """Request id to row."""

    ids: Tensor
    """int32 [B, K - 1]: x_{i+1}, true tokens all."""

    hidden: Tensor
    """[B, K - 1, D]: h_i."""

    ends: Tensor
    """int64 [B]: the last position."""

    counts: Tensor
    """int64 [B]: how many there are."""


class Drafter:
    """What vLLM's proposer does, with a layer per draft."""

    def __init__(self, proposer: Any, runner: Any) -> None:
        self._proposer = proposer
        self._runner = runner
        self._num_layers = proposer.speculative_config.num_speculative_tokens
        self._latest: _Latest | None = None

    def propose(
        self,
        num_speculative_tokens: int,
        target_token_ids: Tensor,
        target_positions: Tensor,
        target_hidden_states: Tensor,
        next_token_ids: Tensor,
        token_indices_to_sample: Tensor | None,
        common_attn_metadata: Any,
        sampling_metadata: Any,
        mm_embed_inputs: Any = None,
        num_rejected_tokens_gpu: Tensor | None = None,
        slot_mappings: Any = None,
    ) -> Tensor:
        """The drafts of every request, int64 [B, `num_speculative_tokens`].

        Args:
            target_token_ids: int [T], the tokens of each request behind one another, rejected drafts included.
            target_positions: int64 [T].
            target_hidden_states: [T, D], the main model's output before its final norm.
            next_token_ids: int [B], the token behind the accepted ones.
            num_rejected_tokens_gpu: int [B], how many of a request's tokens count no longer; None for none.
        """
        proposer = self._proposer
        proposer.num_speculative_tokens = num_speculative_tokens
        starts_B = common_attn_metadata.query_start_loc[:-1].long()
        lengths_B = common_attn_metadata.query_start_loc[1:].long() - starts_B
        num_tokens = target_token_ids.shape[0]
        rows_B = torch.arange(len(starts_B), device=starts_B.device)
        rows_T = torch.repeat_interleave(rows_B, lengths_B, output_size=num_tokens)
        places_T = torch.arange(num_tokens, device=starts_B.device)
        rejected_B = torch.zeros_like(lengths_B) if num_rejected_tokens_gpu is None else num_rejected_tokens_gpu.long()
        known_BK = self._known_tokens(common_attn_metadata.query_start_loc_cpu)

        # Each request's tokens move back by the entries to write anew, which then stand before them. The tail that
        # the rejected tokens leave is written too, and again by the step that reaches those positions.
        rows_before_B, num_anew_B = self._to_write_anew(target_positions[starts_B], rejected_B)
        last_B = starts_B + lengths_B - 1 - rejected_B + num_anew_B
        origins_T = places_T - num_anew_B[rows_T]
        is_anew_T = origins_T < starts_B[rows_T]
        origins_T = origins_T.maximum(starts_B[rows_T])
        positions_T = target_positions - num_anew_B[rows_T]
        ids_T = target_token_ids.roll(-1)[origins_T]
        ids_T[last_B] = torch.where(known_BK[:, 0] >= 0, known_BK[:, 0], next_token_ids).to(ids_T.dtype)
        hidden_TD = target_hidden_states[origins_T]
        if self._latest is not None:
            window = self._num_layers - 1
            from_T = (window - num_anew_B[rows_T] + places_T - starts_B[rows_T]).clamp(0, window - 1)
            ids_T = torch.where(is_anew_T, self._latest.ids[rows_before_B[rows_T], from_T], ids_T)
            hidden_TD = torch.where(is_anew_T[:, None], self._latest.hidden[rows_before_B[rows_T], from_T], hidden_TD)
        self._remember(ids_T, hidden_TD, positions_T, starts_B, last_B)

        block_size = proposer.block_size
        blocks_T = common_attn_metadata.block_table_tensor[rows_T, positions_T // block_size].long()
        metadata = dataclasses.replace(
            common_attn_metadata,
            seq_lens=common_attn_metadata.seq_lens - num_anew_B.to(common_attn_metadata.seq_lens.dtype),
            slot_mapping=blocks_T * block_size + positions_T % block_size,
        )
        _, per_layer_metadata = proposer.build_per_group_and_layer_attn_metadata(metadata)
        # A captured graph would be told apart by its number of tokens, not by its layer.
        mode, num_padded, num_across_ranks = proposer._determine_batch_execution_and_padding(
            num_tokens, use_cudagraphs=False
        )
        proposer.positions[:num_tokens] = positions_T
        proposer.hidden_states[:num_tokens] = hidden_TD
        slots = proposer._get_slot_mapping(num_padded, metadata.slot_mapping)
        drafts, draft_probs = [], []
        for k in range(self._num_layers):
            proposer.input_ids[:num_tokens] = ids_T
            with set_forward_context(
                per_layer_metadata,
                proposer.vllm_config,
                num_tokens=num_padded,
                num_tokens_across_dp=num_across_ranks,
                cudagraph_runtime_mode=mode,
                slot_mapping=slots,
            ):
                output_TD, _ = proposer.model(
                    input_ids=proposer.input_ids[:num_padded],
                    positions=proposer.positions[:num_padded],
                    hidden_states=proposer.hidden_states[:num_padded],
                    spec_step_idx=k,
                )
            drafts_B, probs_BV = proposer._sample_draft_tokens(output_TD[last_B], sampling_metadata)
            drafts.append(drafts_B)
            draft_probs.append(probs_BV)
            ids_T = ids_T.roll(-1)
            if k + 1 < self._num_layers:
                ids_T[last_B] = torch.where(known_BK[:, k + 1] >= 0, known_BK[:, k + 1], drafts_B).to(ids_T.dtype)
        # All layers have run, so that no cache has holes if more drafts are asked for the next time.
        kept = slice(0, num_speculative_tokens)
        has_probs = num_speculative_tokens > 0 and draft_probs[0] is not None
        proposer._last_draft_probs = torch.stack(draft_probs[kept], dim=1).contiguous() if has_probs else None
        return torch.stack(drafts, dim=1)[:, kept]

    def _known_tokens(self, query_start_loc: Tensor) -> Tensor:
        """int64 [B, K]: for requests with more prompt to come, the K tokens behind this step's; -1 elsewhere."""
        runner = self._runner
        known = torch.full((len(query_start_loc) - 1, self._num_layers), -1)
        for row in runner.discard_request_mask.np[: len(known)].nonzero()[0].tolist():
            request = runner.requests[runner.input_batch.req_ids[row]]
            num_read = int(runner.input_batch.num_computed_tokens_cpu[row])
            end = num_read + int(query_start_loc[row + 1] - query_start_loc[row])
            known[row] = torch.tensor([request.get_token_id(end + k) for k in range(self._num_layers)])
        return known.to(self._proposer.device)

    def _to_write_anew(self, first_B: Tensor, rejected_B: Tensor) -> tuple[Tensor, Tensor]:
        """Each request's row in `_latest`, and how many of the entries there to write anew, int64 [B] both.

        With r of K drafts rejected, layer K stood on r - 1 of them, and every layer below on fewer.
        """
        latest = self._latest
        if latest is None:
            return torch.zeros_like(rejected_B), torch.zeros_like(rejected_B)
        rows = [latest.rows.get(id_, -1) for id_ in self._runner.input_batch.req_ids[: len(first_B)]]
        rows_B = torch.tensor(rows, device=first_B.device)
        # A request may have skipped a step, or been preempted and read anew.
        is_next_B = (rows_B >= 0) & (latest.ends[rows_B] + 1 == first_B)
        return rows_B, (rejected_B - 1).clamp(min=0).minimum(latest.counts[rows_B]) * is_next_B

    def _remember(
        self, ids_T: Tensor, hidden_TD: Tensor, positions_T: Tensor, starts_B: Tensor, last_B: Tensor
    ) -> None:
        window = torch.arange(2 - self._num_layers, 1, device=last_B.device)
        places_BW = (last_B[:, None] + window).maximum(starts_B[:, None])
        self._latest = _Latest(
            rows={id_: row for row, id_ in enumerate(self._runner.input_batch.req_ids[: len(last_B)])},
            ids=ids_T[places_BW],
            hidden=hidden_TD[places_BW],
            ends=positions_T[last_B],
            counts=(last_B - starts_B + 1).clamp(max=self._num_layers - 1),
        )
