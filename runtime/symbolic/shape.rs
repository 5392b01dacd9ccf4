//! A shape with names, and its numbers in each run of a plan.

use candle_core::Shape;

use crate::{Error, Result};

use super::plan::{LEVELS, level_of, number};
use super::{Name, SymbolicSize};

/// A shape with names.
#[derive(Debug)]
pub(crate) struct NamedShape {
    sizes: Vec<SymbolicSize>,
    names: Vec<Name>,
    /// The shape for each combination of levels of the names. The level of the first name changes fastest.
    shapes: Vec<Shape>,
}

impl NamedShape {
    pub fn new(sizes: Vec<SymbolicSize>) -> Result<Self> {
        let mut names: Vec<Name> = Vec::new();
        for name in sizes.iter().flat_map(SymbolicSize::names) {
            add_name(&mut names, name)?;
        }
        let combinations = LEVELS.len().pow(names.len() as u32);
        let shapes = (0..combinations).map(|combination| {
            let level = |name: &Name| {
                let position = names.iter().position(|other| other.name == name.name).unwrap_or_default();
                combination / LEVELS.len().pow(position as u32) % LEVELS.len()
            };
            let size = |size: &SymbolicSize| {
                let invalid = || {
                    Error::msg(format!(
                        "expected a size of at least 0 and of at most {}, found {size}",
                        i64::MAX
                    ))
                };
                size.at(&|name| number(name, level(name))).ok_or_else(invalid)
            };
            Ok(Shape::from(sizes.iter().map(size).collect::<Result<Vec<_>>>()?))
        });
        let shapes = shapes.collect::<Result<_>>()?;
        Ok(Self { sizes, names, shapes })
    }

    pub fn sizes(&self) -> &[SymbolicSize] {
        &self.sizes
    }

    pub fn names(&self) -> &[Name] {
        &self.names
    }

    /// Returns the shapes of all runs.
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// Returns the shape in the current run.
    pub fn current(&self) -> &Shape {
        let combination = self.names.iter().rev().fold(0, |sum, name| sum * LEVELS.len() + level_of(name));
        &self.shapes[combination]
    }
}

/// Adds a name unless the list has it.
pub(super) fn add_name(names: &mut Vec<Name>, name: &Name) -> Result<()> {
    match names.iter().find(|other| other.name == name.name) {
        Some(other) if other.example != name.example => Err(Error::msg(format!(
            "expected one example for the size `{}`, found {} and {}",
            name.name, other.example, name.example
        ))),
        Some(_) => Ok(()),
        None if names.len() == super::polynomial::MAX_NAMES => Err(Error::msg(format!(
            "expected at most {} names of sizes, found another, `{}`",
            super::polynomial::MAX_NAMES,
            name.name
        ))),
        None => {
            names.push(name.clone());
            Ok(())
        }
    }
}

/// The sizes of the dimensions of [`Signal::symbolic`](crate::Signal::symbolic): a tuple, array, slice or `Vec` of
/// numbers, names and [`SymbolicSize`]s.
///
/// ```
/// use sconce::SymbolicSize;
/// use sconce::prelude::*;
///
/// let images = Signal::symbolic(("batch", 3, SymbolicSize::named("height") * 32, 224), DType::F32);
/// let vectors = Signal::symbolic(["batch", "features"], DType::F32);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a list of sizes",
    note = "sizes are a tuple, array, slice or `Vec` of numbers, names (`&str`) and `SymbolicSize`s"
)]
pub trait SymbolicSizes {
    /// Returns the size of each dimension.
    fn sizes(self) -> Vec<SymbolicSize>;
}

impl<T: Into<SymbolicSize>> SymbolicSizes for Vec<T> {
    fn sizes(self) -> Vec<SymbolicSize> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<T: Into<SymbolicSize>, const N: usize> SymbolicSizes for [T; N] {
    fn sizes(self) -> Vec<SymbolicSize> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<T: Clone + Into<SymbolicSize>> SymbolicSizes for &[T] {
    fn sizes(self) -> Vec<SymbolicSize> {
        self.iter().cloned().map(Into::into).collect()
    }
}

macro_rules! tuples {
    ($($($size:ident $index:tt)+;)*) => {$(
        impl<$($size: Into<SymbolicSize>),+> SymbolicSizes for ($($size,)+) {
            fn sizes(self) -> Vec<SymbolicSize> {
                vec![$(self.$index.into()),+]
            }
        }
    )*};
}

tuples! {
    A 0;
    A 0 B 1;
    A 0 B 1 C 2;
    A 0 B 1 C 2 D 3;
    A 0 B 1 C 2 D 3 E 4;
    A 0 B 1 C 2 D 3 E 4 F 5;
}
