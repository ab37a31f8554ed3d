"""AdamW over a model's trainable parameters, with a state on disk: what every loop, RL's too, steps with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from mimo_model import MiMoForCausalLM
from mimo_train.checkpoint import save_checkpoint
from mimo_train.errors import TrainError
from mimo_train.recipes import Optimizer

STATE_FILE = "training.pt"


def write_state(state: object, path: Path) -> None:
    """Writes all of a file to the disk, or leaves none.

    Raises:
        TrainError: it cannot be written.
    """
    try:
        with path.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:
        path.unlink(missing_ok=True)
        # When a write fails, torch.save still tries to end its archive, and fails at that.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise TrainError(
            f"{path}: cannot be written ({cause.strerror}). Free some space, or put right what it is; "
            "the same command goes on from the last saved state."
        ) from None


class Trainer:
    """One process's optimizer (§2.3): backward, clip, step, save, resume.

    Parameters that do not require gradients when it is made are left out: freeze before. The state holds the
    trained parameters, their moments, PyTorch's random state and the loop's own counters, in one file that is
    replaced whole. A run that loads it goes on as if it had never stopped, to the last bit, on the same kind
    of device with the same number of threads.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self.model = model
        self.rank = 0
        self.num_ranks = 1
        self._clip_norm = optimizer.clip_norm
        self._trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not self._trained:
            raise ValueError("nothing to train: every parameter of the model is frozen")
        matrices = [p for p in self._trained.values() if p.ndim >= 2]
        vectors = [p for p in self._trained.values() if p.ndim < 2]  # norms and biases
        self._adamw = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": optimizer.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            lr=0.0,
            betas=(optimizer.beta1, optimizer.beta2),
            eps=optimizer.epsilon,
            fused=True,
        )

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(iter(self._trained.values())).device

    def backward(self, loss: Tensor) -> None:
        """Adds the loss's gradient to what the next `step` will use."""
        loss.backward()  # type: ignore[no-untyped-call]

    def sum_over_ranks(self, values: Tensor) -> Tensor:
        """The sum of all processes' values: of one."""
        return values

    def step(self, lr: float) -> float:
        """Clips the gathered gradient, takes one AdamW step with rate `lr` and clears the gradient.

        Returns:
            The gradient's norm before clipping.

        Raises:
            TrainError: the gradient is not finite; the parameters are left as they were.
        """
        grad_norm = self._finite(float(nn.utils.clip_grad_norm_(self._trained.values(), self._clip_norm)))
        for group in self._adamw.param_groups:
            group["lr"] = lr
        self._adamw.step()
        self._adamw.zero_grad()
        return grad_norm

    def save_state(self, folder: Path, extra: Mapping[str, object]) -> None:
        """Replaces the state in `folder`: after a kill at any moment the old or the new one is there, whole.

        Args:
            extra: counters, positions, generator states: numbers, strings, lists, dicts and tensors of them.

        Raises:
            TrainError: it cannot be written; the old one is there.
        """
        state = {
            "parameters": {name: p.detach() for name, p in self._trained.items()},
            "optimizer": self._adamw.state_dict(),
            "cpu_generator": torch.get_rng_state(),
            "cuda_generators": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "extra": dict(extra),
        }
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / (STATE_FILE + ".tmp")
        write_state(state, temporary)
        temporary.replace(folder / STATE_FILE)

    def load_state(self, folder: Path) -> dict[str, object]:
        """Continues from the state in `folder`.

        Returns:
            What `save_state` was given as `extra`; empty, with nothing changed, when no state was saved yet.

        Raises:
            TrainError: the state is broken, or is another model's.
        """
        path = folder / STATE_FILE
        if not path.exists():
            return {}
        state = self._read(path, remedy=f"Delete {folder} to start this run again from its beginning.")
        with torch.no_grad():
            for name, parameter in self._trained.items():
                parameter.copy_(state["parameters"][name])
        self._adamw.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["cpu_generator"])
        if state["cuda_generators"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda_generators"])
        extra: dict[str, object] = state["extra"]
        return extra

    def load_moments(self, folder: Path) -> None:
        """Continues from the moments of an earlier run's state, with the model's own weights.

        Raises:
            TrainError: there is no state, it is broken, or it is another model's.
        """
        path = folder / STATE_FILE
        if not path.exists():
            raise TrainError(
                f"{path}: no such file, so there are no optimizer moments to continue from. "
                "Take a checkpoint made by `mimo-train pretrain`, or set continue_optimizer=false."
            )
        remedy = f"Make {folder.parent} again, or set continue_optimizer=false."
        moments = self._read(path, remedy=remedy)["optimizer"]["state"]
        state = self._adamw.state_dict()
        self._adamw.load_state_dict({**state, "state": moments})

    def save_checkpoint(self, network: MiMoForCausalLM, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
        """Writes the trained model's Hugging Face files into a run's folder; of several processes, call it in each.

        Raises:
            TrainError: a weight is not finite, which the last step may have broken after its loss was looked at.
        """
        with self.whole_model():
            self._require_finite()
            save_checkpoint(network, tokenizer, folder)

    def _require_finite(self) -> None:
        for name, parameter in self._trained.items():
            if not torch.isfinite(parameter).all():
                raise TrainError(
                    f"{name}: not all weights are finite after the last step: training has diverged. "
                    "Lower the learning rate or look at the last lines of metrics.jsonl."
                )

    @contextmanager
    def whole_model(self) -> Iterator[None]:
        """Within it the model's own parameters are whole."""
        yield

    @staticmethod
    def _finite(grad_norm: float) -> float:
        if not grad_norm < float("inf"):
            raise TrainError(
                f"the gradient's norm is {grad_norm}: training has diverged. "
                "Lower the learning rate or look at the last lines of metrics.jsonl."
            )
        return grad_norm

    def _read(self, path: Path, *, remedy: str) -> dict[str, Any]:
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            found = {name: tuple(tensor.shape) for name, tensor in state["parameters"].items()}
        except Exception as error:  # torch.load raises almost anything on a damaged file
            raise TrainError(f"{path}: not a whole training state ({type(error).__name__}). {remedy}") from None
        if found != {name: tuple(p.shape) for name, p in self._trained.items()}:
            raise TrainError(f"{path}: the state of a model with other parameters. {remedy}")
        return state
