#!/usr/bin/env bash
# Installs Chromium and Graphviz, in which the tests open the drawings of networks. Prints the variables with their
# paths, which the tests then require: `env=$(.ci/drawing-tools.sh); eval "$env"`. Messages go to stderr.
#
# Installing needs root and apt-get, as in a container of Debian or Ubuntu. The tests skip a program that is missing.
set -euo pipefail

browsers=(chromium chromium-browser google-chrome google-chrome-stable chrome)

# Prints the path of the first of these programs that is installed.
find_program() { for name in "$@"; do command -v "$name" && return; done; return 1; }

# Prints a variable with the path of the first of these programs that is installed, unless the variable is set.
export_path() {
  local variable=$1 path=${!1:-}
  shift
  [[ -n $path ]] || path=$(find_program "$@") || return 1
  printf 'export %s=%q\n' "$variable" "$path"
}

install() {
  [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null || return 1
  # The index of packages is missing in a fresh container.
  apt-get install --yes --no-install-recommends "$@" ||
    { apt-get update && apt-get install --yes --no-install-recommends "$@"; }
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Usage: require VARIABLE PACKAGE PROGRAM...
require() {
  local variable=$1 package=$2
  shift 2
  export_path "$variable" "$@" && return
  if install "$package" >"$log" 2>&1 && export_path "$variable" "$@"; then
    return
  fi
  echo "skipped: cannot install $package, which needs root and apt-get; the tests of drawings skip it" >&2
  tail -n 1 "$log" >&2
}

require SCONCE_BROWSER chromium "${browsers[@]}"
require SCONCE_DOT graphviz dot
