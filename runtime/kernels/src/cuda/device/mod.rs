//! Runs a [`Program`] on candle's CUDA device: on its stream, in order with candle's own kernels, without waiting for
//! the results.

mod error;
mod graph;
mod modules;
mod open;
mod operand;

pub use graph::Graph;
pub(crate) use open::open;

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::cuda::cudarc::driver::{
    CudaStream, LaunchArgs, LaunchConfig, PushKernelArg, result::memset_d8_async, sys::CUdevice_attribute,
};
use candle_core::{CudaDevice, CudaStorage, Result, Shape, bail};

use super::{Arg, Launch, Operand, Program, Target, target};
use operand::{Address, Dense};

/// Returns the properties of `device` on which programs depend.
fn properties_of(device: &CudaDevice) -> Result<Target> {
    use CUdevice_attribute::{
        CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN as SHARED,
        CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT as MULTIPROCESSORS,
    };
    let stream = device.cuda_stream();
    let attribute = |attribute| -> Result<u32> {
        let value = stream.context().attribute(attribute).map_err(error::driver)?;
        Ok(u32::try_from(value).unwrap_or(0))
    };
    let capability = error::capability(device)?;
    Ok(Target {
        capability: capability.min(modules::capability()),
        hopper: capability == (9, 0),
        multiprocessors: attribute(MULTIPROCESSORS)?,
        shared: attribute(SHARED)?,
        tf32: super::tf32(),
    })
}

/// Returns the properties of a device. Fails if the device is not a CUDA device.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn target_of(device: &candle_core::Device) -> Result<Target> {
    match device {
        candle_core::Device::Cuda(device) => properties_of(device),
        other => bail!("expected a CUDA device, found {:?}", other.location()),
    }
}

/// Runs the program that `program` returns for the operands' device, and returns its outputs. `op` names the
/// operation in errors.
pub(crate) fn run(
    op: &'static str,
    program: &dyn Fn(&Target) -> Result<Program>,
    operands: &[Operand],
) -> Result<Vec<CudaStorage>> {
    let device = device_of(op, operands)?;
    let dense = operands.iter().map(|operand| Dense::of(*operand)).collect::<Result<Vec<_>>>();
    let dense = dense.map_err(|error| error::before_launch(op, &device, error))?;
    execute(op, &device, &program(&properties_of(&device)?)?, &dense)
}

/// Like [`run`], but for a program that changes its first `updated` operands in place and has no other results.
pub(crate) fn run_in_place(
    op: &'static str,
    program: &dyn Fn(&Target) -> Result<Program>,
    operands: &[Operand],
    updated: usize,
) -> Result<()> {
    let device = device_of(op, operands)?;
    let mut dense = Vec::with_capacity(operands.len());
    for (i, operand) in operands.iter().enumerate() {
        dense.push(Dense::of(*operand).map_err(|error| error::before_launch(op, &device, error))?);
        if i < updated && matches!(dense.last(), Some(Dense::Copied(_))) {
            bail!("{op}: expected a contiguous, aligned tensor to update in place, found {:?}", operand.1)
        }
    }
    execute(op, &device, &program(&properties_of(&device)?)?, &dense).map(|_| ())
}

/// Returns the device of all operands. Fails if they are on different devices.
fn device_of(op: &str, operands: &[Operand]) -> Result<CudaDevice> {
    let Some((first, _)) = operands.first() else { bail!("{op}: expected an operand, found none") };
    let device = first.device();
    for (i, (operand, _)) in operands.iter().enumerate() {
        if !operand.device().same_device(device) {
            let [expected, actual] = [device, operand.device()].map(|device| device.location());
            bail!("{op}: expected operand {i} on {expected:?}, the device of operand 0, found {actual:?}")
        }
    }
    Ok(device.clone())
}

/// Allocates a program's buffers and submits its launches. Returns the outputs.
fn execute(op: &str, device: &CudaDevice, program: &Program, operands: &[Dense]) -> Result<Vec<CudaStorage>> {
    let outputs = allocate(op, device, &program.outputs)?;
    let scratch = allocate(op, device, &program.scratch)?;
    let stream = device.cuda_stream();
    let memory = Memory {
        operands: operands.iter().map(|operand| operand.address(&stream)).collect::<Result<_>>()?,
        outputs: addresses(&outputs, &stream)?,
        scratch: addresses(&scratch, &stream)?,
    };
    if target::is_poisoning() {
        poison(&stream, &program.outputs, &memory.outputs)?;
        poison(&stream, &program.scratch, &memory.scratch)?;
    }
    for launch in &program.launches {
        submit(op, device, &stream, launch, &memory)?;
    }
    drop(memory);
    Ok(outputs)
}

/// Returns the addresses of the buffers.
fn addresses<'a>(buffers: &'a [CudaStorage], stream: &'a CudaStream) -> Result<Vec<Address<'a>>> {
    buffers.iter().map(|buffer| Address::of(buffer, 0, stream)).collect()
}

/// Allocates uninitialized buffers. The program's launches must write every element that the launches or the caller
/// read.
fn allocate(op: &str, device: &CudaDevice, buffers: &[super::Buffer]) -> Result<Vec<CudaStorage>> {
    let allocate = |buffer: &super::Buffer| {
        // The driver returns no memory for zero bytes.
        let shape = Shape::from(buffer.elements.max(1));
        // SAFETY: the program's launches write the memory before anything reads it. They run on the stream of the
        // allocation.
        let storage = unsafe { device.alloc_uninit(&shape, buffer.dtype) };
        storage.map_err(|error| error::allocating(op, device, *buffer, error))
    };
    buffers.iter().map(allocate).collect()
}

/// Sets all bits of the buffers, which makes every float NaN.
fn poison(stream: &CudaStream, buffers: &[super::Buffer], addresses: &[Address]) -> Result<()> {
    for (buffer, address) in buffers.iter().zip(addresses) {
        let bytes = buffer.elements * buffer.dtype.size_in_bytes();
        if bytes > 0 {
            // SAFETY: the buffer has `bytes` bytes, and only later work on this stream uses it.
            let filled = unsafe { memset_d8_async(address.pointer, u8::MAX, bytes, stream.cu_stream()) };
            filled.map_err(error::driver)?;
        }
    }
    Ok(())
}

/// The addresses of a program's operands and buffers.
struct Memory<'a> {
    operands: Vec<Address<'a>>,
    outputs: Vec<Address<'a>>,
    scratch: Vec<Address<'a>>,
}

/// The value of a kernel argument, in the type of the kernel's parameter. The driver reads it through a pointer.
enum Value {
    Pointer(u64),
    Int(i32),
    Float(f32),
    Double(f64),
    /// A structure of `int`s that is passed by value, in an array of the maximum length. The driver reads only as many
    /// bytes as the kernel's parameter has.
    Ints(Box<[i32; Arg::MAX_INTS]>),
}

impl Value {
    /// Returns the value of an argument, or `None` if its buffer does not exist or its structure has more than
    /// [`Arg::MAX_INTS`] integers.
    fn of(arg: &Arg, memory: &Memory) -> Option<Self> {
        let pointer = |addresses: &[Address], i: usize| Some(Value::Pointer(addresses.get(i)?.pointer));
        match arg {
            Arg::Operand(i) => pointer(&memory.operands, *i),
            Arg::Output(i) => pointer(&memory.outputs, *i),
            Arg::Scratch(i) => pointer(&memory.scratch, *i),
            Arg::Absent => Some(Value::Pointer(0)),
            Arg::Int(value) => Some(Value::Int(*value)),
            Arg::Float(value) => Some(Value::Float(*value)),
            Arg::Double(value) => Some(Value::Double(*value)),
            Arg::Ints(values) => {
                let mut all = Box::new([0; Arg::MAX_INTS]);
                all.get_mut(..values.len())?.copy_from_slice(values);
                Some(Value::Ints(all))
            }
        }
    }

    /// Appends the value to the arguments of a launch.
    fn push<'a>(&'a self, args: &mut LaunchArgs<'a>) {
        match self {
            Value::Pointer(value) => args.arg(value),
            Value::Int(value) => args.arg(value),
            Value::Float(value) => args.arg(value),
            Value::Double(value) => args.arg(value),
            Value::Ints(values) => args.arg(&values[0]),
        };
    }
}

/// Submits a launch to the stream.
fn submit(
    op: &str,
    device: &CudaDevice,
    stream: &CudaStream,
    launch: &Launch,
    memory: &Memory,
) -> Result<()> {
    let Launch { module, kernel, grid, block, shared, args } = launch;
    if grid.contains(&0) {
        return Ok(());
    }
    let function = modules::function(op, device, module, kernel, *shared)?;
    let values: Option<Vec<Value>> = args.iter().map(|arg| Value::of(arg, memory)).collect();
    let Some(values) = values else {
        bail!(
            "{op}: kernel {kernel} has an argument without a buffer, or a structure of more than {} integers",
            Arg::MAX_INTS
        )
    };
    let mut builder = stream.launch_builder(&function);
    values.iter().for_each(|value| value.push(&mut builder));
    let [grid_dim, block_dim] = [grid, block].map(|[x, y, z]| (*x, *y, *z));
    let config = LaunchConfig { grid_dim, block_dim, shared_mem_bytes: *shared };
    // SAFETY: the arguments have the types of the kernel's parameters, and the kernel stays in the bounds of its
    // buffers; tests check both for all programs, in the emulator with guarded memory. The buffers are freed on this
    // stream, and therefore after this launch.
    unsafe { builder.launch(config) }.map_err(|error| error::launching(op, launch, error))?;
    Ok(())
}
