//! Operators, assignments and struct literals.

use proc_macro2::Span;
use syn::{BinOp, Expr, ExprAssign, ExprBinary, ExprStruct, FieldValue, Member, Token};

use super::borrow::Borrow;
use super::liveness::Event;
use super::walk::Walker;

impl Walker<'_> {
    /// Walks a binary operator. Comparisons, `&&` and `||` read their operands in place; arithmetic takes their values.
    /// An assignment such as `x += y` takes the value of its right side and reads its left side in place.
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
                self.walk_optional(|walker| walker.walk_place(&mut binary.right));
            }
            op if is_assignment(&op) => {
                let borrows = self.walk_operand(&mut binary.right);
                let target = self.root(&binary.left);
                self.walk_place(&mut binary.left);
                // The target is read after the right side is evaluated, so the right side must not move the target.
                self.events.extend(target.map(Event::Read));
                self.events.extend(borrows.into_iter().map(Borrow::read));
            }
            _ => self.walk_operands([&mut *binary.left, &mut *binary.right]),
        }
    }

    /// Walks `x = value` or `(h, c) = value`. The old values of the assigned locals are not needed any more.
    pub(super) fn walk_assign(&mut self, assign: &mut ExprAssign) {
        self.walk_value(&mut assign.right);
        self.walk_assignee(&mut assign.left);
    }

    /// Walks the left side of an assignment, which may destructure the value as a pattern does.
    fn walk_assignee(&mut self, assignee: &mut Expr) {
        match assignee {
            Expr::Tuple(tuple) => tuple.elems.iter_mut().for_each(|elem| self.walk_assignee(elem)),
            Expr::Array(array) => array.elems.iter_mut().for_each(|elem| self.walk_assignee(elem)),
            Expr::Call(call) => call.args.iter_mut().for_each(|arg| self.walk_assignee(arg)),
            Expr::Paren(paren) => self.walk_assignee(&mut paren.expr),
            Expr::Struct(literal) => {
                for field in &mut literal.fields {
                    expand_shorthand(field);
                    self.walk_assignee(&mut field.expr);
                }
            }
            Expr::Infer(_) | Expr::Range(_) => {}
            place => match self.local_of(place) {
                Some((local, ident)) if self.scopes.binding(local).depth < self.frames.len() => {
                    self.read(local, &ident);
                }
                Some((local, _)) => self.events.push(Event::Define(local)),
                None => self.walk_place(place),
            },
        }
    }

    /// Walks `Name { field: value, .. }`.
    pub(super) fn walk_struct_literal(&mut self, literal: &mut ExprStruct) {
        literal.fields.iter_mut().for_each(expand_shorthand);
        self.walk_operands(literal.fields.iter_mut().map(|field| &mut field.expr));
        if let Some(rest) = &mut literal.rest {
            self.walk_value(rest);
        }
    }
}

/// Writes the shorthand `name` of a struct literal as `name: name`, so that the value can be rewritten.
fn expand_shorthand(field: &mut FieldValue) {
    if field.colon_token.is_none()
        && let Member::Named(name) = &mut field.member
    {
        field.colon_token = Some(Token![:](name.span()));
        // With the span of the user's code, clippy would report a redundant name.
        name.set_span(Span::mixed_site().located_at(name.span()));
    }
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
