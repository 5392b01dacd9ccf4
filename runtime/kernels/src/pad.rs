//! Padding of the last two dimensions, with a constant or with the input's own elements.

use super::element::{Element, elements, in_single, with_element, with_elements};
use super::memory::can_allocate;
use super::operation::{CpuOperand, Operation};
use super::planes::map_planes;
use super::relay;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Shape, Tensor, WithDType, bail};
use std::ops::Range;
use std::sync::Arc;

const NAME: &str = "pad";

/// What the padding holds. Converts from PyTorch's names.
///
/// ```
/// use sconce_kernels::PadMode;
///
/// assert_eq!(PadMode::from("reflect"), PadMode::Reflect);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PadMode {
    /// `"zeros"`, `"constant"`: one number.
    Constant(f64),
    /// `"reflect"`: the input mirrored at its edge; the edge itself is not repeated.
    Reflect,
    /// `"replicate"`: the element at the edge.
    Replicate,
    /// `"circular"`: the input from its other end.
    Circular,
    /// A name that PyTorch does not have; [`pad`] returns an error.
    Unknown(&'static str),
}

impl PadMode {
    /// Padding with zeros.
    pub const ZEROS: Self = Self::Constant(0.);
}

impl From<&'static str> for PadMode {
    fn from(word: &'static str) -> Self {
        match word {
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
            Self::Unknown(word) => word,
        })
    }
}

/// Pads the last two dimensions.
///
/// - `x`: `[..., height, width]`, or `[width]`
/// - the sides: `[left, right, top, bottom]`; a negative number removes elements
/// - returns `[..., top + height + bottom, left + width + right]`
///
/// Takes f32, f64, f16 and bf16. Differentiable in `x`.
///
/// # Errors
/// `x` has no height or width, nothing would be left of one, reflect padding is not smaller than its axis, or
/// circular padding is larger than its axis.
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
        ref dims => bail!("{NAME}: expected an input […, height, width] that is not empty, got {dims:?}"),
    };
    let rows = Axis::new(["height", "top", "bottom"], height, [top, bottom], mode)?;
    let columns = Axis::new(["width", "left", "right"], width, [left, right], mode)?;
    // An empty batch as well: each position of an axis is written down.
    let planes = (x.elem_count() / (height * width)).max(1);
    let elements = planes.checked_mul(rows.output).and_then(|count| count.checked_mul(columns.output));
    let fits = |count: usize| {
        count <= isize::MAX as usize / 8 && (!x.device().is_cpu() || can_allocate::<f64>(&[count]))
    };
    if !elements.is_some_and(fits) || x.rank() == 1 && rows.output != 1 {
        bail!("{NAME}: expected an output that fits the input {:?} and the memory", x.dims())
    }
    let value = if let PadMode::Constant(value) = mode { value } else { 0. };
    if [left, right, top, bottom] == [0; 4] {
        Ok(x.clone())
    } else if x.device().is_cpu() {
        let [rows, columns] = [rows, columns].map(Sources::of);
        let op = Pad { rows: Arc::new(rows), columns: Arc::new(columns), value };
        in_single(x, |x| relay::apply([&x.contiguous()?], op))
    } else {
        composed(x, &[columns, rows], value)
    }
}

/// One axis: its size before and after, and how elements are taken from it.
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
        // What negative padding leaves.
        let kept = size.saturating_add(before.min(0)).saturating_add(after.min(0));
        let most = before.max(after);
        let limit = match mode {
            PadMode::Reflect if most >= kept && most > 0 => "smaller than",
            PadMode::Circular if most > kept && most > 0 => "at most",
            PadMode::Unknown(word) => bail!(
                "{NAME}: expected the mode \"constant\", \"reflect\", \"replicate\" or \"circular\", got {word:?}"
            ),
            _ => "",
        };
        if !limit.is_empty() {
            bail!(
                "{NAME}: expected {mode} padding {limit} the {name} {input}, got {before} at the {first} and {after} at the {last}"
            )
        }
        let output = size.checked_add(before).and_then(|size| size.checked_add(after));
        match output {
            Some(output) if output > 0 && (kept > 0 || matches!(mode, PadMode::Constant(_))) => {
                Ok(Self { input, output: output as usize, before, after, mode })
            }
            _ => bail!(
                "{NAME}: expected padding that leaves something of the {name} {input} and fits in memory, got {before} at the {first} and {after} at the {last}"
            ),
        }
    }

    /// The input element that stands at an output position, or none where that is the constant.
    fn source(&self, position: usize) -> Option<usize> {
        // Counted from the first input element that negative padding leaves.
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

/// Where the elements of an output axis come from.
struct Sources {
    input: usize,
    all: Vec<Option<usize>>,
    /// The positions that hold the input as it stands, the first of them from element `first`.
    plain: Range<usize>,
    first: usize,
}

impl Sources {
    fn of(axis: Axis) -> Self {
        let [before, after] = [axis.before, axis.after].map(|padding| padding.max(0) as usize);
        let start = before.min(axis.output);
        Self {
            input: axis.input,
            all: (0..axis.output).map(|position| axis.source(position)).collect(),
            plain: start..axis.output.saturating_sub(after).max(start),
            first: (-axis.before.min(0) as usize).min(axis.input),
        }
    }

    /// The positions around the plain ones, with their sources.
    fn around(&self) -> impl Iterator<Item = (usize, Option<usize>)> + '_ {
        let Range { start, end } = self.plain;
        (0..start).chain(end..self.all.len()).map(|position| (position, self.all[position]))
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
        let (from, to) = self.planes();
        let mut dims = layout.dims().to_vec();
        let sizes = [self.columns.all.len(), self.rows.all.len()];
        dims.iter_mut().rev().zip(sizes).for_each(|(dim, size)| *dim = size);
        with_element!(NAME, x.dtype(), E => {
            let x = elements::<E>(x, layout)?;
            let y = map_planes(x, from, to, |_, x, y| {
                x.chunks_exact(from).zip(y.chunks_exact_mut(to)).for_each(|(x, y)| self.forward(x, y));
            });
            Ok((E::to_cpu_storage_owned(y), dims.into()))
        })
    }

    fn backward(&self, [x]: [&Tensor; 1], _y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let (to, from) = self.planes();
        with_element!(NAME, x.dtype(), E => {
            let dx = with_elements::<E, _>(grad, |grad| {
                map_planes(grad, from, to, |_, grad, dx| {
                    let planes = grad.chunks_exact(from).zip(dx.chunks_exact_mut(to));
                    planes.for_each(|(grad, dx)| self.backward(grad, dx));
                })
            })?;
            Tensor::from_vec(dx, x.shape(), x.device()).map(|dx| [Some(dx)])
        })
    }
}

impl Pad {
    /// The elements of a plane of the input and of the output.
    fn planes(&self) -> (usize, usize) {
        (self.rows.input * self.columns.input, self.rows.all.len() * self.columns.all.len())
    }

    fn forward<E: Element>(&self, x: &[E], y: &mut [E]) {
        let columns = &*self.columns;
        let value = E::from_f64(self.value);
        for (row, y) in self.rows.all.iter().zip(y.chunks_exact_mut(columns.all.len())) {
            let Some(row) = row else {
                y.fill(value);
                continue;
            };
            let x = &x[row * columns.input..][..columns.input];
            let plain = &mut y[columns.plain.clone()];
            plain.copy_from_slice(&x[columns.first..][..plain.len()]);
            for (position, source) in columns.around() {
                y[position] = source.map_or(value, |source| x[source]);
            }
        }
    }

    /// Adds the gradient of each output to the element that it came from.
    fn backward<E: Element>(&self, grad: &[E], sums: &mut [E]) {
        let columns = &*self.columns;
        for (row, grad) in self.rows.all.iter().zip(grad.chunks_exact(columns.all.len())) {
            let Some(row) = row else { continue };
            let sums = &mut sums[row * columns.input..][..columns.input];
            let plain = &grad[columns.plain.clone()];
            let kept = &mut sums[columns.first..][..plain.len()];
            kept.iter_mut().zip(plain).for_each(|(sum, grad)| *sum += *grad);
            for (position, source) in columns.around() {
                if let Some(source) = source {
                    sums[source] += grad[position];
                }
            }
        }
    }
}

/// From candle's own operations, for devices that this crate's loops do not reach; the axes from the last.
fn composed(x: &Tensor, axes: &[Axis], value: f64) -> Result<Tensor> {
    let mut y = x.contiguous()?;
    for (dim, axis) in (0..x.rank()).rev().zip(axes) {
        y = match axis.mode {
            PadMode::Constant(_) => surround(&y, dim, axis, value)?,
            _ => {
                let sources = (0..axis.output).filter_map(|at| axis.source(at)).map(|at| at as u32);
                y.index_select(&Tensor::from_iter(sources, x.device())?, dim)?.contiguous()?
            }
        };
    }
    Ok(y)
}

/// Puts a constant around one dimension and then takes away what negative padding does.
fn surround(x: &Tensor, dim: usize, axis: &Axis, value: f64) -> Result<Tensor> {
    let block = |size: isize| {
        let mut dims = x.dims().to_vec();
        dims[dim] = size.max(0) as usize;
        Tensor::full(value, dims, x.device())?.to_dtype(x.dtype())
    };
    let parts = [block(axis.before)?, x.clone(), block(axis.after)?];
    let parts: Vec<&Tensor> = parts.iter().filter(|part| part.dims()[dim] > 0).collect();
    Tensor::cat(&parts, dim)?.narrow(dim, -axis.before.min(0) as usize, axis.output)?.contiguous()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};

    #[test]
    fn the_composed_form_agrees_with_the_kernel() -> Result<()> {
        let x = Var::from_tensor(&Tensor::rand(-1., 1., (2, 3, 5, 6), &Device::Cpu)?)?;
        for sides in [[1, 2, 3, 4], [0, -2, 4, 0], [-3, 2, 1, -2], [4, 4, 0, 0]] {
            for mode in [PadMode::Constant(1.5), PadMode::Reflect, PadMode::Replicate, PadMode::Circular] {
                let [left, right, top, bottom] = sides;
                let axes = [
                    Axis::new(["width", "left", "right"], 6, [left, right], mode),
                    Axis::new(["height", "top", "bottom"], 5, [top, bottom], mode),
                ];
                let [Ok(columns), Ok(rows)] = axes else {
                    assert!(pad(&x, sides, mode).is_err());
                    continue;
                };
                let ours = pad(&x, sides, mode)?;
                let theirs = composed(&x, &[columns, rows], 1.5)?;
                assert_eq!(off(&ours, &theirs)?, 0., "{sides:?} {mode}");
                let weights = Tensor::rand(-1., 1., ours.shape(), &Device::Cpu)?;
                let [ours, theirs] = [ours, theirs].map(|y| (y * &weights)?.sum_all()?.backward());
                let (ours, theirs) = (ours?, theirs?);
                let gradients = (ours.get(&x).expect("a gradient"), theirs.get(&x).expect("a gradient"));
                assert!(off(gradients.0, gradients.1)? < 1e-12, "{sides:?} {mode}");
            }
        }
        Ok(())
    }

    fn off(a: &Tensor, b: &Tensor) -> Result<f64> {
        a.sub(b)?.abs()?.max_all()?.to_dtype(DType::F64)?.to_scalar()
    }
}
