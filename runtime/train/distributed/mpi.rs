//! Ranks that are processes, connected by MPI.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{DType, Device, Storage, Tensor};
use half::{bf16, f16};
use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::datatype::Equivalence;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator as _, CommunicatorCollectives as _, Root as _};

use crate::{Error, Result};

use super::Communicator;

/// Connects the processes that `mpirun` or `srun` starts, by MPI. Needs the feature `mpi`.
///
/// Create one communicator in a process, in `main`, and keep it until the process ends. MPI ends when the communicator
/// is dropped.
///
/// ```no_run
/// use sconce::prelude::*;
/// use sconce::train::distributed::MpiCommunicator;
/// # fn main() -> Result<()> {
/// // mpirun -n 4 target/release/train
/// MpiCommunicator::run(|communicator| {
///     let line = Linear::config(1, 1).init(&Device::Cpu)?;
///     let x = Tensor::arange(-4f32, 4., &Device::Cpu)?.reshape((8, 1))?;
///     let data = TensorDataset::new(x.clone(), (x * 3.)?)?.batch_size(2);
///     let mut trainer = Trainer::new(&line, mse_loss, Sgd::new(0.05)).distributed(communicator);
///     trainer.fit(&data, &(), Epochs(100))?;
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors of a rank
///
/// MPI has no fault tolerance. A rank that fails prints its number and the cause to standard error, and ends the
/// processes of all ranks by `MPI_Abort`. If a process is killed, `mpirun` reports its rank and ends the others.
pub struct MpiCommunicator {
    /// Ends MPI on drop.
    _universe: Universe,
    rank: usize,
    size: usize,
    aborted: AtomicBool,
}

impl MpiCommunicator {
    /// Starts MPI.
    ///
    /// # Errors
    /// Fails if MPI was already started in this process, or if the MPI library does not support simultaneous calls from
    /// several threads (`MPI_THREAD_MULTIPLE`): [`abort`](Communicator::abort) may be called during a reduction.
    pub fn new() -> Result<Self> {
        let started = mpi::initialize_with_threading(Threading::Multiple);
        let (universe, threading) =
            started.ok_or_else(|| Error::msg("MPI was already started in this process"))?;
        if threading < Threading::Multiple {
            return Err(Error::msg(format!(
                "expected an MPI library that supports simultaneous calls from several threads (Multiple), found \
                 {threading:?}"
            )));
        }
        let world = universe.world();
        let [rank, size] = [world.rank() as usize, world.size() as usize];
        Ok(Self { _universe: universe, rank, size, aborted: AtomicBool::new(false) })
    }

    /// Starts MPI, calls `f`, and ends MPI. If `f` fails or panics on one rank, the processes of all ranks end.
    /// Otherwise the other ranks would wait for this rank forever.
    ///
    /// # Errors
    /// Fails if MPI cannot be started. An error of `f` ends the process if there are several ranks.
    pub fn run<T>(f: impl FnOnce(std::sync::Arc<Self>) -> Result<T>) -> Result<T> {
        struct AbortOnPanic(std::sync::Arc<MpiCommunicator>);
        impl Drop for AbortOnPanic {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    self.0.abort("the rank panicked");
                }
            }
        }
        let communicator = std::sync::Arc::new(Self::new()?);
        let guard = AbortOnPanic(communicator.clone());
        let result = f(communicator);
        if let Err(error) = &result {
            guard.0.abort(&error.to_string());
        }
        result
    }

    /// Sums numbers over all ranks.
    fn sum<T: Equivalence + candle_core::WithDType>(&self, values: &Tensor) -> Result<Tensor> {
        let mut sums = vec![T::from_f64(0.); values.elem_count()];
        let (storage, layout) = values.storage_and_layout();
        match (&*storage, layout.contiguous_offsets()) {
            (Storage::Cpu(storage), Some((start, end))) => {
                let sent = &storage.as_slice::<T>()?[start..end];
                world().all_reduce_into(sent, &mut sums[..], SystemOperation::sum());
            }
            _ => return Err(Error::msg("all_reduce: expected a contiguous tensor")),
        }
        Ok(Tensor::from_vec(sums, values.dims(), &Device::Cpu)?)
    }

    /// Sums numbers in half precision over all ranks. MPI has no operation for them, so each rank sums a part of the
    /// list in f32, rounds the sums once, and sends them to all.
    fn sum_half<T: candle_core::WithDType + Into<f32>>(
        &self,
        values: &Tensor,
        to_bits: impl Fn(T) -> u16,
        from_bits: impl Fn(u16) -> T,
        round: impl Fn(f32) -> T,
    ) -> Result<Tensor> {
        let length = values.elem_count();
        let part = length.div_ceil(self.size);
        let mut padded = Vec::with_capacity(part * self.size);
        padded.extend(values.to_vec1::<T>()?.into_iter().map(&to_bits));
        padded.resize(part * self.size, 0);
        // Row r has the part of this rank in the list of rank r.
        let mut parts = vec![0u16; padded.len()];
        world().all_to_all_into(&padded[..], &mut parts[..]);
        let mut sums = vec![0f32; part];
        for row in parts.chunks(part.max(1)) {
            sums.iter_mut().zip(row).for_each(|(sum, bits)| *sum += from_bits(*bits).into());
        }
        let sums: Vec<u16> = sums.into_iter().map(|sum| to_bits(round(sum))).collect();
        let mut all = padded;
        world().all_gather_into(&sums[..], &mut all[..]);
        all.truncate(length);
        let sums: Vec<T> = all.into_iter().map(&from_bits).collect();
        Ok(Tensor::from_vec(sums, values.dims(), &Device::Cpu)?)
    }

    /// Returns the numbers of the rank `root`.
    fn numbers_of<T: Equivalence + candle_core::WithDType>(
        &self,
        values: &Tensor,
        root: usize,
    ) -> Result<Tensor> {
        let mut numbers = values.to_vec1::<T>()?;
        world().process_at_rank(root as i32).broadcast_into(&mut numbers[..]);
        Ok(Tensor::from_vec(numbers, values.dims(), &Device::Cpu)?)
    }

    /// Returns the numbers in half precision of the rank `root`.
    fn halves_of<T: candle_core::WithDType>(
        &self,
        values: &Tensor,
        root: usize,
        to_bits: fn(T) -> u16,
        from_bits: fn(u16) -> T,
    ) -> Result<Tensor> {
        let mut bits: Vec<u16> = values.to_vec1::<T>()?.into_iter().map(to_bits).collect();
        world().process_at_rank(root as i32).broadcast_into(&mut bits[..]);
        let numbers: Vec<T> = bits.into_iter().map(from_bits).collect();
        Ok(Tensor::from_vec(numbers, values.dims(), &Device::Cpu)?)
    }
}

/// The largest number of elements of a message. MPI counts elements in 32 bits.
const LARGEST_MESSAGE: usize = 1 << 28;

/// Calls `f` with parts of a tensor `[n]` that fit in a message, and concatenates the results.
fn in_messages(values: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let length = values.elem_count();
    if length <= LARGEST_MESSAGE {
        return f(values);
    }
    let starts = (0..length).step_by(LARGEST_MESSAGE);
    let parts = starts.map(|start| f(&values.narrow(0, start, LARGEST_MESSAGE.min(length - start))?));
    Ok(Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)?)
}

/// Returns the communicator of all processes. It may be used on any thread.
fn world() -> SimpleCommunicator {
    SimpleCommunicator::world()
}

impl Communicator for MpiCommunicator {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn all_reduce(&self, values: &Tensor) -> Result<Tensor> {
        in_messages(values, |values| self.all_reduce_message(values))
    }

    fn broadcast(&self, values: &Tensor, root: usize) -> Result<Tensor> {
        if root >= self.size {
            return Err(Error::msg(format!("expected a root below {}, found {root}", self.size)));
        }
        in_messages(values, |values| self.broadcast_message(values, root))
    }

    fn abort(&self, cause: &str) {
        if self.size == 1 || self.aborted.swap(true, Ordering::SeqCst) {
            return;
        }
        eprintln!("rank {} of {} failed: {cause}", self.rank, self.size);
        world().abort(1);
    }
}

impl MpiCommunicator {
    fn all_reduce_message(&self, values: &Tensor) -> Result<Tensor> {
        let host = values.to_device(&Device::Cpu)?;
        let sum = match host.dtype() {
            DType::F32 => self.sum::<f32>(&host),
            DType::F64 => self.sum::<f64>(&host),
            DType::F16 => self.sum_half(&host, f16::to_bits, f16::from_bits, f16::from_f32),
            DType::BF16 => self.sum_half(&host, bf16::to_bits, bf16::from_bits, bf16::from_f32),
            dtype => Err(Error::msg(format!("all_reduce: expected f32, f64, f16 or bf16, found {dtype:?}"))),
        }?;
        Ok(sum.to_device(values.device())?)
    }

    fn broadcast_message(&self, values: &Tensor, root: usize) -> Result<Tensor> {
        let host = values.to_device(&Device::Cpu)?;
        let received = match host.dtype() {
            DType::U8 => self.numbers_of::<u8>(&host, root),
            DType::U32 => self.numbers_of::<u32>(&host, root),
            DType::I64 => self.numbers_of::<i64>(&host, root),
            DType::F32 => self.numbers_of::<f32>(&host, root),
            DType::F64 => self.numbers_of::<f64>(&host, root),
            DType::F16 => self.halves_of(&host, root, f16::to_bits, f16::from_bits),
            DType::BF16 => self.halves_of(&host, root, bf16::to_bits, bf16::from_bits),
            dtype => Err(Error::msg(format!("broadcast: unsupported dtype {dtype:?}"))),
        }?;
        Ok(received.to_device(values.device())?)
    }
}
