//! Ranks with one GPU each, connected by NCCL.

use std::cell::RefCell;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DeviceRepr, ValidAsZeroBits};
use candle_core::cuda_backend::cudarc::nccl::safe::{Comm, Id, NcclType, ReduceOp};
use candle_core::cuda_backend::{CudaDType, CudaStorage};
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Tensor, bail};
use half::{bf16, f16};

use crate::{Error, Result};

use super::Communicator;

/// Connects ranks with one GPU each by NCCL, through candle. Needs the feature `nccl`.
///
/// Another communicator, such as `MpiCommunicator`, numbers the ranks, transfers tensors on the CPU, and stops all
/// ranks after an error. NCCL transfers tensors on the GPU.
///
/// NCCL runs on the stream of the computation: a reduction overlaps with the CPU's work, but not with kernels of the
/// backward pass.
///
/// The tests compile this type, but never run it.
///
/// ```ignore
/// MpiCommunicator::run(|control| {
///     let device = sconce::cuda(control.rank() % GPUS_OF_A_MACHINE)?;
///     let network = Net::new(&device)?;
///     let communicator = NcclCommunicator::new(&device, control)?;
///     Trainer::new(&network, cross_entropy, Sgd::new(0.1)).distributed(communicator).fit(&train, &valid, Epochs(5))
/// })
/// ```
pub struct NcclCommunicator<C> {
    control: C,
    requests: Mutex<Option<Sender<Request>>>,
    thread: Option<JoinHandle<()>>,
}

/// An operation on a GPU tensor, and where its result goes.
struct Request {
    values: Tensor,
    operation: Operation,
    reply: Sender<candle_core::Result<Tensor>>,
}

/// The operations on GPU tensors.
#[derive(Clone, Copy)]
enum Operation {
    Sum,
    Broadcast { root: usize },
}

thread_local! {
    /// NCCL's communicator, on the one thread that uses it.
    static COMM: RefCell<Option<Comm>> = const { RefCell::new(None) };
}

impl<C: Communicator> NcclCommunicator<C> {
    /// Connects the GPU `device` of this rank with those of the other ranks. Every rank must call this function.
    ///
    /// # Errors
    /// Fails if `device` is not a CUDA GPU or if NCCL cannot connect the ranks.
    pub fn new(device: &Device, control: C) -> Result<Self> {
        let device = device.as_cuda_device()?.clone();
        let [rank, size] = [control.rank(), control.size()];
        let id = share_id(&control)?;
        let (requests, queue) = channel::<Request>();
        let (started, start) = channel();
        let run = move || {
            let stream = device.cuda_stream();
            let connected = match stream.context().bind_to_thread() {
                Ok(()) => Comm::from_rank(stream, rank, size, id).map_err(|error| format!("{error:?}")),
                Err(error) => Err(error.to_string()),
            };
            match connected {
                Ok(comm) => COMM.set(Some(comm)),
                Err(error) => return drop(started.send(Err(error))),
            }
            let _ = started.send(Ok(()));
            for Request { values, operation, reply } in queue {
                // The receiver is dropped if training failed meanwhile.
                let _ = reply.send(values.apply_op1_no_bwd(&operation));
            }
            COMM.set(None);
        };
        let thread = Builder::new().name("sconce NCCL".into()).spawn(run)?;
        let ended = || Err("the thread ended".to_owned());
        start
            .recv()
            .unwrap_or_else(|_| ended())
            .map_err(|error| Error::msg(format!("NCCL cannot connect the ranks: {error}")))?;
        Ok(Self { control, requests: Mutex::new(Some(requests)), thread: Some(thread) })
    }

    /// Runs an operation on the thread of NCCL.
    fn run(&self, values: &Tensor, operation: Operation) -> Result<Tensor> {
        let (reply, result) = channel();
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(requests) = &*requests {
            // If the thread has ended, `recv` fails.
            let _ = requests.send(Request { values: values.clone(), operation, reply });
        }
        drop(requests);
        Ok(result.recv().map_err(|_| Error::msg("the thread of NCCL ended unexpectedly"))??)
    }
}

/// Returns the id of rank 0, which connects the ranks.
fn share_id(control: &impl Communicator) -> Result<Id> {
    const LENGTH: usize = 128;
    let mut bytes = vec![0u8; LENGTH];
    if control.rank() == 0 {
        let id = Id::new().map_err(|error| Error::msg(format!("NCCL: {error:?}")))?;
        bytes = id.internal().iter().map(|byte| *byte as u8).collect();
    }
    let bytes = control.broadcast(&Tensor::from_vec(bytes, LENGTH, &Device::Cpu)?, 0)?.to_vec1::<u8>()?;
    let mut internal = [0; LENGTH];
    internal.iter_mut().zip(bytes).for_each(|(to, from)| *to = from as _);
    Ok(Id::uninit(internal))
}

impl CustomOp1 for Operation {
    fn name(&self) -> &'static str {
        "nccl"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        bail!("NCCL: expected a tensor on a GPU")
    }

    fn cuda_fwd(&self, values: &CudaStorage, layout: &Layout) -> candle_core::Result<(CudaStorage, Shape)> {
        let storage = match values.dtype() {
            DType::F32 => self.apply::<f32>(values, layout),
            DType::F64 => self.apply::<f64>(values, layout),
            DType::F16 => self.apply::<f16>(values, layout),
            DType::BF16 => self.apply::<bf16>(values, layout),
            DType::U8 => self.apply::<u8>(values, layout),
            DType::U32 => self.apply::<u32>(values, layout),
            DType::I64 => self.apply::<i64>(values, layout),
            dtype => bail!("NCCL: unsupported dtype {dtype:?}"),
        }?;
        Ok((storage, layout.shape().clone()))
    }
}

impl Operation {
    fn apply<T: CudaDType + NcclType + DeviceRepr + ValidAsZeroBits>(
        self,
        values: &CudaStorage,
        layout: &Layout,
    ) -> candle_core::Result<CudaStorage> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("NCCL: expected a contiguous tensor")
        };
        let device = values.device().clone();
        let sent = values.as_cuda_slice::<T>()?.slice(start..end);
        let stream = device.cuda_stream();
        let mut received: CudaSlice<T> = stream.alloc_zeros(end - start).map_err(candle_core::Error::wrap)?;
        let result = COMM.with_borrow(|comm| {
            let Some(comm) = comm else { bail!("NCCL: the ranks are not connected") };
            let result = match self {
                Self::Sum => comm.all_reduce(&sent, &mut received, &ReduceOp::Sum),
                Self::Broadcast { root } => comm.broadcast(Some(&sent), &mut received, root as i32),
            };
            result.map_err(|error| candle_core::Error::Msg(format!("NCCL: {error:?}")))
        });
        result?;
        Ok(CudaStorage::wrap_cuda_slice(received, device))
    }
}

impl<C: Communicator> Communicator for NcclCommunicator<C> {
    fn rank(&self) -> usize {
        self.control.rank()
    }

    fn size(&self) -> usize {
        self.control.size()
    }

    fn all_reduce(&self, values: &Tensor) -> Result<Tensor> {
        if values.device().is_cpu() {
            return self.control.all_reduce(values);
        }
        self.run(values, Operation::Sum)
    }

    fn broadcast(&self, values: &Tensor, root: usize) -> Result<Tensor> {
        if values.device().is_cpu() {
            return self.control.broadcast(values, root);
        }
        self.run(values, Operation::Broadcast { root })
    }

    fn abort(&self, cause: &str) {
        self.control.abort(cause);
    }
}

impl<C> Drop for NcclCommunicator<C> {
    fn drop(&mut self) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported to the one who waited for its reply.
            let _ = thread.join();
        }
    }
}
