//! Compiles every `.cu` file of the library, and those in `emu/kernels`, for the CPU, with the headers in `emu/`.

use std::path::{Path, PathBuf};
use std::{env, error::Error, fs, io};

/// The directory with the library's `.cu` files.
const KERNELS: &str = "../../runtime/kernels/src";
/// The C++ files of the emulator in `emu/`, without their extension.
const ENGINE: [&str; 6] = ["engine", "memory", "barriers", "registry", "tensor_core", "hopper"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rustc-check-cfg=cfg(emulator, emulator_asan)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=emu");
    println!("cargo::rerun-if-env-changed=CXX");
    println!("cargo::rerun-if-env-changed=CUDA_CPU_ASAN");
    let (mut sources, mut headers) = (Vec::new(), Vec::new());
    find(Path::new(KERNELS), &mut sources, &mut headers)?;
    find(Path::new("emu/kernels"), &mut sources, &mut headers)?;
    sources.sort();
    for file in sources.iter().chain(&headers) {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").opt_level(1).debug(false).flag("-g1").pic(true);
    if !can_run(&build) {
        println!("cargo::warning=no C++ compiler was found: the tests of the CUDA kernels are ignored");
        return Ok(());
    }
    build.include("emu").include(Path::new(KERNELS).join("cuda"));
    // If the compiler contracted products and sums to FMAs, results would depend on the machine.
    build.flag("-ffp-contract=off").flag("-fno-strict-aliasing").warnings(true);
    // The host's compiler does not know CUDA's pragmas.
    build.flag_if_supported("-Wno-unknown-pragmas").flag_if_supported("-Wno-unused-function");
    build.flag_if_supported("-Wno-deprecated-declarations").flag_if_supported("-Wno-psabi");
    let under_asan = env::var_os("CUDA_CPU_ASAN").is_some();
    if under_asan {
        // Link AddressSanitizer statically, so that it replaces the allocator before the first allocation.
        build.flag("-fsanitize=address");
        println!("cargo::rustc-cfg=emulator_asan");
        println!("cargo::rustc-link-arg-tests=-Wl,--whole-archive,-l:libasan.a,--no-whole-archive");
    }
    // The scheduler and its checks are optimized more, because every kernel spends most of its time there.
    build.clone().opt_level(2).files(ENGINE.map(|name| format!("emu/{name}.cpp"))).try_compile("engine")?;
    if !under_asan {
        // With these flags, the compiler inserts a call at every load, store and misaligned access. The sanitizers'
        // libraries are not linked; emu/memory.cpp defines the called functions.
        build.flag_if_supported("-fsanitize=thread").flag_if_supported("-fsanitize=alignment");
    }
    build.flag("-x").flag("c++").flag("-include").flag("emu/cuda_cpu.h");
    // Kernels register themselves at program start. Without whole-archive, the linker would omit them.
    build.cargo_metadata(false).files(&sources).try_compile("kernels")?;
    println!("cargo::rustc-link-search=native={}", env::var("OUT_DIR")?);
    println!("cargo::rustc-link-lib=static:+whole-archive=kernels");
    println!("cargo::rustc-cfg=emulator");
    Ok(())
}

/// Returns `true` if the compiler can be run.
fn can_run(build: &cc::Build) -> bool {
    let version = build.try_get_compiler().map(|compiler| compiler.to_command().arg("--version").output());
    matches!(version, Ok(Ok(output)) if output.status.success())
}

/// Adds the `.cu` files below `directory` to `sources`, and the `.cuh` files to `headers`.
fn find(directory: &Path, sources: &mut Vec<PathBuf>, headers: &mut Vec<PathBuf>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", directory.display());
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            _ if path.is_dir() => find(&path, sources, headers)?,
            Some("cu") => sources.push(path),
            Some("cuh") => headers.push(path),
            _ => {}
        }
    }
    Ok(())
}
