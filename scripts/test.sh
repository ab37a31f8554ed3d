#!/usr/bin/env bash
# Sets up, then runs every check that needs no GPU: bash scripts/test.sh [--quick]
# --quick leaves out the isolated runs per member, the slow tests (a shortened pipeline run among them) and vLLM.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
quick=${1:-}
export OMP_NUM_THREADS=1
# Where Python may not write bytecode, every command that a test starts would compile torch anew.
unset PYTHONDONTWRITEBYTECODE
command -v chromedriver >/dev/null || echo "test: no chromedriver here; the tests of mimo-model's chat page skip"

logs=$(mktemp -d)
trap 'kill $(jobs -pr) 2>/dev/null || true; rm -rf "$logs"' EXIT

step() { printf '\n== %s (%d s so far)\n' "$1" "$SECONDS"; }

# The last lines of a run: what it did not test, and why.
not_run() {
    step "not run"
    sed -n 's/^SKIPPED \(.*\)/\1/p' "$logs"/* | sort | uniq
}

step "lint"
ruff check .
ruff format --check .
mypy > "$logs/types" 2>&1 &
mypy_pid=$!
step "import contracts"
lint-imports
step "dependencies"
for member in packages/*/; do deptry --config "$member/pyproject.toml" "$member/src"; done
uv lock --check

step "tests, and types beside them"
together() {
    pytest -q -n 2 --dist loadfile --durations 10 "$@" | tee -a "$logs/all"
}
types() {
    step "types"
    wait "$mypy_pid" || { cat "$logs/types"; exit 1; }
    cat "$logs/types"
}
if [ "$quick" = --quick ]; then
    together -m "not slow and not gpu"
    types
    not_run
    exit
fi
# The pipeline first: it is the longest file. Of the members below, what is neither slow nor Docker's runs alone.
together -m "not gpu" --no-loadscope-reorder tests/test_pipeline.py tests packages/mimo-data
types
together -m "not gpu and (slow or docker)" packages/mimo-{sandbox,model,rl,train,eval}

step "each member alone, and vLLM"
# mimo-data without the extras that bring an engine; tests of those say so and skip.
declare -A extra=([mimo-data]="--extra=pdf" [mimo-eval]="--extra=local" [mimo-model]="--extra=serve --extra=cuda"
    [mimo-sandbox]="--extra=server --extra=client" [mimo-train]="--extra=deepspeed")
alone() {
    uv run --quiet --frozen --isolated --package "$1" ${extra[$1]:-} \
        pytest -q -m "not slow and not gpu and not docker" -p no:cacheprovider \
        --rootdir "packages/$1" "packages/$1/tests"
}
logged() {
    "${@:2}" > "$logs/$1" 2>&1 || touch "$logs/failed"
    echo "$1: $(grep -E '[0-9]+ (passed|failed)' "$logs/$1" | tr '\n' ' ')"
}
# Two at a time, the longest of them first.
logged vLLM bash scripts/test-vllm.sh &
for member in $(ls -r packages); do
    while [ "$(jobs -pr | wc -l)" -ge 2 ]; do wait -n; done
    logged "$member" alone "$member" &
done
wait
if [ -e "$logs/failed" ]; then
    rm "$logs/failed" "$logs/all"
    cat "$logs"/*
    exit 1
fi
not_run
