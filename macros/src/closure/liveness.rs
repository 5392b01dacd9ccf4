//! Which use of a local is its last: that one moves the value, every other one clones it.
//!
//! The walk over a forward pass records what happens to its locals, in evaluation order, as a tree of
//! [`Event`]s; this file goes through that tree backwards, with the set of locals still needed.

use std::collections::HashSet;

/// A local variable, numbered in the order of declaration; shadowing gives a new number.
pub type Local = usize;

/// A place in the code that takes a local's value, numbered in the order of the walk.
pub type UseId = usize;

/// What happens to the locals, in evaluation order.
#[derive(Debug)]
pub enum Event {
    /// The value is taken: moved here or cloned, which is the question.
    Use(UseId, Local),
    /// The local is read where it stands: borrowed, compared, indexed.
    Touch(Local),
    /// A declaration or assignment: the earlier value is not needed for it.
    Define(Local),
    /// One of several ways is gone.
    Branch(Vec<Vec<Event>>),
    /// Gone any number of times.
    Loop(Vec<Event>),
    /// `break` or `continue`.
    Jump,
    /// `return`
    Return,
}

type Live = HashSet<Local>;

/// The uses that move. `pinned` locals are borrowed for longer than can be seen here and never move.
pub fn moving_uses(events: &[Event], pinned: &HashSet<Local>) -> HashSet<UseId> {
    let mut analysis = Analysis { pinned, moves: HashSet::new(), jumps: Vec::new() };
    analysis.sequence(events, Live::new());
    analysis.moves
}

struct Analysis<'a> {
    pinned: &'a HashSet<Local>,
    moves: HashSet<UseId>,
    /// What is needed after a `break` or `continue` of each loop around.
    jumps: Vec<Live>,
}

impl Analysis<'_> {
    /// From what is needed after the events to what is needed before them.
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
            Event::Touch(local) => {
                live.insert(*local);
            }
            Event::Define(local) => {
                live.remove(local);
            }
            Event::Branch(ways) => {
                return ways.iter().flat_map(|way| self.sequence(way, live.clone())).collect();
            }
            Event::Loop(body) => return self.repeat(body, live),
            Event::Jump => live.extend(self.jumps.iter().flatten()),
            Event::Return => live.clear(),
        }
        live
    }

    /// What a turn needs, the turn before has to leave: a second look sees that, and a third would see
    /// nothing new.
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
    fn the_last_use_moves() {
        assert_eq!(moves(&[Define(0), Use(0, 0), Use(1, 0)]), [1]);
    }

    #[test]
    fn each_branch_has_its_own_last_use() {
        let branch = Branch(vec![vec![Use(1, 0)], vec![Use(2, 0), Use(3, 0)]]);
        assert_eq!(moves(&[Define(0), Use(0, 0), branch]), [1, 3]);
    }

    #[test]
    fn a_loop_needs_its_values_again() {
        assert_eq!(moves(&[Define(0), Loop(vec![Use(0, 0)])]), Vec::<UseId>::new());
        assert_eq!(moves(&[Define(0), Loop(vec![Use(0, 0), Define(0)]), Use(1, 0)]), [0, 1]);
        assert_eq!(moves(&[Loop(vec![Define(0), Use(0, 0)])]), [0]);
    }

    #[test]
    fn a_jump_may_lead_to_a_later_use() {
        let body = vec![Branch(vec![vec![Use(0, 0), Jump], vec![]])];
        assert_eq!(moves(&[Define(0), Loop(body), Use(1, 0)]), [1]);
        let early = Branch(vec![vec![Use(0, 0), Return], vec![]]);
        assert_eq!(moves(&[Define(0), early, Use(1, 0)]), [0, 1]);
    }

    #[test]
    fn pinned_locals_stay() {
        let pinned = HashSet::from([0]);
        assert!(moving_uses(&[Define(0), Use(0, 0)], &pinned).is_empty());
    }
}
