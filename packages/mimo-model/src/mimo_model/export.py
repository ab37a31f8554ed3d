"""A checkpoint for other machines: fewer MTP layers where an engine wants them, and the code that opens it.

The code is this package's own modules under other names, so there is one definition of the network. It needs torch
and transformers as this package does, and uses this package's fused kernels only where they are installed.
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

from mimo_model import attention, config, model, rope
from mimo_model.checkpoint import (
    load_model,
    load_tokenizer,
    local_folder,
    replaced_folder,
    suppress_padded_ids,
    write_checkpoint,
)

_REMOTE_CODE = {
    config: "configuration_mimo.py",
    rope: "rope_mimo.py",
    attention: "attention_mimo.py",
    model: "modeling_mimo.py",
}
_AUTO_MAP = {
    "AutoConfig": "configuration_mimo.MiMoConfig",
    "AutoModel": "modeling_mimo.MiMoModel",
    "AutoModelForCausalLM": "modeling_mimo.MiMoForCausalLM",
}


def export(
    path_or_hub_id: str | Path,
    out: str | Path,
    *,
    num_mtp_layers: int | None = None,
    remote_code: bool = True,
    dtype: str = "auto",
    max_shard_size: str = "5GB",
) -> int:
    """Writes the checkpoint anew, and returns how many MTP layers it has.

    Args:
        num_mtp_layers: how many to keep, from the first on; None for all. One is safe in every engine.
        remote_code: adds the files with which transformers opens the folder where mimo-model is not installed:
            `AutoModelForCausalLM.from_pretrained(out, trust_remote_code=True)`. They run the MTP layers too.
        dtype: of the weights written; "auto" leaves it.
        max_shard_size: as in `save_model`.

    Raises:
        ValueError: the checkpoint has fewer MTP layers, or a dtype or size that is none.
        ModelError: the checkpoint cannot be read, or the folder not be written.
    """
    folder = local_folder(path_or_hub_id)
    exported, tokenizer = load_model(folder, device="cpu", dtype=dtype), load_tokenizer(folder)
    has = exported.config.num_nextn_predict_layers
    kept = has if num_mtp_layers is None else num_mtp_layers
    if not 0 <= kept <= has:
        raise ValueError(
            f"{path_or_hub_id}: has {has} MTP layers, {kept} cannot be kept. "
            f"Ask for 0 to {has}, or make copies with `mimo-model replicate-mtp`."
        )
    del exported.model.mtp_layers[kept:]
    exported.config.num_nextn_predict_layers = kept
    suppress_padded_ids(exported, tokenizer)
    with replaced_folder(Path(out)) as staging:
        write_checkpoint(exported, tokenizer, staging, max_shard_size=max_shard_size)
        if remote_code:
            write_remote_code(staging)
    return kept


def write_remote_code(folder: Path) -> None:
    """Puts the network's code beside the weights, and its names into `config.json`."""
    for module, name in _REMOTE_CODE.items():
        (folder / name).write_text(_as_remote_code(inspect.getsource(module), module.__name__))
    file = folder / "config.json"
    fields = {**json.loads(file.read_text()), "auto_map": _AUTO_MAP}
    file.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n")


def _as_remote_code(source: str, module_name: str) -> str:
    """The module's source, importing its neighbours from the files beside it."""
    for module, name in _REMOTE_CODE.items():
        source = re.sub(
            rf"^from {re.escape(module.__name__)} import", f"from .{Path(name).stem} import", source, flags=re.MULTILINE
        )
    made_by = f"# {module_name} as `mimo-model export` wrote it. Needs torch 2.11 and transformers 5.17, or newer."
    return f"{made_by}\n\n{source}"
