"""Pre-training stages, fine-tuning and MTP tuning of MiMo (§2.2, §2.3, §3.1); start at `pretraining.py`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from mimo_data import Run
from mimo_train.errors import TrainError
from mimo_train.recipes import MTPRecipe, Optimizer, PretrainRecipe, SFTRecipe
from mimo_train.schedule import Schedule

if TYPE_CHECKING:
    from mimo_train.finetuning import sft
    from mimo_train.mtp_tuning import tune_mtp
    from mimo_train.packing import pack
    from mimo_train.pretraining import pretrain
    from mimo_train.trainer import Trainer

# These load torch, which `mimo-train --help` must not wait for.
_EXPORTS = {
    "Trainer": "mimo_train.trainer",
    "pack": "mimo_train.packing",
    "pretrain": "mimo_train.pretraining",
    "sft": "mimo_train.finetuning",
    "tune_mtp": "mimo_train.mtp_tuning",
}


def __getattr__(name: str) -> object:
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "MTPRecipe",
    "Optimizer",
    "PretrainRecipe",
    "Run",
    "SFTRecipe",
    "Schedule",
    "TrainError",
    "Trainer",
    "pack",
    "pretrain",
    "sft",
    "tune_mtp",
]
