//! Rewrites the forward closure. In the closure, each field is a variable: a reference to the field, or the value of
//! plain data whose type is `Copy`. The rewrite replaces calls to layers, clones values that are used again
//! later, and converts the output.
//!
//! One walk resolves names and rewrites expressions ([`walk`], [`call`], [`operator`], [`control`], [`invocation`]). It
//! records the uses of local variables, and which variables borrow from others ([`borrow`]). From this record,
//! [`liveness`] decides whether each use moves or clones its value. [`placeholder`] writes these decisions into the
//! tokens.
//!
//! - A *local* is a variable that the closure declares: a parameter, or a name that a pattern binds.
//! - A *use* of a local takes its value, by move or by clone. A *read* leaves the value in place.
//! - An expression is in a *value context* if its value is taken, as in `f(x)`. It is in a *place context* if it is
//!   only read, as in `x == y`, `&x` and `x[0]`.
//! - A *frame* is a closure or async block inside the forward closure.
//! - A *hygiene context* distinguishes equal identifiers of a macro and of its caller.

mod borrow;
mod call;
mod control;
mod invocation;
mod liveness;
mod names;
mod operator;
mod output;
mod placeholder;
mod scope;
#[cfg(test)]
mod tests;
mod walk;

pub use output::OutputType;
pub use walk::data;

use std::collections::HashSet;

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{ExprClosure, Ident, Pat, Type, parse_quote};

use crate::ast::{Field, last_segment};

use scope::{Binding, Refutability};
use walk::is_mutable_reference;

/// A rewritten forward closure.
pub struct Rewritten {
    /// The parameters of the closure.
    pub inputs: Vec<Parameter>,
    /// The type of the output.
    pub output: OutputType,
    /// The body, which evaluates to the output type.
    pub body: TokenStream,
    /// The variables for the fields that occur in the body, each with the index of the field.
    pub fields: Vec<(Ident, usize)>,
    /// The identifier `mode` as it occurs in the body, once for each hygiene context, because a macro and its caller do
    /// not see each other's variables.
    pub modes: Vec<Ident>,
    /// The indices of the fields that the body does not use.
    pub unused: Vec<usize>,
    /// The names of values that are neither locals nor fields.
    pub unknown: Vec<Ident>,
    /// The methods that the body calls on `self` and whose names are similar to those of layers.
    pub misspelled: Vec<MisspelledLayer>,
    /// The indices of the layer fields that the body calls by name: `conv1(x)`, `self.conv1(x)` or `blocks[i](x)`.
    pub called: HashSet<usize>,
}

/// A method that the body calls on `self`: a user-defined method, or a misspelled layer.
pub struct MisspelledLayer {
    pub method: Ident,
    /// The number of arguments.
    pub inputs: usize,
    /// The layer with a similar name.
    pub layer: String,
}

/// One parameter of the closure.
pub struct Parameter {
    /// The pattern without the type.
    pub pat: Pat,
    /// The annotated type. Without an annotation, a tuple of signals if the pattern is a tuple, and otherwise `None`,
    /// which stands for a signal.
    pub ty: Option<Type>,
}

impl Parameter {
    fn new(krate: &TokenStream, pat: &Pat) -> Self {
        match pat {
            Pat::Type(typed) => {
                let signal = last_segment(&typed.ty).is_some_and(|name| name == "Signal");
                let ty = (!signal && !matches!(*typed.ty, Type::Infer(_))).then(|| (*typed.ty).clone());
                Self { pat: (*typed.pat).clone(), ty }
            }
            pat => Self { pat: pat.clone(), ty: tuple_of_signals(krate, pat) },
        }
    }
}

/// Returns the type of an input without an annotation if the pattern is a tuple, such as `(h, c)`.
fn tuple_of_signals(krate: &TokenStream, pat: &Pat) -> Option<Type> {
    let Pat::Tuple(tuple) = pat else { return None };
    if tuple.elems.iter().any(|elem| matches!(elem, Pat::Rest(_))) {
        return None;
    }
    let elem = |elem: &Pat| tuple_of_signals(krate, elem).unwrap_or_else(|| parse_quote!(#krate::Signal));
    let elems = tuple.elems.iter().map(elem);
    Some(parse_quote!((#(#elems,)*)))
}

/// Rewrites the forward closure of a network with these fields.
pub fn rewrite(krate: &TokenStream, fields: &[Field], closure: &ExprClosure) -> Rewritten {
    let inputs: Vec<Parameter> = closure.inputs.iter().map(|pat| Parameter::new(krate, pat)).collect();
    let output = OutputType::of_closure(closure, &inputs);
    let mut body = (*closure.body).clone();
    output::replace_last_return(&mut body);

    let mut walker = walk::Walker::new(krate, fields, &output);
    for Parameter { pat, ty } in &inputs {
        let is_reference = matches!(ty, Some(Type::Reference(_)));
        let reborrowed = ty.as_ref().is_some_and(is_mutable_reference);
        walker.define(
            pat,
            Refutability::Irrefutable,
            &Binding { owned: !is_reference, consumable: true, reborrowed, ..Binding::default() },
        );
    }
    walker.walk_value(&mut body);
    output.convert(krate, &mut body);

    let walked = walker.finish();
    let body = placeholder::fill(krate, body.to_token_stream(), &walked.resolved);
    Rewritten {
        inputs,
        output,
        body,
        fields: walked.fields,
        modes: walked.modes,
        unused: walked.unused,
        unknown: walked.unknown,
        misspelled: walked.misspelled,
        called: walked.called,
    }
}
