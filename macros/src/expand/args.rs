//! Passes the arguments of a network to attribute expressions. Every expression can use every argument by value. If
//! only one expression uses an argument, and this expression runs once, the argument is moved into it. Otherwise, an
//! expression gets a clone each time it runs.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::Expr;

use crate::ast::{Input, Role};
use crate::attr::{Arg, LayerAttr, Lists, Repeat, Source, TensorAttr};
use crate::mention;

use super::self_type::replace_self;
use super::{Item, private};

/// How often an attribute expression runs.
#[derive(Clone, Copy, PartialEq)]
pub enum Runs {
    Once,
    /// Once for each layer of a list.
    Repeatedly,
}

/// Returns the expression, or `{ let widths = __private::copy_arg(&widths); expression }` if the expression uses the
/// argument `widths`.
pub fn with_args(item: &Item, expr: &Expr, runs: Runs) -> TokenStream {
    let args = bind(item, &[expr], runs);
    let expr = replace_self(item.input, expr.to_token_stream());
    if args.is_empty() { expr } else { quote!({ #args #expr }) }
}

/// Returns `let widths = __private::copy_arg(&widths);` for every argument that the expressions use. If no other
/// expressions use the argument, and these run once, returns `let widths = widths;`. The new variable has the hygiene
/// context of the use, which can differ from the context of the argument if one of the two comes from a macro.
pub fn bind(item: &Item, exprs: &[&Expr], runs: Runs) -> TokenStream {
    let bind_argument = |(arg, uses): (&Arg, &usize)| {
        let mention = exprs.iter().find_map(|expr| mention::find(expr, &arg.name))?;
        let original = &arg.name;
        let name = format_ident!("{original}", span = mention.span());
        Some(if *uses == 1 && runs == Runs::Once {
            quote!(let #name = #original;)
        } else {
            let private = private(&item.input.krate, original.span());
            let clone = quote_spanned!(original.span()=> #private::copy_arg(&#original));
            quote!(let #name = #clone;)
        })
    };
    item.input.args.iter().zip(&item.arg_uses).filter_map(bind_argument).collect()
}

/// Returns the number of attribute expressions that use each argument.
pub fn count_uses(input: &Input) -> Vec<usize> {
    let mut uses = vec![0; input.args.len()];
    let mut count = |exprs: &[&Expr]| {
        for (uses, arg) in uses.iter_mut().zip(&input.args) {
            *uses += usize::from(exprs.iter().any(|expr| mention::find(expr, &arg.name).is_some()));
        }
    };
    input.args.iter().filter_map(|arg| arg.default.as_ref()).for_each(|default| count(&[default]));
    input.variants.iter().filter_map(|variant| variant.when.as_ref()).for_each(|when| count(&[&when.value]));
    for field in input.fields() {
        match &field.role {
            Role::Layer(attr) => layer_expressions(attr, &mut count),
            Role::Param(attr) | Role::Buffer(attr) => count(&attr.expressions()),
            Role::Skip(Some(value)) => count(&[value]),
            Role::DefaultLayer | Role::Skip(None) => {}
        }
    }
    uses
}

/// Calls `f` with the expressions of `#[layer(…)]`. Expressions for which [`bind`] declares variables together are
/// passed in one call.
fn layer_expressions(attr: &LayerAttr, f: &mut impl FnMut(&[&Expr])) {
    for repeat in &attr.repeats {
        match repeat {
            Repeat::If(_, condition) => f(&[condition]),
            Repeat::For(_, _, range) => f(&[range]),
        }
    }
    match &attr.source {
        Source::With(function) => f(&[function]),
        Source::Config { args, setters } => f(&config_expressions(args, setters)),
        Source::Tuple(layers) => layers.iter().for_each(|layer| layer_expressions(layer, f)),
        Source::Lists(lists) => f(&lists.expressions()),
    }
}

/// Returns all expressions of `#[layer(args…, setter = value, …)]`.
pub fn config_expressions<'a>(args: &'a [Expr], setters: &'a [(Ident, Expr)]) -> Vec<&'a Expr> {
    args.iter().chain(setters.iter().map(|(_, value)| value)).collect()
}

impl Lists {
    /// Returns the expressions in the lists.
    pub fn expressions(&self) -> Vec<&Expr> {
        self.values.iter().map(|(_, value)| value).collect()
    }
}

impl TensorAttr {
    /// Returns all expressions of `#[param(shape, init = …)]`.
    pub fn expressions(&self) -> Vec<&Expr> {
        std::iter::once(&self.shape).chain(&self.init).collect()
    }
}
