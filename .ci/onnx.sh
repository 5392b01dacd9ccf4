#!/usr/bin/env bash
# Checks the ONNX models that the tests wrote, and compares their outputs in ONNX Runtime with those of sconce.
#
#   onnx.sh ENVIRONMENT MODELS [MODEL...]
#
# Creates a Python environment with onnx, onnxruntime and openvino in ENVIRONMENT. MODELS is a directory with models.
# Each MODEL is the path of a model in this directory, without `.onnx`, that runs in OpenVINO too.
set -euo pipefail
cd "$(dirname -- "$0")/.."

environment=$1
shift
requirements=('onnx==1.23.2' 'onnxruntime==1.32.0' 'openvino==2026.4.1')

if ! "$environment/bin/python" -c 'import onnx, onnxruntime, openvino' 2>/dev/null; then
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  install() { python3 -m venv --clear "$environment" && "$environment/bin/pip" install --quiet "${requirements[@]}"; }
  if ! install >"$log" 2>&1; then
    echo "skipped: cannot install ${requirements[*]}, which needs Python 3 with pip and access to its package index"
    tail -n 1 "$log"
    exit 0
  fi
fi
"$environment/bin/python" .ci/onnx-models.py "$@"
