//! Rotary position embedding (Su et al. 2021, <https://arxiv.org/abs/2104.09864>).

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};

use crate::display::{python_bool, python_float};
use crate::kernels::internal::can_allocate;
use crate::kernels::rotary_embedding;
use crate::module::{Forward, ForwardWith, Mode};
use crate::signal::{Leading, NeedsNumbers, Signal};
use crate::{Error, Result};

use super::{self_config, stateless};

/// Rotates pairs of features by angles that are proportional to the position.
///
/// - Config: `RotaryEmbedding::config(dim)`; setters `max_seq_len` (4096), `base` (10000), `interleaved` (true)
/// - Input: `rotary(x)` or `rotary(x, positions)` in a forward closure, with `x` of `[…, length, features]`; see
///   [`Positions`]
/// - Output: the shape of `x`
/// - Fails if `dim` is 0 or odd, if `base` is not positive and finite, if `x` has fewer than `dim` features, if the
///   positions do not match `x`, or if the angles of all positions up to the last do not fit in memory
///
/// At position `p`, pair `i` is rotated by the angle `p · base^(−2i / dim)`. Apply the layer to the queries and to the
/// keys: their products then depend only on the distance between the positions. Without positions, the positions are
/// `0..length`.
///
/// With `interleaved`, as in torchtune and the original Llama, pair `i` consists of the features `2i` and `2i + 1`.
/// Without, as in Hugging Face's Llama and GPT-NeoX, pair `i` consists of the features `i` and `i + dim / 2`. Features
/// after the first `dim` are unchanged, as in GPT-NeoX and Phi.
///
/// Unlike torchtune's `RotaryPositionalEmbeddings`, the layer expects the heads before the positions, as
/// [`scaled_dot_product_attention`](crate::functional::scaled_dot_product_attention) does. It computes the angles in
/// f64, and stores the cosines and sines of the first `max_seq_len` positions, or of more if a sequence is longer.
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
    /// The tables of the last dtype and device. Clones share them.
    tables: Arc<Mutex<Option<Tables>>>,
}

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

/// The cosines and sines of the angles of the first positions, `[positions, pairs]` each.
#[derive(Clone)]
struct Tables([Tensor; 2]);

impl Tables {
    fn contains(&self, positions: usize, dtype: DType, device: &Device) -> bool {
        let cos = &self.0[0];
        cos.dims()[0] >= positions && cos.dtype() == dtype && cos.device().same_device(device)
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

    /// Sets the base of the powers that are the speeds of rotation. Default: 10000.
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
        let rotate =
            |x: &Tensor, positions| self.rotate(x, positions).map_err(|error| error.in_layer(self.label()));
        if x.is_meta() {
            return x.apply("rotary_embedding", Leading, |probe| rotate(&probe, Positions::Offset(0)));
        }
        x.apply("rotary_embedding", NeedsNumbers, |x| rotate(&x, positions))
    }

    fn rotate(&self, x: &Tensor, positions: Positions) -> Result<Tensor> {
        // A layer that is used as its own config, without `init`, is not checked before.
        self.clone().checked()?;
        let &[.., length, features] = x.dims() else {
            return Err(Error::msg(format!("expected an input […, length, features], found {:?}", x.dims())));
        };
        if features < self.dim {
            return Err(Error::msg(format!("expected at least {} features, found {features}", self.dim)));
        }
        let [cos, sin] = match positions {
            Positions::Offset(offset) => {
                let tables = self.tables(offset.checked_add(length), x)?;
                tables.0.map(|table| table.narrow(0, offset, length))
            }
            Positions::Each(positions) => {
                let positions = positions.into_tensor()?;
                let (indices, count) = checked_positions(&positions, x)?;
                let tables = self.tables(Some(count), x)?;
                let shape = [positions.dims(), &[self.dim / 2]].concat();
                tables.0.map(|table| table.index_select(&indices, 0)?.reshape(&shape[..]))
            }
        };
        Ok(rotary_embedding(x, &cos?, &sin?, self.interleaved)?)
    }

    /// Returns tables for the positions below `count`, in the dtype in which `x` is rotated. `None` stands for a number
    /// that is too large.
    fn tables(&self, count: Option<usize>, x: &Tensor) -> Result<Tables> {
        let dtype = if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(tables), Some(count)) = (&*tables, count)
            && tables.contains(count, dtype, x.device())
        {
            return Ok(tables.clone());
        }
        let rows = count.and_then(usize::checked_next_power_of_two).map(|rows| rows.max(self.max_seq_len));
        let rows = rows.filter(|rows| can_allocate::<f64>(&[*rows, self.dim]));
        let Some(rows) = rows else {
            let count = count.map_or("too many".into(), |count| count.max(self.max_seq_len).to_string());
            return Err(Error::msg(format!("not enough memory for the angles of {count} positions")));
        };
        Ok(tables.insert(self.compute_tables(rows, dtype, x.device())?).clone())
    }

    fn compute_tables(&self, rows: usize, dtype: DType, device: &Device) -> Result<Tables> {
        let pairs = self.dim / 2;
        let speeds: Vec<f64> = (0..pairs).map(|i| self.base.powf(-2. * i as f64 / self.dim as f64)).collect();
        let angles = (0..rows).flat_map(|position| speeds.iter().map(move |speed| position as f64 * speed));
        let (sines, cosines): (Vec<f64>, Vec<f64>) = angles.map(f64::sin_cos).unzip();
        let table = |values: Vec<f64>| {
            Tensor::from_vec(values, (rows, pairs), &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
        };
        Ok(Tables([table(cosines)?, table(sines)?]))
    }
}

/// Checks the positions of the elements of `x`. Returns them as one dimension of indices, and the number of positions
/// up to the last.
fn checked_positions(positions: &Tensor, x: &Tensor) -> Result<(Tensor, usize)> {
    let fits = match (positions.dims(), x.dims()) {
        ([length], [.., expected, _]) => length == expected,
        ([batch, length], [first, .., expected, _]) => batch == first && length == expected,
        _ => false,
    };
    if !fits {
        return Err(Error::msg(format!(
            "expected positions [length] or [batch, length] for an input [batch, …, length, features], found \
             {:?} and {:?}",
            positions.dims(),
            x.dims()
        )));
    }
    if !matches!(positions.dtype(), DType::U8 | DType::U32 | DType::I64) {
        return Err(Error::msg(format!(
            "expected positions of u8, u32 or i64, found {:?}",
            positions.dtype()
        )));
    }
    let indices = positions.flatten_all()?.to_dtype(DType::I64)?;
    let values = indices.to_vec1::<i64>()?;
    if let Some(negative) = values.iter().find(|position| **position < 0) {
        return Err(Error::msg(format!("expected positions of at least 0, found {negative}")));
    }
    let count = values.iter().max().map_or(0, |last| (*last as usize).saturating_add(1));
    Ok((indices, count))
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
