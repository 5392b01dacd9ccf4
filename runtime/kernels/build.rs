//! If the feature `cuda` is enabled, compiles every `.cu` file below `src` to PTX, and writes `$OUT_DIR/modules.rs`, a
//! table of the PTX by file stem.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "cuda")]
    if let Err(error) = cuda::build() {
        // Cargo shows the output of a build script that fails.
        eprintln!("{error}");
        std::process::exit(1);
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    use std::collections::BTreeMap;
    use std::error::Error;
    use std::hash::{DefaultHasher, Hash, Hasher};
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::{env, fs};

    use cudaforge::{CudaToolkit, KernelBuilder, collect_headers, detect_compute_cap};

    const SOURCES: &str = "src";

    /// The compute capability for which all kernels except those of `HOPPER` are compiled: 8.0, the first that has all
    /// instructions of these kernels. The driver compiles the PTX for its device, which may have the same or any later
    /// capability. If `CUDA_COMPUTE_CAP` (or, if that is not set, the capability of this machine's GPU) is lower, the
    /// PTX is compiled for that lower capability, and the kernels for tensor cores are never loaded.
    ///
    /// The value must not be 9.0, even on an H100: for 9.0, the compiler targets `sm_90a`, and PTX for `sm_90a` runs
    /// only on devices of compute capability 9.0.
    const CAPABILITY: usize = 80;

    /// The kernels that run only on devices of compute capability 9.0: the pattern of their file names, and their
    /// compute capability. They are compiled for `sm_90a` and are not loaded on any other device.
    const HOPPER: (&str, usize) = ("conv_hopper*.cu", 90);

    pub fn build() -> Result<(), Box<dyn Error>> {
        let out = PathBuf::from(env::var("OUT_DIR")?);
        let modules = modules()?;
        let headers = collect_headers(&[SOURCES]);
        for variable in ["NVCC", "CUDA_HOME", "CUDA_PATH", "PATH"] {
            println!("cargo::rerun-if-env-changed={variable}");
        }
        let capability = detect_compute_cap().map_or(CAPABILITY, |arch| arch.base()).min(CAPABILITY);
        KernelBuilder::new()
            .source_files(modules.values())
            .watch(&headers)
            .compute_cap(capability)
            .with_compute_override(HOPPER.0, HOPPER.1)
            .args(["-std=c++17", "-O3", "--expt-relaxed-constexpr"])
            // cudaforge recompiles the kernels if the arguments change, but not if the compiler changes. A hash of the
            // compiler is therefore one of the arguments.
            .arg(&format!("-DCOMPILED_BY={:016x}", compiler_hash()?))
            .build_ptx()?;
        fs::write(out.join("modules.rs"), table(&modules, &out, capability)?)?;
        Ok(())
    }

    /// Returns the `.cu` files by stem.
    fn modules() -> Result<BTreeMap<String, PathBuf>, Box<dyn Error>> {
        let mut modules = BTreeMap::new();
        collect(Path::new(SOURCES), &mut modules)?;
        Ok(modules)
    }

    /// Adds the `.cu` files below `directory` to `modules`. Fails if two files have the same stem.
    fn collect(directory: &Path, modules: &mut BTreeMap<String, PathBuf>) -> Result<(), Box<dyn Error>> {
        // Rerun if a file is added. Only the `cuda` directories are watched, so that the kernels are not compiled again
        // after a change to other Rust code.
        if directory.ends_with("cuda") {
            println!("cargo::rerun-if-changed={}", directory.display());
        }
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                collect(&path, modules)?;
            } else if path.extension().is_some_and(|extension| extension == "cu") {
                let stem = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into());
                if let Some(other) = modules.insert(stem, path.clone()) {
                    let path = path.display();
                    let other = other.display();
                    return Err(format!("two .cu files have the same stem: {other} and {path}").into());
                }
            }
        }
        Ok(())
    }

    /// Returns a hash of the path and version of the compiler that cudaforge runs.
    fn compiler_hash() -> Result<u64, Box<dyn Error>> {
        let nvcc = CudaToolkit::detect()?.nvcc_path;
        let version = Command::new(&nvcc).arg("--version").output()?.stdout;
        Ok(hash(&(nvcc, version)))
    }

    /// Returns the content of `modules.rs`: the compute capability, and a `Module { stem, name, ptx }` for each `.cu`
    /// file. The name contains a hash of the PTX, because loaded modules are cached by name only.
    fn table(
        modules: &BTreeMap<String, PathBuf>,
        out: &Path,
        capability: usize,
    ) -> Result<String, Box<dyn Error>> {
        let mut table =
            format!("pub const CAPABILITY: u32 = {capability};\npub const MODULES: &[Module] = &[\n");
        for stem in modules.keys() {
            let ptx = out.join(stem).with_extension("ptx");
            let name = format!("sconce_{stem}_{:016x}", hash(&fs::read(&ptx)?));
            table += &format!(
                "    Module {{ stem: {stem:?}, name: {name:?}, ptx: include_str!({:?}) }},\n",
                ptx.display().to_string()
            );
        }
        Ok(table + "];\n")
    }

    fn hash(value: &impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        hasher.finish()
    }
}
