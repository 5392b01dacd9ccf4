//! Calls: of fields and of what came out of them, which are layers; of everything else, which is Rust.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{BinOp, Expr, ExprAssign, ExprBinary, ExprCall, ExprMethodCall, ExprStruct, Lit, Member};

use super::liveness::{Event, Local};
use super::scope::Origin;
use super::shape::into;
use super::walk::{Walker, is_self};
use crate::expand::{located, private};

/// Methods that borrow their receiver, whatever it is: nobody has to clone it for them.
const BORROWING: &[&str] = &[
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

/// Of these, the ones whose answer borrows from the receiver.
const LENDING: &[&str] = &[
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

/// A layer that is called: where it is and what it is called in errors.
struct Callee {
    /// A reference to it, or to the list it is in.
    layer: TokenStream,
    origin: Origin,
    /// The index in that list, `blocks[index](x)`.
    index: Option<TokenStream>,
    /// `let`s for the indices further out.
    before: TokenStream,
}

impl Walker<'_> {
    /// `f(a, b)`
    pub(super) fn call(&mut self, expr: &mut Expr) {
        let Expr::Call(call) = expr else { return };
        if self.origin(&call.func).is_some() {
            let span = call.func.span();
            let Some(callee) = self.callee(&mut call.func) else { return };
            let args = std::mem::take(&mut call.args);
            *expr = Expr::Verbatim(self.layer_call(callee, args, span));
            return;
        }
        self.function(call);
    }

    /// A call of an ordinary function, closure or constructor.
    fn function(&mut self, call: &mut ExprCall) {
        match &mut *call.func {
            Expr::Path(path) => {
                if let Some(ident) = path.path.get_ident().cloned() {
                    if let Some(local) = self.scopes.find(&ident) {
                        self.touch(local, &ident);
                    } else if let Some(field) = self.field(&ident) {
                        let place = &self.fields[field].place;
                        *call.func = Expr::Verbatim(quote!((#place)));
                    } else {
                        self.note_callee(&ident);
                    }
                }
            }
            func => self.place(func),
        }
        self.operands(&mut call.args);
    }

    /// `receiver.method(a, b)`; `self.conv1(x)` is a call of the field.
    pub(super) fn method(&mut self, expr: &mut Expr) {
        let Expr::MethodCall(call) = expr else { return };
        if is_self(&call.receiver) {
            if let Some(field) = self.field_named(&call.method).filter(|&field| self.fields[field].is_layer())
            {
                self.field(&call.method);
                let origin = Origin { field, indices: Vec::new() };
                let place = &self.fields[field].place;
                let callee =
                    Callee { layer: quote!(&#place), origin, index: None, before: TokenStream::new() };
                let (args, span) = (std::mem::take(&mut call.args), call.method.span());
                *expr = Expr::Verbatim(self.layer_call(callee, args, span));
                return;
            }
            self.note_self();
        }
        let origin = self.origin(&call.receiver);
        let borrowed = self.receiver(call);
        let mut held: Vec<Local> = borrowed.into_iter().collect();
        for arg in &mut call.args {
            match (arg, &origin) {
                (Expr::Closure(closure), Some(_)) => self.closure(closure, origin.clone()),
                (arg, _) => held.extend(self.operand(arg)),
            }
        }
        self.events.extend(held.into_iter().map(Event::Touch));
    }

    /// The receiver; the local that it borrows until the arguments are there.
    fn receiver(&mut self, call: &mut ExprMethodCall) -> Option<Local> {
        if self.origin(&call.receiver).is_some() {
            self.place(&mut call.receiver);
            return None;
        }
        let Some(local) = self.root(&call.receiver) else {
            self.place(&mut call.receiver);
            return None;
        };
        let binding = self.scopes.binding(local);
        let method = call.method.to_string();
        if binding.mutable || binding.depth < self.frames.len() || BORROWING.contains(&method.as_str()) {
            self.place(&mut call.receiver);
            return Some(local);
        }
        self.value(&mut call.receiver);
        None
    }

    /// Where a callee or list comes from, if from a layer field.
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

    /// The layer that an expression with an origin means.
    fn callee(&mut self, expr: &mut Expr) -> Option<Callee> {
        let origin = self.origin(expr)?;
        let none = TokenStream::new();
        match expr {
            Expr::Paren(paren) => self.callee(&mut paren.expr),
            Expr::Group(group) => self.callee(&mut group.expr),
            Expr::Path(_) if self.local_of(expr).is_some() => {
                self.place(expr);
                Some(Callee { layer: expr.to_token_stream(), origin, index: None, before: none })
            }
            Expr::Index(index) => {
                let list = self.callee(&mut index.expr)?;
                self.place(&mut index.index);
                Some(list.element(&index.index))
            }
            Expr::Field(field) if self.self_member(field).is_none() => {
                let Callee { layer, origin, index, before } = self.callee(&mut field.base)?;
                let member: &Member = &field.member;
                let index = index.map(|index| quote!([#index]));
                Some(Callee { layer: quote!(&(#layer)#index.#member), origin, index: None, before })
            }
            Expr::Path(_) | Expr::Field(_) => {
                self.place(expr);
                Some(Callee { layer: quote!(&#expr), origin, index: None, before: none })
            }
            _ => {
                self.value(expr);
                Some(Callee { layer: quote!(&*#expr), origin, index: None, before: none })
            }
        }
    }

    /// `__private::call(&self.conv1, "conv1", Into::into(x), mode)`, or its like for an element of a list
    /// or for several inputs.
    fn layer_call(&mut self, callee: Callee, args: crate::attr::Exprs, span: Span) -> TokenStream {
        let mut args: Vec<Expr> = args.into_iter().collect();
        self.operands(&mut args);
        let inputs = args.iter().map(input);
        let input = if args.len() == 1 { quote!(#(#inputs)*) } else { quote_spanned!(span=> (#(#inputs,)*)) };

        let Callee { layer, origin, index, before } = callee;
        let field = &self.fields[origin.field];
        let (name, krate, indices) = (&field.name, self.krate, &origin.indices);
        let mode = field.mode_tokens(krate);
        let private = private(krate, span);
        let several = args.len() > 1;
        // What cannot be called with several inputs is blamed for it.
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

    /// Operators: comparisons look at their operands, arithmetic takes them.
    pub(super) fn binary(&mut self, binary: &mut ExprBinary) {
        match binary.op {
            BinOp::Eq(_) | BinOp::Ne(_) | BinOp::Lt(_) | BinOp::Le(_) | BinOp::Gt(_) | BinOp::Ge(_) => {
                let left = self.root(&binary.left);
                self.place(&mut binary.left);
                self.place(&mut binary.right);
                self.events.extend(left.map(Event::Touch));
            }
            BinOp::And(_) | BinOp::Or(_) => {
                self.place(&mut binary.left);
                let right = self.aside(|walker| walker.place(&mut binary.right));
                self.events.push(Event::Branch(vec![right, Vec::new()]));
            }
            op if is_assignment(&op) => {
                self.value(&mut binary.right);
                let target = self.root(&binary.left);
                self.place(&mut binary.left);
                // Needed afterwards as well, so that nothing on the right moves it away.
                self.events.extend(target.map(Event::Touch));
            }
            _ => self.operands([&mut *binary.left, &mut *binary.right]),
        }
    }

    /// `x = value`: the old value is not needed any more.
    pub(super) fn assign(&mut self, assign: &mut ExprAssign) {
        self.value(&mut assign.right);
        match self.local_of(&assign.left) {
            Some((local, ident)) if self.scopes.binding(local).depth < self.frames.len() => {
                self.touch(local, &ident)
            }
            Some((local, _)) => self.events.push(Event::Define(local)),
            None => self.place(&mut assign.left),
        }
    }

    /// `Name { field: value, .. }`
    pub(super) fn struct_literal(&mut self, literal: &mut ExprStruct) {
        for field in &mut literal.fields {
            field.colon_token.get_or_insert_default();
            self.value(&mut field.expr);
        }
        if let Some(rest) = &mut literal.rest {
            self.value(rest);
        }
    }

    /// Whether the value of `let` or `match` borrows from a local for as long as its names live.
    pub(super) fn pin_lender(&mut self, expr: &Expr) {
        let lender = match expr {
            Expr::Try(attempt) => return self.pin_lender(&attempt.expr),
            Expr::Paren(paren) => return self.pin_lender(&paren.expr),
            Expr::MethodCall(call) if LENDING.contains(&call.method.to_string().as_str()) => {
                self.root(&call.receiver)
            }
            Expr::MethodCall(call) => return self.pin_lender(&call.receiver),
            Expr::Reference(reference) => self.root(&reference.expr),
            _ => None,
        };
        self.pinned.extend(lender);
    }
}

impl Callee {
    /// The element `index` of the list that this is.
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

/// An argument as the layer wants it; a bare literal or `None` has no type of its own to convert from.
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
