#!/usr/bin/env bash
# Sets up, then runs every check that needs no GPU: bash scripts/test.sh [--quick]
# --quick leaves out the isolated runs per member, the slow tests (a shortened pipeline run among them) and vLLM.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
quick=${1:-}
export OMP_NUM_THREADS=1
command -v chromedriver >/dev/null || echo "test: no chromedriver here; the tests of mimo-model's chat page skip"

step() { printf '\n== %s (%d s so far)\n' "$1" "$SECONDS"; }

step "lint"
ruff check .
ruff format --check .
step "types"
mypy
step "import contracts"
lint-imports
step "dependencies"
for member in packages/*/; do deptry --config "$member/pyproject.toml" "$member/src"; done
uv lock --check

step "tests"
if [ "$quick" = --quick ]; then
    exec pytest -q -n 2 --dist loadfile -m "not slow and not gpu"
fi
# The pipeline first: it is the longest file.
pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not gpu" --durations 15 tests/test_pipeline.py tests packages

step "each member alone"
# Without the extras that bring an engine; tests of those say so and skip.
declare -A extra=([mimo-data]="--extra=pdf" [mimo-eval]="--extra=local" [mimo-model]="--extra=serve --extra=cuda")
for member in packages/*/; do
    name=$(basename "$member")
    echo "$name"
    uv run --quiet --frozen --isolated --package "$name" ${extra[$name]:-} \
        pytest -q -m "not slow and not gpu and not docker" -p no:cacheprovider --rootdir "$member" "$member/tests"
done

step "vLLM"
bash scripts/test-vllm.sh
