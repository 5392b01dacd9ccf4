//! Convolutions of sequences and videos as convolutions of images, for which the kernels are written.

use candle_core::{Result, Tensor, bail};

use crate::arithmetic::{Binary, binary};
use crate::element::{compute_dtype, in_f32, widened};
use crate::planes::fits;
use crate::relay::{Reshaped, reshape};

use super::axes::Axes;
use super::frames::{FrameWindows, add_frames, gather_frames};
use super::shape::{check_dtype_and_device, check_epilogue_dtypes};
use super::{ConvGeometry, Epilogue, PackedCache, TransposeGeometry, conv_transpose2d, conv2d};

/// The images as which a convolution reads its input and writes its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageForm {
    /// A sequence `[batch, channels, length]` is an image `[batch, channels, 1, length]`.
    Row,
    /// An image is itself.
    Image,
    /// A video `[batch, channels, depth, height, width]` is an image `[batch, channels, depth, height · width]`: the
    /// kernel covers one pixel of a frame, and every pixel of a frame has an output.
    FlatFrames,
    /// The frames of each window along the depth are the channels of an image. For a transposed convolution, each frame
    /// is an image, and the channels of the output are added to the frames of a window.
    Frames(FrameWindows),
}

impl ImageForm {
    /// Returns the form of a convolution, and its settings as a convolution of images.
    pub fn of_convolution(
        axes: Axes,
        kernel: [usize; 3],
        geometry: &ConvGeometry<3>,
    ) -> (Self, ConvGeometry) {
        let ConvGeometry { stride, padding, dilation, groups } = *geometry;
        let plane = ConvGeometry {
            stride: [stride[1], stride[2]],
            padding: [padding[1], padding[2]],
            dilation: [dilation[1], dilation[2]],
            groups,
        };
        let is_flat = kernel[1..] == [1, 1] && plane.stride == [1; 2] && plane.padding == [[0; 2]; 2];
        let frames =
            FrameWindows { kernel: kernel[0], stride: stride[0], padding: padding[0], dilation: dilation[0] };
        let flat = ConvGeometry {
            stride: [stride[0], 1],
            padding: [padding[0], [0; 2]],
            dilation: [dilation[0], 1],
            groups,
        };
        Self::choose(axes, frames, is_flat, [plane, flat])
    }

    /// Returns the form of a transposed convolution, and its settings as a transposed convolution of images.
    pub fn of_transposed(
        axes: Axes,
        kernel: [usize; 3],
        geometry: &TransposeGeometry<3>,
    ) -> (Self, TransposeGeometry) {
        let TransposeGeometry { stride, padding, output_padding, dilation, groups } = *geometry;
        let plane = TransposeGeometry {
            stride: [stride[1], stride[2]],
            padding: [padding[1], padding[2]],
            output_padding: [output_padding[1], output_padding[2]],
            dilation: [dilation[1], dilation[2]],
            groups,
        };
        let is_flat = kernel[1..] == [1, 1]
            && [plane.stride, plane.padding, plane.output_padding] == [[1; 2], [0; 2], [0; 2]];
        let frames = FrameWindows {
            kernel: kernel[0],
            stride: stride[0],
            padding: [padding[0]; 2],
            dilation: dilation[0],
        };
        let flat = TransposeGeometry {
            stride: [stride[0], 1],
            padding: [padding[0], 0],
            output_padding: [output_padding[0], 0],
            dilation: [dilation[0], 1],
            groups,
        };
        Self::choose(axes, frames, is_flat, [plane, flat])
    }

    /// Returns the form, and the settings that it needs: `plane` for frames as separate images, `flat` for frames in
    /// one image. `is_flat` says that a kernel of three axes reads one pixel of each frame.
    fn choose<G>(axes: Axes, frames: FrameWindows, is_flat: bool, [plane, flat]: [G; 2]) -> (Self, G) {
        match axes {
            Axes::One => (Self::Row, plane),
            Axes::Two => (Self::Image, plane),
            Axes::Three if is_flat => (Self::FlatFrames, flat),
            Axes::Three => (Self::Frames(frames), plane),
        }
    }

    /// Returns the axes of the convolution.
    pub fn axes(self) -> Axes {
        match self {
            Self::Row => Axes::One,
            Self::Image => Axes::Two,
            Self::FlatFrames | Self::Frames(_) => Axes::Three,
        }
    }

    /// Returns the shape of the weight as a weight for images.
    pub fn weight_dims(self, channels: [usize; 2], [depth, height, width]: [usize; 3]) -> [usize; 4] {
        let [first, second] = channels;
        match self {
            Self::Row | Self::Image => [first, second, height, width],
            Self::FlatFrames => [first, second, depth, 1],
            Self::Frames(_) => [first, second.saturating_mul(depth), height, width],
        }
    }

    /// Returns the channels and the `[depth, height, width]` of the kernel from the shape of a weight for images, or
    /// `None` if the shape does not have four dimensions.
    pub fn weight_sizes(self, weight: &[usize]) -> Option<([usize; 2], [usize; 3])> {
        let &[first, second, height, width] = weight else { return None };
        Some(match self {
            Self::Row | Self::Image => ([first, second], [1, height, width]),
            Self::FlatFrames => ([first, second], [height, 1, 1]),
            Self::Frames(FrameWindows { kernel, .. }) => ([first, second / kernel], [kernel, height, width]),
        })
    }

    /// Returns a tensor as images. The frames of a video are separate images, unless they are flat.
    fn to_image(self, x: &Tensor) -> Result<Reshaped> {
        if !fits(x.dims()) {
            bail!("a tensor of shape {:?} is too large", x.dims())
        }
        match (self, x.dims()) {
            (Self::Row, &[batch, channels, length]) => reshape(x, (batch, channels, 1, length)),
            (Self::FlatFrames, &[batch, channels, depth, height, width]) => {
                reshape(x, (batch, channels, depth, height * width))
            }
            (Self::Frames(_), _) => Ok(gather_frames(x, FrameWindows::SINGLE)?.into()),
            _ => Ok(x.clone().into()),
        }
    }

    /// Returns images, which [`to_image`](Self::to_image) could have returned, as a tensor of the convolution's axes.
    /// `input` is the shape of the convolution's input.
    fn join_images(self, y: &Tensor, input: &[usize]) -> Result<Tensor> {
        match (self, input) {
            (Self::Row, _) => {
                let (batch, channels, _, length) = y.dims4()?;
                Ok(reshape(y, (batch, channels, length))?.into_tensor())
            }
            (Self::Image, _) => Ok(y.clone()),
            (Self::FlatFrames, &[.., height, width]) => {
                let (batch, channels, depth, _) = y.dims4()?;
                Ok(reshape(y, (batch, channels, depth, height, width))?.into_tensor())
            }
            (Self::Frames(windows), &[batch, _, depth, ..]) => {
                add_frames(y, FrameWindows::SINGLE, batch, windows.count(depth)?)
            }
            _ => bail!("expected a video, found an input {input:?}"),
        }
    }

    /// Convolves the input and applies the epilogue. The input, the residual and the result have the
    /// [`axes`](Self::axes) of the convolution; `weight` and `geometry` are those of the images.
    ///
    /// # Errors
    /// Fails under the same conditions as [`conv2d`].
    pub fn convolve(
        self,
        input: &Tensor,
        weight: &Tensor,
        geometry: &ConvGeometry,
        epilogue: &Epilogue,
        packed: Option<&PackedCache>,
    ) -> Result<Tensor> {
        if self == Self::Image {
            return conv2d(input, weight, geometry, epilogue, packed);
        }
        let dtype = input.dtype();
        if self.adds_frames() && input.track_op() && compute_dtype(dtype) != dtype {
            // The gradient of the input adds frames. Only in f32 is it rounded once.
            check_dtype_and_device("conv3d", "weight", weight, input)?;
            check_epilogue_dtypes("conv3d", epilogue, input)?;
            let [x, weight] = [widened(input)?, widened(weight)?];
            return self.convolve(&x, &weight, geometry, &epilogue.widened()?, None)?.to_dtype(dtype);
        }
        let residual = epilogue.residual.as_ref().map(|residual| self.to_image(residual)).transpose()?;
        let epilogue = Epilogue { residual: residual.as_deref().cloned(), ..epilogue.clone() };
        let images = match self {
            Self::Frames(windows) => gather_frames(input, windows)?.into(),
            _ => self.to_image(input)?,
        };
        self.join_images(&conv2d(&images, weight, geometry, &epilogue, packed)?, input.dims())
    }

    /// Computes the transposed convolution of the input and adds a bias. The input and the result have the
    /// [`axes`](Self::axes) of the convolution; `weight` and `geometry` are those of the images. `depth` is the depth
    /// of the result.
    ///
    /// # Errors
    /// Fails under the same conditions as [`conv_transpose2d`].
    pub fn convolve_transposed(
        self,
        input: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        geometry: &TransposeGeometry,
        depth: usize,
    ) -> Result<Tensor> {
        let images = self.to_image(input)?;
        let Self::Frames(windows) = self else {
            return self.join_images(&conv_transpose2d(&images, weight, bias, geometry)?, input.dims());
        };
        for (name, tensor) in [("weight", Some(weight)), ("bias", bias)] {
            tensor
                .map_or(Ok(()), |tensor| check_dtype_and_device("conv_transpose3d", name, tensor, input))?;
        }
        // In f32, the sum of frames and the bias is rounded once.
        in_f32(&images, |images| {
            let y = conv_transpose2d(images, &widened(weight)?, None, geometry)?;
            let y = add_frames(&y, windows, input.dim(0)?, depth)?;
            match bias {
                Some(bias) => {
                    let bias = widened(bias)?.reshape((y.dim(1)?, 1, 1, 1))?;
                    binary(Binary::Add, &y, &bias)
                }
                None => Ok(y),
            }
        })
    }

    /// Returns `true` if the gradient of a convolution's input adds several frames of images.
    fn adds_frames(self) -> bool {
        matches!(self, Self::Frames(FrameWindows { kernel: 2.., .. }))
    }
}
