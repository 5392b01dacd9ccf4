//! Placeholders for the uses of locals. After the liveness analysis, each placeholder becomes a move or a clone. Also
//! gives every `self` the hygiene context of the generated method, so that it also resolves if a macro wrote it.

use std::collections::HashSet;

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote_spanned};

use super::liveness::UseId;

const PREFIX: &str = "__sconce_use_";

/// Returns the placeholder for a use.
pub fn placeholder(id: UseId, span: Span) -> Ident {
    format_ident!("{PREFIX}{id}", span = span)
}

/// The result of the liveness analysis: which uses move and which clone.
pub struct MovePlan {
    /// The place expression of each use: `x` or `pair.0`.
    pub places: Vec<TokenStream>,
    /// The uses that move. All other uses clone.
    pub moves: HashSet<UseId>,
}

/// Replaces the placeholders in `tokens`.
pub fn fill(tokens: TokenStream, plan: &MovePlan) -> TokenStream {
    let mut filled = TokenStream::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), fill(group.stream(), plan));
                inner.set_span(group.span());
                filled.extend([TokenTree::Group(inner)]);
            }
            TokenTree::Ident(ident) => match replacement(&ident, plan) {
                Some(tokens) => filled.extend(tokens),
                None => filled.extend([TokenTree::Ident(ident)]),
            },
            other => filled.extend([other]),
        }
    }
    filled
}

fn replacement(ident: &Ident, plan: &MovePlan) -> Option<TokenStream> {
    if ident == "self" {
        let receiver = Ident::new("self", Span::call_site().located_at(ident.span()));
        return Some(receiver.into_token_stream());
    }
    let id: UseId = ident.to_string().strip_prefix(PREFIX)?.parse().ok()?;
    let place = plan.places.get(id)?.clone();
    Some(if plan.moves.contains(&id) { place } else { clone_of(&place, ident.span()) })
}

/// Returns `Clone::clone(&place)`.
pub fn clone_of(place: &TokenStream, span: Span) -> TokenStream {
    let span = Span::mixed_site().located_at(span);
    quote_spanned!(span=> ::core::clone::Clone::clone(&#place))
}
