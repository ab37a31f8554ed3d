"""ZeRO by DeepSpeed: a `Trainer` whose moments, gradients and weights are spread over processes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec
import torch.distributed
from torch import Tensor, nn

from mimo_train.errors import TrainError
from mimo_train.processes import has_lost_a_process, is_leader, load_deepspeed
from mimo_train.recipes import MTPRecipe, Optimizer, PretrainRecipe, SFTRecipe
from mimo_train.schedule import Record
from mimo_train.trainer import Trainer, write_state

LAYOUT_FILE = "zero.json"


def open_trainer(model: nn.Module, recipe: PretrainRecipe | SFTRecipe | MTPRecipe) -> Trainer:
    """The plain trainer, or ZeRO's when the recipe has `[distributed]`."""
    if recipe.distributed is None:
        return Trainer(model, recipe.optimizer)
    return ZeroTrainer(
        model, recipe.optimizer, zero_stage=recipe.distributed.zero_stage, bfloat16=recipe.dtype == "bfloat16"
    )


class StateLayout(Record, frozen=True, kw_only=True):
    """`state/zero.json`: which of DeepSpeed's folders is whole, and who can read it."""

    folder: Literal["a", "b"]
    """Where the state is; the next one goes to the other."""

    zero_stage: int
    """ZeRO's stage that it was saved by."""

    num_processes: int
    """Each has its part of the state, so that as many are needed to load it."""


class ZeroTrainer(Trainer):
    """AdamW on several processes: all must call each method, and with the same arguments.

    The state is in DeepSpeed's format, a file from each process. PyTorch's random state is not in it: none
    of this package's loops draws from it.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, *, zero_stage: int, bfloat16: bool) -> None:
        super().__init__(model, optimizer)
        self.rank = torch.distributed.get_rank()
        self.num_ranks = torch.distributed.get_world_size()
        self._zero_stage = zero_stage
        self._deepspeed = load_deepspeed()
        settings = {
            "train_micro_batch_size_per_gpu": 1,  # it only counts with this; backward_batch splits the batch
            "managed_gradient_accumulation": False,  # a step is what lies between two calls of `step`
            "gradient_clipping": self._clip_norm,
            "zero_optimization": {"stage": self._zero_stage, "overlap_comm": False},
            "torch_autocast": {
                "enabled": bfloat16,
                "dtype": "bfloat16",
                "lower_precision_safe_modules": [],  # gradients travel in float32
            },
        }
        self._engine = self._deepspeed.initialize(model=model, optimizer=self._adamw, config=settings)[0]
        # DeepSpeed's own leaves what it wrote of a file on a full disk, and does not say why it failed.
        self._engine.checkpoint_engine.save = lambda state_dict, path: write_state(state_dict, Path(path))
        self.model = self._engine
        self._has_gradient = False
        self._layout: StateLayout | None = None

    def backward(self, loss: Tensor) -> None:
        """Adds the gradient of the sum of all processes' losses to what the next `step` will use."""
        self._engine.backward(loss * self.num_ranks)  # DeepSpeed takes the mean over processes
        self._has_gradient = True

    def sum_over_ranks(self, values: Tensor) -> Tensor:
        """The sum of all processes' values."""
        torch.distributed.all_reduce(values)
        return values

    def step(self, lr: float) -> float:
        """As `Trainer.step`; a gradient that is not finite may leave the parameters changed.

        Raises:
            TrainError: the gradient is not finite.
        """
        if not self._has_gradient:
            return 0.0
        for group in self._adamw.param_groups:
            group["lr"] = lr
        self._engine.step()
        self._has_gradient = False
        applied = self._engine.was_step_applied()
        return self._finite(float(self._engine.get_global_grad_norm()) if applied else float("nan"))

    def save_state(self, folder: Path, extra: Mapping[str, object]) -> None:
        """Replaces the state in `folder`: after a kill at any moment the old or the new one is there, whole.

        Raises:
            TrainError: this process cannot write its part; the old state is there.
        """
        layout = StateLayout(
            folder="b" if self._layout is not None and self._layout.folder == "a" else "a",
            zero_stage=self._zero_stage,
            num_processes=self.num_ranks,
        )
        self._engine.save_checkpoint(
            str(folder), tag=layout.folder, client_state={"extra": dict(extra)}, save_latest=False
        )
        torch.distributed.barrier()
        if is_leader():
            temporary = folder / (LAYOUT_FILE + ".tmp")
            temporary.write_bytes(msgspec.json.encode(layout))
            temporary.replace(folder / LAYOUT_FILE)
            if self._layout is not None:
                shutil.rmtree(folder / self._layout.folder)
        self._layout = layout

    def load_state(self, folder: Path) -> dict[str, object]:
        """Continues from the state in `folder`.

        Raises:
            TrainError: the state is broken, or was saved by another number of processes.
        """
        if not (folder / LAYOUT_FILE).exists():
            return {}
        self._layout = self._read_layout(folder)
        return self._load(folder, self._layout)

    def load_moments(self, folder: Path) -> None:
        """Continues from the moments of an earlier run's state, and from its weights, which its checkpoint has too.

        Raises:
            TrainError: there is no state, it is broken, or it was saved by another number of processes or stage.
        """
        if not (folder / LAYOUT_FILE).exists():
            raise TrainError(
                f"{folder / LAYOUT_FILE}: no such file, so there are no optimizer moments to continue from. "
                "Take a checkpoint made with [distributed], or set continue_optimizer=false."
            )
        names = ("betas", "eps", "weight_decay")  # the recipe's; DeepSpeed would bring back the earlier run's
        own = [{name: group[name] for name in names} for group in self._adamw.param_groups]
        self._load(folder, self._read_layout(folder))
        for group, settings in zip(self._adamw.param_groups, own, strict=True):
            group.update(settings)

    @contextmanager
    def whole_model(self) -> Iterator[None]:
        """Within it the model's own parameters are whole, which ZeRO-3 keeps in parts."""
        with self._deepspeed.zero.GatheredParameters(list(self._engine.module.parameters())):
            yield

    def _read_layout(self, folder: Path) -> StateLayout:
        path = folder / LAYOUT_FILE
        try:
            layout = msgspec.json.decode(path.read_bytes(), type=StateLayout)
        except (OSError, msgspec.MsgspecError) as error:
            raise TrainError(f"{path}: not a state's description ({error}). Delete {folder} to start again.") from None
        if (layout.num_processes, layout.zero_stage) != (self.num_ranks, self._zero_stage):
            raise TrainError(
                f"{folder}: a state of {layout.num_processes} processes at ZeRO stage {layout.zero_stage}, but this "
                f"run has {self.num_ranks} at stage {self._zero_stage}. Start as many, or delete the folder."
            )
        return layout

    def _load(self, folder: Path, layout: StateLayout) -> dict[str, object]:
        try:
            _, found = self._engine.load_checkpoint(str(folder), tag=layout.folder, load_lr_scheduler_states=False)
            extra: dict[str, object] = found["extra"]
        except Exception as error:  # DeepSpeed and torch.load raise almost anything on a damaged file
            if has_lost_a_process(error):
                raise
            raise TrainError(
                f"{folder / layout.folder}: not a whole training state of this model ({type(error).__name__}). "
                f"Delete {folder} to start this run again from its beginning."
            ) from None
        return extra
