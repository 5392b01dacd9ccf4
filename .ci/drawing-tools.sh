#!/usr/bin/env bash
# Installs Chromium and Graphviz, in which the tests open the drawings of networks. The tests skip a program that is
# missing.
#
# Needs root and apt-get, as in a container of Debian or Ubuntu. Uses the programs that are installed otherwise.
set -euo pipefail

has() { for name in "$@"; do command -v "$name" >/dev/null && return; done; return 1; }

missing=()
browsers=(chromium chromium-browser google-chrome google-chrome-stable chrome)
[[ -n ${SCONCE_BROWSER:-} ]] || has "${browsers[@]}" || missing+=(chromium)
[[ -n ${SCONCE_DOT:-} ]] || has dot || missing+=(graphviz)
[[ ${#missing[@]} -gt 0 ]] || exit 0

install() {
  [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null || return 1
  # The index of packages is missing in a fresh container.
  apt-get install --yes --no-install-recommends "${missing[@]}" ||
    { apt-get update && apt-get install --yes --no-install-recommends "${missing[@]}"; }
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! install >"$log" 2>&1; then
  echo "skipped: cannot install ${missing[*]}, which needs root and apt-get; the tests of drawings skip them"
  tail -n 1 "$log"
fi
