//! Rewrites the forward closure: calls to fields become calls to layers, and values that are used again later are
//! cloned.
//!
//! One walk resolves names and rewrites expressions ([`walk`], [`call`], [`control`], [`invocation`]). It records
//! the uses of local variables, from which [`liveness`] decides between clone and move. [`placeholder`] writes these
//! decisions into the tokens.

mod call;
mod control;
mod invocation;
mod liveness;
mod names;
mod output;
mod placeholder;
mod scope;
#[cfg(test)]
mod tests;
mod walk;

pub use output::OutputType;

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{ExprClosure, Ident, Pat, Type};

use crate::ast::{Field, last_segment};

/// A rewritten forward closure.
pub struct Rewritten {
    /// The parameters of the closure.
    pub inputs: Vec<Parameter>,
    /// The type of the output.
    pub output: OutputType,
    /// The body, which evaluates to the output type.
    pub body: TokenStream,
    /// The indices of the fields that the body does not use.
    pub unused: Vec<usize>,
    /// The called names that are probably misspelled fields, each with the field that was probably meant.
    pub misspelled: Vec<(Ident, String)>,
    /// The identifier `mode` if the body uses it.
    pub uses_mode: Option<Ident>,
}

/// One parameter of the closure.
pub struct Parameter {
    /// The pattern without the type.
    pub pat: Pat,
    /// The annotated type, or `None` for a signal.
    pub ty: Option<Type>,
}

impl Parameter {
    fn new(pat: &Pat) -> Self {
        match pat {
            Pat::Type(typed) => {
                let signal = last_segment(&typed.ty).is_some_and(|name| name == "Signal");
                let ty = (!signal && !matches!(*typed.ty, Type::Infer(_))).then(|| (*typed.ty).clone());
                Self { pat: (*typed.pat).clone(), ty }
            }
            pat => Self { pat: pat.clone(), ty: None },
        }
    }
}

/// Rewrites the forward closure of a network with these fields.
pub fn rewrite(krate: &TokenStream, fields: &[Field], closure: &ExprClosure) -> Rewritten {
    let inputs: Vec<Parameter> = closure.inputs.iter().map(Parameter::new).collect();
    let output = OutputType::of(closure);
    let mut body = (*closure.body).clone();

    let mut walker = walk::Walker::new(krate, fields, &output);
    for input in &inputs {
        walker.define(&input.pat, None, true);
    }
    let uses_mode = names::find(body.to_token_stream(), "mode").filter(|name| !walker.is_local(name));
    if let Some(mode) = &uses_mode {
        walker.define_name(mode);
    }
    walker.walk_value(&mut body);
    output.convert(&mut body);

    let misspelled = walker.misspelled();
    let unused = walker.unused_fields();
    let body = placeholder::fill(body.to_token_stream(), &walker.into_move_plan());
    Rewritten { inputs, output, body, unused, misspelled, uses_mode }
}
