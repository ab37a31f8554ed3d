"""Checkpoints by name: from the Hugging Face Hub, or from ModelScope where its package is installed.

Only weights, configurations and tokenizer files are fetched, never code or pickles. Both clients keep what they
fetched, so that a second load works without a network.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from mimo_model.errors import ModelError

_MODELSCOPE = "modelscope:"
_WEIGHTS = ["*.safetensors"]
_OTHERS = ["*.json", "*.jinja", "*.txt"]


def is_hub_name(name: str) -> bool:
    """Whether it is spelled `organisation/name`, so that a hub may know it."""
    plain = name.removeprefix(_MODELSCOPE)
    return plain.count("/") == 1 and not plain.startswith((".", "/", "~")) and not plain.endswith("/")


def download(name: str, *, revision: str | None = None, weights: bool = True) -> Path:
    """The folder of that repository, fetched or from the cache.

    Args:
        name: `organisation/name` on the hub that the environment variable `MIMO_HUB` names ("huggingface", as without
            it, or "modelscope"); `modelscope:organisation/name` is on ModelScope whatever it says.
        revision: branch, tag or commit; the main branch without it.
        weights: false leaves them out, for a tokenizer or a configuration.

    Raises:
        ModelError: it does not exist, may not be read, or cannot be reached and is not cached.
    """
    patterns = [*_OTHERS, *_WEIGHTS] if weights else _OTHERS
    hub = os.environ.get("MIMO_HUB", "huggingface")
    if hub not in ("huggingface", "modelscope"):
        raise ModelError(f"MIMO_HUB={hub}: names no hub. Set it to huggingface or modelscope.")
    if hub == "modelscope" or name.startswith(_MODELSCOPE):
        return _from_modelscope(name.removeprefix(_MODELSCOPE), revision, patterns)
    return _from_hugging_face(name, revision, patterns)


def _from_hugging_face(name: str, revision: str | None, patterns: list[str]) -> Path:
    # Its client reads the variable once, when it is imported.
    place = os.environ.get("HF_ENDPOINT", constants.ENDPOINT)
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns, endpoint=place))
    except GatedRepoError:
        raise ModelError(
            f"{name}: the Hugging Face Hub gives it only to those who accepted its terms. Accept them on "
            f"{place}/{name}, then run `hf auth login`."
        ) from None
    except RevisionNotFoundError:
        raise ModelError(
            f"{name}: the Hugging Face Hub has no revision {revision!r} of it. Check {place}/{name}."
        ) from None
    except RepositoryNotFoundError:
        raise ModelError(
            f"{name}: neither a folder here nor a repository that you may read on the Hugging Face Hub ({place}). "
            "Check the name; for a private one run `hf auth login`."
        ) from None
    except HFValidationError as error:
        raise ModelError(f"{name}: not a name of the Hugging Face Hub ({_first_line(error)}).") from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ModelError(_unreachable(name, f"the Hugging Face Hub ({place})", error)) from None
    except Exception as error:
        # Errors of whichever HTTP library the client uses, which break out of a download under way.
        if not type(error).__module__.startswith("httpx"):
            raise
        raise ModelError(_unreachable(name, f"the Hugging Face Hub ({place})", error)) from None


def _from_modelscope(name: str, revision: str | None, patterns: list[str]) -> Path:
    try:
        modelscope = importlib.import_module("modelscope")
    except ImportError:
        raise ModelError(
            f"{name}: ModelScope needs its package. Run `pip install modelscope`, or unset MIMO_HUB to use the "
            "Hugging Face Hub."
        ) from None
    try:
        return Path(modelscope.snapshot_download(name, revision=revision, allow_patterns=patterns))
    except Exception as error:  # its client raises dozens of classes, those of its HTTP library among them
        raise ModelError(_unreachable(name, "ModelScope", error)) from None


def _unreachable(name: str, place: str, error: Exception) -> str:
    return (
        f"{name}: neither a folder here nor in the cache, and not to be had from {place}: {_first_line(error)}. "
        "Check the name and the network, or give the folder of a downloaded checkpoint."
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
