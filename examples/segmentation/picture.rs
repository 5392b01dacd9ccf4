//! Pictures of scenes as PNG files.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

use sconce::prelude::*;

use crate::scenes::{CLASSES, SIDE};

/// Each pixel of a scene becomes `SCALE` × `SCALE` pixels of the picture.
const SCALE: usize = 4;

/// Writes a picture of a scene `[1, SIDE, SIDE]`, its classes `[SIDE, SIDE]` and the predicted classes, side by side.
pub fn write(path: &Path, pixels: &Tensor, classes: &Tensor, predicted: &Tensor) -> Result<()> {
    let gray = (pixels.clamp(0., 1.)? * 255.)?.to_dtype(DType::U8)?.reshape((SIDE, SIDE, 1))?;
    let gray = gray.broadcast_as((SIDE, SIDE, 3))?;
    let side_by_side = Tensor::cat(&[gray, colors(classes)?, colors(predicted)?], 1)?;
    let scaled_shape = (SIDE, SCALE, 3 * SIDE, SCALE, 3);
    let unscaled = side_by_side.reshape((SIDE, 1, 3 * SIDE, 1, 3))?;
    let scaled = unscaled.broadcast_as(scaled_shape)?.flatten_all()?;
    Ok(write_png(path, 3 * SIDE * SCALE, SIDE * SCALE, &scaled.to_vec1()?)?)
}

/// Returns the colors `[SIDE, SIDE, 3]` of classes `[SIDE, SIDE]`.
fn colors(classes: &Tensor) -> Result<Tensor> {
    let palette = Tensor::new(&CLASSES.map(|(_, color)| color), &Device::Cpu)?;
    Ok(palette.index_select(&classes.flatten_all()?, 0)?.reshape((SIDE, SIDE, 3))?)
}

fn write_png(path: &Path, width: usize, height: usize, pixels: &[u8]) -> io::Result<()> {
    let file = BufWriter::new(File::create(path)?);
    let mut encoder = png::Encoder::new(file, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    Ok(writer.finish()?)
}
