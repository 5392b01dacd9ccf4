//! Separable linear maps of planes and of videos: average pooling, resampling, and their gradients.
//!
//! Each target frame is a weighted sum of consecutive source frames, and the same holds for rows and for columns. A
//! plane is a video with a single frame. The transposed map has the same form and computes the gradient. Because every
//! target row is computed separately, tasks consist of target rows, of one video or of several videos.

mod axis;
mod columns;
mod rows;
mod runs;
mod stored;

use std::mem::{MaybeUninit, take};

use candle_core::backend::BackendStorage;
use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, DType, Layout, Result, Shape, Storage, Tensor, bail};
use half::{bf16, f16};

use crate::element::{not_a_float, span};
use crate::float::Float;
use crate::memory::vec_written_by;
use crate::operation::CpuOperand;
use crate::parallel::{cost, for_each_chunk};
use crate::simd::{Lanes, Real, Task, isa};

pub(crate) use axis::AxisMap;
use columns::Columns;
use rows::Rows;
use runs::RunSums;
pub(crate) use stored::Stored;

/// A separable linear map from source videos to target videos.
pub(crate) struct SeparableMap {
    /// The map along the depth; `None` if there are planes instead of videos.
    pub frames: Option<AxisMap>,
    pub rows: AxisMap,
    pub columns: AxisMap,
    /// The numbers that divide the source elements before the map.
    pub source_divisors: Option<Divisors>,
    /// The numbers that divide the target elements after the map.
    pub target_divisors: Option<Divisors>,
}

/// The divisors of the elements of a video. The divisor of an element is that of its frame times that of its row times
/// that of its column.
#[derive(Clone)]
pub(crate) struct Divisors {
    /// A single one for planes.
    pub frames: Vec<usize>,
    pub rows: Vec<usize>,
    pub columns: Vec<usize>,
}

impl SeparableMap {
    /// Returns the map that computes the gradient of the sources from the gradient of the targets.
    pub fn transposed(&self) -> Self {
        Self {
            frames: self.frames.as_ref().map(AxisMap::transposed),
            rows: self.rows.transposed(),
            columns: self.columns.transposed(),
            source_divisors: self.target_divisors.clone(),
            target_divisors: self.source_divisors.clone(),
        }
    }

    /// Implements [`Operation::forward`](crate::operation::Operation::forward) for the operation `op`.
    pub fn forward(&self, op: &str, (x, layout): CpuOperand) -> Result<(CpuStorage, Shape)> {
        let axes = || self.frames.iter().chain([&self.rows, &self.columns]);
        let leading = layout.dims().iter().rev().skip(axes().count()).rev();
        let shape: Vec<usize> = leading.copied().chain(axes().map(|axis| axis.ranges.len())).collect();
        let y = match x.dtype() {
            DType::F32 => self.map_storage::<f32>(x, layout),
            DType::F64 => self.map_storage::<f64>(x, layout),
            DType::F16 => self.map_storage::<f16>(x, layout),
            DType::BF16 => self.map_storage::<bf16>(x, layout),
            other => Err(not_a_float(op, other)),
        };
        Ok((y?, shape.into()))
    }

    /// Implements [`Operation::backward`](crate::operation::Operation::backward) for the operation `op`: returns the
    /// gradient of the sources from that of the targets.
    pub fn gradient(&self, op: &str, grad: &Tensor) -> Result<Tensor> {
        let grad = grad.contiguous()?;
        let (storage, layout) = grad.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else {
            bail!("{op}: expected a gradient on the CPU, found one on {:?}", grad.device().location())
        };
        let (dx, shape) = self.transposed().forward(op, (storage, layout))?;
        Ok(Tensor::from_storage(Storage::Cpu(dx), shape, BackpropOp::none(), false))
    }

    fn map_storage<T: Stored>(&self, x: &CpuStorage, layout: &Layout) -> Result<CpuStorage> {
        match span(layout) {
            Some(span) => Ok(T::to_cpu_storage_owned(self.apply(&T::cpu_storage_as_slice(x)?[span]))),
            None => bail!("expected a contiguous tensor, found strides {:?}", layout.stride()),
        }
    }

    /// Maps every video of `x`.
    fn apply<T: Stored>(&self, x: &[T]) -> Vec<T> {
        let isa = isa();
        let map = PreparedMap::new(self, T::Real::lanes(isa));
        let [source_len, target_len] = [map.source, map.target].map(|size| size.iter().product::<usize>());
        let row_elements = source_len.max(target_len).div_ceil(map.target[0] * map.target[1]);
        let rows = cost::MIN_ELEMENTS.div_ceil(row_elements);
        let tasks = |y: &mut [_]| {
            for_each_chunk(y, rows * map.target[2], |task, y| {
                T::Real::dispatch(isa, RowsTask { map: &map, x, first: task * rows, y });
            });
        };
        // SAFETY: the chunks cover the whole output, and a task writes every element of its chunk.
        unsafe { vec_written_by(x.len() / source_len * target_len, tasks) }
    }
}

/// A map with the tables of its kernel.
struct PreparedMap<R> {
    /// The `[depth, height, width]` of source videos.
    source: [usize; 3],
    /// The `[depth, height, width]` of target videos.
    target: [usize; 3],
    rows: Rows<R>,
    columns: Columns<R>,
    /// The sums of whole rows, if the map has this form.
    run_sums: Option<RunSums<R>>,
}

impl<R: Real + Stored<Real = R>> PreparedMap<R> {
    fn new(map: &SeparableMap, lanes: usize) -> Self {
        let frames = map.frames.clone().unwrap_or_else(AxisMap::single);
        let axes = [&frames, &map.rows, &map.columns];
        Self {
            source: axes.map(|axis| axis.sources),
            target: axes.map(|axis| axis.ranges.len()),
            rows: Rows::new(map, &frames, lanes),
            columns: Columns::new(map, lanes),
            run_sums: RunSums::new(map),
        }
    }
}

/// Computes consecutive target rows.
struct RowsTask<'a, T: Stored> {
    map: &'a PreparedMap<T::Real>,
    /// All source videos.
    x: &'a [T],
    /// The index of the first target row among the rows of all videos.
    first: usize,
    y: &'a mut [MaybeUninit<T>],
}

impl<T: Stored> Task<T::Real> for RowsTask<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<Real = T::Real>>(self, lanes: L) {
        let Self { map, x, first, mut y } = self;
        if let Some(run_sums) = &map.run_sums {
            return run_sums.run(lanes, x, first, y);
        }
        let ([_, _, width], [target_depth, target_height, target_width]) = (map.source, map.target);
        let source_len = map.source.iter().product::<usize>();
        // The column pass also loads vectors that begin before the end of the row and end after it.
        let mut sums = vec![T::Real::ZERO; width + 2 * L::LANES];
        let mut taps = Vec::new();
        let (mut frame, mut row) = (first / target_height, first % target_height);
        while !y.is_empty() {
            let target = [frame % target_depth, row];
            let count = map.rows.equal_rows(row).min(y.len() / target_width);
            let equal_rows;
            (equal_rows, y) = take(&mut y).split_at_mut(count * target_width);
            map.rows.sum(
                lanes,
                &x[frame / target_depth * source_len..][..source_len],
                target,
                &mut taps,
                &mut sums,
            );
            map.columns.sum(lanes, &sums, map.rows.target_divisor(target), equal_rows);
            row += count;
            if row == target_height {
                frame += 1;
                row = 0;
            }
        }
    }
}
