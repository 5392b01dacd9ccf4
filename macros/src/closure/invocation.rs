//! Macro invocations in a forward closure. The arguments of common standard macros are parsed and walked. All locals
//! named in other macros count as read.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::parse::Parser;
use syn::{Expr, Macro, Token};

use crate::attr::Exprs;

use super::walk::Walker;

/// Macros that only read their arguments, for formatting or comparison.
const READING_MACROS: &[&str] = &[
    "assert",
    "assert_eq",
    "assert_ne",
    "debug_assert",
    "debug_assert_eq",
    "debug_assert_ne",
    "eprint",
    "eprintln",
    "format",
    "format_args",
    "panic",
    "print",
    "println",
    "todo",
    "unimplemented",
    "unreachable",
    "write",
    "writeln",
];

impl Walker<'_> {
    pub(super) fn walk_invocation(&mut self, mac: &mut Macro) {
        let name = mac.path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
        let walked = if READING_MACROS.contains(&name.as_str()) {
            self.walk_reading_macro(mac.tokens.clone())
        } else if name == "vec" || name == "dbg" {
            self.walk_taking_macro(mac.tokens.clone())
        } else {
            None
        };
        match walked {
            Some(tokens) => mac.tokens = tokens,
            None => self.read_all(mac.tokens.clone()),
        }
    }

    /// Walks the arguments of `println!("{x:?}", conv1(x))`.
    fn walk_reading_macro(&mut self, tokens: TokenStream) -> Option<TokenStream> {
        let mut args = Exprs::parse_terminated.parse2(tokens).ok()?;
        for arg in &mut args {
            match arg {
                Expr::Lit(literal) => self.read_all(literal.to_token_stream()),
                // A named argument of a format string: `name = value`.
                Expr::Assign(named) => self.walk_place(&mut named.right),
                arg => self.walk_place(arg),
            }
        }
        Some(args.into_token_stream())
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
}
