//! Names in tokens: identifiers and the names in format strings, told apart by text and hygiene context.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use syn::ext::IdentExt;

/// A name as Rust resolves it. Two identifiers with the same text are different names if they come from different
/// macro expansions, for example from a `macro_rules!` macro and from its caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    pub text: String,
    context: String,
}

impl Name {
    pub fn of(ident: &Ident) -> Self {
        Self { text: ident.unraw().to_string(), context: context(ident.span()) }
    }
}

/// Returns whether one of `idents` is the same name as `ident`.
pub fn contains<'a>(idents: impl IntoIterator<Item = &'a Ident>, ident: &Ident) -> bool {
    let name = Name::of(ident);
    idents.into_iter().any(|other| Name::of(other) == name)
}

/// Returns the hygiene context of a span from the compiler's debug output: `#4` for `#4 bytes(10..20)`.
/// Returns an empty string if the debug output has another form, so that all spans then have the same context.
fn context(span: Span) -> String {
    let text = format!("{span:?}");
    let context = text.split(' ').next().filter(|first| first.starts_with('#'));
    context.unwrap_or_default().to_string()
}

/// Calls `found` with each name in braces in a format string (`"{x:?}"`). The name has the span of the literal.
pub fn in_format(literal: &proc_macro2::Literal, found: &mut dyn FnMut(&Ident)) {
    let text = literal.to_string();
    if !text.contains('"') {
        return;
    }
    for part in text.split('{').skip(1) {
        let name: &str = part.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        if syn::parse_str::<Ident>(name).is_ok() {
            found(&Ident::new(name, literal.span()));
        }
    }
}

/// Calls `found` with every identifier and every name in a format string, in order.
pub fn all(tokens: TokenStream, found: &mut dyn FnMut(&Ident)) {
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => found(&ident),
            TokenTree::Group(group) => all(group.stream(), found),
            TokenTree::Literal(literal) => in_format(&literal, found),
            TokenTree::Punct(_) => {}
        }
    }
}
