#!/usr/bin/env bash
# Runs what needs a CUDA device, from the source tree and without installing anything:
#     bash scripts/gpu.sh [tests|kernels|decoding]
# All parts, or the one named, within nine minutes. Needs Python 3.11, torch 2.11, triton and transformers 5.17, and
# pytest for the tests; wheels in a folder .wheels/ are put on the path first. Reports go to $OUT, or to runs/gpu/.
# Ends with a summary, and with 0 if all passed, 1 if something failed or was cut short, 2 if this machine cannot run it.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
part=${1:-all}
# Seconds that each part may take; one alone may take what all together may.
case $part in
    all) declare -A limit=([tests]=190 [kernels]=130 [decoding]=190) ;;
    tests | kernels | decoding) declare -A limit=([$part]=510) ;;
    *)
        echo "gpu: no part \"$part\". There are: tests, kernels, decoding; without a name, all of them." >&2
        exit 2
        ;;
esac
out=${OUT:-runs/gpu}
mkdir -p "$out" || exit 2
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
status=0
: >"$logs/summary"

say() { printf '%s\n' "$1" | tee -a "$logs/summary"; }

# What came with the machine goes last: source folders, carried wheels, then its own packages.
paths=$(printf '%s:' "$PWD"/packages/*/src)
if compgen -G ".wheels/*.whl" >/dev/null; then
    if ! python3 -m pip install --quiet --no-index --no-deps --no-compile --target "$logs/site" .wheels/*.whl; then
        echo "gpu: the wheels in .wheels/ could not be unpacked (see above)." >&2
        exit 2
    fi
    paths+="$logs/site:"
fi
export PYTHONPATH=$paths${PYTHONPATH:-} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1
unset TRITON_INTERPRET

# The one place that looks at the machine: prints a line for the reports, or says what is missing.
if ! machine=$(python3 - 2>"$logs/probe" <<'END'
import importlib.util
import platform
import subprocess
import sys

if sys.version_info < (3, 11):
    sys.exit(f"Python 3.11 or newer is needed; found {platform.python_version()}")
versions = [f"Python {platform.python_version()}"]
for name, least in (("torch", (2, 11)), ("triton", (3, 6)), ("transformers", (5, 17))):
    if importlib.util.find_spec(name) is None:
        sys.exit(f"{name} is not installed. Put wheels of it, and of what it needs, into .wheels/")
    version = __import__(name).__version__
    if tuple(int(part) for part in version.split("+")[0].split(".")[:2]) < least:
        sys.exit(f"{name} {version} is older than {least[0]}.{least[1]}. Put a newer wheel into .wheels/")
    versions.append(f"{name} {version}")
import torch

if not torch.cuda.is_available():
    sys.exit(f"torch {torch.__version__} sees no CUDA device here, so nothing was run")
query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
try:
    driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]
except (OSError, subprocess.CalledProcessError, IndexError):
    driver = "unknown"
print("; ".join([torch.cuda.get_device_name(), f"driver {driver}", f"CUDA {torch.version.cuda}", *versions]))
END
); then
    echo "gpu: $(tail -n 1 "$logs/probe")." >&2
    exit 2
fi
# A checkout that travelled without its history still has a date.
machine+="; $(date -u +%Y-%m-%d); commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
echo "$machine"

# Runs one command for so many seconds. Leaves its output in a log, and in $outcome how it ended.
timed() {
    local seconds=$1 log=$2 start=$SECONDS code
    shift 2
    timeout --signal=INT --kill-after=10 "$seconds" "$@" >"$log" 2>"$log.err"
    code=$?
    case $code in
        0) outcome=done ;;
        124 | 137) outcome="cut short at its limit of $seconds s" ;;
        *) outcome="failed with exit code $code" ;;
    esac
    outcome+=" ($((SECONDS - start)) s)"
    return $code
}

# One file of tests; leaves a line about it.
test_file() {
    local file=$1 seconds=$2 log=$3 counts
    timed "$seconds" "$log" python3 -m pytest -ra -m gpu -p no:cacheprovider --durations 5 "$file"
    counts=$(grep -E '^=+ .* in [0-9.]+s' "$log" | tail -n 1 | tr -d '=' | xargs)
    echo "$file: $outcome: ${counts:-$(tail -n 1 "$log.err")}" >"$log.line"
}

run_tests() {
    local file log failed=0 until=$((SECONDS + limit[tests]))
    local -a files
    if ! python3 -c 'import pytest' 2>/dev/null; then
        say "tests: NOT RUN: no pytest here. Put wheels of pytest, pluggy, iniconfig, packaging, pygments into .wheels/"
        return 1
    fi
    mapfile -t files < <(grep -rl --include='test_*.py' 'mark\.gpu' packages tests | sort -r)
    # A process per file: after an illegal access nothing else in a process runs on the device. Four at a time, for
    # most of a file's time is Triton compiling; the longest are the last by name, so they go first.
    for file in "${files[@]}"; do
        while [ "$(jobs -rp | wc -l)" -ge 4 ]; do wait -n; done
        [ $SECONDS -lt $until ] && test_file "$file" $((until - SECONDS)) "$logs/$(tr / - <<<"$file")" &
    done
    wait
    for file in "${files[@]}"; do
        log=$logs/$(tr / - <<<"$file")
        [ -e "$log.line" ] || echo "$file: NOT RUN: the ${limit[tests]} s for tests were used up" >"$log.line"
        # What is only skipped has not passed.
        grep -qE ': done .* passed' "$log.line" || failed=1
        say "$(cat "$log.line")"
        [ -e "$log" ] || continue
        grep -E '^(FAILED|ERROR|SKIPPED|XFAIL)' "$log" | cut -c1-200 | sed 's/^/    /' | tee -a "$logs/summary"
        { echo "== $file"; cat "$log" "$log.err"; } >>"$out/tests.log"
    done
    return $failed
}

# A benchmark prints Markdown.
run_benchmark() {
    local name=$1 code
    shift
    timed "${limit[$name]}" "$logs/$name.md" python3 "$@"
    code=$?
    { printf '## %s\n\n%s\n\n' "$name" "$machine"; cat "$logs/$name.md"; } >"$out/$name.md"
    cp "$logs/$name.md.err" "$out/$name.log"
    cat "$logs/$name.md"
    say "$name: $outcome"
    [ $code -eq 0 ] || tail -n 5 "$logs/$name.md.err" | cut -c1-200 | sed 's/^/    /' | tee -a "$logs/summary"
    return $code
}

rm -f "$out"/{tests,kernels,decoding}.log "$out"/{kernels,decoding,summary}.md
for name in tests kernels decoding; do
    [ -n "${limit[$name]:-}" ] || continue
    printf '\n== %s (%d s so far)\n' "$name" "$SECONDS"
    case $name in
        tests) run_tests ;;
        kernels) run_benchmark kernels packages/mimo-model/benchmarks/kernels.py ;;
        decoding) run_benchmark decoding packages/mimo-model/benchmarks/decoding_cuda.py ;;
    esac || status=1
done
{ printf '## Summary\n\n%s; %d s\n\n```\n' "$machine" "$SECONDS"; cat "$logs/summary"; printf '```\n'; } >"$out/summary.md"
printf '\n== summary (%d s; reports in %s)\n' "$SECONDS" "$out"
cat "$logs/summary"
exit $status
