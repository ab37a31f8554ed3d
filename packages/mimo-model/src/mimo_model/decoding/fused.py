"""The model through fused kernels, for rounds on a CUDA device: weights are read once, at the speed of memory.

The projections of queries, keys and values lie in one matrix, those of gate and up in another; the model's own
parameters become views of them, so nothing is held twice and training in place is seen.

Shapes: B requests, T tokens of one, N = B T, D hidden, X packed queries, keys and values, F feed-forward.
"""

# torch leaves `unflatten` untyped, and a module's call returns Any.
# mypy: disable-error-code="no-untyped-call, no-any-return"

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mimo_model import kernels
from mimo_model.decoding.rounds import ModuleNetwork
from mimo_model.decoding.slots import SlotCache
from mimo_model.kernels.norm_linear import norm_linear, norm_swiglu
from mimo_model.model import Attention, Block, MiMoForCausalLM, MTPLayer, RMSNorm, SwiGLU


@dataclass(frozen=True)
class _Packed:
    qkv: Tensor
    bias: Tensor
    gate_up: Tensor


class FusedNetwork(ModuleNetwork):
    """`Network` of fused kernels; what they do not take (prompts, many rows) goes through the modules."""

    def __init__(self, model: MiMoForCausalLM, cache: SlotCache, *, num_ids: int) -> None:
        super().__init__(model, cache, num_ids=num_ids)
        self._eps = model.config.rms_norm_eps
        self._num_heads = model.config.num_attention_heads
        self._packed: list[_Packed] = []
        self._kept: list[Tensor] = []
        self._bound_to: list[int] = []
        self.bind()

    def bind(self) -> bool:
        """Packs what is not packed: at first, and when parameters were replaced since. True when something was."""
        found = [parameter.data_ptr() for parameter in self._model.parameters()]
        if found == self._bound_to:
            return False
        self._packed = []
        for block in [*self._model.model.layers, *self._model.model.mtp_layers][: len(self._cache.layers)]:
            attention, mlp = _attention(block), _mlp(block)
            projections = (attention.q_proj, attention.k_proj, attention.v_proj)
            self._packed.append(
                _Packed(
                    qkv=_pack([projection.weight for projection in projections]),
                    bias=_pack([projection.bias for projection in projections]),
                    gate_up=_pack([mlp.gate_proj.weight, mlp.up_proj.weight]),
                )
            )
        # Kept alive: a recorded round reads them, and an address says which tensor it was.
        self._kept = [parameter.detach() for parameter in self._model.parameters()]
        self._bound_to = [parameter.data_ptr() for parameter in self._kept]
        return True

    def trunk(self, ids_BT: Tensor, positions_BT: Tensor, num_keys: int) -> Tensor:
        network = self._model.model
        x_ND = network.embed_tokens(ids_BT).flatten(0, 1)
        for index, block in enumerate(network.layers):
            assert isinstance(block, Block)
            q_BTHE = self._write(index, x_ND, positions_BT)
            x_ND = self._rest(index, x_ND, q_BTHE, positions_BT)
        return x_ND.unflatten(0, ids_BT.shape)

    def logits(self, hidden_BTD: Tensor) -> Tensor:
        return self._logits(hidden_BTD.flatten(0, 1), self._model.model.norm).unflatten(0, hidden_BTD.shape[:2])

    def draft_logits(
        self, k: int, hidden_BTD: Tensor, embeddings_BTD: Tensor, positions_BT: Tensor, num_keys: int
    ) -> Tensor:
        layer = self._layer(k)
        pairs_BTZ = torch.cat(
            (
                kernels.rms_norm(hidden_BTD, layer.hidden_layernorm.weight, self._eps),
                kernels.rms_norm(embeddings_BTD, layer.token_layernorm.weight, self._eps),
            ),
            dim=-1,
        )
        x_ND = norm_linear(pairs_BTZ.flatten(0, 1), None, self._eps, layer.input_proj.weight)
        index = layer.self_attn.layer
        q_BTHE = self._write(index, x_ND, positions_BT)
        last_BD = x_ND.unflatten(0, positions_BT.shape)[:, -1]
        return self._logits(
            self._rest(index, last_BD.contiguous(), q_BTHE[:, -1:], positions_BT[:, -1:]), layer.final_layernorm
        )

    def _write(self, index: int, x_ND: Tensor, positions_BT: Tensor) -> Tensor:
        """Rotated queries [B, T, H, E] of a block; its keys and values go into the cache."""
        packed, block = self._packed[index], self._block(index)
        qkv_NX = norm_linear(x_ND, block.input_layernorm.weight, self._eps, packed.qkv)
        keys, values = self._cache.layers[index]
        return kernels.write_qkv(
            qkv_NX.unflatten(0, positions_BT.shape),
            packed.bias,
            positions_BT,
            keys,
            values,
            self.rope_table(),
            num_heads=self._num_heads,
        )

    def _rest(self, index: int, x_ND: Tensor, q_BTHE: Tensor, positions_BT: Tensor) -> Tensor:
        """A block's output [N, D] from its input and queries."""
        packed, block = self._packed[index], self._block(index)
        mixed_BTHE = kernels.decode_attention(q_BTHE, *self._cache.layers[index], positions_BT)
        attention, mlp = _attention(block), _mlp(block)
        x_ND = norm_linear(
            mixed_BTHE.flatten(2).flatten(0, 1), None, self._eps, attention.o_proj.weight, residual_NO=x_ND
        )
        inner_NF = norm_swiglu(x_ND, block.post_attention_layernorm.weight, self._eps, packed.gate_up)
        return norm_linear(inner_NF, None, self._eps, mlp.down_proj.weight, residual_NO=x_ND)

    def _logits(self, x_ND: Tensor, norm: RMSNorm) -> Tensor:
        return norm_linear(x_ND, norm.weight, self._eps, self._model.lm_head.weight[: self._num_ids])

    def _block(self, index: int) -> Block:
        num_layers = len(self._model.model.layers)
        block = self._model.model.layers[index] if index < num_layers else self._layer(index - num_layers + 1)
        assert isinstance(block, Block)
        return block


def takes(model: MiMoForCausalLM) -> str | None:
    """None when `FusedNetwork` can decode this model, on a device that has the kernels; else the reason why not."""
    devices = {parameter.device for parameter in model.parameters()}
    if len(devices) > 1:
        return f"weights are on {', '.join(sorted(map(str, devices)))}"
    dtypes = {parameter.dtype for parameter in model.parameters()}
    if len(dtypes) > 1 or dtypes & {torch.float64}:
        return f"weights are {', '.join(sorted(map(str, dtypes)))}"
    return changed(model)


def changed(model: MiMoForCausalLM) -> str | None:
    """What in the model is not as it was defined, an adapter for example; None where nothing is."""
    plain = {nn.Linear, nn.Embedding, nn.ModuleList, RMSNorm, Attention, SwiGLU, Block, MTPLayer}
    others = [module for module in model.model.modules() if type(module) not in plain and module is not model.model]
    return f"the model holds a {type(others[0]).__name__}" if others else None


def _attention(block: nn.Module) -> Attention:
    assert isinstance(block, Block)
    return block.self_attn


def _mlp(block: nn.Module) -> SwiGLU:
    assert isinstance(block, Block)
    return block.mlp


def _pack(parameters: Sequence[Tensor]) -> Tensor:
    """The rows of all in one tensor, of which the parameters become views, if they are not yet."""
    first = parameters[0]
    num_rows = sum(map(len, parameters))
    ends = [parameter.data_ptr() + parameter.nbytes for parameter in parameters]
    lie_together = all(
        parameter.untyped_storage().data_ptr() == first.untyped_storage().data_ptr() and parameter.data_ptr() == end
        for parameter, end in zip(parameters[1:], ends, strict=False)
    )
    with torch.inference_mode(mode=False), torch.no_grad():
        if lie_together:
            return first.detach().as_strided((num_rows, *first.shape[1:]), first.stride())
        packed = torch.cat([parameter.detach() for parameter in parameters])
        start = 0
        for parameter in parameters:
            parameter.data = packed[start : start + len(parameter)]
            start += len(parameter)
    return packed
