#!/usr/bin/env bash
# Tests distributed training by MPI on 2 and 4 ranks. Installs Debian's OpenMPI if it is missing, which needs root.
set -euo pipefail
cd "$(dirname -- "$0")/.."

packages=(libopenmpi-dev openmpi-bin libclang-dev)
installed() {
  command -v mpirun >/dev/null && command -v mpicc >/dev/null && ls /usr/lib/llvm-*/lib/libclang*.so* >/dev/null 2>&1
}
if ! installed; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "skipped: needs MPI and libclang; on Debian, install ${packages[*]}"
    exit 0
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update --quiet=2
  apt-get install --yes --quiet=2 --no-install-recommends "${packages[@]}" >/dev/null
fi

cargo test --features mpi --test mpi --no-run
test=$(cargo test --features mpi --test mpi --no-run --message-format=json 2>/dev/null |
  sed -n 's/.*"name":"mpi".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
ranks() {
  local count=$1
  shift
  RAYON_NUM_THREADS=1 timeout 120 mpirun --allow-run-as-root --oversubscribe -n "$count" "$@"
}

ranks 2 "$test"
ranks 4 "$test"

# A rank that fails or panics stops all, and names the rank and the cause.
fails() {
  local expected=$1 output
  shift
  if output=$(ranks 3 "$test" "$@" 2>&1); then
    echo "expected a failure of: $*"
    exit 1
  fi
  grep -q "$expected" <<<"$output" || { printf 'expected "%s", found:\n%s\n' "$expected" "$output"; exit 1; }
  echo "$* stops all ranks: $expected"
}
fails 'rank 1 of 3 failed: the disk is full' fail
fails 'rank 1 of 3 failed: the rank panicked' panic
# Ranks with other settings than rank 0 are an error that names the setting.
fails 'the ranks differ in the .*: rank 2 has another than rank 0' settings

# A run continues with another number of ranks.
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
ends() {
  local expected=$1 found
  shift
  found=$(ranks "$@")
  [ "$found" = "$expected" ] || { printf 'expected "%s", found "%s"\n' "$expected" "$found"; exit 1; }
  echo "$found"
}
ends 'epochs: 1, resumed: false' 2 "$test" checkpoint "$directory" 9
ends 'epochs: 1, resumed: true' 4 "$test" checkpoint "$directory" 12
ends 'epochs: 3, resumed: true' 1 "$test" checkpoint "$directory" 1000
