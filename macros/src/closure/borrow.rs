//! The locals from which the value of an expression may borrow. Such a local must not move while the value is in use.

use proc_macro2::TokenStream;
use syn::{Block, Expr, ExprReference, Stmt, Type};

use super::liveness::{Event, Local};
use super::names;
use super::walk::{Walker, is_self};

/// A local from which a value borrows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Borrow {
    pub local: Local,
    /// Whether the value certainly borrows, as `&x` does. For the result of a method or function, this depends on
    /// types, which the macro does not know: `x.dims()` borrows, `x.rank()` does not.
    pub is_certain: bool,
}

impl Borrow {
    /// Returns the event to record when the borrowing value is read. The event keeps the local live until then.
    pub fn read(self) -> Event {
        if self.is_certain { Event::Read(self.local) } else { Event::MayRead(self.local) }
    }
}

impl Walker<'_> {
    /// Returns `true` if the value of `expr` owns its fields, so that a field can be moved out of the value. The
    /// methods of the network are assumed to return owned values. The result of any other method may be a reference, so
    /// it does not count as owned.
    pub(super) fn owns_its_parts(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Reference(_) => false,
            Expr::MethodCall(call) => is_self(&call.receiver),
            Expr::Paren(paren) => self.owns_its_parts(&paren.expr),
            Expr::Group(group) => self.owns_its_parts(&group.expr),
            Expr::Try(attempt) => self.owns_its_parts(&attempt.expr),
            Expr::If(branch) => self.tail_owns_its_parts(&branch.then_branch),
            Expr::Block(block) => self.tail_owns_its_parts(&block.block),
            Expr::Match(match_expr) => match_expr.arms.iter().all(|arm| self.owns_its_parts(&arm.body)),
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
    /// and a function may return one of its reference arguments. The locals that a closure captures by reference are
    /// not returned: [`Walker`] records that such a local never moves.
    pub(super) fn borrows(&self, expr: &Expr) -> Vec<Borrow> {
        let mut found = Vec::new();
        self.collect_borrows(expr, &mut found);
        // Keep one borrow from each local: one with `is_certain`, if there is one.
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.dedup_by_key(|borrow| borrow.local);
        found
    }

    fn collect_borrows(&self, expr: &Expr, found: &mut Vec<Borrow>) {
        match expr {
            Expr::Path(_) => self.extend_with_borrows_of(expr, found),
            Expr::Reference(reference) => self.collect_place(&reference.expr, found),
            Expr::MethodCall(call) => {
                let first = found.len();
                self.collect_place(&call.receiver, found);
                call.args.iter().for_each(|arg| self.collect_borrows(arg, found));
                found[first..].iter_mut().for_each(|borrow| borrow.is_certain = false);
            }
            Expr::Call(call) => {
                let first = found.len();
                call.args.iter().for_each(|arg| self.collect_borrows(arg, found));
                found[first..].iter_mut().for_each(|borrow| borrow.is_certain = false);
            }
            Expr::Field(field) => self.collect_borrows(&field.base, found),
            Expr::Index(index) => self.collect_borrows(&index.expr, found),
            Expr::Paren(paren) => self.collect_borrows(&paren.expr, found),
            Expr::Group(group) => self.collect_borrows(&group.expr, found),
            Expr::Try(attempt) => self.collect_borrows(&attempt.expr, found),
            Expr::Unary(unary) => self.collect_borrows(&unary.expr, found),
            Expr::Tuple(tuple) => tuple.elems.iter().for_each(|elem| self.collect_borrows(elem, found)),
            Expr::Array(array) => array.elems.iter().for_each(|elem| self.collect_borrows(elem, found)),
            Expr::Struct(literal) => {
                literal.fields.iter().for_each(|field| self.collect_borrows(&field.expr, found));
            }
            Expr::If(branch) => {
                self.collect_tail(&branch.then_branch, found);
                if let Some((_, otherwise)) = &branch.else_branch {
                    self.collect_borrows(otherwise, found);
                }
            }
            Expr::Match(match_expr) => {
                self.collect_borrows(&match_expr.expr, found);
                match_expr.arms.iter().for_each(|arm| self.collect_borrows(&arm.body, found));
            }
            Expr::Block(block) => self.collect_tail(&block.block, found),
            Expr::Macro(invocation) => self.collect_named(invocation.mac.tokens.clone(), found),
            _ => {}
        }
    }

    /// Adds the local of which the place is a part, and the locals from which the value of the place may borrow.
    fn collect_place(&self, place: &Expr, found: &mut Vec<Borrow>) {
        found.extend(self.root(place).map(|local| Borrow { local, is_certain: true }));
        self.collect_borrows(place, found);
    }

    fn collect_tail(&self, block: &Block, found: &mut Vec<Borrow>) {
        if let Some(Stmt::Expr(tail, None)) = block.stmts.last() {
            self.collect_borrows(tail, found);
        }
    }

    fn extend_with_borrows_of(&self, name: &Expr, found: &mut Vec<Borrow>) {
        if let Some((local, _)) = self.local_of(name) {
            found.extend(&self.scopes.binding(local).borrows);
        }
    }

    /// Adds every local that the tokens name.
    fn collect_named(&self, tokens: TokenStream, found: &mut Vec<Borrow>) {
        names::for_each(tokens, &mut |ident| {
            found.extend(self.scopes.find(ident).map(|local| Borrow { local, is_certain: false }));
        });
    }
}

/// Returns `true` if an annotated type is a primitive type, such as `usize` or `bool`, or a tuple of primitive types.
/// Values of these types do not borrow.
pub(super) fn is_primitive(ty: &Type) -> bool {
    let names = [
        "bool", "char", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64",
        "u128", "usize",
    ];
    match ty {
        Type::Path(path) => names.iter().any(|name| path.path.is_ident(name)),
        Type::Tuple(tuple) => tuple.elems.iter().all(is_primitive),
        _ => false,
    }
}

/// Returns whether the expression is `&mut place`.
pub(super) fn is_mutable_borrow(expr: &Expr) -> bool {
    matches!(expr, Expr::Reference(ExprReference { mutability: Some(_), .. }))
}
