//! The output type of a forward closure: a signal, a tuple of signals, or an annotated type.

use std::collections::HashMap;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    Block, Expr, ExprAsync, ExprBreak, ExprClosure, ExprReturn, Item, Local, Pat, ReturnType, Stmt, Type,
};

use crate::ast::last_segment;
use crate::expand::{located, private};

use super::Parameter;
use super::scope::bound_names;

#[derive(Clone)]
pub enum OutputType {
    Signal,
    Tuple(Vec<OutputType>),
    /// An annotated type that is neither a signal nor a tuple. The body must already have this type: it is not
    /// converted.
    Other(Box<Type>),
}

impl OutputType {
    /// Returns the annotated type. Without an annotation, returns the type of the tuple that the body returns, either
    /// written out or held by a local. If the body returns no such tuple, returns a signal.
    pub fn of_closure(closure: &ExprClosure, inputs: &[Parameter]) -> Self {
        match &closure.output {
            ReturnType::Type(_, ty) => Self::of_type(ty),
            ReturnType::Default => {
                Tuples::from_inputs(inputs).type_of_body(&closure.body).unwrap_or(Self::Signal)
            }
        }
    }

    fn of_type(ty: &Type) -> Self {
        match ty {
            Type::Tuple(tuple) if !tuple.elems.is_empty() => {
                Self::Tuple(tuple.elems.iter().map(Self::of_type).collect())
            }
            Type::Infer(_) => Self::Signal,
            ty if last_segment(ty).is_some_and(|name| name == "Signal") => Self::Signal,
            ty => Self::Other(Box::new(ty.clone())),
        }
    }

    pub fn is_signal(&self) -> bool {
        matches!(self, Self::Signal)
    }

    /// Returns the span at which errors about the output type are reported: the span of the annotated type or, for a
    /// tuple, of its first element.
    pub fn span(&self) -> Span {
        match self {
            Self::Other(ty) => ty.span(),
            Self::Tuple(parts) => parts.first().map_or_else(Span::call_site, Self::span),
            Self::Signal => Span::call_site(),
        }
    }

    /// Returns the Rust type.
    pub fn ty(&self, krate: &TokenStream) -> TokenStream {
        match self {
            Self::Signal => quote!(#krate::Signal),
            Self::Other(ty) => ty.into_token_stream(),
            Self::Tuple(parts) => {
                let parts = parts.iter().map(|part| part.ty(krate));
                quote!((#(#parts,)*))
            }
        }
    }

    /// Converts the tail expressions of `expr`, which may be tensors or results, to this type. `Ok(value)` becomes
    /// `value`, and `Err(error)` becomes `return Err(error)`.
    pub fn convert(&self, krate: &TokenStream, expr: &mut Expr) {
        if self.is_result() {
            return;
        }
        match (self, &mut *expr) {
            (_, Expr::Block(block)) => self.convert_block(krate, &mut block.block),
            (_, Expr::Paren(paren)) => self.convert(krate, &mut paren.expr),
            (_, Expr::If(branch)) => {
                self.convert_block(krate, &mut branch.then_branch);
                if let Some((_, other)) = &mut branch.else_branch {
                    self.convert(krate, other);
                }
            }
            (_, Expr::Match(match_expr)) => {
                match_expr.arms.iter_mut().for_each(|arm| self.convert(krate, &mut arm.body));
            }
            (_, Expr::Return(_) | Expr::Break(_) | Expr::Continue(_) | Expr::Macro(_) | Expr::Loop(_)) => {}
            (_, expr) if constructed(expr, "Ok").is_some() => self.convert_ok(krate, expr),
            (_, expr) if constructed(expr, "Err").is_some() => {
                convert_error(expr);
                *expr = Expr::Verbatim(quote!(return #expr));
            }
            (Self::Tuple(parts), Expr::Tuple(tuple)) if parts.len() == tuple.elems.len() => {
                parts.iter().zip(&mut tuple.elems).for_each(|(part, elem)| part.convert(krate, elem));
            }
            (_, tail) if self.has_only_signals() && !is_into(tail) => {
                let span = tail.span();
                let private = private(krate, span);
                let ty = located(self.ty(krate), span);
                *tail = Expr::Verbatim(quote_spanned!(span=> #private::output::<#ty, _>(#tail)));
            }
            _ => {}
        }
    }

    /// Returns `true` if the type is a signal or a tuple of such types, at any depth.
    fn has_only_signals(&self) -> bool {
        match self {
            Self::Signal => true,
            Self::Tuple(parts) => parts.iter().all(Self::has_only_signals),
            Self::Other(_) => false,
        }
    }

    /// Converts the value of `return value` to `Result<Self>`.
    pub fn convert_returned(&self, krate: &TokenStream, value: &mut Expr) {
        if !self.is_result() && constructed(value, "Err").is_some() {
            convert_error(value);
            return;
        }
        self.convert(krate, value);
        let span = Span::mixed_site().located_at(value.span());
        *value = Expr::Verbatim(quote_spanned!(span=> ::core::result::Result::Ok(#value)));
    }

    fn convert_ok(&self, krate: &TokenStream, expr: &mut Expr) {
        let Expr::Call(call) = &mut *expr else { return };
        if let Some(mut value) = std::mem::take(&mut call.args).into_iter().next() {
            self.convert(krate, &mut value);
            *expr = value;
        }
    }

    fn convert_block(&self, krate: &TokenStream, block: &mut Block) {
        if let Some(Stmt::Expr(tail, None)) = block.stmts.last_mut() {
            self.convert(krate, tail);
        }
    }

    /// Returns whether the annotated type is a `Result`. `Ok(…)` and `Err(…)` are then values of this type.
    fn is_result(&self) -> bool {
        matches!(self, Self::Other(ty) if last_segment(ty).is_some_and(|name| name == "Result"))
    }
}

/// Replaces `return value` at the end of the body with `value`. Otherwise, the generated code that takes the value of
/// the body would be unreachable.
pub fn replace_last_return(expr: &mut Expr) {
    match expr {
        Expr::Block(block) => replace_in_block(&mut block.block),
        Expr::If(branch) => {
            replace_in_block(&mut branch.then_branch);
            if let Some((_, other)) = &mut branch.else_branch {
                replace_last_return(other);
            }
        }
        Expr::Match(match_expr) => {
            match_expr.arms.iter_mut().for_each(|arm| replace_last_return(&mut arm.body));
        }
        Expr::Return(returned) => {
            if let Some(value) = returned.expr.take() {
                *expr = *value;
            }
        }
        _ => {}
    }
}

fn replace_in_block(block: &mut Block) {
    let Some(Stmt::Expr(last, semicolon)) = block.stmts.last_mut() else { return };
    let is_tail = match last {
        Expr::Return(returned) => returned.expr.is_some(),
        Expr::If(branch) => branch.else_branch.is_some() && semicolon.is_none(),
        _ => semicolon.is_none(),
    };
    if is_tail {
        replace_last_return(last);
        *semicolon = None;
    }
}

/// Returns `value` if the expression is `name(value)`, for the name `Ok` or `Err`.
fn constructed<'e>(expr: &'e Expr, name: &str) -> Option<&'e Expr> {
    let Expr::Call(call) = expr else { return None };
    let Expr::Path(function) = &*call.func else { return None };
    let is_constructor = function.path.is_ident(name) && call.args.len() == 1;
    if is_constructor { call.args.first() } else { None }
}

/// Converts the error in `Err(error)` to `sconce::Error`, as `?` does.
fn convert_error(expr: &mut Expr) {
    let Expr::Call(call) = expr else { return };
    for error in &mut call.args {
        *error = Expr::Verbatim(into(&*error));
    }
}

/// Returns `Into::into(expr)`, or the expression itself if it is `value.into()`.
pub fn into(expr: &Expr) -> TokenStream {
    if is_into(expr) {
        return expr.to_token_stream();
    }
    let span = Span::mixed_site().located_at(expr.span());
    quote_spanned!(span=> ::core::convert::Into::into(#expr))
}

/// Returns whether the expression is `value.into()`. A second conversion would make its type ambiguous.
pub fn is_into(expr: &Expr) -> bool {
    matches!(expr, Expr::MethodCall(call) if call.method == "into" && call.args.is_empty())
}

/// The types of the locals that are tuples, by name.
#[derive(Clone, Default)]
struct Tuples {
    types: HashMap<String, OutputType>,
}

impl Tuples {
    fn from_inputs(inputs: &[Parameter]) -> Self {
        let mut tuples = Self::default();
        for Parameter { pat, ty } in inputs {
            tuples.define(pat, ty.as_ref().map(OutputType::of_type));
        }
        tuples
    }

    /// Declares the names of a pattern. `ty` is the type of the value.
    fn define(&mut self, pat: &Pat, ty: Option<OutputType>) {
        for name in bound_names(pat) {
            self.types.remove(&name.ident.unraw().to_string());
        }
        if let (Pat::Ident(binding), Some(ty @ OutputType::Tuple(_))) = (pat, ty) {
            self.types.insert(binding.ident.unraw().to_string(), ty);
        }
    }

    /// Returns the type of a body if the type is a tuple. The type comes from the tail, or from a value that the body
    /// returns early.
    fn type_of_body(&self, body: &Expr) -> Option<OutputType> {
        let mut returned = Exits { is_exit: |expr| matches!(expr, Expr::Return(_)), found: None };
        self.type_of_tail(body).or_else(|| {
            returned.visit_expr(body);
            returned.found
        })
    }

    /// Returns the type of a tail expression if the type is a tuple.
    fn type_of_tail(&self, expr: &Expr) -> Option<OutputType> {
        match expr {
            Expr::Tuple(tuple) if !tuple.elems.is_empty() => {
                let elem = |elem: &Expr| self.type_of_tail(elem).unwrap_or(OutputType::Signal);
                Some(OutputType::Tuple(tuple.elems.iter().map(elem).collect()))
            }
            Expr::Path(path) => self.types.get(&path.path.get_ident()?.unraw().to_string()).cloned(),
            Expr::Paren(paren) => self.type_of_tail(&paren.expr),
            Expr::Group(group) => self.type_of_tail(&group.expr),
            Expr::Block(block) => self.type_of_block(&block.block),
            Expr::If(branch) => {
                let otherwise = || self.type_of_tail(&branch.else_branch.as_ref()?.1);
                self.type_of_block(&branch.then_branch).or_else(otherwise)
            }
            Expr::Match(match_expr) => match_expr.arms.iter().find_map(|arm| {
                let mut tuples = self.clone();
                tuples.define(&arm.pat, None);
                tuples.type_of_tail(&arm.body)
            }),
            Expr::Loop(repeat) => {
                let mut breaks = Exits { is_exit: |expr| matches!(expr, Expr::Break(_)), found: None };
                breaks.visit_block(&repeat.body);
                breaks.found
            }
            expr => self.type_of_tail(constructed(expr, "Ok")?),
        }
    }

    fn type_of_block(&self, block: &Block) -> Option<OutputType> {
        let mut tuples = self.clone();
        for stmt in &block.stmts {
            let Stmt::Local(Local { pat, init, .. }) = stmt else { continue };
            match pat {
                Pat::Type(typed) => tuples.define(&typed.pat, Some(OutputType::of_type(&typed.ty))),
                _ => tuples.define(pat, init.as_ref().and_then(|init| tuples.type_of_tail(&init.expr))),
            }
        }
        match block.stmts.last()? {
            Stmt::Expr(tail, None) => tuples.type_of_tail(tail),
            _ => None,
        }
    }
}

/// Searches for the first `return` or `break` with a tuple, except in nested closures and items.
struct Exits {
    /// Returns `true` for the searched kind of expression: `return` or `break`.
    is_exit: fn(&Expr) -> bool,
    /// The type of the tuple.
    found: Option<OutputType>,
}

impl<'a> Visit<'a> for Exits {
    fn visit_expr(&mut self, expr: &'a Expr) {
        if let Expr::Return(ExprReturn { expr: Some(value), .. })
        | Expr::Break(ExprBreak { expr: Some(value), .. }) = expr
            && self.found.is_none()
            && (self.is_exit)(expr)
        {
            self.found = Tuples::default().type_of_tail(value);
        }
        visit::visit_expr(self, expr);
    }

    fn visit_expr_closure(&mut self, _: &'a ExprClosure) {}

    fn visit_expr_async(&mut self, _: &'a ExprAsync) {}

    fn visit_item(&mut self, _: &'a Item) {}
}
