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
            _ => Self::Signal,
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

    /// Converts the tail expressions of `expr`, which may be tensors or results, to this type.
    pub fn convert(&self, expr: &mut Expr) {
        match (self, &mut *expr) {
            (Self::Other(_), _) => {}
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
            (Self::Tuple(parts), Expr::Tuple(tuple)) if parts.len() == tuple.elems.len() => {
                parts.iter().zip(&mut tuple.elems).for_each(|(part, elem)| part.convert(elem));
            }
            (Self::Tuple(_), _) => {}
            (Self::Signal, _) => *expr = Expr::Verbatim(into(&*expr)),
        }
    }

    fn convert_block(&self, block: &mut Block) {
        if let Some(Stmt::Expr(tail, None)) = block.stmts.last_mut() {
            self.convert(tail);
        }
    }
}

/// Returns `Into::into(expr)`.
pub fn into(expr: impl ToTokens + Spanned) -> TokenStream {
    let span = Span::mixed_site().located_at(expr.span());
    quote_spanned!(span=> ::core::convert::Into::into(#expr))
}
