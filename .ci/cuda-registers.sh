#!/usr/bin/env bash
# Prints the registers, shared memory and spills of each CUDA kernel, as NVIDIA's assembler reports them for sm_90
# (sm_90a for the Hopper kernels). Fails if a kernel spills, uses local memory, or exceeds its bound in cuda-bounds.txt.
#
#   cuda-registers.sh [FILE.cu ...]      by default, all .cu files below runtime/kernels/src
#
# Uses the compiler $NVCC, or else the nvcc on the PATH.
set -euo pipefail
cd "$(dirname -- "$0")/.."

nvcc=${NVCC:-nvcc}
[ $# -gt 0 ] || mapfile -t files < <(find runtime/kernels/src -name '*.cu' | sort)
[ $# -eq 0 ] || files=("$@")

# Compiles one file per core at the same time.
printf '%s\0' "${files[@]}" | xargs -0 -P "$(nproc)" -I{} bash -c '
  case $1 in */conv_hopper*) arch=-gencode=arch=compute_90a,code=sm_90a ;; *) arch=-arch=sm_90 ;; esac
  log=$("$0" -cubin "$arch" -std=c++17 -O3 --expt-relaxed-constexpr -Xptxas -v "$1" -o /dev/null 2>&1) ||
    { printf "%s\n" "$log" >&2; exit 255; }
  printf "== %s\n%s\n" "$1" "$log"
' "$nvcc" {} | awk -v bounds=.ci/cuda-bounds.txt '
  function number(pattern) { return match($0, pattern) ? substr($0, RSTART, RLENGTH) + 0 : 0 }
  BEGIN {
    while ((getline line < bounds) > 0)
      if (line !~ /^ *(#|$)/) { split(line, field, " "); patterns[++count] = field[1]; bound[count] = field[2] }
    printf "%-52s%10s%10s%10s%8s\n", "kernel", "registers", "shared", "spills", "bound"
  }
  /Compiling entry function/ { split($0, quoted, "\x27"); kernel = quoted[2] }
  /bytes stack frame/ { stack = number("[0-9]+ bytes stack"); spills = number("[0-9]+ bytes spill stores") }
  /Used [0-9]+ registers/ {
    registers = substr($0, index($0, "Used ") + 5) + 0
    shared = number("[0-9]+ bytes smem")
    # The bound of the first pattern that matches the name.
    limit = 0
    for (i = 1; i <= count && !limit; i++) if (kernel ~ ("^" patterns[i] "$")) limit = bound[i]
    bad = spills > 0 || stack > 0 || registers > limit
    failed += bad
    printf "%-52s%10d%10d%10d%8d%s\n", kernel, registers, shared, spills + stack, limit, bad ? "  FAILED" : ""
    seen++
  }
  END {
    printf "%d kernels, of which %d spill or exceed their bounds\n", seen, failed
    exit failed > 0 || seen == 0
  }
'
