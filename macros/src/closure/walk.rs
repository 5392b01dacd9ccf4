//! The walk: resolves every name, and rewrites each expression according to whether it is in a value context or a place
//! context.

use std::collections::{HashMap, HashSet};

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Expr, ExprField, ExprIndex, Ident, Member, Pat, Type, UnOp};

use crate::ast::{Field, Role};
use crate::expand::{located, private};

use super::borrow::Borrow;
use super::liveness::{Event, Immovable, Local, Place, takes};
use super::names;
use super::placeholder::{ResolvedUses, Use, clone_of, placeholder};
use super::scope::{Binding, Refutability, Scopes, bound_names, may_be_constant};
use super::{MisspelledLayer, OutputType};

/// A closure or async block that encloses the current expression and is itself inside the forward closure.
pub(super) struct Frame {
    /// Whether the closure or block is marked `move`. A `move` closure gets copies of the captured locals.
    pub moves: bool,
    /// The captured locals.
    pub captured: Vec<(Local, Ident)>,
}

pub(super) struct Walker<'a> {
    pub krate: &'a TokenStream,
    pub fields: &'a [Field],
    pub output: &'a OutputType,
    pub scopes: Scopes,
    pub events: Vec<Event>,
    pub frames: Vec<Frame>,
    /// Locals that are borrowed for an unknown time and must not move.
    pub immovable: Immovable,
    /// The number of match guards and macro invocations that enclose the current expression. No local may move there,
    /// because the expression may run any number of times.
    pub inside_repetition: usize,
    /// The index of each field by name.
    by_name: HashMap<&'a str, usize>,
    /// The variables for the fields that occur in the body, each with the index of the field. There is one for each
    /// field and hygiene context, so that the name also resolves inside macros and format strings.
    variables: Vec<(Ident, usize)>,
    /// The identifier `mode` as it occurs in the body, once for each hygiene context.
    modes: Vec<Ident>,
    /// The code of each use, indexed by `UseId`.
    uses: Vec<Use>,
    /// The fields that are used.
    used: HashSet<usize>,
    /// The indices of the layer fields that the body calls by name.
    called: HashSet<usize>,
    /// The names of values that are neither locals nor fields.
    unknown: Vec<Ident>,
    /// The methods that the body calls on `self` and whose names are similar to those of layers.
    pub(super) misspelled: Vec<MisspelledLayer>,
    /// Whether `self` is used as a whole, as in `helper(self)`. Any field may then be used, so no field is reported as
    /// unused.
    uses_self: bool,
}

impl<'a> Walker<'a> {
    pub fn new(krate: &'a TokenStream, fields: &'a [Field], output: &'a OutputType) -> Self {
        let mut scopes = Scopes::default();
        scopes.enter();
        Self {
            krate,
            fields,
            output,
            scopes,
            events: Vec::new(),
            frames: Vec::new(),
            immovable: Immovable::default(),
            inside_repetition: 0,
            by_name: fields.iter().enumerate().map(|(i, field)| (field.name.as_str(), i)).collect(),
            variables: Vec::new(),
            modes: Vec::new(),
            uses: Vec::new(),
            used: HashSet::new(),
            called: HashSet::new(),
            unknown: Vec::new(),
            misspelled: Vec::new(),
            uses_self: false,
        }
    }

    /// Walks an expression in a value context: its value is taken.
    pub fn walk_value(&mut self, expr: &mut Expr) {
        match expr {
            Expr::Path(_) => self.walk_name(expr),
            Expr::Field(field) => {
                if let Some(tokens) = self.walk_field_value(field) {
                    *expr = Expr::Verbatim(tokens);
                }
            }
            Expr::Index(index) => {
                if let Some(tokens) = self.walk_index_value(index) {
                    *expr = Expr::Verbatim(tokens);
                }
            }
            Expr::Reference(reference) => {
                self.immovable.borrowed.extend(self.root(&reference.expr));
                self.walk_referent(&mut reference.expr);
            }
            Expr::Call(_) => self.walk_call(expr),
            Expr::MethodCall(_) => self.walk_method(expr),
            Expr::Macro(_) => self.walk_macro(expr),
            Expr::Binary(binary) => self.walk_binary(binary),
            Expr::Unary(unary) => match unary.op {
                UnOp::Deref(_) | UnOp::Not(_) => self.walk_place(&mut unary.expr),
                _ => self.walk_value(&mut unary.expr),
            },
            Expr::Cast(cast) => self.walk_place(&mut cast.expr),
            Expr::RawAddr(address) => self.walk_place(&mut address.expr),
            Expr::Array(array) => self.walk_operands(&mut array.elems),
            Expr::Tuple(tuple) => self.walk_operands(&mut tuple.elems),
            Expr::Range(range) => {
                range.start.iter_mut().chain(&mut range.end).for_each(|bound| self.walk_place(bound));
            }
            Expr::Repeat(repeat) => self.walk_value(&mut repeat.expr),
            Expr::Paren(paren) => self.walk_value(&mut paren.expr),
            Expr::Group(group) => self.walk_value(&mut group.expr),
            Expr::Try(attempt) => self.walk_value(&mut attempt.expr),
            Expr::Await(future) => self.walk_value(&mut future.base),
            Expr::Struct(literal) => self.walk_struct_literal(literal),
            Expr::Assign(assign) => self.walk_assign(assign),
            Expr::Verbatim(tokens) => *tokens = self.walk_repeated(tokens.clone(), Self::walk_tokens),
            _ => self.walk_control(expr),
        }
    }

    /// Walks an expression in a place context: it is read in place, for example compared, borrowed or indexed.
    pub fn walk_place(&mut self, expr: &mut Expr) {
        match expr {
            Expr::Path(path) => {
                if let Some(ident) = path.path.get_ident().cloned() {
                    self.record_value_name(&ident);
                }
            }
            Expr::Field(field) => match self.self_field(field) {
                Some(index) => *expr = Expr::Verbatim(self.place(index, field.member.span())),
                None => self.walk_place(&mut field.base),
            },
            Expr::Index(index) => {
                self.walk_place(&mut index.expr);
                self.walk_place(&mut index.index);
            }
            Expr::Paren(paren) => self.walk_place(&mut paren.expr),
            Expr::Group(group) => self.walk_place(&mut group.expr),
            Expr::Unary(unary) if matches!(unary.op, UnOp::Deref(_)) => self.walk_place(&mut unary.expr),
            _ => self.walk_value(expr),
        }
    }

    /// Walks the expression in `&expr`. The variable of a field is a reference already, so `&field` refers to the field
    /// itself.
    pub fn walk_referent(&mut self, expr: &mut Expr) {
        match self.field_of(expr) {
            Some(field) => {
                self.used.insert(field);
                *expr = Expr::Verbatim(self.place(field, expr.span()));
            }
            None => self.walk_place(expr),
        }
    }

    /// Walks an operand or argument. Returns the locals from which its value may borrow. They must live until all
    /// operands are evaluated.
    pub fn walk_operand(&mut self, expr: &mut Expr) -> Vec<Borrow> {
        let borrows = self.borrows(expr);
        match expr {
            Expr::Reference(reference) => self.walk_referent(&mut reference.expr),
            _ => self.walk_value(expr),
        }
        borrows
    }

    /// Walks operands in order. Locals that they borrow stay live until the last operand.
    pub fn walk_operands<'e>(&mut self, operands: impl IntoIterator<Item = &'e mut Expr>) {
        let borrows: Vec<Borrow> =
            operands.into_iter().flat_map(|operand| self.walk_operand(operand)).collect();
        self.events.extend(borrows.into_iter().map(Borrow::read));
    }

    /// Walks a bare name in a value context.
    fn walk_name(&mut self, expr: &mut Expr) {
        let Expr::Path(path) = &*expr else { return };
        let Some(ident) = path.path.get_ident().cloned() else { return };
        match self.scopes.find(&ident) {
            Some(local) if self.scopes.binding(local).reborrowed => self.read(local, &ident),
            Some(local) => {
                *expr = Expr::Verbatim(self.use_value(local.into(), &ident, ident.to_token_stream()))
            }
            None => self.record_value_name(&ident),
        }
    }

    /// Records a name whose value the body uses. Also adds the name to `unknown` if it is neither a local nor a field.
    fn record_value_name(&mut self, ident: &Ident) {
        let is_known = self.scopes.find(ident).is_some() || self.field_named(ident).is_some();
        if !is_known {
            self.unknown.push(ident.clone());
        }
        self.record_name(ident);
    }

    /// Records an occurrence of a name that is not rewritten: a local, a field, `mode` or `self`.
    pub fn record_name(&mut self, ident: &Ident) {
        if ident == "self" {
            self.uses_self = true;
        } else if let Some(local) = self.scopes.find(ident) {
            self.read(local, ident);
        } else if let Some(field) = self.field_named(ident) {
            self.record_variable(ident, field);
        } else if ident == "mode" {
            if !names::contains(&self.modes, ident) {
                self.modes.push(ident.clone());
            }
        } else {
            // The name may belong to a local whose identifier has the same text but another hygiene context.
            let locals = self.scopes.with_text(ident);
            self.events.extend(locals.into_iter().map(Event::Read));
        }
    }

    /// Returns the tokens for a use of a local or a part of a local: a clone if the value can never move here, and
    /// otherwise a placeholder.
    pub fn use_value(&mut self, place: Place, ident: &Ident, code: TokenStream) -> TokenStream {
        let local = place.local;
        if self.captures(local, ident) || self.inside_repetition > 0 {
            self.read(local, ident);
            return clone_of(self.krate, &code, ident.span());
        }
        self.push_use(Use::Value(code), place, ident.span()).into_token_stream()
    }

    /// Records a use and returns its placeholder.
    pub fn push_use(&mut self, code: Use, place: Place, span: Span) -> Ident {
        let local = place.local;
        let id = self.uses.len();
        self.uses.push(code);
        self.events.push(Event::Use(id, place));
        self.read_borrows(local);
        placeholder(id, span)
    }

    /// Records that a local is read in place.
    pub fn read(&mut self, local: Local, ident: &Ident) {
        let depth = self.scopes.binding(local).depth;
        self.captures(local, ident);
        // A `move` closure reads its own copy. Making that copy is a use, which `with_copies` records.
        if !self.frames.get(depth).is_some_and(|frame| frame.moves) {
            self.events.push(Event::Read(local));
            self.read_borrows(local);
        }
    }

    fn read_borrows(&mut self, local: Local) {
        let borrows = &self.scopes.binding(local).borrows;
        self.events.extend(borrows.iter().copied().map(Borrow::read));
    }

    /// Returns whether an enclosing closure captures the local, and records the capture.
    fn captures(&mut self, local: Local, ident: &Ident) -> bool {
        let Binding { depth, borrows, .. } = self.scopes.binding(local);
        let Some(frame) = self.frames.get_mut(*depth) else { return false };
        if !frame.captured.iter().any(|(seen, _)| *seen == local) {
            frame.captured.push((local, ident.clone()));
        }
        self.immovable.extend(borrows);
        if !frame.moves {
            self.immovable.borrowed.insert(local);
        }
        true
    }

    /// Returns the tokens for a field as a place: `self.conv1`, or `(*field_0)` in an enum.
    fn place(&self, field: usize, span: Span) -> TokenStream {
        located(self.fields[field].place.clone(), span)
    }

    /// Returns the tokens for a field, or a part of a field, in a value context. A layer or tensor becomes a reference.
    /// Plain data is copied if its type is `Copy`, and otherwise borrowed.
    fn field_value(&self, field: usize, place: &TokenStream, span: Span) -> TokenStream {
        match self.fields[field].role {
            Role::Skip(_) => data(self.krate, place, span),
            _ => quote_spanned!(Span::mixed_site().located_at(span)=> &#place),
        }
    }

    /// Walks `self.conv1`, `pair.0` or `block.bias` in a value context.
    fn walk_field_value(&mut self, field: &mut ExprField) -> Option<TokenStream> {
        let span = field.member.span();
        if let Some(index) = self.self_field(field) {
            return Some(self.field_value(index, &self.place(index, span), span));
        }
        if let Some((place, ident)) = self.owned_place(&field.base) {
            let place = with_field(place, &field.member);
            return Some(self.use_value(place, &ident, field.to_token_stream()));
        }
        let local = self.root(&field.base);
        let root = self.root_field(&field.base);
        self.walk_place(&mut field.base);
        match root {
            Some(root) => Some(self.field_value(root, &field.to_token_stream(), span)),
            None => local.map(|_| clone_of(self.krate, &field.to_token_stream(), span)),
        }
    }

    /// Returns the place of `pair` or `pair.0`, and the name of its local. Returns `None` unless the local owns its
    /// value, because only then can a field be moved out.
    fn owned_place(&self, expr: &Expr) -> Option<(Place, Ident)> {
        match expr {
            Expr::Field(field) => {
                let (place, ident) = self.owned_place(&field.base)?;
                Some((with_field(place, &field.member), ident))
            }
            Expr::Paren(paren) => self.owned_place(&paren.expr),
            _ => {
                let (local, ident) = self.local_of(expr)?;
                self.scopes.binding(local).owned.then(|| (local.into(), ident))
            }
        }
    }

    /// Walks `widths[i]` or `hidden[0]` in a value context. Clones the element of a local.
    fn walk_index_value(&mut self, index: &mut ExprIndex) -> Option<TokenStream> {
        let local = self.root(&index.expr);
        let field = self.root_field(&index.expr);
        let slice = matches!(*index.index, Expr::Range(_));
        let span = index.expr.span();
        self.walk_place(&mut index.expr);
        self.walk_place(&mut index.index);
        match (local, field) {
            (None, Some(field)) => Some(self.field_value(field, &index.to_token_stream(), span)),
            (Some(_), _) if !slice => Some(clone_of(self.krate, &index.to_token_stream(), span)),
            _ => None,
        }
    }

    /// Returns the local that a place expression is a part of: `hidden` for `hidden[0].1`.
    pub fn root(&self, expr: &Expr) -> Option<Local> {
        match expr {
            Expr::Field(field) => self.root(&field.base),
            Expr::Index(index) => self.root(&index.expr),
            Expr::Paren(paren) => self.root(&paren.expr),
            Expr::Unary(unary) if matches!(unary.op, UnOp::Deref(_)) => self.root(&unary.expr),
            _ => self.local_of(expr).map(|(local, _)| local),
        }
    }

    /// Returns the field that a place expression is a part of.
    pub fn root_field(&self, expr: &Expr) -> Option<usize> {
        match expr {
            Expr::Field(field) => self.self_member(field).or_else(|| self.root_field(&field.base)),
            Expr::Index(index) => self.root_field(&index.expr),
            _ => self.field_of(expr),
        }
    }

    /// If the expression is just a field, `conv1` or `self.conv1`, returns that field.
    pub fn field_of(&self, expr: &Expr) -> Option<usize> {
        match expr {
            Expr::Path(path) => {
                let ident = path.path.get_ident()?;
                if self.scopes.find(ident).is_some() { None } else { self.field_named(ident) }
            }
            Expr::Field(field) => self.self_member(field),
            Expr::Paren(paren) => self.field_of(&paren.expr),
            Expr::Group(group) => self.field_of(&group.expr),
            _ => None,
        }
    }

    /// If the expression is just the name of a local, returns that local.
    pub fn local_of(&self, expr: &Expr) -> Option<(Local, Ident)> {
        let Expr::Path(path) = expr else { return None };
        let ident = path.path.get_ident()?;
        self.scopes.find(ident).map(|local| (local, ident.clone()))
    }

    pub fn field_named(&self, ident: &Ident) -> Option<usize> {
        self.by_name.get(ident.unraw().to_string().as_str()).copied()
    }

    /// Returns the field of `self.name` and marks it as used.
    fn self_field(&mut self, field: &ExprField) -> Option<usize> {
        let index = self.self_member(field)?;
        self.used.insert(index);
        Some(index)
    }

    fn self_member(&self, field: &ExprField) -> Option<usize> {
        if !is_self(&field.base) {
            return None;
        }
        self.by_name.get(name_of(&field.member).as_str()).copied()
    }

    /// Records that the body calls a layer field by name.
    pub fn record_call(&mut self, field: usize) {
        self.called.insert(field);
    }

    /// Returns a variable that refers to a layer field, and marks the field as used, for a call in method syntax:
    /// `self.conv1(x)`.
    pub fn layer_variable(&mut self, field: usize, span: Span) -> TokenStream {
        let variable = self.fields[field].local.clone();
        self.record_variable(&variable, field);
        located(variable.into_token_stream(), span)
    }

    /// Records a use of a field through a variable.
    fn record_variable(&mut self, variable: &Ident, field: usize) {
        self.used.insert(field);
        if !names::contains(self.variables.iter().map(|(seen, _)| seen), variable) {
            self.variables.push((variable.clone(), field));
        }
    }

    /// Declares the names that a pattern binds.
    pub fn define(&mut self, pat: &Pat, refutability: Refutability, binding: &Binding) {
        let reborrowed =
            binding.reborrowed || matches!(pat, Pat::Type(typed) if is_mutable_reference(&typed.ty));
        for name in bound_names(pat) {
            let may_be_constant = may_be_constant(name, refutability);
            let consumable = binding.consumable && name.mutability.is_none();
            let binding = Binding {
                depth: self.frames.len(),
                reborrowed,
                consumable,
                may_be_constant,
                ..binding.clone()
            };
            let local = self.scopes.define(&name.ident, binding);
            self.events.push(Event::Define(local));
        }
    }

    /// Declares a function item.
    pub fn define_function(&mut self, ident: &Ident) {
        let binding = Binding { depth: self.frames.len(), function: true, ..Binding::default() };
        self.scopes.define(ident, binding);
    }

    /// Returns the layers and parameters that the closure does not use.
    fn unused_fields(&self) -> Vec<usize> {
        let unused = |&i: &usize| {
            let Field { name, role, .. } = &self.fields[i];
            !self.used.contains(&i)
                && !name.starts_with('_')
                && !matches!(role, Role::Skip(_) | Role::Buffer(_))
        };
        if self.uses_self { Vec::new() } else { (0..self.fields.len()).filter(unused).collect() }
    }

    /// Runs the liveness analysis on the recorded events.
    pub fn finish(self) -> Walked {
        Walked {
            unused: self.unused_fields(),
            unknown: self.unknown,
            resolved: ResolvedUses { takes: takes(&self.events, &self.immovable), uses: self.uses },
            misspelled: self.misspelled,
            fields: self.variables,
            modes: self.modes,
            called: self.called,
        }
    }
}

/// The result of a walk.
pub(super) struct Walked {
    pub resolved: ResolvedUses,
    pub fields: Vec<(Ident, usize)>,
    pub modes: Vec<Ident>,
    pub unused: Vec<usize>,
    pub unknown: Vec<Ident>,
    pub misspelled: Vec<MisspelledLayer>,
    pub called: HashSet<usize>,
}

/// Returns the place of a field of `place`.
fn with_field(mut place: Place, member: &Member) -> Place {
    place.fields.push(name_of(member));
    place
}

/// Returns the name of a field, or its index in a tuple.
fn name_of(member: &Member) -> String {
    match member {
        Member::Named(ident) => ident.unraw().to_string(),
        Member::Unnamed(index) => index.index.to_string(),
    }
}

/// Returns the tokens for plain data: the value if its type is `Copy`, and otherwise a reference.
pub fn data(krate: &TokenStream, place: &TokenStream, span: Span) -> TokenStream {
    let private = private(krate, span);
    quote_spanned!(Span::mixed_site().located_at(span)=> #private::Data(&#place).data())
}

/// Returns whether the type is `&mut T`.
pub(super) fn is_mutable_reference(ty: &Type) -> bool {
    matches!(ty, Type::Reference(reference) if reference.mutability.is_some())
}

/// Returns whether the expression is `self`, possibly in parentheses.
pub(super) fn is_self(expr: &Expr) -> bool {
    match expr {
        Expr::Path(path) => path.path.is_ident("self"),
        Expr::Paren(paren) => is_self(&paren.expr),
        _ => false,
    }
}
