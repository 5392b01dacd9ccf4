//! Finds kernels by name and checks launches against their parameters.

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;

use candle_core::{DType, Result, bail};
use sconce::kernels::testing::cuda::{Arg, Launch};

/// Has the layout of `cuda_cpu::Kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(dead_code, reason = "constructed in C++")]
enum Kind {
    Pointer,
    Int,
    Float,
    Double,
    Struct,
    Other,
}

/// Has the layout of `cuda_cpu::Pointee`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(dead_code, reason = "constructed in C++")]
enum Pointee {
    None,
    F32,
    F64,
    F16,
    BF16,
    U8,
    U32,
    I32,
    I64,
    Other,
}

/// Has the layout of `cuda_cpu::Parameter`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Parameter {
    kind: Kind,
    pointee: Pointee,
    /// Whether the parameter is a pointer to `const`.
    constant: bool,
    /// The size of the parameter in bytes.
    bytes: u32,
}

/// Has the layout of `cuda_cpu::Kernel`.
#[repr(C)]
pub struct Kernel {
    name: *const c_char,
    file: *const c_char,
    parameters: *const Parameter,
    parameter_count: usize,
    /// The kernel as a C++ function.
    function: *const c_void,
    /// The C++ function that calls `function` with the arguments of a launch.
    call: *const c_void,
}

unsafe extern "C" {
    fn cuda_cpu_find(name: *const c_char) -> *const Kernel;
    fn cuda_cpu_launch(
        kernel: *const Kernel,
        grid: *const u32,
        block: *const u32,
        shared: usize,
        args: *mut *mut c_void,
        order: u32,
    ) -> *const c_char;
}

/// An argument of a launch. A pointer comes with the dtype of its elements, unless it is null.
#[derive(Debug)]
pub enum Value {
    Pointer(*mut u8, Option<DType>),
    Int(i32),
    Float(f32),
    Double(f64),
    Ints(Vec<i32>),
}

impl Kernel {
    /// Returns the kernel of a launch. Fails if there is no kernel of this name, or if it is in another module.
    pub fn find(launch: &Launch) -> Result<&'static Self> {
        let name = CString::new(launch.kernel).map_err(candle_core::Error::wrap)?;
        // SAFETY: all kernels are registered before `main`, so the list of kernels no longer grows, and no kernel moves
        // in memory.
        let Some(kernel) = (unsafe { cuda_cpu_find(name.as_ptr()).as_ref() }) else {
            bail!("unknown kernel {}", launch.kernel);
        };
        // SAFETY: `file` is the string literal `__FILE__` of the kernel's source file.
        let file = unsafe { CStr::from_ptr(kernel.file) }.to_string_lossy();
        if Path::new(&*file).file_stem().is_none_or(|stem| stem != launch.module) {
            bail!("{} is in {file}, not in the module {}", launch.kernel, launch.module);
        }
        Ok(kernel)
    }

    fn parameters(&self) -> &[Parameter] {
        // SAFETY: `parameters` points to a static array of `parameter_count` elements.
        unsafe { std::slice::from_raw_parts(self.parameters, self.parameter_count) }
    }

    /// Checks each argument against the type of its parameter. An output may be passed through a `const` pointer only
    /// if it was an argument of an earlier launch. `written` lists the outputs of earlier launches.
    pub fn check(&self, launch: &Launch, values: &[Value], written: &[usize]) -> Result<()> {
        let (kernel, parameters) = (launch.kernel, self.parameters());
        if parameters.len() != values.len() {
            bail!("{kernel}: expected {} arguments, found {}", parameters.len(), values.len());
        }
        for (i, (parameter, (value, arg))) in
            parameters.iter().zip(values.iter().zip(&launch.args)).enumerate()
        {
            let unwritten = matches!(arg, Arg::Output(i) if !written.contains(i));
            if !fits(parameter, value) {
                bail!("{kernel}: argument {i}: expected {parameter:?}, found {value:?}");
            }
            if unwritten && parameter.constant {
                bail!("{kernel}: argument {i} is a `const` pointer to an output that no launch has written");
            }
        }
        Ok(())
    }

    /// Runs a launch that passed [`Self::check`], with the thread order `order`.
    pub fn launch(&self, launch: &Launch, values: &mut [Value], order: u32) -> Result<()> {
        let address = |value: &mut Value| -> *mut c_void {
            match value {
                Value::Pointer(pointer, _) => std::ptr::from_mut(pointer).cast(),
                Value::Int(int) => std::ptr::from_mut(int).cast(),
                Value::Float(float) => std::ptr::from_mut(float).cast(),
                Value::Double(double) => std::ptr::from_mut(double).cast(),
                Value::Ints(ints) => ints.as_mut_ptr().cast(),
            }
        };
        let mut args: Vec<*mut c_void> = values.iter_mut().map(address).collect();
        let (grid, block) = (launch.grid.as_ptr(), launch.block.as_ptr());
        // SAFETY: the caller has called `check`, which compares each argument with the type of its parameter.
        let error =
            unsafe { cuda_cpu_launch(self, grid, block, launch.shared as usize, args.as_mut_ptr(), order) };
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: `error` is a string that lives until the next launch.
        bail!("{}", unsafe { CStr::from_ptr(error) }.to_string_lossy())
    }
}

/// Returns `true` if a value has the type of a parameter.
fn fits(parameter: &Parameter, value: &Value) -> bool {
    match value {
        Value::Pointer(_, dtype) => {
            parameter.kind == Kind::Pointer && dtype.is_none_or(|dtype| parameter.pointee == pointee(dtype))
        }
        Value::Int(_) => parameter.kind == Kind::Int,
        Value::Float(_) => parameter.kind == Kind::Float,
        Value::Double(_) => parameter.kind == Kind::Double,
        Value::Ints(ints) => {
            parameter.kind == Kind::Struct
                && parameter.bytes as usize == ints.len() * 4
                && ints.len() <= Arg::MAX_INTS
        }
    }
}

fn pointee(dtype: DType) -> Pointee {
    match dtype {
        DType::F32 => Pointee::F32,
        DType::F64 => Pointee::F64,
        DType::F16 => Pointee::F16,
        DType::BF16 => Pointee::BF16,
        DType::U8 => Pointee::U8,
        DType::U32 => Pointee::U32,
        DType::I64 => Pointee::I64,
        _ => Pointee::Other,
    }
}

/// Checks a launch against the limits of compute capability 9.0.
pub fn check_limits(launch: &Launch) -> Result<()> {
    let Launch { kernel, grid, block, shared, .. } = launch;
    let threads: u64 = block.iter().map(|size| u64::from(*size)).product();
    let is_within = |size: &[u32; 3], limit: [u32; 3]| {
        size.iter().zip(limit).all(|(size, limit)| (1..=limit).contains(size))
    };
    if !is_within(grid, [i32::MAX as u32, 65_535, 65_535]) {
        bail!("{kernel}: the grid {grid:?} exceeds the device's limits");
    }
    if !is_within(block, [1024, 1024, 64]) || threads > 1024 {
        bail!("{kernel}: the block {block:?} exceeds the device's limits");
    }
    if *shared > 227 << 10 {
        bail!("{kernel}: {shared} bytes of shared memory exceed the device's limit");
    }
    Ok(())
}
