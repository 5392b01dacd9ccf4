//! Placeholders for the uses of locals. After the liveness analysis, each placeholder becomes a move or a clone. This
//! module also gives every `self` the hygiene context of the generated method, so that a `self` from a macro resolves.

use std::collections::HashMap;

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote_spanned};

use crate::expand::private;

use super::liveness::{Take, UseId};

const PREFIX: &str = "__sconce_use_";

/// Returns the placeholder for a use.
pub fn placeholder(id: UseId, span: Span) -> Ident {
    format_ident!("{PREFIX}{id}", span = span)
}

/// The meaning of a placeholder: a value that becomes a move or a clone, or the method of a call.
pub enum Use {
    /// The value of a place expression: `x` or `pair.0`.
    Value(TokenStream),
    /// The name of the method that calls a local.
    Call,
}

/// The uses of locals, and the result of the liveness analysis: how each use takes its value.
pub struct ResolvedUses {
    /// The code of each use, indexed by [`UseId`].
    pub uses: Vec<Use>,
    pub takes: HashMap<UseId, Take>,
}

/// Replaces the placeholders in `tokens`.
pub fn fill(krate: &TokenStream, tokens: TokenStream, resolved: &ResolvedUses) -> TokenStream {
    let mut filled = TokenStream::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), fill(krate, group.stream(), resolved));
                inner.set_span(group.span());
                filled.extend([TokenTree::Group(inner)]);
            }
            TokenTree::Ident(ident) => match replacement(krate, &ident, resolved) {
                Some(tokens) => filled.extend(tokens),
                None => filled.extend([TokenTree::Ident(ident)]),
            },
            other => filled.extend([other]),
        }
    }
    filled
}

fn replacement(krate: &TokenStream, ident: &Ident, resolved: &ResolvedUses) -> Option<TokenStream> {
    if ident == "self" {
        let receiver = Ident::new("self", Span::call_site().located_at(ident.span()));
        return Some(receiver.into_token_stream());
    }
    let id: UseId = ident.to_string().strip_prefix(PREFIX)?.parse().ok()?;
    Some(match (resolved.uses.get(id)?, resolved.takes.get(&id)) {
        (Use::Value(place), Some(Take::Move)) => place.clone(),
        (Use::Value(place), Some(Take::CloneAtLastUse)) => last_use_of(krate, place, ident.span()),
        (Use::Value(place), Some(Take::Clone) | None) => clone_of(krate, place, ident.span()),
        (Use::Call, Some(Take::Move)) => quote_spanned!(ident.span()=> call_at_last_use),
        (Use::Call, _) => quote_spanned!(ident.span()=> call_layer_or_function),
    })
}

/// Returns `__private::clone(&place)`.
pub fn clone_of(krate: &TokenStream, place: &TokenStream, span: Span) -> TokenStream {
    let span = Span::mixed_site().located_at(span);
    let private = private(krate, span);
    quote_spanned!(span=> #private::clone(&#place))
}

/// Returns `place.lend_at_last_use(__private::type_of(&place)).take()`, which reborrows a reference and clones any
/// other value.
fn last_use_of(krate: &TokenStream, place: &TokenStream, span: Span) -> TokenStream {
    let span = Span::mixed_site().located_at(span);
    let private = private(krate, span);
    quote_spanned!(span=> #place.lend_at_last_use(#private::type_of(&#place)).take())
}
