//! What an operation asks of a CUDA device, as data.

use candle_core::DType;

/// One operation on a device: its results, its scratch memory, and its launches in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// What the operation returns. The launches write every element: the memory is handed out as it is.
    pub outputs: Vec<Buffer>,
    /// Memory between the launches, handed out as it is and freed after the last one.
    pub scratch: Vec<Buffer>,
    /// The launches, in order.
    pub launches: Vec<Launch>,
}

/// Contiguous memory on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// The number of elements.
    pub elements: usize,
    /// The element type.
    pub dtype: DType,
}

/// One kernel, run by `grid` blocks of `block` threads.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// The stem of the `.cu` file's name; no two files share one.
    pub module: &'static str,
    /// The `extern "C"` name in it; no two kernels share one.
    pub kernel: &'static str,
    /// The number of blocks along each axis.
    pub grid: [u32; 3],
    /// The threads of a block along each axis.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    /// In the order of the kernel's parameters, each of the parameter's type exactly.
    pub args: Vec<Arg>,
}

/// A parameter of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    /// A pointer to the first element of the operation's operand with this number. Operands are contiguous.
    Operand(usize),
    /// A pointer to the output with this number.
    Output(usize),
    /// A pointer to the scratch buffer with this number.
    Scratch(usize),
    /// A null pointer, for an operand that this launch goes without.
    Absent,
    /// `int`
    Int(i32),
    /// `float`
    Float(f32),
    /// `double`
    Double(f64),
    /// A structure by value that is made of `int`s, in their order; at most [`Arg::MOST_INTS`] of them.
    Ints(Vec<i32>),
}

impl Arg {
    /// The longest structure that is passed by value.
    pub const MOST_INTS: usize = 64;
}
