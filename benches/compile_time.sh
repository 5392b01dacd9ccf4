#!/bin/sh
# Times `cargo check` of a crate with 50 derived structs and 500 layers, excluding its dependencies.
#
#     benches/compile_time.sh [structs] [runs]
#
# Writes the crate to target/compile_time, checks its dependencies, then times `runs` checks of the crate alone. Prints
# each time and the minimum. With 0 runs, only writes the crate.
set -eu
structs=${1:-50}
runs=${2:-5}
root=$(cd "$(dirname "$0")/.." && pwd)
crate=$root/target/compile_time
mkdir -p "$crate/src"

cat > "$crate/Cargo.toml" <<TOML
[package]
name = "compile_time"
version = "0.0.0"
edition = "2024"

[dependencies]
sconce = { path = "$root" }

[workspace]
TOML

# Ten layers per struct. Half of the structs have a forward closure; the layers of the others run in order.
{
    echo '#![allow(dead_code)]'
    echo 'use sconce::prelude::*;'
    i=0
    while [ "$i" -lt "$structs" ]; do
        echo '#[derive(Module)]'
        if [ $((i % 2)) -eq 0 ]; then
            echo '#[module(args(in_channels: usize, out_channels: usize, stride: usize = 1), forward = |x| {'
            echo '    let h = relu(bn1(conv1(x)));'
            echo '    let h = relu(bn2(conv2(h)));'
            echo '    let h = bn3(conv3(h)) + downsample(x);'
            echo '    let h = max_pool2d(act(h), 2);'
            echo '    fc(flatten(dropout(h), 1))'
            echo '})]'
        else
            echo '#[module(args(in_channels: usize, out_channels: usize, stride: usize = 1))]'
        fi
        cat <<RUST
pub struct Net$i {
    #[layer(in_channels, out_channels, 3, stride = stride, padding = 1, bias = false)]
    conv1: Conv2d,
    #[layer(out_channels)]
    bn1: BatchNorm,
    #[layer(out_channels, out_channels, 3, padding = 1, bias = false)]
    conv2: Conv2d,
    #[layer(out_channels)]
    bn2: BatchNorm,
    #[layer(out_channels, out_channels, 3, padding = 1)]
    conv3: Conv2d,
    #[layer(out_channels)]
    bn3: BatchNorm,
    #[layer(in_channels, out_channels, 1, stride = stride; if stride != 1)]
    downsample: Option<Conv2d>,
    act: Relu,
    #[layer(0.5)]
    dropout: Dropout,
    #[layer(out_channels, 10)]
    fc: Linear,
}
RUST
        i=$((i + 1))
    done
} > "$crate/src/lib.rs"
[ "$runs" -gt 0 ] || exit 0

cd "$crate"
cargo check --quiet
minimum=
run=0
while [ "$run" -lt "$runs" ]; do
    touch src/lib.rs
    start=$(date +%s.%N)
    cargo check --quiet
    took=$(echo "$(date +%s.%N) $start" | awk '{ printf "%.2f", $1 - $2 }')
    echo "run $((run + 1)): $took s"
    minimum=$(echo "$took ${minimum:-$took}" | awk '{ print ($1 < $2) ? $1 : $2 }')
    run=$((run + 1))
done
echo "minimum of $runs: $minimum s for $structs structs with $((structs * 10)) layers"
