#!/usr/bin/env bash
# The whole stack at laptop size, from raw pages to a report: bash scripts/demo.sh [--pages DIR] [--seed N] [--out DIR]
set -euo pipefail
here=$PWD
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
exec python scripts/pipeline.py --relative-to "$here" "$@"
