"""The plugin with which vLLM drafts with all MTP layers of a MiMo checkpoint (§2.2).

vLLM has MiMo and its first MTP layer. Installed beside it, this gives it the others: vLLM finds `register` by its
entry point and calls it in each of its processes. Read `draft_model.py` next.
"""

# vLLM is not installed where mypy runs.
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import logging
from importlib.util import find_spec

__all__ = ["register"]


def register() -> None:
    """Puts our draft model in the place of vLLM's for MiMo, by name: nothing of it is loaded for another model.

    That `mimo` needs no `--trust-remote-code` comes from importing `mimo_model`, which is done by now.
    """
    if find_spec("vllm.model_executor.models.mimo_mtp") is None:
        logging.getLogger("vllm.mimo_model").warning(
            "mimo-model: this vLLM has no module vllm.model_executor.models.mimo_mtp to build on; it stays as it is."
        )
        return
    from vllm import ModelRegistry

    ModelRegistry.register_model("MiMoMTPModel", "mimo_model.vllm.draft_model:MiMoMTP")
