//! The locals from which the value of an expression may borrow. Such a local must not move while the value is in use.

use proc_macro2::TokenStream;
use syn::{Block, Expr, ExprReference, Stmt, Type};

use super::liveness::Local;
use super::names;
use super::walk::{Walker, is_self};

/// Methods that return numbers, of signals, tensors and lists. Without them, a deferred convolution would be cloned
/// after `let (b, c, h, w) = y.dims4()?`, and so not be fused with the next layer.
const QUERIES: [&str; 7] = ["dim", "dims2", "dims3", "dims4", "dtype", "len", "rank"];

impl Walker<'_> {
    /// Returns whether the value of `expr` owns its parts, so that they can be moved out of it. A method may return a
    /// reference, except that methods of the network return values.
    pub(super) fn owns_its_parts(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Reference(_) => false,
            Expr::MethodCall(call) => is_self(&call.receiver),
            Expr::Paren(paren) => self.owns_its_parts(&paren.expr),
            Expr::Group(group) => self.owns_its_parts(&group.expr),
            Expr::Try(attempt) => self.owns_its_parts(&attempt.expr),
            Expr::If(branch) => self.tail_owns_its_parts(&branch.then_branch),
            Expr::Block(block) => self.tail_owns_its_parts(&block.block),
            Expr::Match(all) => all.arms.iter().all(|arm| self.owns_its_parts(&arm.body)),
            _ => match self.local_of(expr) {
                Some((local, _)) => self.scopes.binding(local).owned,
                None => self.root_field(expr).is_none(),
            },
        }
    }

    fn tail_owns_its_parts(&self, block: &Block) -> bool {
        match block.stmts.last() {
            Some(Stmt::Expr(tail, None)) => self.owns_its_parts(tail),
            _ => true,
        }
    }

    /// Returns the locals from which the value of `expr` may borrow. A method may return a reference into its receiver,
    /// and a function may return one of its reference arguments. Types are unknown here, so assume that both do. A
    /// closure borrows the locals that it captures, which never move.
    pub(super) fn borrowed_locals(&self, expr: &Expr) -> Vec<Local> {
        let mut found = Vec::new();
        self.collect_borrowed(expr, &mut found);
        found.sort_unstable();
        found.dedup();
        found
    }

    fn collect_borrowed(&self, expr: &Expr, found: &mut Vec<Local>) {
        match expr {
            Expr::Path(_) => self.extend_with_borrowed_locals_of(expr, found),
            Expr::Reference(reference) => self.collect_place(&reference.expr, found),
            Expr::MethodCall(call) => {
                if !QUERIES.iter().any(|query| call.method == query) {
                    self.collect_place(&call.receiver, found);
                }
                call.args.iter().for_each(|arg| self.collect_borrowed(arg, found));
            }
            Expr::Call(call) => call.args.iter().for_each(|arg| self.collect_borrowed(arg, found)),
            Expr::Field(field) => self.collect_borrowed(&field.base, found),
            Expr::Index(index) => self.collect_borrowed(&index.expr, found),
            Expr::Paren(paren) => self.collect_borrowed(&paren.expr, found),
            Expr::Group(group) => self.collect_borrowed(&group.expr, found),
            Expr::Try(attempt) => self.collect_borrowed(&attempt.expr, found),
            Expr::Unary(unary) => self.collect_borrowed(&unary.expr, found),
            Expr::Tuple(tuple) => tuple.elems.iter().for_each(|elem| self.collect_borrowed(elem, found)),
            Expr::Array(array) => array.elems.iter().for_each(|elem| self.collect_borrowed(elem, found)),
            Expr::Struct(literal) => {
                literal.fields.iter().for_each(|field| self.collect_borrowed(&field.expr, found));
            }
            Expr::If(branch) => {
                self.collect_tail(&branch.then_branch, found);
                if let Some((_, otherwise)) = &branch.else_branch {
                    self.collect_borrowed(otherwise, found);
                }
            }
            Expr::Match(all) => {
                self.collect_borrowed(&all.expr, found);
                all.arms.iter().for_each(|arm| self.collect_borrowed(&arm.body, found));
            }
            Expr::Block(block) => self.collect_tail(&block.block, found),
            Expr::Macro(invocation) => self.collect_named(invocation.mac.tokens.clone(), found),
            _ => {}
        }
    }

    /// Adds the local that the place is a part of, and the locals from which its value borrows.
    fn collect_place(&self, place: &Expr, found: &mut Vec<Local>) {
        found.extend(self.root(place));
        self.collect_borrowed(place, found);
    }

    fn collect_tail(&self, block: &Block, found: &mut Vec<Local>) {
        if let Some(Stmt::Expr(tail, None)) = block.stmts.last() {
            self.collect_borrowed(tail, found);
        }
    }

    fn extend_with_borrowed_locals_of(&self, name: &Expr, found: &mut Vec<Local>) {
        if let Some((local, _)) = self.local_of(name) {
            found.extend(&self.scopes.binding(local).borrowed_locals);
        }
    }

    /// Adds every local that the tokens name.
    fn collect_named(&self, tokens: TokenStream, found: &mut Vec<Local>) {
        names::all(tokens, &mut |ident| found.extend(self.scopes.find(ident)));
    }
}

/// Returns whether a type is that of a number, which cannot borrow.
pub(super) fn is_number(ty: &Type) -> bool {
    let numbers = ["bool", "f32", "f64", "i32", "i64", "u8", "u32", "u64", "usize"];
    matches!(ty, Type::Path(path) if numbers.iter().any(|number| path.path.is_ident(number)))
}

/// Returns whether the expression is `&mut place`.
pub(super) fn is_mutable_borrow(expr: &Expr) -> bool {
    matches!(expr, Expr::Reference(ExprReference { mutability: Some(_), .. }))
}
