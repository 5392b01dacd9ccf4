//! Macro invocations in a forward closure. Calls to layers are rewritten in the arguments of every macro. A macro may
//! evaluate its arguments any number of times, so no local moves there; only `vec!` and `dbg!` take values.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::parse::Parser;
use syn::{Expr, Macro, Token};

use crate::attr::Exprs;

use super::names;
use super::walk::Walker;

impl Walker<'_> {
    pub(super) fn walk_invocation(&mut self, mac: &mut Macro) {
        let takes_values = mac.path.is_ident("vec") || mac.path.is_ident("dbg");
        let walked = if takes_values { self.walk_taking_macro(mac.tokens.clone()) } else { None };
        mac.tokens = walked.unwrap_or_else(|| self.walk_tokens(mac.tokens.clone()));
    }

    /// Walks the arguments of `vec![a, b]` or `vec![a; n]`.
    fn walk_taking_macro(&mut self, tokens: TokenStream) -> Option<TokenStream> {
        let repeated = |input: syn::parse::ParseStream| {
            let value: Expr = input.parse()?;
            input.parse::<Token![;]>()?;
            Ok((value, input.parse::<Expr>()?))
        };
        if let Ok((mut value, mut count)) = repeated.parse2(tokens.clone()) {
            self.walk_value(&mut value);
            self.walk_place(&mut count);
            return Some(quote!(#value; #count));
        }
        let mut args = Exprs::parse_terminated.parse2(tokens).ok()?;
        self.walk_operands(&mut args);
        Some(args.into_token_stream())
    }

    /// Walks tokens of unknown syntax: rewrites the calls to layers, and records all names.
    pub(super) fn walk_tokens(&mut self, tokens: TokenStream) -> TokenStream {
        self.repeated += 1;
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut walked = TokenStream::new();
        let mut next = 0;
        while next < tokens.len() {
            let is_member = is_member(&tokens[..next]);
            let length = if is_member { 0 } else { call_length(&tokens[next..]) };
            match self.walk_token_call(&tokens[next..next + length]) {
                Some(call) => {
                    walked.extend(call);
                    next += length;
                }
                None => {
                    walked.extend([self.walk_token(tokens[next].clone(), is_member)]);
                    next += 1;
                }
            }
        }
        self.repeated -= 1;
        walked
    }

    fn walk_token(&mut self, token: TokenTree, is_member: bool) -> TokenTree {
        match token {
            TokenTree::Ident(ident) => {
                if !is_member {
                    self.note(&ident);
                }
                TokenTree::Ident(ident)
            }
            TokenTree::Group(group) => {
                let mut walked = Group::new(group.delimiter(), self.walk_tokens(group.stream()));
                walked.set_span(group.span());
                TokenTree::Group(walked)
            }
            TokenTree::Literal(literal) => {
                names::in_format(&literal, &mut |name| self.note(name));
                TokenTree::Literal(literal)
            }
            punct => punct,
        }
    }

    /// Walks tokens that have the form of a call. Returns `None` unless they call a layer or a local.
    fn walk_token_call(&mut self, tokens: &[TokenTree]) -> Option<TokenStream> {
        if tokens.is_empty() {
            return None;
        }
        let mut call: Expr = syn::parse2(tokens.iter().cloned().collect()).ok()?;
        if !self.calls_layer(&call) {
            return None;
        }
        self.walk_value(&mut call);
        Some(call.into_token_stream())
    }
}

/// Returns the number of tokens of a call at the start of `tokens`: `conv1(x)`, `self.conv1(x)` or `blocks[i](x)`.
/// Returns 0 if they do not start with a call.
fn call_length(tokens: &[TokenTree]) -> usize {
    let is_ident = |i: usize| matches!(tokens.get(i), Some(TokenTree::Ident(_)));
    let is_group = |i: usize, delimiter| matches!(tokens.get(i), Some(TokenTree::Group(group)) if group.delimiter() == delimiter);
    let is_dot = |i: usize| matches!(tokens.get(i), Some(TokenTree::Punct(punct)) if punct.as_char() == '.');
    let starts_with_self = matches!(tokens.first(), Some(TokenTree::Ident(ident)) if ident == "self");
    let mut length = match starts_with_self && is_dot(1) {
        true if is_ident(2) => 3,
        false if is_ident(0) => 1,
        _ => return 0,
    };
    while is_group(length, Delimiter::Bracket) {
        length += 1;
    }
    if is_group(length, Delimiter::Parenthesis) { length + 1 } else { 0 }
}

/// Returns whether the next token is a member, a part of a path or the name of a function item, given the tokens before
/// it: `x.conv1`, `module::conv1` or `fn conv1`.
fn is_member(before: &[TokenTree]) -> bool {
    let punct =
        |token: &TokenTree, char: char| matches!(token, TokenTree::Punct(punct) if punct.as_char() == char);
    match before {
        [.., first, second] if punct(first, ':') && punct(second, ':') => true,
        [.., first, second] if punct(first, '.') && punct(second, '.') => false,
        [.., last] => punct(last, '.') || matches!(last, TokenTree::Ident(ident) if ident == "fn"),
        [] => false,
    }
}
