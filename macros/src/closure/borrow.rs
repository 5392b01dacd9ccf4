//! The locals from which the value of an expression may borrow. Such a local must not move while the value is in use.

use proc_macro2::TokenStream;
use syn::{Block, Expr, Stmt};

use super::liveness::Local;
use super::names;
use super::walk::Walker;

impl Walker<'_> {
    /// Returns the locals from which the value of `expr` may borrow. A method may return a reference into its receiver,
    /// and a function may return one of its reference arguments. Types are unknown here, so assume that both do. A
    /// closure borrows the locals that it captures, which never move.
    pub(super) fn lenders(&self, expr: &Expr) -> Vec<Local> {
        let mut lenders = Vec::new();
        self.collect_lenders(expr, &mut lenders);
        lenders.sort_unstable();
        lenders.dedup();
        lenders
    }

    fn collect_lenders(&self, expr: &Expr, lenders: &mut Vec<Local>) {
        match expr {
            Expr::Path(_) => self.extend_with_lenders_of(expr, lenders),
            Expr::Reference(reference) => self.collect_place(&reference.expr, lenders),
            Expr::MethodCall(call) => {
                self.collect_place(&call.receiver, lenders);
                call.args.iter().for_each(|arg| self.collect_lenders(arg, lenders));
            }
            Expr::Call(call) => call.args.iter().for_each(|arg| self.collect_lenders(arg, lenders)),
            Expr::Field(field) => self.collect_lenders(&field.base, lenders),
            Expr::Index(index) => self.collect_lenders(&index.expr, lenders),
            Expr::Paren(paren) => self.collect_lenders(&paren.expr, lenders),
            Expr::Group(group) => self.collect_lenders(&group.expr, lenders),
            Expr::Try(attempt) => self.collect_lenders(&attempt.expr, lenders),
            Expr::Unary(unary) => self.collect_lenders(&unary.expr, lenders),
            Expr::Tuple(tuple) => tuple.elems.iter().for_each(|elem| self.collect_lenders(elem, lenders)),
            Expr::Array(array) => array.elems.iter().for_each(|elem| self.collect_lenders(elem, lenders)),
            Expr::Struct(literal) => {
                literal.fields.iter().for_each(|field| self.collect_lenders(&field.expr, lenders));
            }
            Expr::If(branch) => {
                self.collect_tail(&branch.then_branch, lenders);
                if let Some((_, otherwise)) = &branch.else_branch {
                    self.collect_lenders(otherwise, lenders);
                }
            }
            Expr::Match(all) => {
                self.collect_lenders(&all.expr, lenders);
                all.arms.iter().for_each(|arm| self.collect_lenders(&arm.body, lenders));
            }
            Expr::Block(block) => self.collect_tail(&block.block, lenders),
            Expr::Macro(invocation) => self.collect_named(invocation.mac.tokens.clone(), lenders),
            _ => {}
        }
    }

    /// Adds the local that the place is a part of, and the locals from which its value borrows.
    fn collect_place(&self, place: &Expr, lenders: &mut Vec<Local>) {
        lenders.extend(self.root(place));
        self.collect_lenders(place, lenders);
    }

    fn collect_tail(&self, block: &Block, lenders: &mut Vec<Local>) {
        if let Some(Stmt::Expr(tail, None)) = block.stmts.last() {
            self.collect_lenders(tail, lenders);
        }
    }

    fn extend_with_lenders_of(&self, name: &Expr, lenders: &mut Vec<Local>) {
        if let Some((local, _)) = self.local_of(name) {
            lenders.extend(&self.scopes.binding(local).lenders);
        }
    }

    /// Adds every local that the tokens name.
    fn collect_named(&self, tokens: TokenStream, lenders: &mut Vec<Local>) {
        names::all(tokens, &mut |ident| lenders.extend(self.scopes.find(ident)));
    }
}
