"""Fused kernels: each file holds the formula, the torch reference and the Triton kernel.

Every function takes CPU tensors too and computes the reference on them. On a CUDA device it is a `torch.library`
operator, so torch.compile and CUDA graphs take it. Triton is not needed until a CUDA tensor comes.
"""

from mimo_model.kernels.decode_attention import decode_attention
from mimo_model.kernels.device import fused
from mimo_model.kernels.linear_cross_entropy import linear_cross_entropy
from mimo_model.kernels.norm_linear import norm_linear, norm_swiglu
from mimo_model.kernels.qkv_cache import write_qkv
from mimo_model.kernels.rms_norm import add_rms_norm, rms_norm
from mimo_model.kernels.rope import rotate
from mimo_model.kernels.swiglu import swiglu
from mimo_model.kernels.verify import draft_token, verify

__all__ = [
    "add_rms_norm",
    "decode_attention",
    "draft_token",
    "fused",
    "linear_cross_entropy",
    "norm_linear",
    "norm_swiglu",
    "rms_norm",
    "rotate",
    "swiglu",
    "verify",
    "write_qkv",
]
