//! Control flow: blocks, branches, loops, closures and jumps.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{
    Block, Expr, ExprClosure, ExprForLoop, ExprIf, ExprMatch, ExprReturn, Item, Label, Lifetime,
    Local as Let, Pat, Stmt,
};

use super::borrow::{is_mutable_borrow, is_primitive};
use super::liveness::Event;
use super::scope::{Binding, Refutability};
use super::walk::{Frame, Walker};

impl Walker<'_> {
    /// Walks the expressions that [`Walker::walk_value`] does not handle: blocks, control flow and jumps.
    pub(super) fn walk_control(&mut self, expr: &mut Expr) {
        match expr {
            Expr::Block(block) => match &block.label {
                Some(label) => {
                    let label = label.name.clone();
                    let body = self.record(|walker| walker.walk_block(&mut block.block));
                    self.events.push(Event::Block(label, body));
                }
                None => self.walk_block(&mut block.block),
            },
            Expr::Unsafe(block) => self.walk_block(&mut block.block),
            Expr::Const(block) => self.walk_block(&mut block.block),
            Expr::If(branch) => self.walk_branch(branch),
            Expr::Match(match_expr) => self.walk_arms(match_expr),
            Expr::ForLoop(each) => self.walk_for_loop(each),
            Expr::While(repeat) => {
                let body = self.record(|walker| {
                    walker.scopes.enter();
                    walker.walk_condition(&mut repeat.cond);
                    walker.walk_block(&mut repeat.body);
                    walker.scopes.leave();
                });
                self.events.push(Event::Loop(name_of(&repeat.label), body));
            }
            Expr::Loop(repeat) => {
                let body = self.record(|walker| walker.walk_block(&mut repeat.body));
                self.events.push(Event::Loop(name_of(&repeat.label), body));
            }
            Expr::Closure(closure) => {
                let moves = closure.capture.is_some();
                let before = self.events.len();
                let frame = self.in_frame(moves, |walker| walker.walk_closure_body(closure));
                if let Some(tokens) = self.with_copies(frame, before, closure) {
                    *expr = Expr::Verbatim(tokens);
                }
            }
            Expr::Async(future) => {
                let moves = future.capture.is_some();
                let before = self.events.len();
                let frame = self.in_frame(moves, |walker| walker.walk_block(&mut future.block));
                if let Some(tokens) = self.with_copies(frame, before, future) {
                    *expr = Expr::Verbatim(tokens);
                }
            }
            Expr::Let(binding) => {
                let bound = self.walk_scrutinee(&mut binding.expr);
                self.define(&binding.pat, Refutability::Refutable, &bound);
            }
            Expr::Return(expr) => self.walk_return(expr),
            Expr::Break(expr) => {
                if let Some(value) = &mut expr.expr {
                    self.walk_value(value);
                }
                self.events.push(Event::Break(expr.label.clone()));
            }
            Expr::Continue(expr) => self.events.push(Event::Continue(expr.label.clone())),
            _ => {}
        }
    }

    /// Returns the events that `walk` records, without adding them to the current sequence.
    pub(super) fn record(&mut self, walk: impl FnOnce(&mut Self)) -> Vec<Event> {
        self.record_result(walk).1
    }

    /// Walks code that may not run. Returns the result of `walk`.
    pub(super) fn walk_optional<T>(&mut self, walk: impl FnOnce(&mut Self) -> T) -> T {
        let (result, events) = self.record_result(walk);
        self.events.push(Event::Branch(vec![events, Vec::new()]));
        result
    }

    /// Returns the result of `walk` and the events that it records.
    fn record_result<T>(&mut self, walk: impl FnOnce(&mut Self) -> T) -> (T, Vec<Event>) {
        let outer = std::mem::take(&mut self.events);
        let result = walk(self);
        (result, std::mem::replace(&mut self.events, outer))
    }

    pub(super) fn walk_block(&mut self, block: &mut Block) {
        self.scopes.enter();
        for stmt in &block.stmts {
            // A function item hides a field of the same name in the whole block.
            if let Stmt::Item(Item::Fn(function)) = stmt {
                self.define_function(&function.sig.ident);
            }
        }
        block.stmts.iter_mut().for_each(|stmt| self.walk_statement(stmt));
        self.scopes.leave();
    }

    pub(super) fn walk_statement(&mut self, stmt: &mut Stmt) {
        match stmt {
            Stmt::Local(binding) => self.walk_binding(binding),
            Stmt::Expr(expr, _) => self.walk_value(expr),
            Stmt::Macro(invocation) => match self.walk_dbg(&invocation.mac) {
                Some(tokens) => *stmt = Stmt::Expr(Expr::Verbatim(tokens), invocation.semi_token),
                None => self.walk_invocation(&mut invocation.mac),
            },
            Stmt::Item(Item::Macro(definition)) => self.make_immovable(definition.mac.tokens.clone()),
            Stmt::Item(_) => {}
        }
    }

    /// Walks `let pattern = value else { … };`.
    fn walk_binding(&mut self, binding: &mut Let) {
        let mut bound = Binding { owned: true, consumable: true, ..Binding::default() };
        let mut refutability = Refutability::Irrefutable;
        if let Some(init) = &mut binding.init {
            bound.owned = self.owns_its_parts(&init.expr);
            bound.consumable = bound.owned;
            bound.reborrowed = is_mutable_borrow(&init.expr);
            bound.function = matches!(*init.expr, Expr::Closure(_));
            bound.borrows = self.walk_operand(&mut init.expr);
            if matches!(&binding.pat, Pat::Type(typed) if is_primitive(&typed.ty)) {
                bound.borrows.clear();
            }
            if let Some((_, diverge)) = &mut init.diverge {
                refutability = Refutability::Refutable;
                self.walk_optional(|walker| walker.walk_value(diverge));
            }
        }
        self.define(&binding.pat, refutability, &bound);
    }

    /// Walks the scrutinee of `match` or `if let`, or the iterator of `for`. Returns the properties of the names that
    /// the pattern binds.
    fn walk_scrutinee(&mut self, expr: &mut Expr) -> Binding {
        let reborrowed = is_mutable_borrow(expr);
        let consumable = self.owns_its_parts(expr);
        Binding { borrows: self.walk_operand(expr), reborrowed, consumable, ..Binding::default() }
    }

    /// Walks a condition in a place context, so that a local in it is read without a clone.
    fn walk_condition(&mut self, expr: &mut Expr) {
        self.walk_place(expr);
    }

    fn walk_branch(&mut self, branch: &mut ExprIf) {
        self.scopes.enter();
        self.walk_condition(&mut branch.cond);
        let then = self.record(|walker| walker.walk_block(&mut branch.then_branch));
        self.scopes.leave();
        let otherwise = self.record(|walker| {
            if let Some((_, otherwise)) = &mut branch.else_branch {
                walker.walk_value(otherwise);
            }
        });
        self.events.push(Event::Branch(vec![then, otherwise]));
    }

    fn walk_arms(&mut self, match_expr: &mut ExprMatch) {
        let bound = self.walk_scrutinee(&mut match_expr.expr);
        let mut paths = Vec::new();
        for arm in &mut match_expr.arms {
            paths.push(self.record(|walker| {
                walker.scopes.enter();
                walker.define(&arm.pat, Refutability::Refutable, &bound);
                if let Pat::Guard(guard) = &mut arm.pat {
                    walker.inside_repetition += 1;
                    walker.walk_place(&mut guard.guard);
                    walker.inside_repetition -= 1;
                }
                walker.walk_value(&mut arm.body);
                walker.scopes.leave();
            }));
        }
        self.events.push(Event::Branch(paths));
    }

    fn walk_for_loop(&mut self, each: &mut ExprForLoop) {
        let bound = self.walk_scrutinee(&mut each.expr);
        let body = self.record(|walker| {
            walker.scopes.enter();
            walker.define(&each.pat, Refutability::Irrefutable, &bound);
            walker.walk_block(&mut each.body);
            walker.scopes.leave();
        });
        self.events.push(Event::Loop(name_of(&each.label), body));
    }

    fn walk_closure_body(&mut self, closure: &mut ExprClosure) {
        self.scopes.enter();
        for pat in &closure.inputs {
            self.define(pat, Refutability::Irrefutable, &Binding::default());
        }
        self.walk_value(&mut closure.body);
        self.scopes.leave();
    }

    /// Walks the body of a closure or async block in a new frame, and returns the frame with the captured locals. The
    /// body may run later, several times, or not at all.
    fn in_frame(&mut self, moves: bool, walk: impl FnOnce(&mut Self)) -> Frame {
        self.frames.push(Frame { moves, captured: Vec::new() });
        self.walk_optional(walk);
        self.frames.pop().unwrap_or(Frame { moves, captured: Vec::new() })
    }

    /// Returns `{ let mut x = x.clone(); closure }` for a `move` closure that captures `x`. If this is the last use of
    /// `x`, the copy is a move: `let mut x = x;`. Returns `None` if nothing is copied. A name that may be a constant is
    /// bound by `match`, because `let` accepts only irrefutable patterns. The copies are made before the closure is
    /// created, so their events are inserted at `before`, the position of the first event of the closure.
    fn with_copies(&mut self, frame: Frame, before: usize, closure: &impl ToTokens) -> Option<TokenStream> {
        if !frame.moves || frame.captured.is_empty() {
            return None;
        }
        let body = self.events.split_off(before);
        let mut code = closure.to_token_stream();
        let mut copies = TokenStream::new();
        for (local, ident) in frame.captured {
            let Binding { reborrowed, may_be_constant, .. } = *self.scopes.binding(local);
            if reborrowed {
                continue;
            }
            let value = self.use_value(local.into(), &ident, ident.to_token_stream());
            if may_be_constant {
                let never = quote!(#[allow(unreachable_patterns)] _ => ::core::unreachable!(),);
                code = quote!(match #value { #ident => #code, #never });
            } else {
                copies.extend(quote!(#[allow(unused_mut)] let mut #ident = #value;));
            }
        }
        self.events.extend(body);
        Some(if copies.is_empty() { code } else { quote!({ #copies #code }) })
    }

    /// Walks `return value`. Converts the value if the forward closure itself returns, but not if a nested closure
    /// does.
    fn walk_return(&mut self, expr: &mut ExprReturn) {
        if let Some(value) = &mut expr.expr {
            self.walk_value(value);
            if self.frames.is_empty() {
                self.output.convert_returned(self.krate, value);
            }
        }
        self.events.push(Event::Return);
    }
}

fn name_of(label: &Option<Label>) -> Option<Lifetime> {
    label.as_ref().map(|label| label.name.clone())
}
