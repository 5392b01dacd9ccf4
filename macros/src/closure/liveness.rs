//! Finds the last use of each local. The last use moves the value, unless another local may borrow from the value. All
//! other uses clone it.
//!
//! The walk over a forward closure records what happens to the locals, in evaluation order, as a tree of [`Event`]s.
//! This module traverses the tree backwards and keeps the set of live locals: those that are read or used later.

use std::collections::{HashMap, HashSet};

use syn::Lifetime;

use super::borrow::Borrow;

/// A local variable, numbered in order of declaration. A shadowing variable has a new number.
pub type Local = usize;

/// A use of a local's value, numbered in the order of the walk.
pub type UseId = usize;

/// A local, or a field of it: `pair` or `pair.0`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub local: Local,
    /// The names of the fields, outermost first.
    pub fields: Vec<String>,
}

impl Place {
    /// Returns `true` if the places are equal, or if one of them is a part of the other: `pair` and `pair.0`.
    fn overlaps(&self, other: &Self) -> bool {
        self.local == other.local && self.fields.iter().zip(&other.fields).all(|(a, b)| a == b)
    }
}

impl From<Local> for Place {
    fn from(local: Local) -> Self {
        Self { local, fields: Vec::new() }
    }
}

/// The uses of locals at one point of the evaluation.
#[derive(Debug)]
pub enum Event {
    /// The value is taken, by move or clone.
    Use(UseId, Place),
    /// The local is read in place: borrowed, compared or indexed.
    Read(Local),
    /// A value that may borrow from the local is read.
    MayRead(Local),
    /// The local is declared, or a new value is assigned to it. The earlier value is not needed.
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

impl Event {
    /// Returns whether this event or one nested in it concerns the local.
    pub fn mentions(&self, local: Local) -> bool {
        let in_events = |events: &Vec<Self>| events.iter().any(|event| event.mentions(local));
        match self {
            Self::Use(_, place) => place.local == local,
            Self::Read(other) | Self::MayRead(other) | Self::Define(other) => *other == local,
            Self::Branch(paths) => paths.iter().any(in_events),
            Self::Loop(_, body) | Self::Block(_, body) => in_events(body),
            Self::Break(_) | Self::Continue(_) | Self::Return => false,
        }
    }
}

/// How a use takes the value of its local.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// Moves the value, which is not needed later.
    Move,
    /// Clones the value although this is its last use, because another value may borrow from it.
    CloneAtLastUse,
    /// Clones the value, because the local is read later or is borrowed for an unknown time.
    Clone,
}

/// The locals that never move.
#[derive(Default)]
pub struct Immovable {
    /// Locals that are borrowed for an unknown time.
    pub borrowed: HashSet<Local>,
    /// Locals that may be borrowed for an unknown time, because a closure captures a value that may borrow from them.
    pub maybe_borrowed: HashSet<Local>,
}

impl Immovable {
    /// Adds the locals of borrows that last for an unknown time.
    pub fn extend(&mut self, borrows: &[Borrow]) {
        for borrow in borrows {
            let locals = if borrow.is_certain { &mut self.borrowed } else { &mut self.maybe_borrowed };
            locals.insert(borrow.local);
        }
    }
}

/// The live locals.
#[derive(Clone, Default)]
struct Live {
    /// Locals and fields that are used or read later.
    read: HashSet<Place>,
    /// Locals that may be borrowed by a value that is read later.
    maybe_read: HashSet<Local>,
}

impl Live {
    fn union(mut self, other: Self) -> Self {
        self.read.extend(other.read);
        self.maybe_read.extend(other.maybe_read);
        self
    }

    fn contains(&self, other: &Self) -> bool {
        other.read.is_subset(&self.read) && other.maybe_read.is_subset(&self.maybe_read)
    }
}

/// Returns how each use takes its value.
pub fn takes(events: &[Event], immovable: &Immovable) -> HashMap<UseId, Take> {
    let mut analysis = Analysis { immovable, takes: HashMap::new(), targets: Vec::new() };
    analysis.sequence(events, Live::default());
    analysis.takes
}

struct Analysis<'a> {
    immovable: &'a Immovable,
    takes: HashMap<UseId, Take>,
    /// The enclosing loops and labeled blocks, innermost last.
    targets: Vec<Target>,
}

/// A loop or labeled block, to which `break` and `continue` jump.
struct Target {
    label: Option<Lifetime>,
    is_loop: bool,
    /// The locals that are live after the loop or block.
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
            Event::Use(id, place) => {
                // The body of a loop is traversed several times. Each time, more locals are known to be live, so the
                // last decision is kept.
                self.takes.insert(*id, self.take(place, &live));
                live.read.insert(place.clone());
            }
            Event::Read(local) => {
                live.read.insert((*local).into());
            }
            Event::MayRead(local) => {
                live.maybe_read.insert(*local);
            }
            Event::Define(local) => {
                live.read.retain(|place| place.local != *local);
                live.maybe_read.remove(local);
            }
            Event::Branch(paths) => {
                let before = paths.iter().map(|path| self.sequence(path, live.clone()));
                return before.fold(Live::default(), Live::union);
            }
            Event::Loop(label, body) => return self.repeat(label.clone(), body, live),
            Event::Block(label, body) => {
                let label = Some(label.clone());
                let target = Target { label, is_loop: false, after: live.clone(), start: Live::default() };
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
            Event::Return => live = Live::default(),
        }
        live
    }

    /// Returns how a use takes the value of `place`, given the locals that are live after it.
    fn take(&self, place: &Place, live: &Live) -> Take {
        let local = &place.local;
        let is_read = live.read.iter().any(|other| place.overlaps(other));
        if is_read || self.immovable.borrowed.contains(local) {
            Take::Clone
        } else if live.maybe_read.contains(local) || self.immovable.maybe_borrowed.contains(local) {
            Take::CloneAtLastUse
        } else {
            Take::Move
        }
    }

    /// Returns the loop or block named `label`, to which a jump refers. If `label` is `None`, returns the innermost
    /// loop.
    fn target(&self, label: Option<&Lifetime>) -> Option<&Target> {
        let is_target = |target: &&Target| match label {
            Some(label) => target.label.as_ref().is_some_and(|name| name.ident == label.ident),
            None => target.is_loop,
        };
        self.targets.iter().rev().find(is_target)
    }

    /// Returns the locals that are live before a loop. Locals that one iteration needs are live at the end of the
    /// previous iteration, so the analysis of the body is repeated until the set of live locals stops growing.
    fn repeat(&mut self, label: Option<Lifetime>, body: &[Event], after: Live) -> Live {
        let mut live = after.clone();
        loop {
            let target =
                Target { label: label.clone(), is_loop: true, after: after.clone(), start: live.clone() };
            self.targets.push(target);
            let before = self.sequence(body, live.clone());
            self.targets.pop();
            if live.contains(&before) {
                return live;
            }
            live = live.union(before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Event::*;
    use super::*;

    /// Returns the uses whose [`Take`] is `wanted`.
    fn uses(events: &[Event], immovable: &Immovable, wanted: Take) -> Vec<UseId> {
        let takes = takes(events, immovable).into_iter().filter(|(_, take)| *take == wanted);
        let mut uses: Vec<_> = takes.map(|(id, _)| id).collect();
        uses.sort();
        uses
    }

    fn moves(events: &[Event]) -> Vec<UseId> {
        uses(events, &Immovable::default(), Take::Move)
    }

    #[test]
    fn last_use_moves() {
        assert_eq!(moves(&[Define(0), Use(0, 0.into()), Use(1, 0.into())]), [1]);
    }

    #[test]
    fn each_branch_has_a_last_use() {
        let branch = Branch(vec![vec![Use(1, 0.into())], vec![Use(2, 0.into()), Use(3, 0.into())]]);
        assert_eq!(moves(&[Define(0), Use(0, 0.into()), branch]), [1, 3]);
    }

    #[test]
    fn values_needed_in_the_next_iteration_do_not_move() {
        assert_eq!(moves(&[Define(0), Loop(None, vec![Use(0, 0.into())])]), Vec::<UseId>::new());
        assert_eq!(
            moves(&[Define(0), Loop(None, vec![Use(0, 0.into()), Define(0)]), Use(1, 0.into())]),
            [0, 1]
        );
        assert_eq!(moves(&[Loop(None, vec![Define(0), Use(0, 0.into())])]), [0]);
    }

    #[test]
    fn values_needed_at_the_target_of_a_jump_do_not_move() {
        let body = || vec![Branch(vec![vec![Use(0, 0.into()), Break(None)], vec![]])];
        assert_eq!(moves(&[Define(0), Loop(None, body()), Use(1, 0.into())]), [1]);
        assert_eq!(moves(&[Define(0), Loop(None, body())]), [0]);
        let body = vec![Branch(vec![vec![Use(0, 0.into()), Continue(None)], vec![]])];
        assert_eq!(moves(&[Define(0), Loop(None, body)]), Vec::<UseId>::new());
        let label: Lifetime = syn::parse_quote!('outer);
        let inner = Loop(None, vec![Use(0, 0.into()), Break(Some(label.clone()))]);
        let body = vec![Branch(vec![vec![Use(0, 0.into()), Break(Some(label.clone()))], vec![]]), Define(0)];
        assert_eq!(moves(&[Define(0), Block(label.clone(), body), Use(1, 0.into())]), [1]);
        assert_eq!(moves(&[Define(0), Loop(Some(label), vec![inner])]), [0]);
        let early = Branch(vec![vec![Use(0, 0.into()), Return], vec![]]);
        assert_eq!(moves(&[Define(0), early, Use(1, 0.into())]), [0, 1]);
    }

    #[test]
    fn immovable_locals_do_not_move() {
        let events = [Define(0), Use(0, 0.into()), Use(1, 0.into())];
        let mut immovable = Immovable::default();
        immovable.extend(&[Borrow { local: 0, is_certain: false }]);
        assert_eq!(uses(&events, &immovable, Take::Clone), [0]);
        assert_eq!(uses(&events, &immovable, Take::CloneAtLastUse), [1]);
        immovable.extend(&[Borrow { local: 0, is_certain: true }]);
        assert_eq!(uses(&events, &immovable, Take::Clone), [0, 1]);
    }

    #[test]
    fn fields_move_independently() {
        let field =
            |names: &[&str]| Place { local: 0, fields: names.iter().map(ToString::to_string).collect() };
        assert_eq!(moves(&[Use(0, field(&["a"])), Use(1, field(&["b"]))]), [0, 1]);
        assert_eq!(
            moves(&[Use(0, field(&["a"])), Use(1, field(&["a", "b"])), Use(2, field(&["a", "c"]))]),
            [1, 2]
        );
        assert_eq!(moves(&[Use(0, field(&["a", "b"])), Use(1, field(&["a"]))]), [1]);
        assert_eq!(moves(&[Use(0, field(&["a"])), Read(0)]), Vec::<UseId>::new());
        assert_eq!(moves(&[Use(0, field(&["a"])), Define(0), Use(1, 0.into())]), [0, 1]);
    }

    #[test]
    fn values_that_may_be_borrowed_do_not_move() {
        let last = |events: &[Event]| uses(events, &Immovable::default(), Take::CloneAtLastUse);
        assert_eq!(last(&[Define(0), Use(0, 0.into()), Use(1, 0.into()), MayRead(0)]), [1]);
        assert_eq!(last(&[Define(0), Use(0, 0.into()), MayRead(0), Read(0)]), Vec::<UseId>::new());
        assert_eq!(last(&[Define(0), Loop(None, vec![Use(0, 0.into()), MayRead(0)])]), Vec::<UseId>::new());
        assert_eq!(last(&[Loop(None, vec![Define(0), Use(0, 0.into()), MayRead(0)])]), [0]);
        let branch = Branch(vec![vec![Use(0, 0.into())], vec![Use(1, 0.into()), Return]]);
        assert_eq!(last(&[Define(0), branch, MayRead(0)]), [0]);
    }
}
