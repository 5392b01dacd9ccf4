#!/usr/bin/env bash
# Checks the ONNX models that the tests wrote, and compares their outputs in ONNX Runtime with those of sconce.
#
#   onnx.sh ENVIRONMENT MODELS
#
# Creates a Python environment with onnx and onnxruntime in ENVIRONMENT. MODELS is a directory with models.
set -euo pipefail
cd "$(dirname -- "$0")/.."

environment=$1
models=$2
requirements=('onnx==1.23.2' 'onnxruntime==1.32.0')

if ! "$environment/bin/python" -c 'import onnx, onnxruntime' 2>/dev/null; then
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  install() { python3 -m venv --clear "$environment" && "$environment/bin/pip" install --quiet "${requirements[@]}"; }
  if ! install >"$log" 2>&1; then
    echo "skipped: cannot install ${requirements[*]}, which needs Python 3 with pip and access to its package index"
    tail -n 1 "$log"
    exit 0
  fi
fi
"$environment/bin/python" .ci/onnx-models.py "$models"
