//! Makes `Self` refer to the network in the expressions that build it. The generated code evaluates these expressions
//! in an `impl` of the config, where `Self` would be the config.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::{ToTokens, quote};

use crate::ast::Input;

/// Replaces `Self` with the type of the network: `Model`, or `Model::<L>` for a generic network. Leaves the bodies of
/// implementations, traits and types inside an expression unchanged, because `Self` is another type there.
pub fn replace_self(input: &Input, tokens: TokenStream) -> TokenStream {
    let mut is_in_item = false;
    let replace = |token: TokenTree| match token {
        TokenTree::Ident(ident) if ident == "Self" => {
            let mut network = input.ident.clone();
            network.set_span(network.span().located_at(ident.span()));
            let (_, arguments, _) = input.generics.split_for_impl();
            let arguments = arguments.as_turbofish();
            quote!(#network #arguments)
        }
        TokenTree::Ident(ident) => {
            is_in_item |= ["impl", "trait", "struct", "enum"].iter().any(|keyword| ident == keyword);
            ident.into_token_stream()
        }
        TokenTree::Group(group) if is_in_item && group.delimiter() == Delimiter::Brace => {
            is_in_item = false;
            group.into_token_stream()
        }
        TokenTree::Group(group) => {
            let mut replaced = Group::new(group.delimiter(), replace_self(input, group.stream()));
            replaced.set_span(group.span());
            replaced.into_token_stream()
        }
        TokenTree::Punct(punct) => {
            // A `;` ends a struct without braces.
            is_in_item &= punct.as_char() != ';';
            punct.into_token_stream()
        }
        TokenTree::Literal(literal) => literal.into_token_stream(),
    };
    tokens.into_iter().map(replace).collect()
}
