//! The frames of videos as images. A video is `[batch, channels, depth, height, width]`, and each index along its depth
//! is a frame.
//!
//! [`gather_frames`] copies the frames of each window along the depth to the channels of one image, so that a
//! convolution over three axes becomes one over two. [`add_frames`] adds the channels of images to the frames of their
//! windows. Each computes the gradient of the other. In both, a plane (one channel of a frame) of the result is a sum
//! of planes of the operand, mostly of a single one.

use std::mem::MaybeUninit;

use candle_core::backend::BackendStorage;
use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, Result, Shape, Storage, Tensor, bail};
use half::{bf16, f16};

use crate::composed_path::has_cpu_kernels;
use crate::element::{not_a_float, span};
use crate::empty::empty_output;
use crate::float::Float;
use crate::memory::{can_allocate, vec_written_by};
use crate::operation::{CpuOperand, Operation};
use crate::parallel::{cost, for_each_chunk};
use crate::planes::fits;
use crate::relay;
use crate::separable::Stored;
use crate::simd::{Lanes, Real, Task, isa};

use super::ConvGeometry;

/// Windows along the depth of a video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameWindows {
    /// The number of frames in a window.
    pub kernel: usize,
    /// The distance between neighboring windows.
    pub stride: usize,
    /// The number of frames of zeros before the first and after the last frame.
    pub padding: [usize; 2],
    /// The distance between neighboring frames of a window.
    pub dilation: usize,
}

impl FrameWindows {
    /// Windows of a single frame each.
    pub const SINGLE: Self = Self { kernel: 1, stride: 1, padding: [0; 2], dilation: 1 };

    /// Returns the number of windows of a video of `depth` frames.
    ///
    /// # Errors
    /// Fails if the padded video has fewer frames than a window reaches, or if the kernel or the stride is 0.
    pub fn count(&self, depth: usize) -> Result<usize> {
        let Self { kernel, stride, padding, dilation } = *self;
        let windows = ConvGeometry { stride: [stride], padding: [padding], dilation: [dilation], groups: 1 };
        match windows.output_size([depth], [kernel]) {
            Some([count]) => Ok(count),
            None => bail!("expected a video of at least one window {self:?}, found {depth} frames"),
        }
    }
}

/// Copies the frames of each window of a video to the channels of an image.
///
/// - `x`: `[batch, channels, depth, height, width]`
/// - returns `[batch · windows, channels · kernel, height, width]`; frames in the padding are zeros
///
/// # Errors
/// Fails if the rank is not 5, [`FrameWindows::count`] fails, the dtype is not floating point, or the output does not
/// fit in memory.
pub(super) fn gather_frames(x: &Tensor, windows: FrameWindows) -> Result<Tensor> {
    let (batch, channels, depth, height, width) = x.dims5()?;
    let count = windows.count(depth)?;
    let frames = Frames { windows, batch, channels, depth, count, size: [height, width] };
    frames.run(x, Direction::Gather)
}

/// Adds the channels of images to the frames of their windows in videos of `depth` frames.
///
/// - `x`: `[batch · windows, channels · kernel, height, width]`
/// - returns `[batch, channels, depth, height, width]`; frames in the padding are dropped
///
/// # Errors
/// Fails if the rank is not 4, `batch` does not divide the images or the size of a window the channels, the windows
/// reach too many frames, the dtype is not floating point, or the output does not fit in memory.
pub(super) fn add_frames(x: &Tensor, windows: FrameWindows, batch: usize, depth: usize) -> Result<Tensor> {
    let (images, channels, height, width) = x.dims4()?;
    let count = images / batch.max(1);
    let FrameWindows { kernel, stride, dilation, .. } = windows;
    let last_window = stride.checked_mul(count.saturating_sub(1));
    let last_tap = dilation.checked_mul(kernel.saturating_sub(1));
    let reach = last_window.zip(last_tap).and_then(|(window, tap)| window.checked_add(tap));
    if count * batch != images || !channels.is_multiple_of(kernel) || reach.is_none() {
        bail!("expected the frames of {batch} videos with {windows:?}, found images {:?}", x.dims());
    }
    let channels = channels / kernel;
    let frames = Frames { windows, batch, channels, depth, count, size: [height, width] };
    frames.run(x, Direction::Add)
}

/// Videos, and the images that the windows of their frames become.
#[derive(Clone, Copy)]
struct Frames {
    windows: FrameWindows,
    batch: usize,
    channels: usize,
    depth: usize,
    /// The number of windows, and so of images, of each video.
    count: usize,
    /// `[height, width]`.
    size: [usize; 2],
}

impl Frames {
    /// Returns the number of elements of a plane.
    fn plane_len(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Returns the shape of the result.
    fn output_dims(&self, direction: Direction) -> Vec<usize> {
        let [height, width] = self.size;
        match direction {
            Direction::Gather => {
                let images = self.batch.saturating_mul(self.count);
                vec![images, self.channels.saturating_mul(self.windows.kernel), height, width]
            }
            Direction::Add => vec![self.batch, self.channels, self.depth, height, width],
        }
    }

    fn run(self, x: &Tensor, direction: Direction) -> Result<Tensor> {
        let dims = self.output_dims(direction);
        if !fits(&dims) || !can_allocate::<f64>(&dims) {
            bail!("{}: not enough memory for an output of {dims:?}", direction.name());
        }
        if !x.is_contiguous() && !can_allocate::<f64>(x.dims()) {
            bail!("{}: not enough memory for a copy of {:?}", direction.name(), x.dims());
        }
        if dims.contains(&0) {
            return empty_output(&[x], dims);
        }
        if has_cpu_kernels(x) {
            relay::apply([&x.contiguous()?], FrameOperation { frames: self, direction })
        } else {
            match direction {
                Direction::Gather => self.gather_composed(x),
                Direction::Add => self.add_composed(x),
            }?
            .reshape(dims)
        }
    }

    /// Appends to `sources` the planes of the images that belong to a plane of the video.
    fn sources_in_images(&self, plane: usize, sources: &mut Vec<usize>) {
        let Self { windows, channels, depth, count, .. } = *self;
        let FrameWindows { kernel, stride, padding: [padding, _], dilation } = windows;
        let (video_channel, frame) = (plane / depth, plane % depth);
        let (video, channel) = (video_channel / channels, video_channel % channels);
        for tap in 0..kernel {
            let Some(start) = (frame + padding).checked_sub(tap * dilation) else { break };
            if start.is_multiple_of(stride) && start / stride < count {
                sources.push(((video * count + start / stride) * channels + channel) * kernel + tap);
            }
        }
    }

    /// Appends to `sources` the plane of the video that belongs to a plane of the images, unless it is outside the
    /// video.
    fn source_in_video(&self, plane: usize, sources: &mut Vec<usize>) {
        let Self { windows, channels, depth, count, .. } = *self;
        let (image_channel, tap) = (plane / windows.kernel, plane % windows.kernel);
        let (image, channel) = (image_channel / channels, image_channel % channels);
        let (video, window) = (image / count, image % count);
        if let Some(frame) = self.frame(window, tap) {
            sources.push((video * channels + channel) * depth + frame);
        }
    }

    /// Returns the frame of a tap of a window, or `None` if the frame is padding.
    fn frame(&self, window: usize, tap: usize) -> Option<usize> {
        let FrameWindows { stride, padding: [padding, _], dilation, .. } = self.windows;
        (window * stride + tap * dilation).checked_sub(padding).filter(|frame| *frame < self.depth)
    }

    /// Computes the result of one direction on the CPU.
    fn compute<T: Stored>(&self, direction: Direction, x: &[T]) -> Vec<T> {
        let len = self.output_dims(direction).iter().product();
        let planes = cost::MIN_ELEMENTS.div_ceil(self.plane_len());
        let tasks = |y: &mut [_]| {
            for_each_chunk(y, planes * self.plane_len(), |task, y| {
                let first = task * planes;
                T::Real::dispatch(isa(), PlanesTask { frames: self, direction, x, first, y });
            });
        };
        // SAFETY: the chunks cover the whole output, and a task writes every element of its chunk.
        unsafe { vec_written_by(len, tasks) }
    }

    fn compute_storage(&self, direction: Direction, (x, layout): CpuOperand) -> Result<(CpuStorage, Shape)> {
        let Some(span) = span(layout) else {
            bail!("expected a contiguous tensor, found strides {:?}", layout.stride())
        };
        let y = match x {
            CpuStorage::F32(x) => CpuStorage::F32(self.compute(direction, &x[span])),
            CpuStorage::F64(x) => CpuStorage::F64(self.compute(direction, &x[span])),
            CpuStorage::F16(x) => CpuStorage::F16(self.compute::<f16>(direction, &x[span])),
            CpuStorage::BF16(x) => CpuStorage::BF16(self.compute::<bf16>(direction, &x[span])),
            other => return Err(not_a_float(direction.name(), other.dtype())),
        };
        Ok((y, self.output_dims(direction).into()))
    }

    /// Returns the frame of each tap of each window for the composed paths. Frames in the padding have the index
    /// `depth`.
    fn positions(&self, x: &Tensor) -> Result<Tensor> {
        let Self { count, depth, windows: FrameWindows { kernel, .. }, .. } = *self;
        if u32::try_from(depth).is_err() || u32::try_from(count.saturating_mul(kernel)).is_err() {
            bail!(
                "expected fewer than 2^32 frames, found {depth} frames and {count} windows of {kernel} frames"
            );
        }
        let position = |window: usize, tap: usize| self.frame(window, tap).unwrap_or(depth) as u32;
        let positions = (0..count).flat_map(|window| (0..kernel).map(move |tap| position(window, tap)));
        Tensor::from_iter(positions.collect::<Vec<_>>(), x.device())
    }

    /// The composed path of [`gather_frames`].
    fn gather_composed(&self, x: &Tensor) -> Result<Tensor> {
        let Self { batch, channels, count, .. } = *self;
        let positions = self.positions(x)?;
        let x = x.pad_with_zeros(2, 0, 1)?.flatten_from(3)?.contiguous()?.index_select(&positions, 2)?;
        let x = x.reshape((batch, channels, count, self.windows.kernel, self.plane_len()))?;
        x.transpose(1, 2)?.contiguous()
    }

    /// The composed path of [`add_frames`].
    fn add_composed(&self, x: &Tensor) -> Result<Tensor> {
        let Self { batch, channels, count, depth, .. } = *self;
        let kernel = self.windows.kernel;
        let positions = self.positions(x)?;
        let x = x.reshape((batch, count, channels, kernel, self.plane_len()))?.transpose(1, 2)?;
        let x = x.reshape((batch, channels, count * kernel, self.plane_len()))?;
        let zeros = Tensor::zeros((batch, channels, depth + 1, self.plane_len()), x.dtype(), x.device())?;
        zeros.index_add(&positions, &x, 2)?.narrow(2, 0, depth)?.contiguous()
    }
}

/// The two operations. Each computes the gradient of the other.
#[derive(Clone, Copy)]
enum Direction {
    Gather,
    Add,
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Self::Gather => "gather_frames",
            Self::Add => "add_frames",
        }
    }

    fn opposite(self) -> Self {
        match self {
            Self::Gather => Self::Add,
            Self::Add => Self::Gather,
        }
    }
}

/// Computes consecutive planes of the result.
struct PlanesTask<'a, T> {
    frames: &'a Frames,
    direction: Direction,
    x: &'a [T],
    /// The index of the first plane.
    first: usize,
    y: &'a mut [MaybeUninit<T>],
}

impl<T: Stored> Task<T::Real> for PlanesTask<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<Real = T::Real>>(self, lanes: L) {
        let Self { frames, direction, x, first, y } = self;
        let len = frames.plane_len();
        let mut sources = Vec::new();
        for (plane, y) in y.chunks_exact_mut(len).enumerate() {
            sources.clear();
            match direction {
                Direction::Gather => frames.source_in_video(first + plane, &mut sources),
                Direction::Add => frames.sources_in_images(first + plane, &mut sources),
            }
            match sources[..] {
                [] => y.fill(MaybeUninit::new(T::zero())),
                [source] => copy(&x[source * len..][..len], y),
                [..] => sum_planes(lanes, x, &sources, y),
            }
        }
    }
}

/// Initializes `to` with the elements of `from`.
#[inline(always)]
fn copy<T: Copy>(from: &[T], to: &mut [MaybeUninit<T>]) {
    to.iter_mut().zip(from).for_each(|(to, from)| _ = to.write(*from));
}

/// Writes the sum of several planes of `x`.
#[inline(always)]
fn sum_planes<T: Stored, L: Lanes<Real = T::Real>>(
    lanes: L,
    x: &[T],
    sources: &[usize],
    y: &mut [MaybeUninit<T>],
) {
    let len = y.len();
    for (i, y) in y.chunks_mut(L::LANES).enumerate() {
        let mut sum = lanes.splat(T::Real::ZERO);
        for source in sources {
            sum = lanes.add(sum, T::load(lanes, &x[source * len + i * L::LANES..][..y.len()]));
        }
        T::store(lanes, y, sum);
    }
}

/// One direction as a node of candle's graph.
struct FrameOperation {
    frames: Frames,
    direction: Direction,
}

impl Operation<1> for FrameOperation {
    fn name(&self) -> &'static str {
        self.direction.name()
    }

    fn forward(&self, [x]: [CpuOperand; 1]) -> Result<(CpuStorage, Shape)> {
        self.frames.compute_storage(self.direction, x)
    }

    fn backward(&self, [x]: [&Tensor; 1], _: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let grad = grad.contiguous()?;
        let (storage, layout) = grad.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else {
            bail!("{}: expected a gradient on the CPU", self.name())
        };
        let (dx, _) = self.frames.compute_storage(self.direction.opposite(), (storage, layout))?;
        let dx = Tensor::from_storage(Storage::Cpu(dx), x.shape().clone(), BackpropOp::none(), false);
        Ok([Some(dx)])
    }
}
