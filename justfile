# Recipes for development: https://just.systems. `just` lists them.

set positional-arguments

_list:
    @just --list --unsorted

# Run all tests, with and without the optional features
test *args:
    cargo test "$@"
    cargo test --features serde,hub,image,onnx,plots,stablehlo --lib --test features --test onnx --test stablehlo

# Check formatting and lints
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo clippy --workspace --all-targets --features serde,hub,image,onnx,plots,stablehlo -- -D warnings
    cargo clippy -p sconce --lib -- -D warnings
    cargo clippy -p sconce-kernels --lib -- -D warnings

# Format the code
fmt:
    cargo fmt --all

# Build the documentation, as docs.rs does
doc *args:
    RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --features serde,hub,image,onnx,plots,stablehlo "$@"

# Run everything that must pass before a change is merged
ci:
    .ci/run

# Run the kernels' tests under AddressSanitizer and valgrind (about half an hour)
sanitize *args:
    .ci/sanitize "$@"

# Time fused convolutions and their gradients, beside candle's, with Criterion
bench *args:
    cargo bench -p sconce-benches "$@"

# Time convolution + bias + ReLU layer by layer, beside candle
table *args:
    cargo run --release --example conv_table -- "$@"

# Time layers and chains of layers, written in PyTorch's syntax
ops *args:
    cargo run --release --example op_table -- "$@"

# Time whole networks and training steps
nets *args:
    cargo run --release --example net_table -- "$@"

# Check by measurement how often the selected convolution algorithm is at most a tenth slower than the fastest
plans *args:
    cargo run --release --example plan_check -- "$@"

# Draw the speed chart and write the result tables, from the measurements in benches/results
chart:
    cargo run --release --example speed_chart

# Check and time the CUDA kernels on this machine's GPU
gpu *args:
    cargo run --release --features cuda --example cuda_check -- "$@"
