"""Rounds as CUDA graphs: draft, verify and sample in one launch, so that the host is never what decoding waits for."""

# torch leaves streams untyped.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from dataclasses import dataclass

import torch

from mimo_model.decoding.rounds import Round
from mimo_model.decoding.rows import Rows


@dataclass(frozen=True)
class _Shape:
    """All that a recorded round depends on besides the contents of its tensors."""

    batch_size: int
    num_drafts: int
    restricted: bool


class GraphRound:
    """Records each shape of a round the second time it comes; the first time warms its kernels up."""

    def __init__(self, round_: Round, rows: Rows) -> None:
        self._round, self._rows = round_, rows
        self._seen: set[_Shape] = set()
        self._graphs: dict[_Shape, torch.cuda.CUDAGraph] = {}
        self._device = rows.num_tokens.device
        # torch's own recording stream is one for all devices, that of the first.
        self._stream = torch.cuda.Stream(self._device)
        self._pool = torch.cuda.graph_pool_handle()

    def forget(self) -> None:
        """Drops what was recorded: the tensors it reads and writes have been replaced."""
        self._graphs.clear()
        self._seen.clear()
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, batch_size: int, num_drafts: int, *, num_keys: int, restricted: bool) -> bool:
        """As `Round`; rows up to the next power of two take part, which must hold something harmless.

        Returns:
            Whether the round was a recorded one, and so took no longer than it always will.
        """
        size = min(1 << (batch_size - 1).bit_length(), len(self._rows.num_tokens))
        shape = _Shape(size, num_drafts, restricted)
        with torch.cuda.device(self._device):
            if shape in self._graphs:
                self._graphs[shape].replay()
                return True
            if shape not in self._seen:
                self._seen.add(shape)
                self._round(size, num_drafts, num_keys=num_keys, restricted=restricted)
                return False
            graph = torch.cuda.CUDAGraph()
            # Other threads may use the device meanwhile: theirs is not recorded.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                self._round(size, num_drafts, num_keys=num_keys, restricted=restricted)
            self._graphs[shape] = graph
            graph.replay()
            return False
