//! Names in tokens: identifiers and the names in format strings. Two names are equal if their text and their hygiene
//! context are equal.

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
    pub fn new(ident: &Ident) -> Self {
        Self { text: ident.unraw().to_string(), context: context(ident.span()) }
    }
}

/// Returns whether one of `idents` is the same name as `ident`.
pub fn contains<'a>(idents: impl IntoIterator<Item = &'a Ident>, ident: &Ident) -> bool {
    let name = Name::new(ident);
    idents.into_iter().any(|other| Name::new(other) == name)
}

/// Returns the hygiene context of a span from the compiler's debug output: `#4` for `#4 bytes(10..20)`.
/// Returns an empty string if the debug output has another form, so that all spans then have the same context.
fn context(span: Span) -> String {
    let text = format!("{span:?}");
    let context = text.split(' ').next().filter(|first| first.starts_with('#'));
    context.unwrap_or_default().to_string()
}

/// Calls `visit` with each name in braces in a format string (`"{x:?}"`). The name has the span of the literal.
pub fn for_each_in_format(literal: &proc_macro2::Literal, visit: &mut dyn FnMut(&Ident)) {
    let text = literal.to_string();
    if !text.contains('"') {
        return;
    }
    for part in text.split('{').skip(1) {
        let name: &str = part.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        if syn::parse_str::<Ident>(name).is_ok() {
            visit(&Ident::new(name, literal.span()));
        }
    }
}

/// Calls `visit` with every identifier and every name in a format string, in order.
pub fn for_each(tokens: TokenStream, visit: &mut dyn FnMut(&Ident)) {
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => visit(&ident),
            TokenTree::Group(group) => for_each(group.stream(), visit),
            TokenTree::Literal(literal) => for_each_in_format(&literal, visit),
            TokenTree::Punct(_) => {}
        }
    }
}
