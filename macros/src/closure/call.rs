//! Rewrites calls to layers (fields and elements of fields). Walks all other calls, which are ordinary Rust.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{BinOp, Expr, ExprAssign, ExprBinary, ExprCall, ExprMethodCall, ExprStruct, Lit, Member};

use crate::expand::{located, private};

use super::liveness::{Event, Local};
use super::output::into;
use super::scope::Origin;
use super::walk::{Walker, is_self};

/// Methods that borrow their receiver, whatever its type. The receiver need not be cloned.
const BORROWING_METHODS: &[&str] = &[
    "all",
    "any",
    "append",
    "as_deref",
    "as_mut",
    "as_ref",
    "as_slice",
    "as_str",
    "borrow",
    "borrow_mut",
    "capacity",
    "clear",
    "clone",
    "contains",
    "contains_key",
    "device",
    "dim",
    "dims",
    "drain",
    "dtype",
    "elem_count",
    "ends_with",
    "entry",
    "error",
    "extend",
    "first",
    "get",
    "get_mut",
    "insert",
    "is_empty",
    "is_err",
    "is_none",
    "is_ok",
    "is_some",
    "is_train",
    "iter",
    "iter_mut",
    "keys",
    "last",
    "len",
    "lock",
    "next",
    "pop",
    "push",
    "rank",
    "read",
    "remove",
    "replace",
    "retain",
    "reverse",
    "set",
    "shape",
    "sort",
    "starts_with",
    "swap",
    "tensor",
    "to_owned",
    "to_string",
    "to_vec",
    "truncate",
    "values",
    "windows",
    "write",
];

/// The methods in `BORROWING_METHODS` whose result borrows from the receiver.
const LENDING_METHODS: &[&str] = &[
    "as_deref",
    "as_mut",
    "as_ref",
    "as_slice",
    "as_str",
    "borrow",
    "borrow_mut",
    "dims",
    "error",
    "first",
    "get",
    "get_mut",
    "iter",
    "iter_mut",
    "keys",
    "last",
    "lock",
    "shape",
    "values",
    "windows",
];

/// A layer that is called.
struct Callee {
    /// A reference to the layer or, if `index` is set, to the list that contains the layer.
    layer: TokenStream,
    /// The field and the outer indices, for errors.
    origin: Origin,
    /// The index in the list: `blocks[index](x)`.
    index: Option<TokenStream>,
    /// `let` statements for the outer indices.
    before: TokenStream,
}

impl Walker<'_> {
    /// Walks `f(a, b)`.
    pub(super) fn walk_call(&mut self, expr: &mut Expr) {
        let Expr::Call(call) = expr else { return };
        if self.origin(&call.func).is_some() {
            let span = call.func.span();
            let Some(callee) = self.callee(&mut call.func) else { return };
            let args = std::mem::take(&mut call.args);
            *expr = Expr::Verbatim(self.layer_call(callee, args, span));
            return;
        }
        self.walk_function(call);
    }

    /// Walks a call to an ordinary function, closure or constructor.
    fn walk_function(&mut self, call: &mut ExprCall) {
        match &mut *call.func {
            Expr::Path(path) => {
                if let Some(ident) = path.path.get_ident().cloned() {
                    if let Some(local) = self.scopes.find(&ident) {
                        self.read(local, &ident);
                    } else if let Some(field) = self.field(&ident) {
                        let place = &self.fields[field].place;
                        *call.func = Expr::Verbatim(quote!((#place)));
                    } else {
                        self.note_callee(&ident);
                    }
                }
            }
            func => self.walk_place(func),
        }
        self.walk_operands(&mut call.args);
    }

    /// Walks `receiver.method(a, b)`. `self.conv1(x)` is a call to the field.
    pub(super) fn walk_method(&mut self, expr: &mut Expr) {
        let Expr::MethodCall(call) = expr else { return };
        if is_self(&call.receiver) {
            if let Some(field) = self.field_named(&call.method).filter(|&field| self.fields[field].is_layer())
            {
                self.field(&call.method);
                let origin = Origin { field, indices: Vec::new() };
                let place = &self.fields[field].place;
                let callee =
                    Callee { layer: quote!(&#place), origin, index: None, before: TokenStream::new() };
                let args = std::mem::take(&mut call.args);
                let span = call.method.span();
                *expr = Expr::Verbatim(self.layer_call(callee, args, span));
                return;
            }
            self.note_self();
        }
        let origin = self.origin(&call.receiver);
        let borrowed = self.walk_receiver(call);
        let mut borrowed_locals: Vec<Local> = borrowed.into_iter().collect();
        for arg in &mut call.args {
            match (arg, &origin) {
                (Expr::Closure(closure), Some(_)) => self.walk_closure(closure, origin.clone()),
                (arg, _) => borrowed_locals.extend(self.walk_operand(arg)),
            }
        }
        self.events.extend(borrowed_locals.into_iter().map(Event::Read));
    }

    /// Walks the receiver. If the method borrows a local, returns this local, which must not move before the call.
    fn walk_receiver(&mut self, call: &mut ExprMethodCall) -> Option<Local> {
        if self.origin(&call.receiver).is_some() {
            self.walk_place(&mut call.receiver);
            return None;
        }
        let Some(local) = self.root(&call.receiver) else {
            self.walk_place(&mut call.receiver);
            return None;
        };
        let binding = self.scopes.binding(local);
        let method = call.method.to_string();
        if binding.mutable
            || binding.depth < self.frames.len()
            || BORROWING_METHODS.contains(&method.as_str())
        {
            self.walk_place(&mut call.receiver);
            return Some(local);
        }
        self.walk_value(&mut call.receiver);
        None
    }

    /// Returns the layer field that a callee or list comes from, or `None` if it does not come from a field.
    pub(super) fn origin(&self, expr: &Expr) -> Option<Origin> {
        match expr {
            Expr::Path(path) => {
                let ident = path.path.get_ident()?;
                match self.scopes.find(ident) {
                    Some(local) => self.scopes.binding(local).origin.clone(),
                    None => self.layer_field(self.field_named(ident)?),
                }
            }
            Expr::Field(field) => match self.self_member(field) {
                Some(index) => self.layer_field(index),
                None => self.origin(&field.base),
            },
            Expr::Index(index) => self.origin(&index.expr),
            Expr::Paren(paren) => self.origin(&paren.expr),
            Expr::Group(group) => self.origin(&group.expr),
            Expr::Reference(reference) => self.origin(&reference.expr),
            Expr::Try(attempt) => self.origin(&attempt.expr),
            Expr::MethodCall(call) => self.origin(&call.receiver),
            _ => None,
        }
    }

    fn layer_field(&self, field: usize) -> Option<Origin> {
        self.fields[field].is_layer().then(|| Origin { field, indices: Vec::new() })
    }

    /// Returns the callee for an expression that comes from a layer field, or `None` for any other expression.
    fn callee(&mut self, expr: &mut Expr) -> Option<Callee> {
        let origin = self.origin(expr)?;
        let before = TokenStream::new();
        match expr {
            Expr::Paren(paren) => self.callee(&mut paren.expr),
            Expr::Group(group) => self.callee(&mut group.expr),
            Expr::Path(_) if self.local_of(expr).is_some() => {
                self.walk_place(expr);
                Some(Callee { layer: expr.to_token_stream(), origin, index: None, before })
            }
            Expr::Index(index) => {
                let list = self.callee(&mut index.expr)?;
                self.walk_place(&mut index.index);
                Some(list.element(&index.index))
            }
            Expr::Field(field) if self.self_member(field).is_none() => {
                let Callee { layer, origin, index, before } = self.callee(&mut field.base)?;
                let member: &Member = &field.member;
                let index = index.map(|index| quote!([#index]));
                Some(Callee { layer: quote!(&(#layer)#index.#member), origin, index: None, before })
            }
            Expr::Path(_) | Expr::Field(_) => {
                self.walk_place(expr);
                Some(Callee { layer: quote!(&#expr), origin, index: None, before })
            }
            _ => {
                self.walk_value(expr);
                Some(Callee { layer: quote!(&*#expr), origin, index: None, before })
            }
        }
    }

    /// Returns `__private::call(&self.conv1, "conv1", Into::into(x), mode)`, or the corresponding call for an element
    /// of a list or for several inputs.
    fn layer_call(&mut self, callee: Callee, args: crate::attr::Exprs, span: Span) -> TokenStream {
        let mut args: Vec<Expr> = args.into_iter().collect();
        self.walk_operands(&mut args);
        let inputs = args.iter().map(input);
        let input = if args.len() == 1 { quote!(#(#inputs)*) } else { quote_spanned!(span=> (#(#inputs,)*)) };

        let Callee { layer, origin, index, before } = callee;
        let field = &self.fields[origin.field];
        let name = &field.name;
        let krate = self.krate;
        let indices = &origin.indices;
        let mode = field.mode_tokens(krate);
        let private = private(krate, span);
        let several = args.len() > 1;
        // The compiler reports a layer that does not support several inputs at this span.
        let layer = if several { located(layer, span) } else { layer };
        let call = match (index, several) {
            (None, false) if indices.is_empty() => {
                quote_spanned!(span=> #private::call(#layer, #name, #input, #mode))
            }
            (None, _) => {
                let call = format_ident!("{}", if several { "call_with" } else { "call_in" }, span = span);
                quote_spanned!(span=> #private::#call(#layer, #name, &[#(#indices),*], #input, #mode))
            }
            (Some(i), _) => {
                let call = format_ident!("{}", if several { "call_with_at" } else { "call_at" }, span = span);
                quote_spanned!(span=> #private::#call(#layer, #name, &[#(#indices),*], #i, #input, #mode))
            }
        };
        if before.is_empty() { call } else { quote!({ #before #call }) }
    }

    /// Walks a binary operator. A comparison reads its operands in place; arithmetic takes their values.
    pub(super) fn walk_binary(&mut self, binary: &mut ExprBinary) {
        match binary.op {
            BinOp::Eq(_) | BinOp::Ne(_) | BinOp::Lt(_) | BinOp::Le(_) | BinOp::Gt(_) | BinOp::Ge(_) => {
                let left = self.root(&binary.left);
                self.walk_place(&mut binary.left);
                self.walk_place(&mut binary.right);
                self.events.extend(left.map(Event::Read));
            }
            BinOp::And(_) | BinOp::Or(_) => {
                self.walk_place(&mut binary.left);
                let right = self.record(|walker| walker.walk_place(&mut binary.right));
                self.events.push(Event::Branch(vec![right, Vec::new()]));
            }
            op if is_assignment(&op) => {
                self.walk_value(&mut binary.right);
                let target = self.root(&binary.left);
                self.walk_place(&mut binary.left);
                // The target is read after the right side, so the right side must not move it.
                self.events.extend(target.map(Event::Read));
            }
            _ => self.walk_operands([&mut *binary.left, &mut *binary.right]),
        }
    }

    /// Walks `x = value`. The old value of `x` is not needed any more.
    pub(super) fn walk_assign(&mut self, assign: &mut ExprAssign) {
        self.walk_value(&mut assign.right);
        match self.local_of(&assign.left) {
            Some((local, ident)) if self.scopes.binding(local).depth < self.frames.len() => {
                self.read(local, &ident)
            }
            Some((local, _)) => self.events.push(Event::Define(local)),
            None => self.walk_place(&mut assign.left),
        }
    }

    /// Walks `Name { field: value, .. }`.
    pub(super) fn walk_struct_literal(&mut self, literal: &mut ExprStruct) {
        for field in &mut literal.fields {
            field.colon_token.get_or_insert_default();
            self.walk_value(&mut field.expr);
        }
        if let Some(rest) = &mut literal.rest {
            self.walk_value(rest);
        }
    }

    /// Pins the local from which the value of a `let` or `match` borrows, because this local must not move while the
    /// bound names are alive.
    pub(super) fn pin_borrowed(&mut self, expr: &Expr) {
        let borrowed = match expr {
            Expr::Try(attempt) => return self.pin_borrowed(&attempt.expr),
            Expr::Paren(paren) => return self.pin_borrowed(&paren.expr),
            Expr::MethodCall(call) if LENDING_METHODS.contains(&call.method.to_string().as_str()) => {
                self.root(&call.receiver)
            }
            Expr::MethodCall(call) => return self.pin_borrowed(&call.receiver),
            Expr::Reference(reference) => self.root(&reference.expr),
            _ => None,
        };
        self.pinned.extend(borrowed);
    }
}

impl Callee {
    /// Returns the callee for element `index` of this list.
    fn element(self, index: &Expr) -> Self {
        let Self { layer, mut origin, index: outer, mut before } = self;
        let Some(outer) = outer else {
            return Self { layer, origin, index: Some(index.to_token_stream()), before };
        };
        let name = format_ident!("outer_{}", origin.indices.len(), span = Span::mixed_site());
        before.extend(quote!(let #name: usize = #outer;));
        origin.indices.push(name.to_token_stream());
        Self { layer: quote!(&(#layer)[#name]), origin, index: Some(index.to_token_stream()), before }
    }
}

/// Converts an argument to the layer's input type. Literals, `None` and closures are not converted, because their
/// type would be ambiguous.
fn input(arg: &Expr) -> TokenStream {
    let plain = match arg {
        Expr::Lit(literal) => !matches!(literal.lit, Lit::Verbatim(_)),
        Expr::Unary(unary) => matches!(*unary.expr, Expr::Lit(_)),
        Expr::Path(path) => path.path.is_ident("None"),
        Expr::Closure(_) => true,
        _ => false,
    };
    if plain { arg.to_token_stream() } else { into(arg) }
}

fn is_assignment(op: &BinOp) -> bool {
    matches!(
        op,
        BinOp::AddAssign(_)
            | BinOp::SubAssign(_)
            | BinOp::MulAssign(_)
            | BinOp::DivAssign(_)
            | BinOp::RemAssign(_)
            | BinOp::BitAndAssign(_)
            | BinOp::BitOrAssign(_)
            | BinOp::BitXorAssign(_)
            | BinOp::ShlAssign(_)
            | BinOp::ShrAssign(_)
    )
}
