//! The work of an operation on a CUDA device, as plain data.

use candle_core::DType;

/// The results, scratch memory and launches of an operation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// The buffers that the operation returns. These buffers are uninitialized; the launches must write every element.
    pub outputs: Vec<Buffer>,
    /// The buffers that launches share. These buffers are uninitialized, and freed after the last launch.
    pub scratch: Vec<Buffer>,
    /// The launches, in order.
    pub launches: Vec<Launch>,
}

/// A contiguous allocation on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// The number of elements.
    pub elements: usize,
    /// The element type.
    pub dtype: DType,
}

/// One launch of a kernel with `grid` blocks of `block` threads.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// The stem of the `.cu` file's name, which is unique.
    pub module: &'static str,
    /// The `extern "C"` name of the kernel, which is unique.
    pub kernel: &'static str,
    /// The number of blocks along each axis.
    pub grid: [u32; 3],
    /// The number of threads of a block along each axis.
    pub block: [u32; 3],
    /// The number of bytes of dynamic shared memory.
    pub shared: u32,
    /// The arguments in the order of the kernel's parameters, each with exactly the parameter's type.
    pub args: Vec<Arg>,
}

/// An argument of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    /// A pointer to the first element of the operand with this index. Operands are contiguous.
    Operand(usize),
    /// A pointer to the output with this index.
    Output(usize),
    /// A pointer to the scratch buffer with this index.
    Scratch(usize),
    /// A null pointer, for an optional operand that is absent.
    Absent,
    /// `int`
    Int(i32),
    /// `float`
    Float(f32),
    /// `double`
    Double(f64),
    /// A structure of `int`s, passed by value: at most [`Arg::MAX_INTS`], in order.
    Ints(Vec<i32>),
}

impl Arg {
    /// The maximum number of `int`s in a structure passed by value.
    pub const MAX_INTS: usize = 64;
}
