"""The processes of one run, which torchrun started: who writes, and who only computes."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, TracebackType

import torch.distributed

from mimo_data import Run
from mimo_train.errors import TrainError
from mimo_train.recipes import MTPRecipe, PretrainRecipe, SFTRecipe


def open_run(
    out: Path, *, command: str, recipe: PretrainRecipe | SFTRecipe | MTPRecipe, inputs: dict[str, Path]
) -> Run:
    """Claims `out` for this command; with `[distributed]` the first process does, and the others follow it.

    Raises:
        DataError: an input is missing, or `out` was made from something else.
        TrainError: `[distributed]` without DeepSpeed or without torchrun; several processes without `[distributed]`, or
            on several file systems.
    """
    if recipe.distributed is None:
        num_processes = os.environ.get("WORLD_SIZE", "1")
        if num_processes != "1":
            raise TrainError(
                f"torchrun started {num_processes} processes, but the recipe has no [distributed]. "
                "Add the table with a zero_stage, or start one process."
            )
        return Run.open(out, package="mimo-train", command=command, recipe=recipe, inputs=inputs, resumable=True)
    deepspeed = load_deepspeed()
    if "LOCAL_RANK" not in os.environ:
        raise TrainError(
            "the recipe has [distributed], but torchrun did not start this process. "
            "Use `torchrun --nproc-per-node N --no-python mimo-train ...`, or remove the table."
        )
    deepspeed.init_distributed()
    run: Run | None = None
    if is_leader():
        run = Run.open(out, package="mimo-train", command=command, recipe=recipe, inputs=inputs, resumable=True)
    torch.distributed.barrier()
    if run is None:
        run = _FollowedRun(out)
        if not run.complete and not run.folder.exists():
            raise TrainError(
                f"{run.folder}: the first process works there, but another one does not see it. "
                "Choose an output folder on a file system that all of them share."
            )
    torch.distributed.barrier()  # all have looked before the first one may fail and clear it away
    return run


def is_leader() -> bool:
    """Whether this process writes the run's files: it is alone, or the first of several."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def has_lost_a_process(error: Exception) -> bool:
    """Whether another process of the run has ended, which Gloo tells by a RuntimeError of no class of its own."""
    return isinstance(error, RuntimeError) and "gloo/transport" in str(error)


def leave() -> None:
    """Ends one of several processes of a run that is done, at once.

    While Python takes down what it holds, Gloo's threads abort the process now and then, and a run that was done ends
    with an error. `destroy_process_group` made that rarer, no more.
    """
    if torch.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def load_deepspeed() -> ModuleType:
    """DeepSpeed, without its chatter.

    Raises:
        TrainError: it is not installed.
    """
    if find_spec("deepspeed") is None:
        raise TrainError(
            "the recipe has [distributed], but DeepSpeed is not installed. "
            "Run pip install 'mimo-train[deepspeed]', or remove the table."
        )
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # it warns when it has to find that out
    deepspeed = import_module("deepspeed")
    deepspeed.utils.logger.setLevel("WARNING")
    # Only inference uses it, and a kill while DeepSpeed compiles it leaves a lock that stops every later run.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


class _FollowedRun(Run):
    """A run that another process keeps: no lock, no header, no clearing up."""

    def __init__(self, out: Path) -> None:
        super().__init__(out, fingerprint="", header={})

    def finish(self, **counts: object) -> None:
        """Leaves that to the leader."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leaves the folder alone."""
