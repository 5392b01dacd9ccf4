//! The runs from which the sizes of results follow.

use std::cell::RefCell;
use std::sync::Arc;

use crate::{Error, Result};

use super::shape::add_name;
use super::{Name, NamedShape, Polynomial, SymbolicSize};

/// The numbers that are added to the example of a name, by the level of the name in a run. The first is used outside of
/// the runs of a plan. A size of 1 could not be told from a dimension along which an operand repeats, so the default
/// example is no level of a run.
pub(super) const LEVELS: [usize; 4] = [0, 1, 2, 4];

/// The levels of the names at the corners of the polynomial, and that of its check.
const LOW: usize = 1;
const HIGH: usize = 2;
const CHECK: usize = 3;

thread_local! {
    /// The level of each name in the current run.
    static CURRENT: RefCell<Vec<(Arc<str>, usize)>> = const { RefCell::new(Vec::new()) };
}

/// Returns the number of a name at a level.
pub(super) fn number(name: &Name, level: usize) -> Option<i64> {
    i64::try_from(name.example).ok()?.checked_add(LEVELS[level] as i64)
}

/// Returns the level of a name in the current run.
pub(super) fn level_of(name: &Name) -> usize {
    CURRENT.with_borrow(|levels| {
        levels.iter().find(|(other, _)| *other == name.name).map_or(0, |(_, level)| *level)
    })
}

/// The names of the inputs of a network. Without names, there is one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    names: Vec<Name>,
}

impl Plan {
    /// Adds the names of an input.
    pub fn add(&mut self, shape: &NamedShape) -> Result<()> {
        shape.names().iter().try_for_each(|name| add_name(&mut self.names, name))
    }

    pub fn has_names(&self) -> bool {
        !self.names.is_empty()
    }

    pub fn names(&self) -> &[Name] {
        &self.names
    }

    /// Returns the levels of the names in each run. The first runs are the corners of the polynomial.
    fn runs(&self) -> Vec<Vec<usize>> {
        let count = self.names.len();
        let corner =
            |corner: usize| (0..count).map(|name| if corner >> name & 1 == 1 { HIGH } else { LOW }).collect();
        let mut runs: Vec<Vec<usize>> = (0..1 << count).map(corner).collect();
        if count > 1 {
            runs.extend(
                (0..count).map(|checked| {
                    (0..count).map(|name| if name == checked { CHECK } else { LOW }).collect()
                }),
            );
        }
        if count > 0 {
            runs.push(vec![CHECK; count]);
        }
        runs
    }

    /// Calls `f` once for each run. In a call, signals with names have the shapes of the run. Adds the sizes of the run
    /// to an error.
    pub fn run<T>(&self, mut f: impl FnMut() -> Result<T>) -> Result<Vec<T>> {
        self.runs().into_iter().map(|levels| self.with_levels(&levels, &mut f)).collect()
    }

    fn with_levels<T>(&self, levels: &[usize], f: impl FnOnce() -> Result<T>) -> Result<T> {
        /// Restores the levels of an outer run on drop, even after a panic.
        struct Restore(Vec<(Arc<str>, usize)>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(std::mem::take(&mut self.0));
            }
        }
        let current = self.names.iter().map(|name| name.name.clone()).zip(levels.iter().copied());
        let _restore = Restore(CURRENT.replace(current.collect()));
        f().map_err(|error| if self.has_names() { error.with_note(self.assignment(levels)) } else { error })
    }

    /// Returns the values of the names in a run as text.
    fn assignment(&self, levels: &[usize]) -> String {
        let number = |(name, level): (&Name, &usize)| {
            format!("{} = {}", name.name, number(name, *level).unwrap_or(i64::MAX))
        };
        let numbers: Vec<String> = self.names.iter().zip(levels).map(number).collect();
        format!("with {}", numbers.join(", "))
    }

    /// Returns the size from the sizes in all runs, or `None` if it is no polynomial of the names.
    pub fn fit(&self, sizes: &[usize]) -> Option<Polynomial> {
        let numbers = |levels: &Vec<usize>| {
            self.names
                .iter()
                .zip(levels)
                .map(|(name, level)| number(name, *level))
                .collect::<Option<Vec<_>>>()
        };
        let sizes = sizes.iter().map(|size| i64::try_from(*size).ok()).collect::<Option<Vec<_>>>()?;
        let runs = self.runs();
        let polynomial = Polynomial::from_corners(&sizes[..1 << self.names.len()], &numbers(&runs[0])?)?;
        let agrees = |(run, size): (&Vec<usize>, &i64)| {
            numbers(run).and_then(|numbers| polynomial.at(&numbers)) == Some(*size)
        };
        runs.iter().zip(&sizes).all(agrees).then_some(polynomial)
    }

    /// Returns the shape from the shapes in all runs, or `None` if one of its sizes is no polynomial of the names.
    pub fn fit_dims(&self, runs: &[&[usize]]) -> Option<Vec<Polynomial>> {
        let rank = runs.first()?.len();
        if runs.iter().any(|dims| dims.len() != rank) {
            return None;
        }
        let of_dim = |dim: usize| self.fit(&runs.iter().map(|dims| dims[dim]).collect::<Vec<_>>());
        (0..rank).map(of_dim).collect()
    }

    /// Returns the sizes of a shape.
    pub fn sizes(&self, dims: &[Polynomial]) -> Vec<SymbolicSize> {
        dims.iter().map(|size| SymbolicSize::new(*size, &self.names)).collect()
    }

    /// Like [`fit_dims`](Self::fit_dims), but returns the sizes or an error.
    pub fn fit_sizes(&self, runs: &[&[usize]]) -> Result<Vec<SymbolicSize>> {
        self.fit_dims(runs).map(|dims| self.sizes(&dims)).ok_or_else(|| self.misfit(runs))
    }

    /// Returns the error for shapes from which no sizes follow.
    pub fn misfit(&self, runs: &[&[usize]]) -> Error {
        let runs: Vec<String> = self
            .runs()
            .iter()
            .zip(runs)
            .map(|(run, dims)| format!("{dims:?} {}", self.assignment(run)))
            .collect();
        Error::msg(format!(
            "expected sizes that are sums of products of names, found {}. If a stride divides a size, name a part of \
             the size: `SymbolicSize::named(\"height\") * 32`",
            runs.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(names: &[&str]) -> Plan {
        let sizes = names.iter().map(|name| SymbolicSize::named(*name)).collect();
        let mut plan = Plan::default();
        plan.add(&NamedShape::new(sizes).unwrap()).unwrap();
        plan
    }

    #[test]
    fn sizes_follow_from_the_runs() {
        let batch = plan(&["batch"]);
        let text = |sizes: [usize; 3]| batch.fit(&sizes).map(|size| batch.sizes(&[size])[0].to_string());
        assert_eq!(text([7, 7, 7]).as_deref(), Some("7"));
        assert_eq!(text([2, 3, 5]).as_deref(), Some("batch"));
        assert_eq!(text([3, 5, 9]).as_deref(), Some("2*batch-1"));
        assert_eq!(text([4, 9, 25]), None);
        assert_eq!(text([2, 3, 4]), None);
    }

    #[test]
    fn signals_have_the_shapes_of_the_run() {
        let shape = NamedShape::new(vec!["batch".into(), SymbolicSize::named("length").example(7), 3.into()])
            .unwrap();
        let mut plan = Plan::default();
        plan.add(&shape).unwrap();
        assert_eq!(shape.current().dims(), [1, 7, 3]);
        let runs = plan.run(|| Ok(shape.current().dims().to_vec())).unwrap();
        let expected: [&[usize]; 7] =
            [&[2, 8, 3], &[3, 8, 3], &[2, 9, 3], &[3, 9, 3], &[5, 8, 3], &[2, 11, 3], &[5, 11, 3]];
        assert_eq!(runs, expected);
        let error = plan.run(|| -> Result<()> { Err(Error::msg("wrong")) }).unwrap_err();
        assert_eq!(error.to_string(), "wrong (with batch = 2, length = 8)");
        assert_eq!(shape.current().dims(), [1, 7, 3]);
    }

    #[test]
    fn products_of_names_are_found() {
        let plan = plan(&["batch", "length"]);
        let runs = plan.runs();
        let size = |run: &Vec<usize>| {
            let [batch, length] = [0, 1].map(|i| number(&plan.names[i], run[i]).unwrap() as usize);
            3 * batch * length + 1
        };
        let fit = plan.fit(&runs.iter().map(size).collect::<Vec<_>>()).unwrap();
        assert_eq!(plan.sizes(&[fit])[0].to_string(), "3*batch*length+1");
    }

    #[test]
    fn a_name_has_one_example() {
        let sizes = vec!["a".into(), SymbolicSize::named("a").example(3)];
        let error = NamedShape::new(sizes).unwrap_err();
        assert_eq!(error.to_string(), "expected one example for the size `a`, found 1 and 3");
    }
}
