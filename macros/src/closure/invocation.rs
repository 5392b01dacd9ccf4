//! Macros in a forward pass. Those of the standard library take expressions, which are walked like any
//! others; of all others only the names are seen.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::parse::Parser;
use syn::{Expr, Macro, Token};

use super::walk::Walker;
use crate::attr::Exprs;

/// Macros whose arguments are only looked at: formatting and comparing.
const LOOKING: &[&str] = &[
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
    pub(super) fn invocation(&mut self, mac: &mut Macro) {
        let name = mac.path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
        let walked = if LOOKING.contains(&name.as_str()) {
            self.looking(mac.tokens.clone())
        } else if name == "vec" || name == "dbg" {
            self.taking(mac.tokens.clone())
        } else {
            None
        };
        match walked {
            Some(tokens) => mac.tokens = tokens,
            None => self.touch_all(mac.tokens.clone()),
        }
    }

    /// `println!("{x:?}", conv1(x))`
    fn looking(&mut self, tokens: TokenStream) -> Option<TokenStream> {
        let mut args = Exprs::parse_terminated.parse2(tokens).ok()?;
        for arg in &mut args {
            match arg {
                Expr::Lit(literal) => self.touch_all(literal.to_token_stream()),
                // `name = value` among the arguments of a format string.
                Expr::Assign(named) => self.place(&mut named.right),
                arg => self.place(arg),
            }
        }
        Some(args.into_token_stream())
    }

    /// `vec![a, b]` or `vec![a; n]`
    fn taking(&mut self, tokens: TokenStream) -> Option<TokenStream> {
        let repeated = |input: syn::parse::ParseStream| {
            let value: Expr = input.parse()?;
            input.parse::<Token![;]>()?;
            Ok((value, input.parse::<Expr>()?))
        };
        if let Ok((mut value, mut count)) = repeated.parse2(tokens.clone()) {
            self.value(&mut value);
            self.place(&mut count);
            return Some(quote!(#value; #count));
        }
        let mut args = Exprs::parse_terminated.parse2(tokens).ok()?;
        self.operands(&mut args);
        Some(args.into_token_stream())
    }
}
