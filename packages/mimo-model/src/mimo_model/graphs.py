"""Rounds as CUDA graphs: draft, verify and sample in one launch, so that the host is never what decoding waits for."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mimo_model.rounds import Round
from mimo_model.rows import Rows


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
        self._pool = torch.cuda.graph_pool_handle()

    def forget(self) -> None:
        """Drops what was recorded: the tensors it reads and writes have been replaced."""
        self._graphs.clear()
        self._seen.clear()
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, batch_size: int, num_drafts: int, *, num_keys: int, restricted: bool) -> None:
        """As `Round`; rows up to the next power of two take part, which must hold something harmless."""
        size = min(1 << (batch_size - 1).bit_length(), len(self._rows.num_tokens))
        shape = _Shape(size, num_drafts, restricted)
        if shape in self._graphs:
            self._graphs[shape].replay()
            return
        if shape not in self._seen:
            self._seen.add(shape)
            self._round(size, num_drafts, num_keys=num_keys, restricted=restricted)
            return
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            self._round(size, num_drafts, num_keys=num_keys, restricted=restricted)
        self._graphs[shape] = graph
        graph.replay()
