//! Finding names in raw tokens: those of macros the walk cannot look into.

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::ext::IdentExt;

/// Every identifier, and every name inside a format string (`"{x:?}"`), in order.
pub fn all(tokens: TokenStream, found: &mut dyn FnMut(&str, Option<Ident>)) {
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => found(&ident.unraw().to_string(), Some(ident)),
            TokenTree::Group(group) => all(group.stream(), found),
            TokenTree::Literal(literal) => in_format(&literal.to_string(), &mut |name| found(name, None)),
            TokenTree::Punct(_) => {}
        }
    }
}

/// The first identifier of that name.
pub fn find(tokens: TokenStream, name: &str) -> Option<Ident> {
    let mut first = None;
    all(tokens, &mut |found, ident| {
        if found == name && first.is_none() {
            first = ident;
        }
    });
    first
}

/// The names between braces in a format string.
fn in_format(literal: &str, found: &mut dyn FnMut(&str)) {
    for part in literal.split('{').skip(1) {
        let name: &str = part.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        if !name.is_empty() {
            found(name);
        }
    }
}
