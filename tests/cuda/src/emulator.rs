//! Runs a program on its operands and returns its outputs.

use candle_core::{DType, Device, Result, Tensor, bail};
use sconce::kernels::testing::cuda::{Arg, Launch, Program};

use crate::Outcome;
use crate::arena::{Arena, tensor_bytes};
use crate::kernel::{Kernel, Value, check_limits};

/// The thread orders: 0 is forward, 1 is reversed, and any other number is the seed of a shuffle.
const ORDERS: [u32; 3] = [0, 1, 77];

/// Runs the program once for each of [`ORDERS`]. Fails if the results differ.
pub fn run(program: &Program, operands: &[&Tensor]) -> Result<Outcome> {
    let mut first: Option<Session> = None;
    for order in ORDERS {
        let mut session = Session::new(program, operands)?;
        for launch in &program.launches {
            session.launch(launch, order)?;
        }
        match &first {
            None => first = Some(session),
            Some(first) if *first.results() == *session.results() => {}
            Some(first) => bail!("the thread order changes the results: {}", first.difference(&session)),
        }
    }
    match first {
        Some(session) => session.outcome(),
        None => bail!("expected at least one thread order"),
    }
}

/// One run of a program. Its buffers are operands, outputs and scratch memory, in this order.
struct Session<'a> {
    program: &'a Program,
    operands: &'a [&'a Tensor],
    /// The dtype of each buffer.
    dtypes: Vec<DType>,
    arena: Arena,
    /// The indices of the outputs that were arguments of earlier launches.
    written: Vec<usize>,
}

impl<'a> Session<'a> {
    fn new(program: &'a Program, operands: &'a [&'a Tensor]) -> Result<Self> {
        let mut buffers = Vec::new();
        let mut dtypes = Vec::new();
        for (i, operand) in operands.iter().enumerate() {
            buffers.push((format!("operand {i}"), operand.elem_count() * operand.dtype().size_in_bytes()));
            dtypes.push(operand.dtype());
        }
        for (name, buffers_of_kind) in [("output", &program.outputs), ("scratch", &program.scratch)] {
            for (i, buffer) in buffers_of_kind.iter().enumerate() {
                buffers.push((format!("{name} {i}"), buffer.elements * buffer.dtype.size_in_bytes()));
                dtypes.push(buffer.dtype);
            }
        }
        let mut arena = Arena::new(buffers)?;
        for (i, operand) in operands.iter().enumerate() {
            arena.bytes_mut(i).copy_from_slice(&tensor_bytes(operand)?);
        }
        Ok(Self { program, operands, dtypes, arena, written: vec![] })
    }

    /// Checks a launch and runs it with the thread order `order`.
    fn launch(&mut self, launch: &Launch, order: u32) -> Result<()> {
        check_limits(launch)?;
        let kernel = Kernel::find(launch)?;
        let mut values = launch.args.iter().map(|arg| self.value(arg)).collect::<Result<Vec<_>>>()?;
        kernel.check(launch, &values, &self.written)?;
        let output = |arg: &Arg| if let Arg::Output(i) = arg { Some(*i) } else { None };
        self.written.extend(launch.args.iter().filter_map(output));
        self.arena.bind();
        self.arena.guarded(|| kernel.launch(launch, &mut values, order))?;
        self.arena.check()
    }

    /// Returns the value that a kernel gets for an argument.
    fn value(&mut self, arg: &Arg) -> Result<Value> {
        let outputs = self.operands.len();
        let scratch = outputs + self.program.outputs.len();
        let (kind, first, end, i) = match arg {
            Arg::Operand(i) => ("operand", 0, outputs, *i),
            Arg::Output(i) => ("output", outputs, scratch, *i),
            Arg::Scratch(i) => ("scratch buffer", scratch, self.dtypes.len(), *i),
            Arg::Absent => return Ok(Value::Pointer(std::ptr::null_mut(), None)),
            Arg::Int(int) => return Ok(Value::Int(*int)),
            Arg::Float(float) => return Ok(Value::Float(*float)),
            Arg::Double(double) => return Ok(Value::Double(*double)),
            Arg::Ints(ints) => return Ok(Value::Ints(ints.clone())),
        };
        if first + i >= end {
            bail!("the program has no {kind} {i}");
        }
        Ok(Value::Pointer(self.arena.pointer(first + i), Some(self.dtypes[first + i])))
    }

    /// Returns the bytes of all operands and outputs. The operands are included because launches may write to them.
    fn results(&self) -> Vec<&[u8]> {
        (0..self.operands.len() + self.program.outputs.len()).map(|i| self.arena.bytes(i)).collect()
    }

    /// Describes the position of the first element that differs between two runs.
    fn difference(&self, other: &Self) -> String {
        for (i, (a, b)) in self.results().into_iter().zip(other.results()).enumerate() {
            if let Some(byte) = a.iter().zip(b).position(|(a, b)| a != b) {
                let element = byte / self.dtypes[i].size_in_bytes();
                return match i.checked_sub(self.operands.len()) {
                    Some(output) => format!("output {output}, element {element}"),
                    None => format!("operand {i}, element {element}"),
                };
            }
        }
        "the lengths of the buffers".into()
    }

    fn outcome(&self) -> Result<Outcome> {
        let tensor = |i: usize, shape: &[usize]| {
            Tensor::from_raw_buffer(self.arena.bytes(i), self.dtypes[i], shape, &Device::Cpu)
        };
        let operands = self.operands.iter().enumerate().map(|(i, operand)| tensor(i, operand.dims()));
        let outputs = self.program.outputs.iter().enumerate();
        let outputs = outputs.map(|(i, buffer)| tensor(self.operands.len() + i, &[buffer.elements]));
        Ok(Outcome { operands: operands.collect::<Result<_>>()?, outputs: outputs.collect::<Result<_>>()? })
    }
}
