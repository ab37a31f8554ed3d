# Sourced by demo.sh and test.sh: brings uv if it is not there, and syncs the workspace from uv.lock.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

if ! command -v uv >/dev/null; then
    export PATH="$PWD/.tools/uv/bin:$PATH"
fi
if ! command -v uv >/dev/null; then
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
        echo "setup: Python 3.11 or newer is needed; found: $(python3 --version 2>&1)" >&2
        exit 1
    }
    echo "setup: bringing uv into .tools/uv"
    { python3 -m venv .tools/uv && .tools/uv/bin/pip install --quiet uv; } >/dev/null 2>&1 ||
        { rm -rf .tools/uv; python3 -m pip install --quiet --target .tools/uv uv; } || {
        echo "setup: could not install uv. Install it with your package manager, then run this again." >&2
        exit 1
    }
fi

echo "setup: syncing the workspace from uv.lock"
# Compiled once here: where Python may not write bytecode, every command would compile torch anew, for seconds.
uv sync --quiet --frozen --all-packages --extra pdf --extra ray --extra synth --extra tag --extra local --extra serve --extra cuda --extra server --extra client --compile-bytecode
export PATH="$PWD/.venv/bin:$PATH"

# One line for each optional part that is missing, and what stands in for it.
command -v "${CC:-cc}" >/dev/null || echo "setup: no C compiler here; models decode with PyTorch's operators"
command -v nvidia-smi >/dev/null || echo "setup: no GPU here; models run on the CPU"
docker info >/dev/null 2>&1 || echo "setup: no Docker engine answers; programs are judged in the sandbox's local backend (Linux namespaces)"
