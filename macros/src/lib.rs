//! The derive macros of [sconce](https://docs.rs/sconce). `Module` turns a struct of layers into a neural network.
//! `Batch` turns a struct of tensors into a batch of examples.
//!
//! `Module` has three stages: `ast` and `attr` parse the item, `valid` checks it, and `expand` generates the
//! code. `closure` rewrites forward closures. All errors are collected in one `Ctxt` and reported together.

mod ast;
mod attr;
mod batch;
mod closure;
mod ctxt;
mod expand;
mod fragment;
mod mention;
mod name;
mod suggest;
mod valid;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

#[doc = include_str!("module.md")]
#[proc_macro_derive(Module, attributes(module, layer, param, buffer))]
pub fn derive_module(input: TokenStream) -> TokenStream {
    let mut node = parse_macro_input!(input as DeriveInput);
    fragment::ungroup(&mut node);
    derive(&node).into()
}

#[doc = include_str!("batch.md")]
#[proc_macro_derive(Batch, attributes(batch))]
pub fn derive_batch(input: TokenStream) -> TokenStream {
    let mut node = parse_macro_input!(input as DeriveInput);
    fragment::ungroup(&mut node);
    batch::derive(&node).into()
}

/// Parses and checks the item, and returns the generated code followed by the errors.
fn derive(node: &DeriveInput) -> proc_macro2::TokenStream {
    let ctxt = ctxt::Ctxt::default();
    let mut code = proc_macro2::TokenStream::new();
    if let Some(input) = ast::Input::from_syn(&ctxt, node) {
        valid::validate(&ctxt, &input);
        code = expand::expand(&ctxt, &input);
    }
    code.extend(ctxt.into_compile_errors());
    code
}
