#!/usr/bin/env bash
# Checks that TensorBoard reads the values of metrics.csv and steps.csv from the event files that the tests wrote.
#
#   event-files.sh ENVIRONMENT RUNS
#
# Creates a Python environment with TensorBoard in ENVIRONMENT. RUNS has a folder for each training run.
set -euo pipefail
cd "$(dirname -- "$0")/.."

environment=$1
runs=$2
requirement='tensorboard==2.21.0'

if ! "$environment/bin/python" -c 'import tensorboard' 2>/dev/null; then
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  install() { python3 -m venv --clear "$environment" && "$environment/bin/pip" install --quiet "$requirement"; }
  if ! install >"$log" 2>&1; then
    echo "skipped: cannot install $requirement, which needs Python 3 with pip and access to its package index"
    tail -n 1 "$log"
    exit 0
  fi
fi
"$environment/bin/python" .ci/event-files.py "$runs"
