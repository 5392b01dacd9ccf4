//! Reverse-mode differentiation of a program.

use std::collections::{HashMap, HashSet};

use crate::{Error, Result};

use super::builder::Builder;
use super::ir::Binary::{Add, Divide, Maximum, Minimum, Multiply, Power, Subtract};
use super::ir::{Binary, Convolution, Direction, Instruction, Op, Unary, Value, Window};
use super::lower::outputs_first;

/// Adds the instructions that compute the gradients of some arguments, and returns the gradients. `outputs` has pairs
/// of a value and its gradient.
pub(super) fn differentiate(
    b: &mut Builder,
    outputs: &[(Value, Value)],
    arguments: &[Value],
) -> Result<Vec<Value>> {
    let forward = std::mem::take(&mut b.function.instructions);
    let needed = needed(b, &forward, arguments);
    let mut gradients = Gradients::default();
    // The instructions so far stay before those of the gradients.
    let count = forward.len();
    b.function.instructions = forward;
    for (output, gradient) in outputs {
        gradients.add(b, output, gradient.clone());
    }
    for i in (0..count).rev() {
        let result = b.function.instructions[i].result;
        let Some(gradient) = gradients.of.remove(&result).filter(|_| needed.contains(&result)) else {
            continue;
        };
        let instruction = b.function.instructions[i].clone();
        b.path = instruction.path.clone();
        let name = instruction.op.name();
        let at_layer = |error: Error| error.in_layer(name).at(&instruction.path);
        let operands = adjoint(b, &instruction, &gradient).map_err(at_layer)?;
        for (id, gradient) in instruction.operands.iter().zip(operands) {
            if let (Some(gradient), true) = (gradient, needed.contains(id)) {
                let operand = b.value_at(*id);
                gradients.add(b, &operand, gradient);
            }
        }
    }
    b.path = "".into();
    let of_argument = |argument: &Value| match gradients.of.remove(&argument.id) {
        Some(gradient) => gradient,
        None => b.full(0., &argument.dims, argument.element),
    };
    Ok(arguments.iter().map(of_argument).collect())
}

/// Returns the floats that depend on the arguments.
fn needed(b: &Builder, instructions: &[Instruction], arguments: &[Value]) -> HashSet<usize> {
    let mut needed: HashSet<usize> = arguments.iter().map(|argument| argument.id).collect();
    for Instruction { operands, result, .. } in instructions {
        let is_float = b.function.types[*result].element.is_float();
        if is_float && !b.is_constant(*result) && operands.iter().any(|operand| needed.contains(operand)) {
            needed.insert(*result);
        }
    }
    needed
}

/// The sums of the gradients so far, by the index of the value.
#[derive(Default)]
struct Gradients {
    of: HashMap<usize, Value>,
}

impl Gradients {
    fn add(&mut self, b: &mut Builder, value: &Value, gradient: Value) {
        let sum = match self.of.remove(&value.id) {
            Some(sum) => b.add(&sum, &gradient),
            None => gradient,
        };
        self.of.insert(value.id, sum);
    }
}

/// Returns the gradients of the operands of an instruction from the gradient of its result. Operands that are not
/// differentiable have none.
fn adjoint(b: &mut Builder, instruction: &Instruction, gradient: &Value) -> Result<Vec<Option<Value>>> {
    let operands: Vec<Value> = instruction.operands.iter().map(|id| b.value_at(*id)).collect();
    let y = b.value_at(instruction.result);
    let g = gradient;
    let x = operands.first();
    let only = |gradient: Value| Ok(vec![Some(gradient)]);
    let (op, Some(x)) = (&instruction.op, x) else { return Ok(Vec::new()) };
    match op {
        Op::Constant(_) | Op::Compare(_) => Ok(vec![None; operands.len()]),
        Op::Unary(op) => only(unary(b, *op, x, &y, g)),
        Op::Binary(op) => {
            let [first, second] = binary(b, *op, [x, &operands[1]], &y, g);
            Ok(vec![first, second])
        }
        Op::Select => {
            let zero = b.scalar(0., g.element);
            let on_true = b.select(x, g, &zero);
            let on_false = b.select(x, &zero, g);
            Ok(vec![None, Some(on_true), Some(on_false)])
        }
        Op::Convert => Ok(vec![x.element.is_float().then(|| b.convert(g, x.element))]),
        Op::BroadcastInDim(positions) => only(broadcast(b, positions, x, g)),
        Op::Reshape => only(b.reshape(g, &x.dims)),
        Op::Transpose(order) => {
            let inverse: Vec<usize> =
                (0..order.len()).filter_map(|dim| order.iter().position(|other| *other == dim)).collect();
            only(b.transpose(g, &inverse))
        }
        Op::Slice { starts, limits: _, strides } => only(slice(b, starts, strides, x, g)),
        Op::Concatenate(dim) => {
            let mut start = 0;
            let parts = operands.iter().map(|operand| {
                let end = start + operand.dims[*dim];
                let part = b.slice(g, *dim, start..end, 1);
                start = end;
                Some(part)
            });
            Ok(parts.collect())
        }
        Op::Pad { low, high, interior } => {
            let sides: Vec<[i64; 2]> = low.iter().zip(high).map(|(low, high)| [-low, -high]).collect();
            let inner = b.pad(g, &sides, vec![0; g.rank()], 0.);
            let strides = interior.iter().map(|interior| interior + 1).collect();
            let gradient = b.slice_all(&inner, vec![0; g.rank()], inner.dims.clone(), strides);
            Ok(vec![Some(gradient), None])
        }
        Op::Reverse(dims) => only(b.reverse(g, dims.clone())),
        Op::DotGeneral { batch, contracted } => {
            let [first, second] = dot(b, [x, &operands[1]], batch, contracted, g);
            Ok(vec![Some(first), Some(second)])
        }
        Op::Convolution(settings) => {
            let [first, second] = convolution(b, settings, [x, &operands[1]], g);
            Ok(vec![Some(first), Some(second)])
        }
        Op::Reduce { dims, combine } => {
            let kept: Vec<usize> = (0..x.rank()).filter(|dim| !dims.contains(dim)).collect();
            let g = b.broadcast_in_dim(g, kept.clone(), &x.dims);
            if *combine == Add {
                return Ok(vec![Some(g), None]);
            }
            let y = b.broadcast_in_dim(&y, kept.clone(), &x.dims);
            let is_largest = b.compare(Direction::Eq, x, &y);
            let largest = b.convert(&is_largest, x.element);
            let count = b.sum(&largest, dims, false);
            let count = b.broadcast_in_dim(&count, kept, &x.dims);
            let share = b.div(&largest, &count);
            Ok(vec![Some(b.mul(&g, &share)), None])
        }
        Op::ReduceWindow { window, combine } => {
            let gradient =
                if *combine == Add { sum_window(b, window, x, g) } else { max_window(b, window, x, &y, g) };
            Ok(vec![Some(gradient), None])
        }
        Op::Gather { dim } => {
            let zeros = b.full(0., &x.dims, x.element);
            let op = Op::ScatterAdd { dim: *dim };
            Ok(vec![Some(b.push(op, &[&zeros, &operands[1], g], x.dims.clone(), x.element)), None])
        }
        Op::ScatterAdd { .. } | Op::SelectAndScatterAdd(_) => {
            Err(Error::msg("expected an operation of a forward pass"))
        }
    }
}

fn unary(b: &mut Builder, op: Unary, x: &Value, y: &Value, g: &Value) -> Value {
    let slope = match op {
        Unary::Abs => b.unary(Unary::Sign, x),
        Unary::Negate => return b.unary(Unary::Negate, g),
        Unary::Exponential => y.clone(),
        Unary::ExponentialMinusOne => b.with_number(Add, y, 1.),
        Unary::Log => return b.div(g, x),
        Unary::LogPlusOne => {
            let divisor = b.with_number(Add, x, 1.);
            return b.div(g, &divisor);
        }
        Unary::Logistic => {
            let one = b.scalar(1., y.element);
            let rest = b.sub(&one, y);
            b.mul(y, &rest)
        }
        Unary::Sign => b.full(0., &x.dims, x.element),
        Unary::Sqrt => {
            let half = b.with_number(Multiply, g, 0.5);
            return b.div(&half, y);
        }
        Unary::Rsqrt => {
            let square = b.mul(y, y);
            let cube = b.mul(&square, y);
            b.with_number(Multiply, &cube, -0.5)
        }
        Unary::Tanh => {
            let square = b.mul(y, y);
            let one = b.scalar(1., y.element);
            b.sub(&one, &square)
        }
    };
    b.mul(g, &slope)
}

/// The operands have the same shape. At a tie, a maximum or minimum passes the gradient to its second operand, so that
/// the gradient of ReLU at 0 is 0.
fn binary(b: &mut Builder, op: Binary, [x, z]: [&Value; 2], y: &Value, g: &Value) -> [Option<Value>; 2] {
    match op {
        Add => [Some(g.clone()), Some(g.clone())],
        Subtract => [Some(g.clone()), Some(b.unary(Unary::Negate, g))],
        Multiply => [Some(b.mul(g, z)), Some(b.mul(g, x))],
        Divide => {
            let first = b.div(g, z);
            let product = b.mul(&first, y);
            [Some(first), Some(b.unary(Unary::Negate, &product))]
        }
        Maximum | Minimum => {
            let direction = if op == Maximum { Direction::Gt } else { Direction::Lt };
            let is_first = b.compare(direction, x, z);
            let zero = b.scalar(0., g.element);
            [Some(b.select(&is_first, g, &zero)), Some(b.select(&is_first, &zero, g))]
        }
        Power => {
            // Exponents are constants.
            let exponent = b.with_number(Subtract, z, 1.);
            let power = b.binary(Power, x, &exponent);
            let slope = b.mul(z, &power);
            [Some(b.mul(g, &slope)), None]
        }
    }
}

/// Sums the gradient over the dimensions along which `x` was repeated.
fn broadcast(b: &mut Builder, positions: &[usize], x: &Value, g: &Value) -> Value {
    let is_repeated = |dim: &usize| match positions.iter().position(|position| position == dim) {
        Some(position) => x.dims[position] != g.dims[*dim],
        None => true,
    };
    let dims: Vec<usize> = (0..g.rank()).filter(is_repeated).collect();
    let sum = b.sum(g, &dims, false);
    b.reshape(&sum, &x.dims)
}

/// Places the gradient of a slice at its elements of `x`.
fn slice(b: &mut Builder, starts: &[usize], strides: &[usize], x: &Value, g: &Value) -> Value {
    let sides = (0..x.rank()).map(|dim| {
        let end = starts[dim] + (g.dims[dim] - 1) * strides[dim] + 1;
        [starts[dim] as i64, (x.dims[dim] - end) as i64]
    });
    let sides: Vec<[i64; 2]> = sides.collect();
    b.pad(g, &sides, strides.iter().map(|stride| stride - 1).collect(), 0.)
}

/// The gradient of each operand is the product of `g` and the other operand.
fn dot(
    b: &mut Builder,
    operands: [&Value; 2],
    batch: &[Vec<usize>; 2],
    contracted: &[Vec<usize>; 2],
    g: &Value,
) -> [Value; 2] {
    let free = [0, 1].map(|side: usize| {
        let is_free = |dim: &usize| !batch[side].contains(dim) && !contracted[side].contains(dim);
        (0..operands[side].rank()).filter(is_free).collect::<Vec<_>>()
    });
    let batches = batch[0].len();
    // The dimensions of `g` are the batch dimensions, the free ones of the first operand, and those of the second.
    let starts = [batches, batches + free[0].len()];
    [0, 1].map(|side| {
        let other = 1 - side;
        let summed = (starts[other]..starts[other] + free[other].len()).collect();
        let product = b.dot(
            g,
            operands[other],
            [(0..batches).collect(), batch[other].clone()],
            [summed, free[other].clone()],
        );
        // The product has the batch dimensions, the free ones, and the contracted ones in the order of the other
        // operand.
        let mut sorted = contracted[other].clone();
        sorted.sort_unstable();
        let position = |list: &[usize], dim: usize| list.iter().position(|candidate| *candidate == dim);
        let source = |dim: usize| {
            let of_batch = position(&batch[side], dim);
            let of_free = || position(&free[side], dim).map(|i| batches + i);
            let of_contracted = || {
                let i = position(&contracted[side], dim)?;
                Some(batches + free[side].len() + position(&sorted, contracted[other][i])?)
            };
            of_batch.or_else(of_free).or_else(of_contracted)
        };
        let order: Vec<usize> = (0..operands[side].rank()).filter_map(source).collect();
        b.transpose(&product, &order)
    })
}

/// The gradients of the input and of the kernel `[out, in / groups, …]` of a convolution of an input
/// `[batch, channels, …]`. Both are convolutions.
fn convolution(b: &mut Builder, settings: &Convolution, [x, kernel]: [&Value; 2], g: &Value) -> [Value; 2] {
    let axes = settings.strides.len();
    let extent = |size: usize, dilation: usize| ((size - 1) * dilation + 1) as i64;
    let mut paddings = [Vec::new(), Vec::new()];
    for axis in 0..axes {
        let input = extent(x.dims[2 + axis], settings.input_dilation[axis]);
        let reach = extent(kernel.dims[2 + axis], settings.kernel_dilation[axis]);
        let output = extent(g.dims[2 + axis], settings.strides[axis]);
        let low = settings.padding[axis][0];
        let before = reach - 1 - low;
        paddings[0].push([before, input + reach - 1 - output - before]);
        paddings[1].push([low, output - input + reach - 1 - low]);
    }
    let [input_padding, kernel_padding] = paddings;
    let swapped = outputs_first(b, kernel, settings.groups);
    let reversed = b.reverse(&swapped, (2..kernel.rank()).collect());
    let of_input = Convolution {
        strides: settings.input_dilation.clone(),
        padding: input_padding,
        input_dilation: settings.strides.clone(),
        ..settings.clone()
    };
    let of_kernel = Convolution {
        strides: settings.kernel_dilation.clone(),
        padding: kernel_padding,
        kernel_dilation: settings.strides.clone(),
        groups: 1,
        batch_groups: settings.groups,
        input: [1, 0],
        kernel: [1, 0],
        output: [1, 0],
        ..settings.clone()
    };
    [b.convolution(g, &reversed, of_input), b.convolution(x, g, of_kernel)]
}

/// Sums the gradients of the windows that contain an element.
fn sum_window(b: &mut Builder, window: &Window, x: &Value, g: &Value) -> Value {
    let sides = (0..x.rank()).map(|dim| {
        let reach = (window.dilations[dim] * (window.sizes[dim] - 1) + 1) as i64;
        let output = ((g.dims[dim] - 1) * window.strides[dim] + 1) as i64;
        let low = reach - 1 - window.padding[dim][0];
        [low, x.dims[dim] as i64 + reach - 1 - output - low]
    });
    let sides: Vec<[i64; 2]> = sides.collect();
    let interior = window.strides.iter().map(|stride| stride - 1).collect();
    let spread = b.pad(g, &sides, interior, 0.);
    let window = Window { strides: vec![1; x.rank()], padding: vec![[0; 2]; x.rank()], ..window.clone() };
    b.reduce_window(Add, &spread, window)
}

/// Adds the gradient of each window to its first largest element.
fn max_window(b: &mut Builder, window: &Window, x: &Value, y: &Value, g: &Value) -> Value {
    if window.dilations.iter().any(|dilation| *dilation != 1) {
        return dilated_max_window(b, window, x, y, g);
    }
    let zero = b.scalar(0., x.element);
    b.push(Op::SelectAndScatterAdd(window.clone()), &[x, g, &zero], x.dims.clone(), x.element)
}

/// Like [`max_window`], for windows with dilation, one tap after the other.
fn dilated_max_window(b: &mut Builder, window: &Window, x: &Value, y: &Value, g: &Value) -> Value {
    let interior = vec![0; x.rank()];
    let padded = b.pad(x, &window.padding, interior.clone(), f64::NEG_INFINITY);
    let zero = b.scalar(0., x.element);
    let mut rest = g.clone();
    let mut sum = b.full(0., &padded.dims, x.element);
    for tap in 0..window.sizes.iter().product() {
        let starts = starts(window, tap);
        let ends = starts.iter().zip(&g.dims).zip(&window.strides);
        let ends = ends.map(|((start, size), stride)| start + (size - 1) * stride + 1).collect();
        let element = b.slice_all(&padded, starts.clone(), ends, window.strides.clone());
        let is_largest = b.compare(Direction::Eq, &element, y);
        let part = b.select(&is_largest, &rest, &zero);
        rest = b.select(&is_largest, &zero, &rest);
        let placed = slice(b, &starts, &window.strides, &padded, &part);
        sum = b.add(&sum, &placed);
    }
    let cropped: Vec<[i64; 2]> = window.padding.iter().map(|sides| sides.map(|side| -side)).collect();
    b.pad(&sum, &cropped, interior, 0.)
}

/// Returns the position of a tap in the first window. `tap` is the index in row-major order.
fn starts(window: &Window, tap: usize) -> Vec<usize> {
    let mut rest = tap;
    let sizes = window.sizes.iter().zip(&window.dilations).rev();
    let mut starts: Vec<usize> = sizes
        .map(|(size, dilation)| {
            let position = rest % size;
            rest /= size;
            position * dilation
        })
        .collect();
    starts.reverse();
    starts
}
