//! Finds names in raw tokens, for macros whose arguments the walk cannot parse.

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::ext::IdentExt;

/// Calls `found` with every identifier and every name in a format string (`"{x:?}"`), in order.
pub fn all(tokens: TokenStream, found: &mut dyn FnMut(&str, Option<Ident>)) {
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => found(&ident.unraw().to_string(), Some(ident)),
            TokenTree::Group(group) => all(group.stream(), found),
            TokenTree::Literal(literal) => format_names(&literal.to_string(), &mut |name| found(name, None)),
            TokenTree::Punct(_) => {}
        }
    }
}

/// Returns the first identifier that equals `name`.
pub fn find(tokens: TokenStream, name: &str) -> Option<Ident> {
    let mut first = None;
    all(tokens, &mut |found, ident| {
        if found == name && first.is_none() {
            first = ident;
        }
    });
    first
}

/// Calls `found` with the names in braces in a format string.
fn format_names(literal: &str, found: &mut dyn FnMut(&str)) {
    for part in literal.split('{').skip(1) {
        let name: &str = part.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        if !name.is_empty() {
            found(name);
        }
    }
}
