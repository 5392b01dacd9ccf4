//! The derive macro of sconce.

mod ast;
mod attr;
mod closure;
mod ctxt;
mod expand;
mod suggest;
mod valid;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

#[proc_macro_derive(Module, attributes(module, layer, param, buffer))]
pub fn derive_module(input: TokenStream) -> TokenStream {
    let node = parse_macro_input!(input as DeriveInput);
    derive(&node).into()
}

/// Reads, checks, writes; the code first, then the mistakes.
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
