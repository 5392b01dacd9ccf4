//! Finds the last use of each local. The last use moves the value; every other use clones it.
//!
//! The walk over a forward closure records what happens to the locals, in evaluation order, as a tree of [`Event`]s.
//! This module traverses the tree backwards and keeps the set of live locals: those that are read or used later.

use std::collections::HashSet;

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
    /// The sequence runs any number of times.
    Loop(Vec<Event>),
    /// `break` or `continue`.
    Jump,
    /// `return`
    Return,
}

type Live = HashSet<Local>;

/// Returns the uses that move their local. Locals in `pinned` never move, because they are borrowed for an unknown
/// time.
pub fn moving_uses(events: &[Event], pinned: &HashSet<Local>) -> HashSet<UseId> {
    let mut analysis = Analysis { pinned, moves: HashSet::new(), jumps: Vec::new() };
    analysis.sequence(events, Live::new());
    analysis.moves
}

struct Analysis<'a> {
    pinned: &'a HashSet<Local>,
    moves: HashSet<UseId>,
    /// The locals that are live after a `break` or `continue`, for each enclosing loop.
    jumps: Vec<Live>,
}

impl Analysis<'_> {
    /// Returns the locals that are live before the events, given those that are live after them.
    fn sequence(&mut self, events: &[Event], live: Live) -> Live {
        events.iter().rev().fold(live, |live, event| self.event(event, live))
    }

    fn event(&mut self, event: &Event, mut live: Live) -> Live {
        match event {
            Event::Use(id, local) => {
                let last = live.insert(*local) && !self.pinned.contains(local);
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
            Event::Loop(body) => return self.repeat(body, live),
            Event::Jump => live.extend(self.jumps.iter().flatten()),
            Event::Return => live.clear(),
        }
        live
    }

    /// Returns the locals that are live before a loop. Locals that one iteration needs are live at the end of the
    /// previous iteration. The second pass accounts for them; a third pass would not change the result.
    fn repeat(&mut self, body: &[Event], after: Live) -> Live {
        let mut live = after;
        for _ in 0..2 {
            self.jumps.push(live.clone());
            let before = self.sequence(body, live.clone());
            self.jumps.pop();
            live.extend(before);
        }
        live
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
        assert_eq!(moves(&[Define(0), Loop(vec![Use(0, 0)])]), Vec::<UseId>::new());
        assert_eq!(moves(&[Define(0), Loop(vec![Use(0, 0), Define(0)]), Use(1, 0)]), [0, 1]);
        assert_eq!(moves(&[Loop(vec![Define(0), Use(0, 0)])]), [0]);
    }

    #[test]
    fn values_used_after_a_jump_do_not_move() {
        let body = vec![Branch(vec![vec![Use(0, 0), Jump], vec![]])];
        assert_eq!(moves(&[Define(0), Loop(body), Use(1, 0)]), [1]);
        let early = Branch(vec![vec![Use(0, 0), Return], vec![]]);
        assert_eq!(moves(&[Define(0), early, Use(1, 0)]), [0, 1]);
    }

    #[test]
    fn pinned_locals_do_not_move() {
        let pinned = HashSet::from([0]);
        assert!(moving_uses(&[Define(0), Use(0, 0)], &pinned).is_empty());
    }
}
