//! Scopes: resolves the names in a forward closure to local variables.

use std::collections::HashMap;

use syn::ext::IdentExt;
use syn::{Ident, Pat, PatIdent};

use super::borrow::Borrow;
use super::liveness::Local;
use super::names::{self, Name};

/// The properties of a local.
#[derive(Clone, Default)]
pub struct Binding {
    /// The number of closures that enclose the declaration, apart from the forward closure.
    pub depth: usize,
    /// Whether the local owns its value, as inputs and most `let` bindings do. Only then can a field be moved out of
    /// the value.
    pub owned: bool,
    /// Whether the last call to the local may consume the local, so that the local can be a `FnOnce`. This is `false`
    /// for a `mut` local: a consuming call does not need the `mut`, so the compiler would report it as unused.
    pub consumable: bool,
    /// Whether the local is a mutable reference. Its uses are not rewritten, because Rust reborrows the reference.
    pub reborrowed: bool,
    /// Whether the local is a user-defined closure or function item, so that a call to it stays as it is.
    pub function: bool,
    /// Whether the name may refer to a constant or a unit variant instead of a local. Generated code must then not bind
    /// the name with `let`, because a constant is a refutable pattern.
    pub may_be_constant: bool,
    /// The locals from which the value of this local may borrow. They must not move while this local is in use.
    pub borrows: Vec<Borrow>,
}

/// The locals in scope, innermost last.
#[derive(Default)]
pub struct Scopes {
    names: Vec<HashMap<Name, Local>>,
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
            scope.insert(Name::new(name), local);
        }
        local
    }

    pub fn find(&self, ident: &Ident) -> Option<Local> {
        let name = Name::new(ident);
        self.names.iter().rev().find_map(|scope| scope.get(&name).copied())
    }

    /// Returns the locals whose names have the text of `ident`, in any hygiene context.
    pub fn with_text(&self, ident: &Ident) -> Vec<Local> {
        let text = ident.unraw().to_string();
        let scopes = self.names.iter().flatten();
        scopes.filter(|(name, _)| name.text == text).map(|(_, local)| *local).collect()
    }

    pub fn binding(&self, local: Local) -> &Binding {
        &self.bindings[local]
    }
}

/// Whether a pattern matches every value of its type. A name in a refutable pattern may be a constant or a unit
/// variant, as in `match n { MAX => … }`. A name in an irrefutable pattern is always a local.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Refutability {
    Irrefutable,
    Refutable,
}

/// Returns the names that a pattern binds, assuming that none of them is a constant. `None` is always the variant,
/// because the compiler forbids a local with the name of a variant in scope.
pub fn bound_names(pat: &Pat) -> Vec<&PatIdent> {
    let mut names = Vec::new();
    collect(pat, &mut names);
    names
}

/// Returns `true` if a name in a pattern may refer to a constant instead of declaring a local.
pub fn may_be_constant(name: &PatIdent, refutability: Refutability) -> bool {
    let is_bare = name.by_ref.is_none() && name.mutability.is_none() && name.subpat.is_none();
    is_bare && refutability == Refutability::Refutable
}

fn collect<'a>(pat: &'a Pat, names: &mut Vec<&'a PatIdent>) {
    let mut nested = |pat: &'a Pat| collect(pat, names);
    match pat {
        Pat::Ident(binding) => {
            if let Some((_, inner)) = &binding.subpat {
                nested(inner);
            }
            let is_known = names::contains(names.iter().map(|seen| &seen.ident), &binding.ident);
            if !is_known && binding.ident != "None" {
                names.push(binding);
            }
        }
        Pat::Guard(guard) => nested(&guard.pat),
        Pat::Or(or) => or.cases.iter().for_each(nested),
        Pat::Paren(paren) => nested(&paren.pat),
        Pat::Reference(reference) => nested(&reference.pat),
        Pat::Slice(slice) => slice.elems.iter().for_each(nested),
        Pat::Struct(pat) => pat.fields.iter().for_each(|field| nested(&field.pat)),
        Pat::Tuple(tuple) => tuple.elems.iter().for_each(nested),
        Pat::TupleStruct(pat) => pat.elems.iter().for_each(nested),
        Pat::Type(typed) => nested(&typed.pat),
        _ => {}
    }
}
