//! The output type of a forward closure: a signal, a tuple of signals, or an annotated type.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Block, Expr, ExprClosure, ReturnType, Stmt, Type};

use crate::ast::last_segment;

pub enum OutputType {
    Signal,
    Tuple(Vec<OutputType>),
    /// An annotated type that is neither a signal nor a tuple. The body is not converted to it.
    Other(Box<Type>),
}

impl OutputType {
    /// Returns the annotated type. Without an annotation, derives the type from the form of the last expression.
    pub fn of(closure: &ExprClosure) -> Self {
        match &closure.output {
            ReturnType::Type(_, ty) => Self::of_type(ty),
            ReturnType::Default => Self::of_tail(&closure.body),
        }
    }

    fn of_type(ty: &Type) -> Self {
        match ty {
            Type::Tuple(tuple) if !tuple.elems.is_empty() => {
                Self::Tuple(tuple.elems.iter().map(Self::of_type).collect())
            }
            ty if last_segment(ty).is_some_and(|name| name == "Signal") => Self::Signal,
            ty => Self::Other(Box::new(ty.clone())),
        }
    }

    fn of_tail(expr: &Expr) -> Self {
        match expr {
            Expr::Tuple(tuple) if !tuple.elems.is_empty() => {
                Self::Tuple(tuple.elems.iter().map(Self::of_tail).collect())
            }
            Expr::Paren(paren) => Self::of_tail(&paren.expr),
            Expr::Block(block) => Self::of_block(&block.block),
            Expr::If(branch) => Self::of_block(&branch.then_branch),
            Expr::Match(all) => all.arms.first().map_or(Self::Signal, |arm| Self::of_tail(&arm.body)),
            expr => constructed(expr, "Ok").map_or(Self::Signal, Self::of_tail),
        }
    }

    fn of_block(block: &Block) -> Self {
        match block.stmts.last() {
            Some(Stmt::Expr(tail, None)) => Self::of_tail(tail),
            _ => Self::Signal,
        }
    }

    pub fn is_signal(&self) -> bool {
        matches!(self, Self::Signal)
    }

    /// Returns the span of the annotated type.
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
    pub fn convert(&self, expr: &mut Expr) {
        if self.is_result() {
            return;
        }
        match (self, &mut *expr) {
            (_, Expr::Block(block)) => self.convert_block(&mut block.block),
            (_, Expr::Paren(paren)) => self.convert(&mut paren.expr),
            (_, Expr::If(branch)) => {
                self.convert_block(&mut branch.then_branch);
                if let Some((_, other)) = &mut branch.else_branch {
                    self.convert(other);
                }
            }
            (_, Expr::Match(all)) => all.arms.iter_mut().for_each(|arm| self.convert(&mut arm.body)),
            (_, Expr::Return(_) | Expr::Break(_) | Expr::Continue(_) | Expr::Macro(_) | Expr::Loop(_)) => {}
            (_, expr) if constructed(expr, "Ok").is_some() => self.convert_ok(expr),
            (_, expr) if constructed(expr, "Err").is_some() => {
                convert_error(expr);
                *expr = Expr::Verbatim(quote!(return #expr));
            }
            (Self::Tuple(parts), Expr::Tuple(tuple)) if parts.len() == tuple.elems.len() => {
                parts.iter().zip(&mut tuple.elems).for_each(|(part, elem)| part.convert(elem));
            }
            (Self::Tuple(_) | Self::Other(_), _) => {}
            (Self::Signal, _) => *expr = Expr::Verbatim(into(&*expr)),
        }
    }

    /// Converts the value of `return value` to `Result<Self>`.
    pub fn convert_returned(&self, value: &mut Expr) {
        if !self.is_result() && constructed(value, "Err").is_some() {
            convert_error(value);
            return;
        }
        self.convert(value);
        let span = Span::mixed_site().located_at(value.span());
        *value = Expr::Verbatim(quote_spanned!(span=> ::core::result::Result::Ok(#value)));
    }

    fn convert_ok(&self, expr: &mut Expr) {
        let Expr::Call(call) = &mut *expr else { return };
        if let Some(mut value) = std::mem::take(&mut call.args).into_iter().next() {
            self.convert(&mut value);
            *expr = value;
        }
    }

    fn convert_block(&self, block: &mut Block) {
        if let Some(Stmt::Expr(tail, None)) = block.stmts.last_mut() {
            self.convert(tail);
        }
    }

    /// Returns whether the annotated type is a `Result`, whose variants are values of the output.
    fn is_result(&self) -> bool {
        matches!(self, Self::Other(ty) if last_segment(ty).is_some_and(|name| name == "Result"))
    }
}

/// Replaces `return value` at the end of the body with `value`, so that no unreachable code follows it.
pub fn replace_last_return(expr: &mut Expr) {
    match expr {
        Expr::Block(block) => replace_in_block(&mut block.block),
        Expr::If(branch) => {
            replace_in_block(&mut branch.then_branch);
            if let Some((_, other)) = &mut branch.else_branch {
                replace_last_return(other);
            }
        }
        Expr::Match(all) => all.arms.iter_mut().for_each(|arm| replace_last_return(&mut arm.body)),
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

/// If the expression is `name(value)`, with `name` one of `Ok` and `Err`, returns the value.
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

/// Returns `Into::into(expr)`.
pub fn into(expr: impl ToTokens + Spanned) -> TokenStream {
    let span = Span::mixed_site().located_at(expr.span());
    quote_spanned!(span=> ::core::convert::Into::into(#expr))
}
