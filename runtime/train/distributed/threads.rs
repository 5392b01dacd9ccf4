//! Ranks that are threads of one process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use candle_core::{DType, Tensor};

use crate::{Error, Result};

use super::Communicator;

/// Connects threads of one process. It lets programs and tests run distributed training without MPI, but it makes
/// nothing faster: the kernels of a single rank already use all cores.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::distributed::{Communicator, ThreadCommunicator};
/// # fn main() -> Result<()> {
/// let sums = ThreadCommunicator::run(3, |communicator| {
///     let rank = communicator.rank() as f32;
///     let sum = communicator.all_reduce(&Tensor::new(&[rank, 10. * rank], &Device::Cpu)?)?;
///     Ok(sum.to_vec1::<f32>()?)
/// });
/// for sum in sums {
///     assert_eq!(sum?, [3., 30.]);
/// }
/// # Ok(())
/// # }
/// ```
pub struct ThreadCommunicator {
    rank: usize,
    group: Arc<Group>,
}

/// The state that all ranks share.
struct Group {
    size: usize,
    state: Mutex<State>,
    /// Notified after each change of the state.
    changed: Condvar,
}

/// The operation in progress.
struct State {
    /// The operations of the ranks that have arrived.
    arrived: Vec<Option<(Call, Tensor)>>,
    /// The result, while ranks take it.
    result: Option<Result<Tensor>>,
    /// The number of ranks that have not taken the result.
    waiting: usize,
    /// The ranks whose communicators have been dropped.
    ended: Vec<bool>,
    /// The first rank that failed, and the cause.
    failure: Option<(usize, String)>,
}

/// A call of a rank. All ranks must make equal calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Call {
    /// The root of a broadcast, or `None` for a sum.
    root: Option<usize>,
    length: usize,
    dtype: DType,
}

impl ThreadCommunicator {
    /// Creates the communicators of `size` ranks.
    pub fn group(size: usize) -> Vec<Self> {
        let state = State {
            arrived: (0..size).map(|_| None).collect(),
            result: None,
            waiting: 0,
            ended: vec![false; size],
            failure: None,
        };
        let group = Arc::new(Group { size, state: Mutex::new(state), changed: Condvar::new() });
        (0..size).map(|rank| Self { rank, group: group.clone() }).collect()
    }

    /// Runs `f` on `size` threads, one for each rank, and returns their results in the order of the ranks. A rank whose
    /// function fails or panics stops the others: their communicators return errors.
    pub fn run<T: Send>(size: usize, f: impl Fn(Arc<Self>) -> Result<T> + Sync) -> Vec<Result<T>> {
        let run = |communicator: Self| {
            let communicator = Arc::new(communicator);
            let result = catch_unwind(AssertUnwindSafe(|| f(communicator.clone())));
            let result = result.unwrap_or_else(|_| Err(Error::msg("the thread panicked")));
            if let Err(error) = &result {
                communicator.abort(&error.to_string());
            }
            result
        };
        thread::scope(|scope| {
            let spawn = |communicator: Self| scope.spawn(|| run(communicator));
            let threads: Vec<_> = Self::group(size).into_iter().map(spawn).collect();
            let join = |thread: thread::ScopedJoinHandle<'_, Result<T>>| {
                thread.join().unwrap_or_else(|_| Err(Error::msg("the thread panicked")))
            };
            threads.into_iter().map(join).collect()
        })
    }

    /// Takes part in an operation and returns its result.
    fn call(&self, call: Call, values: &Tensor) -> Result<Tensor> {
        let mut state = self.group.lock();
        // The ranks may still be taking the result of the preceding operation.
        while state.result.is_some() {
            state = self.wait(state)?;
        }
        state.arrived[self.rank] = Some((call, values.clone()));
        if state.arrived.iter().all(Option::is_some) {
            let calls: Vec<(Call, Tensor)> = state.arrived.iter_mut().filter_map(Option::take).collect();
            state.result = Some(finish(&calls));
            state.waiting = self.group.size;
            self.group.changed.notify_all();
        }
        let result = loop {
            if let Some(result) = &state.result {
                break result.clone();
            }
            state = self.wait(state)?;
        };
        state.waiting -= 1;
        if state.waiting == 0 {
            state.result = None;
            self.group.changed.notify_all();
        }
        drop(state);
        // The caller may change its result in place.
        Ok(result?.copy()?)
    }

    /// Waits for a change. Fails if a rank has failed or ended.
    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> Result<MutexGuard<'a, State>> {
        self.group.check(&state)?;
        let state = self.group.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        self.group.check(&state)?;
        Ok(state)
    }
}

impl Group {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every update leaves the state valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns an error if the operation in progress can never finish.
    fn check(&self, state: &State) -> Result<()> {
        if state.result.is_some() {
            return Ok(());
        }
        if let Some((rank, cause)) = &state.failure {
            return Err(Error::msg(format!("rank {rank} of {} failed: {cause}", self.size)));
        }
        match (0..self.size).find(|rank| state.ended[*rank] && state.arrived[*rank].is_none()) {
            Some(rank) => {
                Err(Error::msg(format!("rank {rank} of {} ended while other ranks wait for it", self.size)))
            }
            None => Ok(()),
        }
    }
}

/// Computes the result of the calls of all ranks.
fn finish(calls: &[(Call, Tensor)]) -> Result<Tensor> {
    let (first, values) = &calls[0];
    if let Some(rank) = calls.iter().position(|(call, _)| call != first) {
        return Err(Error::msg(format!(
            "the ranks call different operations: rank 0 {first:?}, rank {rank} {:?}",
            calls[rank].0
        )));
    }
    if let Some(root) = first.root {
        return match calls.get(root) {
            Some((_, values)) => Ok(values.clone()),
            None => Err(Error::msg(format!("expected a root below {}, found {root}", calls.len()))),
        };
    }
    let wide = if first.dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let mut sum = values.to_dtype(wide)?;
    for (_, values) in &calls[1..] {
        sum = (sum + values.to_dtype(wide)?)?;
    }
    Ok(sum.to_dtype(first.dtype)?)
}

impl Communicator for ThreadCommunicator {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.group.size
    }

    fn all_reduce(&self, values: &Tensor) -> Result<Tensor> {
        self.call(Call { root: None, length: values.elem_count(), dtype: values.dtype() }, values)
    }

    fn broadcast(&self, values: &Tensor, root: usize) -> Result<Tensor> {
        self.call(Call { root: Some(root), length: values.elem_count(), dtype: values.dtype() }, values)
    }

    fn abort(&self, cause: &str) {
        let mut state = self.group.lock();
        if state.failure.is_none() {
            state.failure = Some((self.rank, cause.to_owned()));
        }
        self.group.changed.notify_all();
    }
}

impl Drop for ThreadCommunicator {
    fn drop(&mut self) {
        self.group.lock().ended[self.rank] = true;
        self.group.changed.notify_all();
    }
}
