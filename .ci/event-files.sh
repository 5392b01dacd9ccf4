#!/usr/bin/env bash
# Compares the event files that the tests wrote with their tables, by TensorBoard. Installs TensorBoard in the directory
# that is the first argument. The second argument is the directory of the runs.
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
    echo "skipped: Python 3 with pip, or its index, from which $requirement is installed, is missing"
    tail -n 1 "$log"
    exit 0
  fi
fi
"$environment/bin/python" .ci/event-files.py "$runs"
