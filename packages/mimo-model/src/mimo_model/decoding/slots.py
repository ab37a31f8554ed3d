"""The key-value cache of the decoding engine: one contiguous row of places per running request.

Shapes: S slots, C places per slot, B running requests (always the first B slots), T tokens, K key-value heads,
E head width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mimo_model.attention import Attend, scaled_dot_product
from mimo_model.config import MiMoConfig


class SlotCache:
    """Keys and values of every layer, [S, K, C, E] each; grows by doubling, never shrinks.

    The last place of a slot is a waste bin for writes that must go nowhere.
    """

    def __init__(self, config: MiMoConfig, num_layers: int, *, device: torch.device, dtype: torch.dtype) -> None:
        self._num_heads = config.num_key_value_heads
        self._head_dim = config.head_dim or 0
        shape = (0, self._num_heads, 0, self._head_dim)
        self.layers = [
            (torch.empty(shape, device=device, dtype=dtype), torch.empty(shape, device=device, dtype=dtype))
            for _ in range(num_layers)
        ]
        self.num_slots = 0
        self.num_places = 0

    def reserve(self, num_slots: int, num_places: int) -> bool:
        """Makes room for so many slots and places, the waste bin beside them; true when something moved."""
        if num_slots <= self.num_slots and num_places < self.num_places:
            return False
        slots, places = max(self.num_slots, 1), max(self.num_places, 64)
        while slots < num_slots:
            slots *= 2
        while places <= num_places:
            places *= 2
        self.layers = [
            (self._grow(keys, slots, places), self._grow(values, slots, places)) for keys, values in self.layers
        ]
        self.num_slots, self.num_places = slots, places
        return True

    def move(self, target: Sequence[int], source: Sequence[int]) -> None:
        """Overwrites the target slots with the source slots."""
        for keys, values in self.layers:
            keys[target] = keys[source]
            values[target] = values[source]

    def copy(self, start: int, sources: Tensor, num_places: int) -> None:
        """Fills the slots from `start` on with the first places of the slots that `sources` lists."""
        for tensors in self.layers:
            for tensor in tensors:
                tensor[start : start + len(sources), :, :num_places] = tensor[sources, :, :num_places]

    def prefill(self, start: int) -> Attend:
        """Attention of whole prompts, one per slot from `start` on; writes places 0 … T - 1."""

        def attend(layer: int, q_BTHE: Tensor, k_BTKE: Tensor, v_BTKE: Tensor) -> Tensor:
            self.write_prompt(layer, start, k_BTKE, v_BTKE)
            return scaled_dot_product(q_BTHE, k_BTKE.transpose(1, 2), v_BTKE.transpose(1, 2), None, causal=True)

        return attend

    def write_prompt(self, layer: int, start: int, k_BTKE: Tensor, v_BTKE: Tensor) -> None:
        """Stores keys and values at places 0 … T - 1 of the slots from `start` on."""
        num_rows, num_tokens = k_BTKE.shape[:2]
        for tensor, new_BTKE in zip(self.layers[layer], (k_BTKE, v_BTKE), strict=True):
            tensor[start : start + num_rows, :, :num_tokens] = new_BTKE.transpose(1, 2)

    def places(self, positions_BT: Tensor) -> Tensor:
        """Flat row indices [B * T * K] of the given positions of the first B slots; negative ones are the bin's."""
        positions_BT = torch.where(positions_BT < 0, self.num_places - 1, positions_BT)
        heads_BK = torch.arange(len(positions_BT) * self._num_heads, device=positions_BT.device).view(
            len(positions_BT), 1, self._num_heads
        )
        return (heads_BK * self.num_places + positions_BT[:, :, None]).flatten()

    def write(self, layer: int, places: Tensor, k_BTKE: Tensor, v_BTKE: Tensor) -> None:
        for tensor, new_BTKE in zip(self.layers[layer], (k_BTKE, v_BTKE), strict=True):
            tensor.view(-1, self._head_dim).index_copy_(0, places, new_BTKE.reshape(-1, self._head_dim))

    def decode(self, positions_BT: Tensor, num_keys: int) -> Attend:
        """Attention of a few new tokens of each of the first B slots, which are written at their positions first.

        Args:
            num_keys: more than every position.
        """
        num_rows, num_queries = positions_BT.shape
        places = self.places(positions_BT)
        keys_C = torch.arange(num_keys, device=positions_BT.device)
        visible_B11TC = (keys_C <= positions_BT[:, :, None])[:, None, None]
        bias_B11TC = torch.zeros((), device=positions_BT.device).where(visible_B11TC, -torch.inf)

        def attend(layer: int, q_BTHE: Tensor, k_BTKE: Tensor, v_BTKE: Tensor) -> Tensor:
            self.write(layer, places, k_BTKE, v_BTKE)
            num_groups = q_BTHE.shape[2] // self._num_heads
            # Rows of one key-value head lie together, so that keys and values are read in place, not repeated.
            k_RCE, v_RCE = (
                tensor.flatten(0, 1)[: num_rows * self._num_heads, :num_keys] for tensor in self.layers[layer]
            )
            q_BKGTE = q_BTHE.view(*q_BTHE.shape[:2], self._num_heads, num_groups, -1).permute(0, 2, 3, 1, 4)
            q_RTE = (q_BKGTE * self._head_dim**-0.5).reshape(len(k_RCE), -1, self._head_dim)
            scores_BKGTC = torch.bmm(q_RTE, k_RCE.transpose(1, 2)).view(*q_BKGTE.shape[:-1], num_keys)
            weights_BKGTC = (scores_BKGTC + bias_B11TC).softmax(-1).to(v_RCE.dtype)
            out_RTE = torch.bmm(weights_BKGTC.view(len(k_RCE), -1, num_keys), v_RCE)
            return out_RTE.view(num_rows, -1, num_queries, self._head_dim).transpose(1, 2)

        return attend

    def _grow(self, tensor: Tensor, num_slots: int, num_places: int) -> Tensor:
        # Zeros, not garbage: a place that is masked out still meets a weight of zero, and 0 * NaN is NaN.
        grown = tensor.new_zeros(num_slots, self._num_heads, num_places, self._head_dim)
        grown[: tensor.shape[0], :, : tensor.shape[2]] = tensor
        return grown
