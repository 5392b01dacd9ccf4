//! Compiles the CUDA kernels, under the feature `cuda` only: every `.cu` below `src` becomes PTX,
//! and the table `$OUT_DIR/modules.rs` names them by the stems of their files.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "cuda")]
    if let Err(error) = cuda::build() {
        // Cargo shows what a build script prints where it fails.
        eprintln!("{error}");
        std::process::exit(1);
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    use cudaforge::{CudaToolkit, KernelBuilder, collect_headers, detect_compute_cap};
    use std::collections::BTreeMap;
    use std::error::Error;
    use std::hash::{DefaultHasher, Hash, Hasher};
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::{env, fs};

    const SOURCES: &str = "src";

    /// The compute capability that the PTX is for, 8.0: the driver compiles PTX for the device it finds, for
    /// that capability and every later one, and 8.0 is the first with all instructions that the kernels use.
    /// Only where `CUDA_COMPUTE_CAP` (or, without it, the machine's own GPU) is older is the PTX older too, and
    /// kernels for tensor cores are left out of it.
    ///
    /// Not 9.0 on an H100: that would become `sm_90a`, whose PTX runs on that one generation alone.
    const CAPABILITY: usize = 80;

    /// Kernels for compute capability 9.0 alone, by the names of their files: they are compiled for `sm_90a`, and
    /// loaded on no other device.
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
            // cudaforge takes PTX for up to date whoever wrote it, but knows the arguments it had.
            .arg(&format!("-DCOMPILED_BY={:016x}", compiler()?))
            .build_ptx()?;
        fs::write(out.join("modules.rs"), table(&modules, &out, capability)?)?;
        Ok(())
    }

    /// The `.cu` files by their stems.
    fn modules() -> Result<BTreeMap<String, PathBuf>, Box<dyn Error>> {
        let mut modules = BTreeMap::new();
        collect(Path::new(SOURCES), &mut modules)?;
        Ok(modules)
    }

    fn collect(folder: &Path, modules: &mut BTreeMap<String, PathBuf>) -> Result<(), Box<dyn Error>> {
        // So that a file that is added is found. Only the kernels' own folders: a change of the Rust code
        // around them is no reason to compile them again.
        if folder.ends_with("cuda") {
            println!("cargo::rerun-if-changed={}", folder.display());
        }
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                collect(&path, modules)?;
            } else if path.extension().is_some_and(|extension| extension == "cu") {
                let stem = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into());
                if let Some(other) = modules.insert(stem, path.clone()) {
                    let (path, other) = (path.display(), other.display());
                    return Err(format!("two modules of one name: {other} and {path}").into());
                }
            }
        }
        Ok(())
    }

    /// Which compiler it is that cudaforge will run.
    fn compiler() -> Result<u64, Box<dyn Error>> {
        let nvcc = CudaToolkit::detect()?.nvcc_path;
        let version = Command::new(&nvcc).arg("--version").output()?.stdout;
        Ok(hash(&(nvcc, version)))
    }

    /// `Module { stem, name, ptx }` for each file. The name is another one where the PTX is: what is loaded is
    /// kept by its name alone.
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
