//! The forward closure: calls of fields become calls of layers, values used again become clones.
//!
//! One walk resolves names and rewrites ([`walk`], [`call`], [`control`], [`invocation`]); while it does
//! so it records what happens to the locals, from which [`liveness`] decides clone or move; [`finish`]
//! writes the decisions into the tokens.

mod call;
mod control;
mod finish;
mod invocation;
mod liveness;
mod names;
mod scope;
mod shape;
#[cfg(test)]
mod tests;
mod walk;

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::{ExprClosure, Ident, Pat, Type};

use crate::ast::{Field, last_segment};
pub use shape::Shape;

/// A forward closure, rewritten.
pub struct Rewritten {
    /// What the pass takes, one for each parameter of the closure.
    pub inputs: Vec<Parameter>,
    /// What it gives back.
    pub output: Shape,
    /// The body, of the output's type.
    pub body: TokenStream,
    /// The fields that the body never mentions.
    pub unused: Vec<usize>,
    /// Calls of a name that is no field but close to one, with that field's name.
    pub misspelt: Vec<(Ident, String)>,
    /// Whether the body mentions `mode`.
    pub uses_mode: Option<Ident>,
}

/// One parameter of the closure.
pub struct Parameter {
    /// The pattern without its type.
    pub pat: Pat,
    /// The annotated type, unless it is a signal.
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

/// Rewrites the closure for a network of these fields.
pub fn rewrite(krate: &TokenStream, fields: &[Field], closure: &ExprClosure) -> Rewritten {
    let inputs: Vec<Parameter> = closure.inputs.iter().map(Parameter::new).collect();
    let output = Shape::of(closure);
    let mut body = (*closure.body).clone();

    let mut walker = walk::Walker::new(krate, fields, &output);
    for input in &inputs {
        walker.define(&input.pat, None, true);
    }
    let uses_mode = names::find(body.to_token_stream(), "mode").filter(|name| !walker.is_local(name));
    if let Some(mode) = &uses_mode {
        walker.define_name(mode);
    }
    walker.value(&mut body);
    output.convert(&mut body);

    let misspelt = walker.misspelt();
    let unused = walker.unused_fields();
    let body = finish::fill(body.to_token_stream(), &walker.into_decisions());
    Rewritten { inputs, output, body, unused, misspelt, uses_mode }
}

/// The first place where `tokens` mention `name`.
pub fn mentions(tokens: TokenStream, name: &Ident) -> Option<Ident> {
    names::find(tokens, &name.unraw().to_string())
}
