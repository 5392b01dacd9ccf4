//! Compares the expansions of the networks in this directory with files. `NAME.rs` contains a network, and
//! `NAME.expanded.rs` the code that the derive generates for the network. The diff of these files shows a reviewer how
//! the generated code changes. `tests/derive/golden.rs` compiles the networks.
//!
//! `GOLDEN=overwrite cargo test -p sconce-macros golden` writes the expansions.
//!
//! The files show names without their hygiene: two variables of the same name may be different.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use quote::ToTokens;
use syn::{Attribute, DeriveInput, File, Item, parse_quote};

use crate::derive;

const NETWORKS: [&str; 11] = [
    "arguments",
    "closure",
    "containers",
    "crate_path",
    "enumeration",
    "generic",
    "own_config",
    "sequential",
    "tensors",
    "training",
    "tuple_struct",
];

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/expand/golden")
}

/// Returns the name of the file with the expansion.
fn expansion(network: &str) -> String {
    format!("{network}.expanded.rs")
}

/// Returns the expansion of the items that derive `Module` in a file.
fn expand(source: &str) -> String {
    let file = syn::parse_file(source).expect("the input should be valid Rust");
    let networks = file.items.iter().filter(|item| attributes(item).iter().any(is_derive_module));
    let code = networks.map(|item| {
        let mut node: DeriveInput = parse_quote!(#item);
        // The compiler passes the item without the attribute `derive`.
        node.attrs.retain(|attribute| !attribute.path().is_ident("derive"));
        derive(&node)
    });
    let code: proc_macro2::TokenStream = code.collect();
    assert!(!code.is_empty(), "the input should derive `Module`");
    let code: File = syn::parse2(code).expect("the expansion should be valid Rust");
    // Errors are calls to `compile_error!`.
    let has_errors = code.items.iter().any(|item| matches!(item, Item::Macro(_)));
    assert!(!has_errors, "the derive should accept the input");
    prettyplease::unparse(&code)
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Struct(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        _ => &[],
    }
}

fn is_derive_module(attribute: &Attribute) -> bool {
    attribute.path().is_ident("derive") && attribute.meta.to_token_stream().to_string().contains("Module")
}

/// Returns the first line that differs, with its number.
fn first_difference(expected: &str, found: &str) -> String {
    let mut expected = expected.lines();
    let mut found = found.lines();
    let mut number = 0;
    loop {
        number += 1;
        let lines = (expected.next(), found.next());
        if lines.0 != lines.1 {
            let [old, new] = [lines.0, lines.1].map(|line| line.unwrap_or("the end of the file").trim());
            return format!("line {number}:\n  expected: {old}\n  found:    {new}");
        }
        assert!(lines.0.is_some(), "the texts should differ");
    }
}

#[test]
fn expansions_equal_the_golden_files() {
    let overwrite = std::env::var_os("GOLDEN").is_some_and(|value| value == "overwrite");
    let mut changes = Vec::new();
    for network in NETWORKS {
        let path = directory().join(network).with_extension("rs");
        let source = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let path = directory().join(expansion(network));
        let found = expand(&source);
        if overwrite {
            fs::write(&path, &found).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
        match fs::read_to_string(&path) {
            // Git may check out text files with other line ends.
            Ok(expected) if expected.replace("\r\n", "\n") == found => {}
            Ok(expected) => {
                changes.push(format!("{}: {}", path.display(), first_difference(&expected, &found)));
            }
            Err(error) => changes.push(format!("{}: {error}", path.display())),
        }
    }
    let changes = changes.join("\n");
    assert!(
        changes.is_empty(),
        "the expansion differs from the golden files. To accept it, run\n\
         `GOLDEN=overwrite cargo test -p sconce-macros golden` and review the changes.\n{changes}"
    );
    check_names();
}

/// Checks that every file in the directory belongs to a network, so that none is left over.
fn check_names() {
    let files = fs::read_dir(directory()).expect("the directory should be readable");
    let files = files.map(|file| file.expect("the directory should be readable").file_name());
    let found: BTreeSet<String> = files.map(|name| name.to_string_lossy().into_owned()).collect();
    let inputs = NETWORKS.iter().map(|network| format!("{network}.rs"));
    let expected = inputs.chain(NETWORKS.iter().map(|network| expansion(network)));
    assert_eq!(found, expected.chain([String::from("mod.rs")]).collect());
}
