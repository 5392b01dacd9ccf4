//! Adapters between this crate's optimizers and candle_nn's.

use std::collections::HashMap;
use std::fmt::{self, Debug};

use candle_core::backprop::GradStore;
use candle_core::{Result as CandleResult, Tensor, Var};

use crate::{Error, Result};

use super::{Optimizer, Rule, RuleOptimizer, Step};

/// Lets code that uses candle_nn's trait run this crate's optimizers. Call the trait's constructor by its full path,
/// `<RuleOptimizer<Sgd> as candle_nn::Optimizer>::new(vars, Sgd::new(0.1))`, because `RuleOptimizer::new` is an
/// inherent function with other arguments.
impl<R: Rule> candle_nn::Optimizer for RuleOptimizer<R> {
    type Config = R;

    fn new(vars: Vec<Var>, rule: R) -> CandleResult<Self> {
        let numbered = vars.into_iter().enumerate().map(|(i, var)| (i.to_string(), var));
        Ok(RuleOptimizer::new(rule, numbered.collect())?)
    }

    fn step(&mut self, grads: &GradStore) -> CandleResult<()> {
        Ok(Step::step(self, grads)?)
    }

    fn learning_rate(&self) -> f64 {
        Step::learning_rate(self)
    }

    fn set_learning_rate(&mut self, rate: f64) {
        Step::set_learning_rate(self, rate);
    }
}

/// An adapter that turns an optimizer with candle_nn's trait into an [`Optimizer`].
///
/// ```
/// use sconce::candle::{Device, Var};
/// use sconce::nn::{AdamW, ParamsAdamW};
/// use sconce::train::optim::{FromCandle, Optimizer};
///
/// let adamw = FromCandle::<AdamW>::new(ParamsAdamW { lr: 0.1, ..Default::default() });
/// let x = Var::new(&[1f32, 2.], &Device::Cpu)?;
/// let mut optimizer = adamw.build(vec![("x".into(), x.clone())])?;
/// optimizer.step(&x.sqr()?.sum_all()?.backward()?)?;
/// # Ok::<(), sconce::Error>(())
/// ```
pub struct FromCandle<O: candle_nn::Optimizer> {
    config: O::Config,
}

impl<O: candle_nn::Optimizer> FromCandle<O> {
    /// Wraps the optimizer `O` with the configuration `config`.
    pub fn new(config: O::Config) -> Self {
        Self { config }
    }
}

impl<O: candle_nn::Optimizer<Config: Clone>> Clone for FromCandle<O> {
    fn clone(&self) -> Self {
        Self::new(self.config.clone())
    }
}

impl<O: candle_nn::Optimizer<Config: Debug>> Debug for FromCandle<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FromCandle").field(&self.config).finish()
    }
}

#[diagnostic::do_not_recommend]
impl<O> Optimizer for FromCandle<O>
where
    O: candle_nn::Optimizer<Config: Clone + Debug + Send + Sync> + Send + 'static,
{
    fn build(&self, parameters: Vec<(String, Var)>) -> Result<Box<dyn Step>> {
        let vars = parameters.into_iter().map(|(_, var)| var).collect();
        Ok(Box::new(CandleOptimizer(O::new(vars, self.config.clone())?)))
    }
}

/// A built optimizer that implements candle_nn's trait. Its state is not accessible.
struct CandleOptimizer<O>(O);

impl<O: candle_nn::Optimizer + Send> Step for CandleOptimizer<O> {
    fn step(&mut self, grads: &GradStore) -> Result<()> {
        Ok(self.0.step(grads)?)
    }

    fn learning_rate(&self) -> f64 {
        self.0.learning_rate()
    }

    fn set_learning_rate(&mut self, rate: f64) {
        self.0.set_learning_rate(rate);
    }

    fn state(&self) -> Result<Vec<(String, Tensor)>> {
        Err(Error::msg(
            "the state of a candle_nn optimizer is not accessible; use the sconce optimizer of the same name",
        ))
    }

    fn load_state(&mut self, _state: &HashMap<String, Tensor>) -> Result<()> {
        // Fails with the error of `state`.
        self.state().map(|_| ())
    }
}
