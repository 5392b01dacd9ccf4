//! Averages gradients over all ranks while the backward pass runs.
//!
//! The gradients of a bucket are reduced as soon as the backward pass has computed all of them. Candle does not report
//! when a gradient is complete, but the operations of this library report each gradient that they add for a parameter.
//! A parameter counts as ready once it has received as many gradients as in the preceding step. If a network changes
//! between steps, a gradient can arrive after its bucket was sent; the parameter is then reduced again at the end.
//!
//! All ranks reduce the buckets in the same order, which does not depend on the order in which a rank computes them, so
//! that ranks with different graphs never wait for each other. Synchronized batch norm sums its statistics between the
//! buckets, so its ranks must also agree on when a bucket is ready: they send buckets during the backward pass only if
//! all of them counted the same gradients in the preceding step.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, TensorId, Var};

use crate::kernels::backward;
use crate::kernels::internal::backward_observed;
use crate::{Error, Result};

use super::Ranks;
use super::buckets::{Bucket, Term, divide, pack};
use super::queue::Pending;

/// Averages the gradients of one network.
pub(in crate::train) struct Reducer {
    ranks: Arc<Ranks>,
    parameters: Rc<Vec<Var>>,
    indices: Rc<HashMap<TensorId, usize>>,
    buckets: Rc<Vec<Bucket>>,
    /// For each parameter, the number of gradients after which it is ready. `None` if it is ready only after the
    /// backward pass.
    expected: Rc<Vec<Option<usize>>>,
    /// Whether the buckets are in the order in which the backward pass computes the gradients.
    is_ordered: bool,
}

/// The gradients that a rank contributes to a step.
pub(in crate::train) struct Gradients<'a> {
    /// The loss of the last batch, whose backward pass has not run yet. `None` if the rank has no such batch.
    pub loss: Option<&'a Tensor>,
    /// The number of examples of that batch.
    pub examples: usize,
    /// The sum of the gradients of earlier batches, each multiplied by its number of examples.
    pub earlier: Option<&'a GradStore>,
    /// The number of examples of the batches of all ranks, earlier batches included.
    pub total: usize,
    /// Numbers that are gathered from all ranks.
    pub numbers: &'a [f64],
}

/// The gradients averaged over all examples of all ranks.
pub(in crate::train) struct Reduced {
    pub gradients: GradStore,
    /// The numbers of each rank.
    pub numbers: Vec<Vec<f64>>,
}

impl Reducer {
    pub fn new(ranks: Arc<Ranks>, parameters: &[(String, Var)]) -> Self {
        let parameters: Vec<Var> = parameters.iter().map(|(_, parameter)| parameter.clone()).collect();
        let indices =
            parameters.iter().enumerate().map(|(index, parameter)| (parameter.id(), index)).collect();
        // Until the order is known, assume that it is the reverse of the order in the network.
        let order: Vec<usize> = (0..parameters.len()).rev().collect();
        let buckets = divide(&parameters, &order, ranks.settings.bucket_bytes);
        Self {
            ranks,
            expected: Rc::new(vec![None; parameters.len()]),
            parameters: Rc::new(parameters),
            indices: Rc::new(indices),
            buckets: Rc::new(buckets),
            is_ordered: false,
        }
    }

    /// Runs the backward pass and averages the gradients. Every rank must call this method, even without a batch.
    pub fn reduce(&mut self, gradients: &Gradients<'_>) -> Result<Reduced> {
        let pass = Rc::new(RefCell::new(self.begin(gradients)));
        let local = match gradients.loss {
            Some(loss) => self.backward(loss, &pass)?,
            None => no_gradients()?,
        };
        let Ok(mut pass) = Rc::try_unwrap(pass).map(RefCell::into_inner) else {
            return Err(Error::msg("the backward pass kept its observer"));
        };
        let start = Instant::now();
        let late = pass.finish(&local);
        let counts = std::mem::take(&mut pass.counts);
        let order = std::mem::take(&mut pass.order);
        let sums = pass.wait()?;
        let reduced = self.complete(gradients, local, late, sums);
        self.ranks.count_step(start);
        let reduced = reduced?;
        if gradients.loss.is_some() {
            self.expected = Rc::new(self.agree_on_counts(counts)?);
        }
        self.set_order(order)?;
        Ok(reduced)
    }

    fn begin(&self, gradients: &Gradients<'_>) -> Pass {
        let total = gradients.total.max(1) as f64;
        let earlier = |parameter: &Var| gradients.earlier.and_then(|earlier| earlier.get(parameter)).cloned();
        Pass {
            ranks: self.ranks.clone(),
            parameters: self.parameters.clone(),
            buckets: self.buckets.clone(),
            expected: self.expected.clone(),
            weight: gradients.examples as f64 / total,
            earlier_weight: 1. / total,
            earlier: self.parameters.iter().map(earlier).collect(),
            ready: vec![None; self.parameters.len()],
            ready_gradients: vec![None; self.parameters.len()],
            last: vec![None; self.parameters.len()],
            counts: vec![None; self.parameters.len()],
            order: Vec::new(),
            pending: Vec::new(),
        }
    }

    /// Runs the backward pass. Reduces each bucket once it is ready.
    fn backward(&self, loss: &Tensor, pass: &Rc<RefCell<Pass>>) -> Result<GradStore> {
        let indices = self.indices.clone();
        let observed = pass.clone();
        let observer = move |variable: TensorId, sum: &Tensor, count: usize| {
            if let Some(index) = indices.get(&variable) {
                observed.borrow_mut().observe(*index, sum, count);
            }
            Ok(())
        };
        Ok(backward_observed(loss, Box::new(observer))?)
    }

    /// Replaces the gradients of this rank with the means of all ranks.
    fn complete(
        &self,
        gradients: &Gradients<'_>,
        mut local: GradStore,
        late: Vec<bool>,
        mut sums: Vec<Option<Tensor>>,
    ) -> Result<Reduced> {
        let exists = |parameter: &Var| {
            let earlier = gradients.earlier.is_some_and(|earlier| earlier.get(parameter).is_some());
            earlier || local.get(parameter).is_some()
        };
        let flags = self.parameters.iter().map(exists).chain(late).map(|flag| f64::from(u8::from(flag)));
        let message: Vec<f64> = flags.chain(self.ranks.row(gradients.numbers)).collect();
        let message = self.ranks.sum(&message)?;
        let (exists, rest) = message.split_at(self.parameters.len());
        let (late, numbers) = rest.split_at(self.parameters.len());
        let late: Vec<usize> = (0..late.len()).filter(|index| late[*index] > 0.).collect();
        self.reduce_again(gradients, &local, &late, &mut sums)?;
        for ((parameter, exists), sum) in self.parameters.iter().zip(exists).zip(sums) {
            local.remove(parameter);
            if let (true, Some(sum)) = (*exists > 0., sum) {
                local.insert(parameter, sum);
            }
        }
        let numbers = match gradients.numbers.len() {
            0 => vec![Vec::new(); self.ranks.size()],
            count => numbers.chunks(count).map(<[f64]>::to_vec).collect(),
        };
        Ok(Reduced { gradients: local, numbers })
    }

    /// Returns the numbers of gradients after which the parameters are ready in the next step. With synchronized batch
    /// norm, for which every rank has a loss, returns the same on all ranks.
    fn agree_on_counts(&self, counts: Vec<Option<usize>>) -> Result<Vec<Option<usize>>> {
        if !self.ranks.syncs_batch_norm() {
            return Ok(counts);
        }
        let numbers: Vec<f64> = counts.iter().map(|count| count.map_or(-1., |count| count as f64)).collect();
        let all = self.ranks.gather(&numbers)?;
        Ok(if all.iter().all(|other| *other == numbers) { counts } else { vec![None; counts.len()] })
    }

    /// Reduces parameters that received a gradient after their bucket was sent.
    fn reduce_again(
        &self,
        gradients: &Gradients<'_>,
        local: &GradStore,
        late: &[usize],
        sums: &mut [Option<Tensor>],
    ) -> Result<()> {
        let mut pass = self.begin(gradients);
        for &index in late {
            pass.ready[index] = local.get(&self.parameters[index]).cloned();
            let terms = vec![pass.term(index)];
            let sum = self.ranks.reduce_bucket(move || pack(terms)).wait()?;
            sums[index] = Some(sum.reshape(self.parameters[index].shape())?);
        }
        Ok(())
    }

    /// After the first step, orders the buckets as rank 0 computed the gradients.
    fn set_order(&mut self, mut order: Vec<usize>) -> Result<()> {
        if self.is_ordered {
            return Ok(());
        }
        let missing: Vec<usize> = (0..self.parameters.len()).rev().filter(|i| !order.contains(i)).collect();
        order.extend(missing);
        let numbers: Vec<f64> = order.iter().map(|index| *index as f64).collect();
        let numbers = Tensor::from_vec(numbers, order.len(), &Device::Cpu)?;
        let order = self.ranks.broadcast(&numbers)?.to_vec1::<f64>()?;
        let order: Vec<usize> = order.into_iter().map(|index| index as usize).collect();
        let mut sorted = order.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..self.parameters.len()) {
            return Err(Error::msg("the ranks have different numbers of trainable parameters"));
        }
        self.buckets = Rc::new(divide(&self.parameters, &order, self.ranks.settings.bucket_bytes));
        self.is_ordered = true;
        Ok(())
    }
}

/// The gradients of one backward pass.
struct Pass {
    ranks: Arc<Ranks>,
    parameters: Rc<Vec<Var>>,
    buckets: Rc<Vec<Bucket>>,
    expected: Rc<Vec<Option<usize>>>,
    /// The factor of the gradients of this rank.
    weight: f64,
    /// The factor of the sums of earlier batches.
    earlier_weight: f64,
    earlier: Vec<Option<Tensor>>,
    /// The gradients of parameters that are ready, until their buckets are sent.
    ready: Vec<Option<Tensor>>,
    /// The gradient of each parameter when it became ready.
    ready_gradients: Vec<Option<TensorId>>,
    /// The last sum of gradients that was observed for each parameter.
    last: Vec<Option<TensorId>>,
    /// The number of gradients that were observed for each parameter.
    counts: Vec<Option<usize>>,
    /// The parameters in the order of their last gradients.
    order: Vec<usize>,
    /// The buckets that were sent.
    pending: Vec<Pending<Tensor>>,
}

impl Pass {
    /// Records the sum of the first `count` gradients of a parameter.
    fn observe(&mut self, index: usize, sum: &Tensor, count: usize) {
        self.order.retain(|other| *other != index);
        self.order.push(index);
        self.counts[index] = Some(count);
        self.last[index] = Some(sum.id());
        if self.expected[index] == Some(count) {
            self.ready_gradients[index] = Some(sum.id());
            self.ready[index] = Some(sum.clone());
            self.send_ready();
        }
    }

    /// Sends the next buckets as long as they are ready.
    fn send_ready(&mut self) {
        while let Some(bucket) = self.buckets.get(self.pending.len()) {
            if bucket.parameters.iter().any(|index| self.ready[*index].is_none()) {
                return;
            }
            self.send_next();
        }
    }

    /// Sends the next bucket.
    fn send_next(&mut self) {
        let buckets = self.buckets.clone();
        let indices = buckets[self.pending.len()].parameters.iter();
        let terms: Vec<Term> = indices.map(|index| self.term(*index)).collect();
        self.pending.push(self.ranks.reduce_bucket(move || pack(terms)));
    }

    fn term(&mut self, index: usize) -> Term {
        Term {
            gradient: self.ready[index].take(),
            weight: self.weight,
            earlier: self.earlier[index].clone(),
            earlier_weight: self.earlier_weight,
            parameter: self.parameters[index].detach(),
        }
    }

    /// Sends the remaining buckets after the backward pass, which computed the gradients `local`. Returns for each
    /// parameter whether it received a gradient after it was sent.
    fn finish(&mut self, local: &GradStore) -> Vec<bool> {
        let sent = self.pending.len();
        let is_sent = |bucket: usize| bucket < sent;
        let mut late = vec![false; self.parameters.len()];
        for (number, bucket) in self.buckets.clone().iter().enumerate() {
            for &index in &bucket.parameters {
                let gradient = local.get(&self.parameters[index]);
                let id = gradient.map(Tensor::id);
                late[index] = is_sent(number) && id != self.ready_gradients[index];
                self.ready[index] = gradient.cloned();
                // Candle's own operations computed a part of the gradient, which is not observed.
                if id != self.last[index] {
                    self.counts[index] = None;
                }
            }
            if !is_sent(number) {
                self.send_next();
            }
        }
        late
    }

    /// Waits for all buckets. Returns the sum of each parameter over all ranks.
    fn wait(self) -> Result<Vec<Option<Tensor>>> {
        let mut sums = vec![None; self.parameters.len()];
        for (bucket, pending) in self.buckets.iter().zip(self.pending) {
            let flat = pending.wait()?;
            let mut start = 0;
            for &index in &bucket.parameters {
                let shape = self.parameters[index].shape();
                let length = shape.elem_count();
                sums[index] = Some(flat.narrow(0, start, length)?.reshape(shape)?);
                start += length;
            }
        }
        Ok(sums)
    }
}

/// Returns a store without gradients of parameters.
fn no_gradients() -> Result<GradStore> {
    Ok(backward(&Tensor::zeros((), DType::F32, &Device::Cpu)?)?)
}
