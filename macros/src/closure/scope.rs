//! Scopes: resolves the identifiers in a forward closure to local variables.

use std::collections::HashMap;

use proc_macro2::TokenStream;
use syn::ext::IdentExt;
use syn::{Ident, Pat};

use super::liveness::Local;

/// The layer field from which a local was bound. A call to the local is a call to a layer.
#[derive(Clone)]
pub struct Origin {
    /// The index of the field.
    pub field: usize,
    /// Expressions for the current indices of the enclosing loops over the field, outermost first.
    pub indices: Vec<TokenStream>,
}

/// The properties of a local.
#[derive(Clone)]
pub struct Binding {
    pub mutable: bool,
    pub origin: Option<Origin>,
    /// The number of closures that enclose the declaration, apart from the forward closure.
    pub depth: usize,
    /// Whether the local owns its value, as inputs and most `let` bindings do. Only then can its fields be moved out.
    pub owned: bool,
}

/// The locals in scope, innermost last.
#[derive(Default)]
pub struct Scopes {
    names: Vec<HashMap<String, Local>>,
    bindings: Vec<Binding>,
}

impl Scopes {
    pub fn enter(&mut self) {
        self.names.push(HashMap::new());
    }

    pub fn leave(&mut self) {
        self.names.pop();
    }

    pub fn define(&mut self, name: &Ident, binding: Binding) -> Local {
        self.bindings.push(binding);
        let local = self.bindings.len() - 1;
        if let Some(scope) = self.names.last_mut() {
            scope.insert(name.unraw().to_string(), local);
        }
        local
    }

    pub fn find(&self, name: &Ident) -> Option<Local> {
        self.find_str(&name.unraw().to_string())
    }

    pub fn find_str(&self, name: &str) -> Option<Local> {
        self.names.iter().rev().find_map(|scope| scope.get(name).copied())
    }

    pub fn binding(&self, local: Local) -> &Binding {
        &self.bindings[local]
    }
}

/// Returns the names that a pattern binds, and whether each is `mut`.
pub fn bound_names(pat: &Pat) -> Vec<(Ident, bool)> {
    let mut names = Vec::new();
    collect(pat, &mut names);
    names
}

fn collect(pat: &Pat, names: &mut Vec<(Ident, bool)>) {
    match pat {
        Pat::Ident(ident) => {
            // `None` and `MAX` in a pattern are constants, not new bindings.
            let name = ident.ident.unraw().to_string();
            let constant = name.chars().next().is_some_and(char::is_uppercase);
            if !constant && !names.iter().any(|(seen, _)| *seen == ident.ident) {
                names.push((ident.ident.clone(), ident.mutability.is_some()));
            }
            if let Some((_, inner)) = &ident.subpat {
                collect(inner, names);
            }
        }
        Pat::Guard(guard) => collect(&guard.pat, names),
        Pat::Or(or) => or.cases.iter().for_each(|case| collect(case, names)),
        Pat::Paren(paren) => collect(&paren.pat, names),
        Pat::Reference(reference) => collect(&reference.pat, names),
        Pat::Slice(slice) => slice.elems.iter().for_each(|elem| collect(elem, names)),
        Pat::Struct(pat) => pat.fields.iter().for_each(|field| collect(&field.pat, names)),
        Pat::Tuple(tuple) => tuple.elems.iter().for_each(|elem| collect(elem, names)),
        Pat::TupleStruct(pat) => pat.elems.iter().for_each(|elem| collect(elem, names)),
        Pat::Type(typed) => collect(&typed.pat, names),
        _ => {}
    }
}
