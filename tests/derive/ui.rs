//! Error messages of the derive: each mistake gives one error, at the token that causes it.
//!
//! Every file `tests/ui/*.rs` is compiled with the library that this program was linked with, and the compiler's
//! messages are compared with the file of the same name that ends in `.stderr`. `UI=overwrite` writes those files. (The
//! crate trybuild would check all dependencies of the library a second time, which takes longer than all other tests of
//! the derive together.)

use std::ffi::OsString;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use rayon::prelude::*;

#[test]
fn each_mistake_gives_its_error_message() -> Result<()> {
    let cases = files(Path::new("tests/ui"), |name| name.ends_with(".rs"))?;
    assert!(!cases.is_empty());
    let compiler = Compiler::new()?;
    let differences: Vec<String> =
        cases.par_iter().filter_map(|case| check(&compiler, case).err()).map(|e| e.to_string()).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
    Ok(())
}

/// Compares the messages for one case with the expected ones, or overwrites these.
fn check(compiler: &Compiler, case: &Path) -> Result<()> {
    let messages = compiler.messages(case)?;
    let path = case.with_extension("stderr");
    if env::var_os("UI").is_some_and(|mode| mode == "overwrite") {
        return fs::write(path, messages);
    }
    let expected = fs::read_to_string(&path).map_err(|e| Error::other(format!("{}: {e}", path.display())))?;
    if messages == expected {
        return Ok(());
    }
    Err(Error::other(format!("{}:\n{messages}\nexpected:\n{expected}", case.display())))
}

/// The compiler, with the folder of the compiled dependencies and the library in it.
struct Compiler {
    dependencies: PathBuf,
    library: PathBuf,
}

impl Compiler {
    fn new() -> Result<Self> {
        let program = env::current_exe()?;
        let dependencies = program.parent().expect("a program lies in a folder").to_path_buf();
        // Cargo has just compiled the library unless it was up to date. Other variants of it are older, or are compiled
        // from the same source.
        let is_library = |name: &str| name.starts_with("libsconce-") && name.ends_with(".rlib");
        let mut libraries = files(&dependencies, is_library)?;
        libraries.sort_by_key(|path| path.metadata().and_then(|metadata| metadata.modified()).ok());
        let library = libraries.pop().ok_or_else(|| {
            Error::other(format!("no library libsconce-*.rlib in {}", dependencies.display()))
        })?;
        Ok(Self { dependencies, library })
    }

    /// Compiles a file, which must fail, and returns the compiler's [`normalized`] messages.
    fn messages(&self, file: &Path) -> Result<String> {
        let output = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
            .args([
                "--edition=2024",
                "--crate-type=bin",
                "--emit=metadata",
                "--out-dir",
                env!("CARGO_TARGET_TMPDIR"),
            ])
            .arg("-L")
            .arg(option("dependency=", &self.dependencies))
            .arg("--extern")
            .arg(option("sconce=", &self.library))
            .arg(file)
            .output()?;
        let messages = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            return Err(Error::other(format!("{} compiles:\n{messages}", file.display())));
        }
        Ok(normalized(&messages))
    }
}

/// Returns the value `key` followed by the path.
fn option(key: &str, path: &Path) -> OsString {
    let mut option = OsString::from(key);
    option.push(path);
    option
}

/// Returns messages without what other code changes: line numbers become `LL`. Positions in the library and the closing
/// lines, which count the messages, are left out.
fn normalized(messages: &str) -> String {
    let mut normalized = String::new();
    // The columns before the source code, as many as the largest line number has digits.
    let mut margin = 0;
    for line in messages.split("error: aborting due to").next().unwrap_or_default().lines() {
        if line.trim_start().starts_with("-->") {
            margin = line.len() - line.trim_start().len();
        }
        let (numbers, text) = line.split_at_checked(margin).unwrap_or(("", line));
        normalized += match numbers.trim() {
            _ if numbers.is_empty() => "",
            "" => "  ",
            number if number.bytes().all(|byte| byte.is_ascii_digit()) => "LL",
            _ => numbers,
        };
        // The path of a file ends at the first colon.
        let is_in_library = text.starts_with("--> runtime/");
        normalized += if is_in_library { text.split(':').next().unwrap_or(text) } else { text };
        normalized += "\n";
    }
    normalized.truncate(normalized.trim_end().len());
    normalized + "\n"
}

/// Returns the files of a folder whose names satisfy `belongs`, sorted.
fn files(folder: &Path, belongs: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if belongs(&entry.file_name().to_string_lossy()) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}
