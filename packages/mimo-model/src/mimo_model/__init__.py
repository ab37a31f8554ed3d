"""MiMo with multi-token prediction: checkpoints, and lossless speculative decoding.

Importing this registers `mimo` with transformers' Auto classes, so no `trust_remote_code` is needed.
"""

from mimo_model.checkpoint import load_model, load_tokenizer, replicate_mtp, save_model
from mimo_model.config import MiMoConfig
from mimo_model.decoding.engine import Engine
from mimo_model.decoding.sampling import Completion, Sampling
from mimo_model.errors import ModelError
from mimo_model.generate import encode_prompt, generate
from mimo_model.model import MiMoForCausalLM

__all__ = [
    "Completion",
    "Engine",
    "MiMoConfig",
    "MiMoForCausalLM",
    "ModelError",
    "Sampling",
    "encode_prompt",
    "generate",
    "load_model",
    "load_tokenizer",
    "replicate_mtp",
    "save_model",
]
