"""vLLM's draft model for MiMo, with as many MTP layers as the checkpoint has (§2.2).

Two things in vLLM can run it. Its newer model runner has a speculator for several MTP modules, which brings module k
every token of the step shifted by k, keeps its cache free of holes and repairs it after rejections; it chains the
modules through the hidden state that each returns beside its output. Returning the main model's makes them parallel.
Its older runner (on the CPU, or with VLLM_USE_V2_MODEL_RUNNER=0) repeats the first layer: `drafter.py` does the
speculator's work there.
"""

# vLLM is not installed where mypy runs.
# mypy: disable-error-code="import-not-found,misc,no-any-return"

from __future__ import annotations

import dataclasses
import inspect
import logging

from torch import Tensor
from vllm import __version__ as vllm_version
from vllm.config import VllmConfig
from vllm.model_executor.models import mimo_mtp
from vllm.model_executor.models.utils import WeightsMapper
from vllm.sequence import IntermediateTensors

from mimo_model.vllm import drafter

logger = logging.getLogger("vllm.mimo_model")


class MiMoMTP(mimo_mtp.MiMoMTP):
    """All MTP layers where several are to draft; else, or in a vLLM that is not understood, vLLM's own model."""

    hf_to_vllm_mapper: WeightsMapper

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        """
        Raises:
            ValueError: more drafts than MTP layers, or a setting under which several layers cannot draft.
        """
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        speculative = vllm_config.speculative_config
        num_layers = self.config.num_nextn_predict_layers
        self.is_parallel = False
        if num_layers == 1 or speculative is None:
            return
        problem = self._missing_feature(vllm_config)
        if problem is not None:
            logger.warning(
                "mimo-model: vLLM %s %s; it drafts as it would without mimo-model, with the first of %d MTP layers.",
                vllm_version,
                problem,
                num_layers,
            )
            return
        # vLLM counts the MTP layers on after the main ones, one rename after the other: from the last one down, so
        # that none is renamed twice where there are fewer main layers than MTP layers.
        mapper = self.hf_to_vllm_mapper
        self.hf_to_vllm_mapper = dataclasses.replace(
            mapper, orig_to_new_prefix=dict(reversed(mapper.orig_to_new_prefix.items()))
        )
        num_drafts = speculative.num_speculative_tokens
        if num_drafts > num_layers:
            raise ValueError(
                f"num_speculative_tokens={num_drafts}, but the checkpoint has {num_layers} MTP layers, and each "
                f"drafts one token. Ask for {num_layers} at most."
            )
        self.is_parallel = num_drafts > 1
        if self.is_parallel and not vllm_config.use_v2_model_runner:
            drafter.install(speculative)
        logger.info("mimo-model: %d of %d parallel MTP layers draft.", num_drafts, num_layers)

    def forward(
        self,
        input_ids: Tensor | None,
        positions: Tensor,
        hidden_states: Tensor,
        intermediate_tensors: IntermediateTensors | None = None,
        inputs_embeds: Tensor | None = None,
        spec_step_idx: int = 0,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """The output of MTP layer `spec_step_idx` + 1, from h_i and x_{i + spec_step_idx + 1}.

        Where several layers draft, also the hidden states as they came: what the next layer takes.
        """
        if not self.is_parallel:
            return super().forward(
                input_ids, positions, hidden_states, intermediate_tensors, inputs_embeds, spec_step_idx
            )
        # Behind a prompt of one token, vLLM's speculator writes anew more entries than there are: before the first.
        positions = positions.clamp(min=0)
        return self.model(input_ids, positions, hidden_states, inputs_embeds, spec_step_idx), hidden_states

    def _missing_feature(self, vllm_config: VllmConfig) -> str | None:
        """What this vLLM lacks that several MTP layers need, as the end of a sentence."""
        if not hasattr(vllm_config.speculative_config, "use_multi_module_mtp"):
            return "has no drafting with several MTP modules"
        if not hasattr(vllm_config, "use_v2_model_runner"):
            return "does not say which model runner it uses"
        if "spec_step_idx" not in inspect.signature(self.model.forward).parameters:
            return "cannot select an MTP layer of MiMo"
        if not hasattr(getattr(self, "hf_to_vllm_mapper", None), "orig_to_new_prefix"):
            return "loads the MTP layers of MiMo in an unknown way"
        if not vllm_config.use_v2_model_runner:
            return drafter.missing_feature()
        return None
