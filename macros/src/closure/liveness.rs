//! Finds the last use of each local. The last use moves the value; every other use clones it.
//!
//! The walk over a forward closure records what happens to the locals, in evaluation order, as a tree of [`Event`]s.
//! This module traverses the tree backwards and keeps the set of live locals: those that are read or used later.

use std::collections::HashSet;

use syn::Lifetime;

/// A local variable, numbered in order of declaration. A shadowing variable has a new number.
pub type Local = usize;

/// A use of a local's value, numbered in the order of the walk.
pub type UseId = usize;

/// An event in the life of the locals.
#[derive(Debug)]
pub enum Event {
    /// The value is taken, by move or clone.
    Use(UseId, Local),
    /// The local is read in place: borrowed, compared or indexed.
    Read(Local),
    /// The local is declared or assigned. Its earlier value is not needed.
    Define(Local),
    /// Exactly one of these sequences runs.
    Branch(Vec<Vec<Event>>),
    /// The sequence runs any number of times. The loop may have a label.
    Loop(Option<Lifetime>, Vec<Event>),
    /// The block `'label: { … }`, which `break` can leave.
    Block(Lifetime, Vec<Event>),
    /// `break`, possibly with a label.
    Break(Option<Lifetime>),
    /// `continue`, possibly with a label.
    Continue(Option<Lifetime>),
    /// `return`
    Return,
}

type Live = HashSet<Local>;

/// Returns the uses that move their local. Locals in `immovable` never move, because they are borrowed for an unknown
/// time.
pub fn moving_uses(events: &[Event], immovable: &HashSet<Local>) -> HashSet<UseId> {
    let mut analysis = Analysis { immovable, moves: HashSet::new(), targets: Vec::new() };
    analysis.sequence(events, Live::new());
    analysis.moves
}

struct Analysis<'a> {
    immovable: &'a HashSet<Local>,
    moves: HashSet<UseId>,
    /// The enclosing loops and labeled blocks, innermost last.
    targets: Vec<Target>,
}

/// A loop or labeled block, to which `break` and `continue` jump.
struct Target {
    label: Option<Lifetime>,
    is_loop: bool,
    /// The locals that are live after it.
    after: Live,
    /// The locals that are live at the start of an iteration.
    start: Live,
}

impl Analysis<'_> {
    /// Returns the locals that are live before the events, given those that are live after them.
    fn sequence(&mut self, events: &[Event], live: Live) -> Live {
        events.iter().rev().fold(live, |live, event| self.event(event, live))
    }

    fn event(&mut self, event: &Event, mut live: Live) -> Live {
        match event {
            Event::Use(id, local) => {
                let last = live.insert(*local) && !self.immovable.contains(local);
                if last {
                    self.moves.insert(*id)
                } else {
                    self.moves.remove(id)
                };
            }
            Event::Read(local) => {
                live.insert(*local);
            }
            Event::Define(local) => {
                live.remove(local);
            }
            Event::Branch(paths) => {
                return paths.iter().flat_map(|path| self.sequence(path, live.clone())).collect();
            }
            Event::Loop(label, body) => return self.repeat(label.clone(), body, live),
            Event::Block(label, body) => {
                let label = Some(label.clone());
                let target = Target { label, is_loop: false, after: live.clone(), start: Live::new() };
                self.targets.push(target);
                live = self.sequence(body, live);
                self.targets.pop();
            }
            Event::Break(label) => {
                if let Some(target) = self.target(label.as_ref()) {
                    live = target.after.clone();
                }
            }
            Event::Continue(label) => {
                if let Some(target) = self.target(label.as_ref()) {
                    live = target.start.clone();
                }
            }
            Event::Return => live.clear(),
        }
        live
    }

    /// Returns the loop or block to which a jump refers: the one with the label, or the innermost loop.
    fn target(&self, label: Option<&Lifetime>) -> Option<&Target> {
        let is_target = |target: &&Target| match label {
            Some(label) => target.label.as_ref().is_some_and(|name| name.ident == label.ident),
            None => target.is_loop,
        };
        self.targets.iter().rev().find(is_target)
    }

    /// Returns the locals that are live before a loop. Locals that one iteration needs are live at the end of the
    /// previous iteration, so the analysis repeats until it finds no more of them.
    fn repeat(&mut self, label: Option<Lifetime>, body: &[Event], after: Live) -> Live {
        let mut live = after.clone();
        loop {
            let target =
                Target { label: label.clone(), is_loop: true, after: after.clone(), start: live.clone() };
            self.targets.push(target);
            let before = self.sequence(body, live.clone());
            self.targets.pop();
            if before.is_subset(&live) {
                return live;
            }
            live.extend(before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Event::*;
    use super::*;

    fn moves(events: &[Event]) -> Vec<UseId> {
        let mut moves: Vec<_> = moving_uses(events, &HashSet::new()).into_iter().collect();
        moves.sort();
        moves
    }

    #[test]
    fn last_use_moves() {
        assert_eq!(moves(&[Define(0), Use(0, 0), Use(1, 0)]), [1]);
    }

    #[test]
    fn each_branch_has_a_last_use() {
        let branch = Branch(vec![vec![Use(1, 0)], vec![Use(2, 0), Use(3, 0)]]);
        assert_eq!(moves(&[Define(0), Use(0, 0), branch]), [1, 3]);
    }

    #[test]
    fn values_used_in_every_iteration_do_not_move() {
        assert_eq!(moves(&[Define(0), Loop(None, vec![Use(0, 0)])]), Vec::<UseId>::new());
        assert_eq!(moves(&[Define(0), Loop(None, vec![Use(0, 0), Define(0)]), Use(1, 0)]), [0, 1]);
        assert_eq!(moves(&[Loop(None, vec![Define(0), Use(0, 0)])]), [0]);
    }

    #[test]
    fn values_used_after_a_jump_do_not_move() {
        let body = || vec![Branch(vec![vec![Use(0, 0), Break(None)], vec![]])];
        assert_eq!(moves(&[Define(0), Loop(None, body()), Use(1, 0)]), [1]);
        assert_eq!(moves(&[Define(0), Loop(None, body())]), [0]);
        let body = vec![Branch(vec![vec![Use(0, 0), Continue(None)], vec![]])];
        assert_eq!(moves(&[Define(0), Loop(None, body)]), Vec::<UseId>::new());
        let label: Lifetime = syn::parse_quote!('outer);
        let inner = Loop(None, vec![Use(0, 0), Break(Some(label.clone()))]);
        let body = vec![Branch(vec![vec![Use(0, 0), Break(Some(label.clone()))], vec![]]), Define(0)];
        assert_eq!(moves(&[Define(0), Block(label.clone(), body), Use(1, 0)]), [1]);
        assert_eq!(moves(&[Define(0), Loop(Some(label), vec![inner])]), [0]);
        let early = Branch(vec![vec![Use(0, 0), Return], vec![]]);
        assert_eq!(moves(&[Define(0), early, Use(1, 0)]), [0, 1]);
    }

    #[test]
    fn immovable_locals_do_not_move() {
        let immovable = HashSet::from([0]);
        assert!(moving_uses(&[Define(0), Use(0, 0)], &immovable).is_empty());
    }
}
