//! Pooling composed of candle's operations, for devices without a kernel. Max and average pooling are separable: the
//! rows are pooled first, then the columns.

use candle_core::{Device, Result, Tensor, bail};

use crate::planes::with_size;

use super::average::{Window, Windows};
use super::geometry::WindowPositions;

/// Returns the maximum of each window.
pub(super) fn max(x: &Tensor, [rows, columns]: [&[WindowPositions]; 2]) -> Result<Tensor> {
    let mut y = x.contiguous()?;
    for (outputs, dim) in [(rows, x.rank() - 2), (columns, x.rank() - 1)] {
        let longest = outputs.iter().map(|positions| positions.len()).max().unwrap_or(0);
        let mut max: Option<Tensor> = None;
        // At least one iteration, so that `nth_positions` reports a window without positions.
        for index in 0..longest.max(1) {
            let selected = y.index_select(&Tensor::new(nth_positions(outputs, index)?, x.device())?, dim)?;
            max = Some(match max {
                Some(max) => max.broadcast_maximum(&selected)?,
                None => selected,
            });
        }
        if let Some(max) = max {
            y = max.contiguous()?;
        }
    }
    Ok(y)
}

/// Returns the position with the given index in the window of each output. A window with fewer positions repeats its
/// first one, which does not change the maximum.
fn nth_positions(outputs: &[WindowPositions], index: usize) -> Result<Vec<u32>> {
    let position = |(output, positions): (usize, &WindowPositions)| match positions
        .clone()
        .nth(index)
        .or(positions.clone().next())
    {
        Some(position) => Ok(position as u32),
        None => bail!("max_pool2d: window {output} lies entirely in the padding"),
    };
    outputs.iter().enumerate().map(position).collect()
}

/// Returns the mean of each window.
pub(super) fn average(x: &Tensor, windows: &Windows) -> Result<Tensor> {
    let [h, w] = windows.input;
    let device = x.device();
    let rows = membership(&windows.rows, h, device)?.to_dtype(x.dtype())?;
    let columns = membership(&windows.columns, w, device)?.to_dtype(x.dtype())?.t()?;
    let divisors: Vec<f64> = (windows.rows.iter())
        .flat_map(|row| windows.columns.iter().map(|column| windows.divisor(row, column) as f64))
        .collect();
    let divisors = Tensor::from_vec(divisors, &windows.output(), device)?.to_dtype(x.dtype())?;
    let planes = x.contiguous()?.reshape(((), h, w))?;
    let sums = rows.broadcast_matmul(&planes)?.broadcast_matmul(&columns.contiguous()?)?;
    sums.broadcast_div(&divisors)?.reshape(with_size(x.dims(), windows.output()))
}

/// Returns the matrix `[windows, inputs]` that is 1 if the window contains the input and 0 otherwise.
fn membership(windows: &[Window], inputs: usize, device: &Device) -> Result<Tensor> {
    let row = |window: &Window| {
        let inside = window.inside.clone();
        (0..inputs).map(move |input| if inside.contains(&input) { 1f32 } else { 0.0 })
    };
    let ones: Vec<f32> = windows.iter().flat_map(row).collect();
    Tensor::from_vec(ones, (windows.len(), inputs), device)
}
