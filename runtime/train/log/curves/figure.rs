//! The arrangement of charts in a picture, and its formats.

use std::fmt::Display;
use std::sync::LazyLock;

use plotters::prelude::*;
use plotters::style::register_font;

use crate::{Error, Result};

use super::chart::{Canvas, Drawn, Medium, Plot, figure_title};
use super::data::Chart;
use super::png::{CHANNELS, encode};

/// The fonts of the picture, as a list in CSS. An SVG picture contains only the names of its fonts. A PNG picture needs
/// the shapes of the letters, so the embedded font is registered with the list as its name.
pub(super) const FONT: &str = "DejaVu Sans, Verdana, sans-serif";

/// The ASCII characters of DejaVu Sans, see `DejaVuSans.LICENSE.txt`.
const FONT_DATA: &[u8] = include_bytes!("DejaVuSans-subset.ttf");

/// The width and the height of a chart, in pixels of the layout.
const CHART: (u32, u32) = (460, 270);
/// The height of the title, in pixels of the layout.
const TITLE: u32 = 36;
/// The margin at the right and at the bottom, in pixels of the layout.
const MARGIN: u32 = 8;
/// The pixels of a PNG picture per pixel of the layout, for screens of high resolution.
const PNG_SCALE: u32 = 2;
/// The number of samples that are drawn per pixel of a PNG picture, in each direction. Each pixel is the mean of its
/// samples, because plotters does not smooth wide lines.
const SAMPLES: u32 = 2;
/// The units of an SVG picture per pixel of the layout, for smooth curves: plotters rounds coordinates to integers.
const SVG_SCALE: u32 = 8;

/// Draws an SVG picture.
pub(super) fn svg(title: &str, charts: &[Chart]) -> Result<String> {
    let size = size(charts.len());
    let scaled = scaled(size, SVG_SCALE);
    let mut svg = String::new();
    let canvas = SVGBackend::with_string(&mut svg, scaled).into_drawing_area();
    let medium = Medium { scale: f64::from(SVG_SCALE), joins_lines: true, text_shift: 0. };
    canvas.fill(&WHITE).map_err(error)?;
    draw(&canvas, title, charts, medium).map_err(error)?;
    canvas.present().map_err(error)?;
    drop(canvas);
    // Show the picture in the size of the layout. Its `viewBox` keeps the scaled size.
    let attributes = |(width, height): (u32, u32)| format!("<svg width=\"{width}\" height=\"{height}\" ");
    Ok(svg.replacen(&attributes(scaled), &attributes(size), 1))
}

/// Draws a PNG picture.
pub(super) fn png(title: &str, charts: &[Chart]) -> Result<Vec<u8>> {
    let size = scaled(size(charts.len()), PNG_SCALE);
    let canvas_size = scaled(size, SAMPLES);
    // All samples are white at first.
    let mut samples = vec![255; canvas_size.0 as usize * canvas_size.1 as usize * CHANNELS];
    let canvas = BitMapBackend::with_buffer(&mut samples, canvas_size).into_drawing_area();
    let scale = f64::from(PNG_SCALE * SAMPLES);
    draw(&canvas, title, charts, Medium { scale, joins_lines: false, text_shift: 0.15 }).map_err(error)?;
    canvas.present().map_err(error)?;
    drop(canvas);
    encode(size, &averaged(&samples, canvas_size.0 as usize)).map_err(error)
}

/// Returns the pixels, each the mean of 2×2 samples. `width` is the number of samples in a row.
fn averaged(samples: &[u8], width: usize) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(samples.len() / 4);
    for rows in samples.chunks_exact(2 * width * CHANNELS) {
        let (upper, lower) = rows.split_at(width * CHANNELS);
        for (upper, lower) in upper.chunks_exact(2 * CHANNELS).zip(lower.chunks_exact(2 * CHANNELS)) {
            for channel in 0..CHANNELS {
                let next = channel + CHANNELS;
                let sum = [upper[channel], upper[next], lower[channel], lower[next]].map(u16::from);
                pixels.push(((sum[0] + sum[1] + sum[2] + sum[3]) / 4) as u8);
            }
        }
    }
    pixels
}

fn error(error: impl Display) -> Error {
    Error::msg(format!("cannot draw the curves: {error}"))
}

/// Returns the number of charts in a row.
fn columns(charts: usize) -> usize {
    match charts {
        0 | 1 => 1,
        2..=6 => 2,
        _ => 3,
    }
}

/// Returns the size of a picture in pixels of the layout.
fn size(charts: usize) -> (u32, u32) {
    let columns = columns(charts);
    let rows = charts.div_ceil(columns);
    (CHART.0 * columns as u32 + MARGIN, CHART.1 * rows as u32 + TITLE + MARGIN)
}

fn scaled((width, height): (u32, u32), scale: u32) -> (u32, u32) {
    (width * scale, height * scale)
}

fn draw<DB: DrawingBackend>(canvas: &Canvas<DB>, title: &str, charts: &[Chart], medium: Medium) -> Drawn<DB> {
    static REGISTERED: LazyLock<bool> =
        LazyLock::new(|| register_font(FONT, FontStyle::Normal, FONT_DATA).is_ok());
    debug_assert!(*REGISTERED, "the embedded font is valid");
    figure_title(canvas, title, medium)?;
    let columns = columns(charts.len());
    for (index, chart) in charts.iter().enumerate() {
        let (column, row) = (index % columns, index / columns);
        let corner = (CHART.0 * column as u32, TITLE + CHART.1 * row as u32);
        let pixels = |length: u32| (f64::from(length) * medium.scale) as i32;
        let part =
            canvas.clone().shrink((pixels(corner.0), pixels(corner.1)), (pixels(CHART.0), pixels(CHART.1)));
        Plot::new(&part, medium).draw(chart)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::log::curves::data::Kind;
    use crate::train::log::curves::png::decode;

    fn count(pixels: &[u8], color: [u8; 3]) -> usize {
        pixels.chunks_exact(3).filter(|pixel| **pixel == color).count()
    }

    #[test]
    fn pictures_show_every_curve() -> Result<()> {
        let loss = |step: f64| (step, 1. / step);
        let charts = [
            Chart::with_curves("loss", &[(Kind::Train, (1..=200).map(f64::from).map(loss).collect())]),
            Chart::with_curves(
                "f1_macro",
                &[(Kind::Train, vec![(1., 0.5), (200., f64::NAN)]), (Kind::Valid, vec![(9., 0.25)])],
            ),
            Chart::with_curves("empty", &[(Kind::Train, vec![(1., f64::NAN)])]),
        ];
        let svg = svg("a < b", &charts)?;
        for text in
            ["a &lt; b", "loss (log scale)", "f1 macro", "validation", "no finite values", "optimizer steps"]
        {
            assert!(svg.contains(&format!(">\n{text}\n<")), "{text}");
        }
        let size = size(charts.len());
        assert!(svg.starts_with(&format!("<svg width=\"{}\" height=\"{}\" viewBox=", size.0, size.1)));
        let (found, pixels) = decode(&png("a < b", &charts)?).unwrap();
        assert_eq!(found, scaled(size, PNG_SCALE));
        // The line of the loss, and a single point of the validation.
        assert!(count(&pixels, [0, 114, 178]) > 1000);
        assert!((20..2000).contains(&count(&pixels, [213, 94, 0])));
        Ok(())
    }
}
