//! Error messages of the derive: each mistake gives one error, at the token that causes it.
//!
//! Every file `tests/ui/*.rs` is compiled with the library that this program was linked with, and the compiler's
//! messages are compared with the file of the same name that ends in `.stderr`. `UI=overwrite` writes those files.
//! trybuild is not used, because it checks all dependencies a second time, which takes longer than all other tests of
//! the derive. `cargo test --target` is not supported.

use std::borrow::Cow;
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

/// Compares the messages for a case with its `.stderr` file, or writes the file if `UI=overwrite`.
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

/// The arguments of rustc: the folder of the compiled dependencies, and the library.
struct Compiler {
    dependencies: PathBuf,
    library: PathBuf,
}

impl Compiler {
    fn new() -> Result<Self> {
        let program = env::current_exe()?;
        let dependencies = program.parent().expect("a program lies in a folder").to_path_buf();
        // The folder may also contain builds of the library with other features. This program was linked right after
        // its own library was compiled, so its library is usually the newest of those that are older than the program.
        let modified = |path: &Path| path.metadata()?.modified();
        let linked = modified(&program)?;
        let is_library = |name: &str| name.starts_with("libsconce-") && name.ends_with(".rlib");
        let mut libraries = files(&dependencies, is_library)?;
        libraries.retain(|path| modified(path).is_ok_and(|compiled| compiled <= linked));
        libraries.sort_by_key(|path| modified(path).ok());
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
            .arg(argument("dependency=", &self.dependencies))
            .arg("--extern")
            .arg(argument("sconce=", &self.library))
            .arg(file)
            .output()
            .map_err(|e| Error::other(format!("cannot run rustc: {e}")))?;
        let messages = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            return Err(Error::other(format!("{} compiles:\n{messages}", file.display())));
        }
        Ok(normalized(&messages))
    }
}

/// Returns `key` followed by `path`.
fn argument(key: &str, path: &Path) -> OsString {
    let mut argument = OsString::from(key);
    argument.push(path);
    argument
}

/// Returns the compiler's messages without the parts that depend on other code: positions in the library, and the
/// number in `and 42 others`, with which the compiler shortens a list of types. Also removes the closing lines, which
/// count the errors.
fn normalized(messages: &str) -> String {
    let messages = messages.split("error: aborting due to").next().unwrap_or_default();
    let messages: Vec<String> = messages.trim_end().split("\n\n").map(normalized_message).collect();
    messages.join("\n\n") + "\n"
}

/// Normalizes one message. A line with source code begins with a margin, as wide as the largest line number. The line
/// numbers of the library are left out, and the margin becomes as narrow as the remaining line numbers allow.
fn normalized_message(message: &str) -> String {
    let Some(position) = message.lines().find(|line| line.trim_start().starts_with("-->")) else {
        return message.to_string();
    };
    let margin = position.len() - position.trim_start().len();
    let mut is_in_library = false;
    let mut lines = Vec::new();
    for line in message.lines() {
        let is_margin = |text: &str| text.bytes().all(|byte| byte == b' ' || byte.is_ascii_digit());
        let Some((number, text)) = line.split_at_checked(margin).filter(|(number, _)| is_margin(number))
        else {
            // A note, a suggestion, or `...`, which stands for omitted lines.
            is_in_library &= line == "...";
            lines.push((None, line.into()));
            continue;
        };
        if let Some(path) = text.strip_prefix("--> ").or_else(|| text.strip_prefix("::: ")) {
            is_in_library = path.starts_with("runtime/");
        }
        let number = if is_in_library { "" } else { number.trim() };
        lines.push((Some(number), without_numbers(text)));
    }
    let margin = lines.iter().filter_map(|(number, _)| *number).map(str::len).max().unwrap_or(0);
    let lines = lines.into_iter().map(|(number, text)| match number {
        Some(number) => format!("{number:>margin$}{text}"),
        None => text.into_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns the text of a line. Removes line and column from a position in the library, and replaces the number in
/// `and 42 others` by `$N`.
fn without_numbers(text: &str) -> Cow<'_, str> {
    for arrow in ["--> ", "::: "] {
        if let Some(path) = text.strip_prefix(arrow).filter(|position| position.starts_with("runtime/")) {
            return format!("{arrow}{}", path.split(':').next().unwrap_or(path)).into();
        }
    }
    let count = text.trim_start().strip_prefix("and ").and_then(|text| text.strip_suffix(" others"));
    match count {
        Some(count) => text.replace(count, "$N").into(),
        None => text.into(),
    }
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
