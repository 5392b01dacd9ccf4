#!/bin/sh
# Counts the instructions of derived forward passes and of the same passes written by hand, under callgrind.
#
#     benches/instructions.sh [passes]
#
# Runs each version twice: for `passes` passes, and for twice as many. The difference of the counts, divided by `passes`,
# is the count per pass without the start of the program. It does not depend on the load of the machine. Fails if a
# derived pass executes over 2 % more instructions than the pass written by hand. Needs valgrind.
set -eu
passes=${1:-20}
cd "$(dirname "$0")/.."
mkdir -p target/instructions

program=$(cargo bench -p sconce-benches --bench instructions --no-run --message-format=json \
    | grep -o '"executable":"[^"]*/instructions-[^"]*"' | tail -1 | cut -d '"' -f 4)
test -n "$program"
# valgrind does not support AVX-512.
export SCONCE_ISA=avx2
export RAYON_NUM_THREADS=1

# Prints the instructions of `$3` passes of version `$2` of network `$1`.
count() {
    profile=target/instructions/$1.$2.$3
    valgrind --tool=callgrind --callgrind-out-file="$profile" "$program" "$1" "$2" "$3" > /dev/null 2> "$profile.log" \
        || { cat "$profile.log" >&2; exit 1; }
    sed -n 's/^totals: //p' "$profile"
}

for network in introduction mlp resnet transformer; do
    for version in by-hand derived; do
        count "$network" "$version" "$passes"
        count "$network" "$version" $((2 * passes))
    done | tr '\n' ' ' | awk -v network="$network" -v passes="$passes" '{
        if (NF != 4) exit 1
        hand = ($2 - $1) / passes
        derived = ($4 - $3) / passes
        percent = 100 * (derived / hand - 1)
        printf "%-13s by hand %12.0f, derived %12.0f, %+.2f %%\n", network, hand, derived, percent
        if (percent > 2) exit 1
    }
    END { if (NR == 0) exit 1 }'
done
