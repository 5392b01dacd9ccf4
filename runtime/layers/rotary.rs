//! Rotary position embedding (Su et al. 2021, <https://arxiv.org/abs/2104.09864>).

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};

use crate::display::{python_bool, python_float};
use crate::graph::{self, Op};
use crate::kernels::internal::{can_allocate, check_integers, integers};
use crate::kernels::rotary_embedding;
use crate::module::{Forward, ForwardWith, Mode};
use crate::ops::{check_rotary, tensor_or_view};
use crate::signal::{NeedsNumbers, Recording, Signal};
use crate::{Error, Result};

use super::{self_config, stateless};

/// Rotates pairs of features by angles that are proportional to the position.
///
/// - Config: `RotaryEmbedding::config(dim)`; setters `max_seq_len` (4096), `base` (10000), `interleaved` (true)
/// - Input: `rotary(x)` or `rotary(x, positions)` in a forward closure, with `x` of `[…, length, features]`; see
///   [`Positions`]
/// - Output: the shape of `x`
/// - Fails if `dim` is 0 or odd, if `base` is not positive and finite, if `x` has fewer than `dim` features, if the
///   positions do not match `x`, or if the angles do not fit in memory
///
/// At position `p`, pair `i` is rotated by the angle `p · base^(−2i / dim)`. Apply the layer to the queries and to the
/// keys: their products then depend only on the distance between the positions. Without positions, the positions are
/// `0..length`.
///
/// With `interleaved`, as in torchtune and the original Llama, pair `i` consists of the features `2i` and `2i + 1`.
/// Without interleaving, as in Hugging Face's Llama and GPT-NeoX, pair `i` consists of the features `i` and `i + dim /
/// 2`. Features after the first `dim` are unchanged, as in GPT-NeoX and Phi.
///
/// Unlike torchtune's `RotaryPositionalEmbeddings`, the layer expects the heads before the positions, as
/// [`scaled_dot_product_attention`](crate::functional::scaled_dot_product_attention) does. It computes the angles in
/// f64, and stores the cosines and sines of the first `max_seq_len` positions, or of up to 2²⁰ if a sequence is longer.
///
/// ```
/// use sconce::prelude::*;
///
/// #[derive(Module)]
/// #[module(forward = |query, key| rotary(query).matmul(rotary(key).t()))]
/// struct Scores {
///     #[layer(8, base = 100.)]
///     rotary: RotaryEmbedding,
/// }
/// # fn main() -> Result<()> {
/// // Equal queries and equal keys: the scores depend only on the distance between query and key.
/// let x = Tensor::rand(0f32, 1., (1, 8), &Device::Cpu)?.broadcast_as((3, 8))?;
/// let scores = Scores::new(&Device::Cpu)?.forward(&x, &x)?.to_vec2::<f32>()?;
/// assert!((scores[0][1] - scores[1][2]).abs() < 1e-4 && (scores[0][1] - scores[0][2]).abs() > 1e-4);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RotaryEmbedding {
    dim: usize,
    max_seq_len: usize,
    base: f64,
    interleaved: bool,
    /// One table of each dtype and device. Clones share them.
    tables: Arc<Mutex<Vec<Tables>>>,
}

/// The maximum number of positions whose angles are stored, unless `max_seq_len` is larger. The angles of later
/// positions are computed on each call.
const MAX_STORED_POSITIONS: usize = 1 << 20;

/// The positions of a sequence in [`RotaryEmbedding`].
///
/// An integer is the first position, and the others follow: when a network continues a sequence, it is the number of
/// earlier positions. A tensor of u8, u32 or i64 has the position of each element, `[length]`, or
/// `[batch, length]` if the first dimension of the input is the batch.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let rotary = RotaryEmbedding::config(4);
/// let x = Signal::from(Tensor::rand(0f32, 1., (2, 3, 4), &Device::Cpu)?); // [batch, length, features]
/// let all = rotary.call(x.clone(), Mode::Eval).into_tensor()?;
/// // The last element again, at its position.
/// let last = rotary.call_with((x.narrow(1, 2, 1), 2.into()), Mode::Eval).into_tensor()?;
/// assert_eq!(last.flatten_all()?.to_vec1::<f32>()?, all.narrow(1, 2, 1)?.flatten_all()?.to_vec1::<f32>()?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub enum Positions {
    /// The first position.
    Offset(usize),
    /// The position of each element.
    Each(Signal),
}

impl Default for Positions {
    fn default() -> Self {
        Self::Offset(0)
    }
}

macro_rules! positions_from {
    ($($tensor:ty)*) => {$(
        impl From<$tensor> for Positions {
            fn from(positions: $tensor) -> Self {
                Self::Each(positions.into())
            }
        }
    )*};
}

positions_from! { Signal &Signal Tensor &Tensor }

impl From<usize> for Positions {
    fn from(offset: usize) -> Self {
        Self::Offset(offset)
    }
}

/// The cosines and sines of the angles of positions, `[positions, pairs]` each.
#[derive(Clone)]
struct Tables([Tensor; 2]);

impl Tables {
    fn positions(&self) -> usize {
        self.0[0].dims()[0]
    }

    fn are_of(&self, dtype: DType, device: &Device) -> bool {
        let cos = &self.0[0];
        cos.dtype() == dtype && cos.device().same_device(device)
    }
}

impl RotaryEmbedding {
    /// Creates the layer with torchtune's defaults. It rotates the first `dim` features.
    pub fn config(dim: usize) -> Self {
        Self { dim, max_seq_len: 4096, base: 1e4, interleaved: true, tables: Arc::default() }
    }

    /// Sets the number of positions for which the first call computes the angles. Longer sequences work as well.
    /// Default: 4096.
    pub fn max_seq_len(self, positions: usize) -> Self {
        Self { max_seq_len: positions, tables: Arc::default(), ..self }
    }

    /// Sets the base θ of the frequencies θ^(−2i / dim). Default: 10000.
    pub fn base(self, base: f64) -> Self {
        Self { base, tables: Arc::default(), ..self }
    }

    /// Sets whether a pair consists of neighboring features, instead of features of the first and of the second half.
    /// Default: `true`.
    pub fn interleaved(mut self, interleaved: bool) -> Self {
        self.interleaved = interleaved;
        self
    }

    fn checked(self) -> Result<Self> {
        let Self { dim, base, .. } = self;
        let error = if dim == 0 || !dim.is_multiple_of(2) {
            format!("expected a positive and even dim, found {dim}")
        } else if !(base > 0. && base.is_finite()) {
            format!("expected a positive and finite base, found {base}")
        } else {
            return Ok(self);
        };
        Err(Error::msg(error).in_layer(self.label()))
    }

    fn label(&self) -> String {
        format!("RotaryEmbedding {}", self.dim)
    }

    fn run(&self, x: Signal, positions: Positions) -> Signal {
        let each = match &positions {
            Positions::Offset(_) => None,
            Positions::Each(positions) => Some(positions),
        };
        let operands = || std::iter::once(&x).chain(each);
        if let Some(error) = operands().find_map(Signal::error) {
            return Signal::fail(error.clone());
        }
        let label = |error: Error| error.in_layer(self.label());
        if operands().any(Signal::is_meta) {
            let recording = Recording::start(&x);
            let tables = self.recorded_tables(&x, &positions);
            let output = self.output_meta(x, positions).map_err(label).into();
            let op = Op::Rotary { interleaved: self.interleaved };
            return match &tables {
                Ok(Some([cos, sin])) => {
                    recording.finish(output, ("rotary_embedding", op, [Some(cos), Some(sin)]))
                }
                _ => recording.finish(output, "rotary_embedding"),
            };
        }
        x.apply("rotary_embedding", NeedsNumbers, |x| self.rotate(&x, positions).map_err(label))
    }

    /// Returns the cosines and the sines of the positions from an offset on, if a graph is recorded.
    fn recorded_tables(&self, x: &Signal, positions: &Positions) -> Result<Option<[Tensor; 2]>> {
        let Positions::Offset(offset) = *positions else { return Ok(None) };
        if !graph::is_recorded() {
            return Ok(None);
        }
        let length = self.check_input(x.dims()?)?;
        let end = checked_end(offset, length)?;
        Ok(Some(self.compute_tables(offset..end, &x.to_meta()?.empty(0)?)?.0))
    }

    /// Checks the shapes and the dtypes of inputs of which one or both have no numbers.
    fn output_meta(&self, x: Signal, positions: Positions) -> Result<Signal> {
        let length = self.check_input(x.dims()?)?;
        let rows = match positions {
            Positions::Offset(offset) => {
                checked_end(offset, length)?;
                vec![length]
            }
            Positions::Each(positions) => {
                let positions = tensor_or_view(positions)?;
                check_positions(&positions, x.dims()?)?;
                positions.dims().to_vec()
            }
        };
        let table = Tensor::zeros((), compute_dtype(x.dtype()?), &x.device()?)?;
        let table = table.broadcast_as([&rows[..], &[self.dim / 2]].concat())?;
        check_rotary(x, &table, &table)
    }

    /// Checks the settings and the shape of an input. Returns the number of positions.
    fn check_input(&self, x: &[usize]) -> Result<usize> {
        // A layer that is used as its own config, without `init`, is not checked before.
        self.clone().checked()?;
        let &[.., length, features] = x else {
            return Err(Error::msg(format!("expected an input […, length, features], found {x:?}")));
        };
        if features < self.dim {
            return Err(Error::msg(format!("expected at least {} features, found {features}", self.dim)));
        }
        Ok(length)
    }

    fn rotate(&self, x: &Tensor, positions: Positions) -> Result<Tensor> {
        let length = self.check_input(x.dims())?;
        let [cos, sin] = match positions {
            Positions::Offset(offset) => {
                let end = checked_end(offset, length)?;
                if self.stores(end) {
                    self.tables(end, x)?.0.map(|table| table.narrow(0, offset, length))
                } else {
                    self.compute_tables(offset..end, x)?.0.map(Ok)
                }
            }
            Positions::Each(positions) => {
                let positions = positions.into_tensor()?;
                let indices = checked_positions(&positions, x)?;
                let end = indices.iter().max().map_or(0, |last| last.saturating_add(1));
                let tables = if self.stores(end) {
                    let rows = indices.iter().map(|index| *index as i64).collect::<Vec<_>>();
                    let rows = Tensor::from_vec(rows, indices.len(), x.device())?;
                    self.tables(end, x)?.0.map(|table| table.index_select(&rows, 0))
                } else {
                    self.compute_tables(indices.into_iter(), x)?.0.map(Ok)
                };
                let shape = [positions.dims(), &[self.dim / 2]].concat();
                tables.map(|table| table?.reshape(&shape[..]))
            }
        };
        Ok(rotary_embedding(x, &cos?, &sin?, self.interleaved)?)
    }

    /// Returns `true` if the layer stores the angles of the positions below `end`.
    fn stores(&self, end: usize) -> bool {
        end <= self.max_seq_len.max(MAX_STORED_POSITIONS)
    }

    /// Returns stored tables for the positions below `end` or more, in the dtype in which `x` is rotated.
    fn tables(&self, end: usize, x: &Tensor) -> Result<Tables> {
        let stored = || self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let are_of = |tables: &Tables| tables.are_of(compute_dtype(x.dtype()), x.device());
        if let Some(tables) = stored().iter().find(|tables| are_of(tables) && tables.positions() >= end) {
            return Ok(tables.clone());
        }
        // Other threads can read the stored tables while this one computes longer ones.
        let rows = end.checked_next_power_of_two().unwrap_or(end).max(self.max_seq_len);
        let tables = self.compute_tables(0..rows, x)?;
        let mut stored = stored();
        stored.retain(|old| !are_of(old) || old.positions() > rows);
        stored.push(tables.clone());
        Ok(tables)
    }

    /// Computes the angles of some positions, in the dtype in which `x` is rotated.
    fn compute_tables(&self, positions: impl ExactSizeIterator<Item = usize>, x: &Tensor) -> Result<Tables> {
        let (rows, pairs) = (positions.len(), self.dim / 2);
        if !can_allocate::<f64>(&[rows, self.dim]) {
            return Err(Error::msg(format!("not enough memory for the angles of {rows} positions")));
        }
        let speeds: Vec<f64> = (0..pairs).map(|i| self.base.powf(-2. * i as f64 / self.dim as f64)).collect();
        let angles = positions.flat_map(|position| speeds.iter().map(move |speed| position as f64 * speed));
        let (sines, cosines): (Vec<f64>, Vec<f64>) = angles.map(f64::sin_cos).unzip();
        let table = |values: Vec<f64>| {
            let table = Tensor::from_vec(values, (rows, pairs), &Device::Cpu)?;
            table.to_dtype(compute_dtype(x.dtype()))?.to_device(x.device())
        };
        Ok(Tables([table(cosines)?, table(sines)?]))
    }
}

/// Returns the dtype in which inputs of `dtype` are rotated.
fn compute_dtype(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// Returns the position after the last of `length` positions from `offset` on.
fn checked_end(offset: usize, length: usize) -> Result<usize> {
    let error =
        || Error::msg(format!("expected {length} positions from an offset below 2^64, found {offset}"));
    offset.checked_add(length).ok_or_else(error)
}

/// Checks the shape and the dtype of the positions of the elements of an input of shape `x`.
fn check_positions(positions: &Tensor, x: &[usize]) -> Result<()> {
    let fits = match (positions.dims(), x) {
        ([length], [.., expected, _]) => length == expected,
        ([batch, length], [first, .., expected, _]) => batch == first && length == expected,
        _ => false,
    };
    if !fits {
        return Err(Error::msg(format!(
            "expected positions [length] or [batch, length] for an input [batch, …, length, features], found {:?} and \
             {x:?}",
            positions.dims()
        )));
    }
    Ok(check_integers("expected positions", positions)?)
}

/// Checks the positions of the elements of `x`. Returns them in row-major order.
fn checked_positions(positions: &Tensor, x: &Tensor) -> Result<Vec<usize>> {
    check_positions(positions, x.dims())?;
    let position = |position: i64| {
        usize::try_from(position)
            .map_err(|_| Error::msg(format!("expected positions of at least 0, found {position}")))
    };
    integers("expected positions", positions)?.into_iter().map(position).collect()
}

impl Forward for RotaryEmbedding {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
        self.run(x, Positions::default())
    }
}

#[diagnostic::do_not_recommend]
impl ForwardWith<(Signal, Positions)> for RotaryEmbedding {
    type Output = Signal;

    fn forward_pass_with(&self, (x, positions): (Signal, Positions), _: Mode) -> Signal {
        self.run(x, positions)
    }
}

stateless!(RotaryEmbedding, "RotaryEmbedding", |this| format!(
    "{}, base={}, interleaved={}",
    this.dim,
    python_float(this.base),
    python_bool(this.interleaved)
));
self_config!(RotaryEmbedding);
