//! Parameter groups: settings of an optimizer for the parameters whose names match a pattern.

use std::fmt::{self, Debug};
use std::sync::Arc;

use candle_core::Var;

use crate::glob::Glob;
use crate::{Error, Result};

use super::rule::check_learning_rate;
use super::{Optimizer, Rule, RuleOptimizer, Step};

/// The maximum number of parameter names in an error message.
const LISTED_NAMES: usize = 8;

/// An optimizer whose settings differ between parameters, like PyTorch's parameter groups.
///
/// [`Optimizer::group`] creates it. A group has a pattern and a function that changes the settings. The pattern is
/// matched against the names given to [`Optimizer::build`], which in a network are the paths of the parameters. In a
/// pattern, `*` matches one segment of a path and `**` any number of segments; within a segment, `*` matches any
/// characters and `?` one character. A tied parameter has the first of its paths.
///
/// A parameter that matches several groups gets the changes of all of them, in the order in which the groups were
/// added, so a later group overrides an earlier one only in the settings that both change. A parameter that matches no
/// group has the settings of the optimizer.
///
/// ```
/// use sconce::prelude::*;
///
/// #[derive(Module)]
/// struct Net {
///     #[layer(4, 8)]
///     backbone: Linear,
///     act: Relu,
///     #[layer(8, 2)]
///     head: Linear,
/// }
/// # fn main() -> Result<()> {
/// let net = Net::new(&Device::Cpu)?;
/// let optimizer = AdamW::new(3e-4)
///     .group("**.bias", |g| g.weight_decay(0.))
///     .group("backbone.**", |g| g.lr(3e-5));
/// let optimizer = optimizer.build(net.trainable_parameters())?;
/// // The rates of `head.weight`, `backbone.weight`, `backbone.bias` and `head.bias`.
/// assert_eq!(optimizer.learning_rates(), [3e-4, 3e-5, 3e-5, 3e-4]);
/// // A pattern that matches no parameter is an error.
/// assert!(AdamW::new(3e-4).group("neck.**", |g| g.lr(0.)).build(net.trainable_parameters()).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Groups<R> {
    rule: R,
    groups: Vec<Group<R>>,
}

#[derive(Clone)]
struct Group<R> {
    pattern: String,
    change: Arc<dyn Fn(R) -> R + Send + Sync>,
}

/// The settings of the parameters that match the same groups.
#[derive(Debug)]
pub(super) struct Settings<R> {
    /// The patterns of the groups.
    pub patterns: Vec<String>,
    pub rule: R,
    /// The current learning rate.
    pub rate: f64,
}

/// Settings, and for each parameter the index of its settings.
pub(super) struct Partition<R> {
    /// First the settings of the parameters in no group, even if there is no such parameter.
    pub settings: Vec<Settings<R>>,
    pub indices: Vec<usize>,
}

impl<R: Rule> Groups<R> {
    /// Creates an optimizer without groups.
    pub(super) fn new(rule: R) -> Self {
        Self { rule, groups: Vec::new() }
    }

    /// Adds a group: `change` is applied to the settings of the parameters whose names match `pattern`, after the
    /// changes of earlier groups.
    pub fn group(
        mut self,
        pattern: impl Into<String>,
        change: impl Fn(R) -> R + Send + Sync + 'static,
    ) -> Self {
        self.groups.push(Group { pattern: pattern.into(), change: Arc::new(change) });
        self
    }

    /// Determines the settings of each parameter.
    ///
    /// # Errors
    /// Fails if a setting is out of range, or if a group matches no parameter.
    pub(super) fn partition(&self, parameters: &[(String, Var)]) -> Result<Partition<R>> {
        let globs: Vec<Glob<'_>> = self.groups.iter().map(|group| Glob::new(&group.pattern)).collect();
        let mut unused = vec![true; globs.len()];
        let mut combinations = vec![Vec::new()];
        let mut indices = Vec::with_capacity(parameters.len());
        for (name, _) in parameters {
            let matching: Vec<usize> = (0..globs.len()).filter(|&group| globs[group].matches(name)).collect();
            matching.iter().for_each(|&group| unused[group] = false);
            let known = combinations.iter().position(|combination| *combination == matching);
            indices.push(known.unwrap_or(combinations.len()));
            if known.is_none() {
                combinations.push(matching);
            }
        }
        if let Some(group) = unused.iter().position(|unused| *unused) {
            return Err(no_match(&self.groups[group].pattern, parameters));
        }
        let settings = combinations.iter().map(|combination| self.settings(combination));
        Ok(Partition { settings: settings.collect::<Result<_>>()?, indices })
    }

    /// Returns the settings of the parameters that match the groups with the indices `combination`.
    fn settings(&self, combination: &[usize]) -> Result<Settings<R>> {
        let groups = || combination.iter().map(|&group| &self.groups[group]);
        let rule = groups().fold(self.rule.clone(), |rule, group| (group.change)(rule));
        let patterns: Vec<String> = groups().map(|group| group.pattern.clone()).collect();
        let rate = rule.learning_rate();
        let checked = check_learning_rate("the learning rate", rate).and_then(|()| rule.validate());
        let context = |error: Error| match &patterns[..] {
            [] => error,
            patterns => Error::msg(format!("{}: {error}", group_label(patterns))),
        };
        checked.map_err(context)?;
        Ok(Settings { patterns, rule, rate })
    }
}

/// Returns how errors name the parameters that match all of `patterns`.
fn group_label(patterns: &[String]) -> String {
    let quoted: Vec<String> = patterns.iter().map(|pattern| format!("`{pattern}`")).collect();
    format!("group {}", quoted.join(" and "))
}

/// Returns the error for a group that matches no parameter.
fn no_match(pattern: &str, parameters: &[(String, Var)]) -> Error {
    if parameters.is_empty() {
        return Error::msg(format!(
            "no parameter matches the group `{pattern}`: the optimizer has no parameters"
        ));
    }
    let names = parameters.iter().take(LISTED_NAMES).map(|(name, _)| format!("`{name}`"));
    let mut names = names.collect::<Vec<_>>().join(", ");
    if parameters.len() > LISTED_NAMES {
        names += &format!(" and {} more", parameters.len() - LISTED_NAMES);
    }
    Error::msg(format!("no parameter matches the group `{pattern}`; the parameters are {names}"))
}

#[diagnostic::do_not_recommend]
impl<R: Rule> Optimizer for Groups<R> {
    fn build(&self, parameters: Vec<(String, Var)>) -> Result<Box<dyn Step>> {
        Ok(Box::new(RuleOptimizer::with_groups(self, parameters)?))
    }
}

impl<R: Rule> Debug for Groups<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Groups");
        debug.field("rule", &self.rule);
        for group in &self.groups {
            debug.field(&group.pattern, &(group.change)(self.rule.clone()));
        }
        debug.finish()
    }
}
