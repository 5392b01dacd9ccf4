//! Padding of the last two or three dimensions with a constant or with elements of the input.

use std::ops::Range;
use std::sync::Arc;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Shape, Tensor, WithDType, bail};

use crate::composed_path::has_cpu_kernels;
use crate::element::{Element, elements, in_f32, with_element, with_elements};
use crate::memory::can_allocate;
use crate::operation::{CpuOperand, Operation};
use crate::planes::{fits, map_planes};
use crate::relay::{self, reshape};

const NAME: &str = "pad";

/// The contents of the padding. Converts from PyTorch's names.
///
/// ```
/// use sconce_kernels::PadMode;
///
/// assert_eq!(PadMode::from("reflect"), PadMode::Reflect);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PadMode {
    /// `"zeros"` or `"constant"`: a constant.
    Constant(f64),
    /// `"reflect"`: the input mirrored at its edge, without repeating the edge.
    Reflect,
    /// `"replicate"`: the element at the edge, repeated.
    Replicate,
    /// `"circular"`: the elements at the opposite end of the input.
    Circular,
    /// A name that PyTorch does not define. [`pad`] returns an error for this mode.
    Unknown(&'static str),
}

impl PadMode {
    /// Padding with zeros.
    pub const ZEROS: Self = Self::Constant(0.);
}

impl From<&'static str> for PadMode {
    fn from(name: &'static str) -> Self {
        match name {
            "zeros" | "constant" => Self::ZEROS,
            "reflect" => Self::Reflect,
            "replicate" => Self::Replicate,
            "circular" => Self::Circular,
            other => Self::Unknown(other),
        }
    }
}

impl std::fmt::Display for PadMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Constant(_) if *self == Self::ZEROS => "zeros",
            Self::Constant(_) => "constant",
            Self::Reflect => "reflect",
            Self::Replicate => "replicate",
            Self::Circular => "circular",
            Self::Unknown(name) => name,
        })
    }
}

/// Pads the last two dimensions.
///
/// - `x`: `[..., height, width]`, or `[width]`
/// - `[left, right, top, bottom]`: the amount of padding on each side; a negative amount crops
/// - returns `[..., top + height + bottom, left + width + right]`
///
/// Supports f32, f64, f16 and bf16. Differentiable in `x`.
///
/// # Errors
/// Fails if
/// - the height or width of the input or the output is 0,
/// - cropping leaves no element, unless the mode is a constant,
/// - an input `[width]` has padding at the top or bottom,
/// - reflect padding is at least as large as its axis after cropping, or circular padding is larger,
/// - the dtype is not supported, the mode is unknown, or the output does not fit in memory.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::{PadMode, pad};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[1f32, 2., 3.]], &Device::Cpu)?;
/// assert_eq!(pad(&x, [1, 1, 0, 0], PadMode::Reflect)?.to_vec2::<f32>()?, [[2., 1., 2., 3., 2.]]);
/// assert_eq!(pad(&x, [-1, 0, 0, 1], PadMode::ZEROS)?.to_vec2::<f32>()?, [[2., 3.], [0., 0.]]);
/// # Ok(())
/// # }
/// ```
pub fn pad(x: &Tensor, [left, right, top, bottom]: [isize; 4], mode: PadMode) -> Result<Tensor> {
    let [height, width] = match *x.dims() {
        [.., height, width] if height > 0 && width > 0 => [height, width],
        [width] if width > 0 => [1, width],
        ref dims => bail!("{NAME}: expected an input […, height, width] that is not empty, found {dims:?}"),
    };
    let rows = Axis::new(["height", "top", "bottom"], height, [top, bottom], mode)?;
    let columns = Axis::new(["width", "left", "right"], width, [left, right], mode)?;
    if x.rank() == 1 && rows.output != 1 {
        bail!(
            "{NAME}: expected no rows of padding for an input of rank 1, found {top} at the top and {bottom} at the \
             bottom"
        )
    }
    pad_planes(x, [rows, columns])
}

/// Pads the last three dimensions.
///
/// - `x`: `[..., depth, height, width]`
/// - `[left, right, top, bottom, front, back]`: the amount of padding on each side; a negative amount crops
/// - returns `[..., front + depth + back, top + height + bottom, left + width + right]`
///
/// Behaves like [`pad`](pad()) in all other respects.
///
/// # Errors
/// Fails if the rank is less than 3, and under the same conditions as [`pad`](pad()).
///
/// # Examples
/// ```
/// use candle_core::{DType, Device, Result, Tensor};
/// use sconce_kernels::{PadMode, pad3d};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::ones((2, 3, 4, 5, 6), DType::F32, &Device::Cpu)?;
/// assert_eq!(pad3d(&x, [1, 1, 0, 2, 3, 0], PadMode::Reflect)?.dims(), [2, 3, 7, 7, 8]);
/// # Ok(())
/// # }
/// ```
pub fn pad3d(
    x: &Tensor,
    [left, right, top, bottom, front, back]: [isize; 6],
    mode: PadMode,
) -> Result<Tensor> {
    let (first, [depth, height, width]) = match x.dims() {
        [first @ .., depth, height, width] if *depth > 0 && *height > 0 && *width > 0 && fits(x.dims()) => {
            (first, [*depth, *height, *width])
        }
        dims => {
            bail!("{NAME}: expected an input […, depth, height, width] that is not empty, found {dims:?}")
        }
    };
    let frames = Axis::new(["depth", "front", "back"], depth, [front, back], mode)?;
    let padded_depth = frames.output;
    in_f32(x, |x| {
        // Each frame becomes one row of a plane, so that rows added above and below pad the depth.
        let images = reshape(x, [first, &[depth, height * width]].concat())?;
        let unpadded = Axis::new(["width", "left", "right"], height * width, [0, 0], mode)?;
        let padded = pad_planes(&images, [frames, unpadded])?;
        let padded = reshape(&padded, [first, &[padded_depth, height, width]].concat())?;
        pad(&padded, [left, right, top, bottom], mode)
    })
}

/// Pads the rows and columns of planes.
fn pad_planes(x: &Tensor, [rows, columns]: [Axis; 2]) -> Result<Tensor> {
    // Check that at least one plane fits in memory: even for an empty batch, `Sources` allocates an entry for each row
    // and column.
    let planes = (x.elem_count() / (rows.input * columns.input)).max(1);
    let elements = planes.checked_mul(rows.output).and_then(|count| count.checked_mul(columns.output));
    let fits = |count: usize| {
        count <= isize::MAX as usize / 8 && (!x.device().is_cpu() || can_allocate::<f64>(&[count]))
    };
    if !elements.is_some_and(fits) {
        bail!(
            "{NAME}: not enough memory for an output of {planes} · {} · {} elements",
            rows.output,
            columns.output
        )
    }
    let value = if let PadMode::Constant(value) = rows.mode { value } else { 0. };
    if [&rows, &columns].iter().all(|axis| [axis.before, axis.after] == [0; 2]) {
        Ok(x.clone())
    } else if has_cpu_kernels(x) {
        let [rows, columns] = [rows, columns].map(Sources::new);
        let op = Pad { rows: Arc::new(rows), columns: Arc::new(columns), value };
        in_f32(x, |x| relay::apply([&x.contiguous()?], op))
    } else {
        composed(x, &[columns, rows], value)
    }
}

/// The padding of one axis.
struct Axis {
    input: usize,
    output: usize,
    before: isize,
    after: isize,
    mode: PadMode,
}

impl Axis {
    fn new(
        [name, first, last]: [&str; 3],
        input: usize,
        [before, after]: [isize; 2],
        mode: PadMode,
    ) -> Result<Self> {
        let size = input as isize;
        // The number of elements that remain after cropping.
        let kept = size.saturating_add(before.min(0)).saturating_add(after.min(0));
        let largest = before.max(after);
        let limit = match mode {
            PadMode::Reflect if largest >= kept && largest > 0 => "smaller than",
            PadMode::Circular if largest > kept && largest > 0 => "of at most",
            PadMode::Unknown(name) => bail!(
                "{NAME}: expected the mode \"zeros\", \"constant\", \"reflect\", \"replicate\" or \"circular\", found \
                 {name:?}"
            ),
            _ => "",
        };
        if !limit.is_empty() {
            let cropped = if kept < size { " after cropping" } else { "" };
            bail!(
                "{NAME}: expected {mode} padding {limit} the {name} ({kept}{cropped}), found {before} at the {first} \
                 and {after} at the {last}"
            )
        }
        let output = size.checked_add(before).and_then(|size| size.checked_add(after));
        match output {
            Some(output) if output > 0 && (kept > 0 || matches!(mode, PadMode::Constant(_))) => {
                Ok(Self { input, output: output as usize, before, after, mode })
            }
            _ => bail!(
                "{NAME}: expected padding that leaves at least one element along the {name} ({input}) and gives an output \
                 that fits in memory, found {before} at the {first} and {after} at the {last}"
            ),
        }
    }

    /// Returns the input position that is copied to an output position, or `None` if the output is the constant.
    fn source(&self, position: usize) -> Option<usize> {
        // `at` counts from the first input element that remains after cropping.
        let at = position as isize - self.before.max(0);
        let kept = self.input as isize + self.before.min(0) + self.after.min(0);
        let first = -self.before.min(0);
        let at = match self.mode {
            PadMode::Reflect if at < 0 => -at,
            PadMode::Reflect if at >= kept => 2 * (kept - 1) - at,
            PadMode::Replicate => at.clamp(0, kept - 1),
            PadMode::Circular => at.rem_euclid(kept),
            _ => at,
        };
        usize::try_from(at + first).ok().filter(|source| *source < self.input)
    }
}

/// The input position of each output along one axis.
struct Sources {
    /// The size of the input.
    input: usize,
    /// The input position for each output position, or `None` for the constant.
    positions: Vec<Option<usize>>,
    /// The output positions between the padding at both ends. The elements at these positions are a copy of consecutive
    /// elements of the input.
    copied: Range<usize>,
    /// The input position of the first copied element.
    first: usize,
}

impl Sources {
    fn new(axis: Axis) -> Self {
        let [before, after] = [axis.before, axis.after].map(|padding| padding.max(0) as usize);
        let start = before.min(axis.output);
        Self {
            input: axis.input,
            positions: (0..axis.output).map(|position| axis.source(position)).collect(),
            copied: start..axis.output.saturating_sub(after).max(start),
            first: (-axis.before.min(0) as usize).min(axis.input),
        }
    }

    /// Returns the output positions outside `copied`, with their input positions.
    fn padding(&self) -> impl Iterator<Item = (usize, Option<usize>)> + '_ {
        let Range { start, end } = self.copied;
        (0..start).chain(end..self.positions.len()).map(|position| (position, self.positions[position]))
    }
}

struct Pad {
    rows: Arc<Sources>,
    columns: Arc<Sources>,
    value: f64,
}

impl Operation<1> for Pad {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, [(x, layout)]: [CpuOperand; 1]) -> Result<(CpuStorage, Shape)> {
        let (input_len, output_len) = self.plane_lens();
        let mut dims = layout.dims().to_vec();
        let sizes = [self.columns.positions.len(), self.rows.positions.len()];
        dims.iter_mut().rev().zip(sizes).for_each(|(dim, size)| *dim = size);
        with_element!(NAME, x.dtype(), E => {
            let x = elements::<E>(x, layout)?;
            let y = map_planes(x, input_len, output_len, |_, x, y| {
                let planes = x.chunks_exact(input_len).zip(y.chunks_exact_mut(output_len));
                planes.for_each(|(x, y)| self.forward(x, y));
            });
            Ok((E::to_cpu_storage_owned(y), dims.into()))
        })
    }

    fn backward(&self, [x]: [&Tensor; 1], _y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let (input_len, output_len) = self.plane_lens();
        with_element!(NAME, x.dtype(), E => {
            let dx = with_elements::<E, _>(grad, |grad| {
                map_planes(grad, output_len, input_len, |_, grad, dx| {
                    let planes = grad.chunks_exact(output_len).zip(dx.chunks_exact_mut(input_len));
                    planes.for_each(|(grad, dx)| self.backward(grad, dx));
                })
            })?;
            Tensor::from_vec(dx, x.shape(), x.device()).map(|dx| [Some(dx)])
        })
    }
}

impl Pad {
    /// Returns the numbers of elements of an input plane and of an output plane.
    fn plane_lens(&self) -> (usize, usize) {
        (self.rows.input * self.columns.input, self.rows.positions.len() * self.columns.positions.len())
    }

    /// Pads one plane.
    fn forward<E: Element>(&self, x: &[E], y: &mut [E]) {
        let columns = &*self.columns;
        let value = E::from_f64(self.value);
        for (row, y) in self.rows.positions.iter().zip(y.chunks_exact_mut(columns.positions.len())) {
            let Some(row) = row else {
                y.fill(value);
                continue;
            };
            let x = &x[row * columns.input..][..columns.input];
            let copied = &mut y[columns.copied.clone()];
            copied.copy_from_slice(&x[columns.first..][..copied.len()]);
            for (position, source) in columns.padding() {
                y[position] = source.map_or(value, |source| x[source]);
            }
        }
    }

    /// Adds the gradient of each output element to the gradient of the input element that was copied to it.
    fn backward<E: Element>(&self, grad: &[E], sums: &mut [E]) {
        let columns = &*self.columns;
        for (row, grad) in self.rows.positions.iter().zip(grad.chunks_exact(columns.positions.len())) {
            let Some(row) = row else { continue };
            let sums = &mut sums[row * columns.input..][..columns.input];
            let copied = &grad[columns.copied.clone()];
            let copied_sums = &mut sums[columns.first..][..copied.len()];
            copied_sums.iter_mut().zip(copied).for_each(|(sum, grad)| *sum += *grad);
            for (position, source) in columns.padding() {
                if let Some(source) = source {
                    sums[source] += grad[position];
                }
            }
        }
    }
}

/// The composed path, for devices without a kernel. `axes` starts with the last dimension.
fn composed(x: &Tensor, axes: &[Axis], value: f64) -> Result<Tensor> {
    let mut y = x.contiguous()?;
    for (dim, axis) in (0..x.rank()).rev().zip(axes) {
        y = match axis.mode {
            PadMode::Constant(_) => pad_constant(&y, dim, axis, value)?,
            _ => {
                let sources = (0..axis.output).filter_map(|at| axis.source(at)).map(|at| at as u32);
                y.index_select(&Tensor::from_iter(sources, x.device())?, dim)?.contiguous()?
            }
        };
    }
    Ok(y)
}

/// Pads one dimension with a constant. Negative padding crops the dimension.
fn pad_constant(x: &Tensor, dim: usize, axis: &Axis, value: f64) -> Result<Tensor> {
    let block = |size: isize| {
        let mut dims = x.dims().to_vec();
        dims[dim] = size.max(0) as usize;
        Tensor::full(value, dims, x.device())?.to_dtype(x.dtype())
    };
    let parts = [block(axis.before)?, x.clone(), block(axis.after)?];
    let parts: Vec<&Tensor> = parts.iter().filter(|part| part.dims()[dim] > 0).collect();
    Tensor::cat(&parts, dim)?.narrow(dim, -axis.before.min(0) as usize, axis.output)?.contiguous()
}
