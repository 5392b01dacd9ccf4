#!/usr/bin/env bash
# Runs the StableHLO programs that the tests wrote with XLA on the CPU, and compares their outputs with those of sconce.
#
#   stablehlo.sh ENVIRONMENT PROGRAMS [PATTERN...]
#
# Creates a Python environment with jax in ENVIRONMENT. PROGRAMS is a directory with programs. Each PATTERN selects
# programs by their path in this directory, without `.stablehlo`, such as `networks/resnet18` or `golden/*`. Without a
# pattern, all programs run.
set -euo pipefail
cd "$(dirname -- "$0")/.."

environment=$1
shift
requirements=('jax==0.10.2' 'jaxlib==0.10.2' 'safetensors==0.8.0')

if ! "$environment/bin/python" -c 'import jax, safetensors' 2>/dev/null; then
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  install() { python3 -m venv --clear "$environment" && "$environment/bin/pip" install --quiet "${requirements[@]}"; }
  if ! install >"$log" 2>&1; then
    echo "skipped: cannot install ${requirements[*]}, which needs Python 3 with pip and access to its package index"
    tail -n 1 "$log"
    exit 0
  fi
fi
JAX_PLATFORMS=cpu "$environment/bin/python" .ci/stablehlo-programs.py "$@"
