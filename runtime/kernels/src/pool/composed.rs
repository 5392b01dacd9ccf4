//! Pooling composed of candle's operations, for devices without a kernel. Max and average pooling are separable: the
//! rows are pooled first, then the columns.

use candle_core::{Device, Result, Tensor, bail};

use crate::planes::with_size;

use super::average::{Window, Windows};
use super::geometry::WindowPositions;

pub(super) fn max(x: &Tensor, [rows, columns]: [&[WindowPositions]; 2]) -> Result<Tensor> {
    let mut y = x.contiguous()?;
    for (outputs, dim) in [(rows, x.rank() - 2), (columns, x.rank() - 1)] {
        let longest = outputs.iter().map(|positions| positions.len()).max().unwrap_or(0);
        let mut max: Option<Tensor> = None;
        for position in 0..longest.max(1) {
            let selected = y.index_select(&Tensor::new(indices(outputs, position)?, x.device())?, dim)?;
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

/// Returns, for each output, the input position that has the index `position` in the output's window. A window with
/// fewer positions repeats its first one, which does not change the maximum.
fn indices(outputs: &[WindowPositions], position: usize) -> Result<Vec<u32>> {
    let index = |(output, positions): (usize, &WindowPositions)| match positions
        .clone()
        .nth(position)
        .or(positions.clone().next())
    {
        Some(position) => Ok(position as u32),
        None => bail!("max_pool2d: window {output} lies entirely in the padding"),
    };
    outputs.iter().enumerate().map(index).collect()
}

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

#[cfg(test)]
mod tests {
    use candle_core::{DType, Var};

    use super::super::geometry::adaptive_ranges;
    use super::super::{PoolGeometry, adaptive_avg_pool2d, adaptive_max_pool2d, avg_pool2d, max_pool2d};
    use super::*;

    /// Checks that `composed` returns the same output and gradient as the kernel `fused`.
    fn check(
        x: &Tensor,
        fused: impl Fn(&Tensor) -> Result<Tensor>,
        composed: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<()> {
        let x = Var::from_tensor(x)?;
        let mut results = Vec::new();
        for y in [fused(&x)?, composed(&x)?] {
            let grads = y.sqr()?.sum_all()?.backward()?;
            results.push((y, grads.get(&x).cloned().expect("`x` has a gradient")));
        }
        for (a, b) in [(&results[0].0, &results[1].0), (&results[0].1, &results[1].1)] {
            let difference = a.sub(b)?.abs()?.flatten_all()?.sum_all()?.to_scalar::<f64>()?;
            assert!(difference < 1e-9, "{difference}");
        }
        Ok(())
    }

    #[test]
    fn composed_pooling_matches_the_kernels() -> Result<()> {
        let x = Tensor::rand(-1.0, 1.0, (2, 3, 9, 10), &Device::Cpu)?.to_dtype(DType::F64)?;
        for (kernel, stride, padding, dilation, ceil_mode) in [
            ([2, 2], [2, 2], [0, 0], [1, 1], false),
            ([3, 3], [2, 2], [1, 1], [1, 1], true),
            ([3, 2], [1, 3], [1, 0], [2, 3], true),
        ] {
            let mut geometry = PoolGeometry { kernel, stride, padding, dilation, ceil_mode };
            let [rows, columns] = geometry.output_size([9, 10])?;
            let (rows, columns) = (geometry.positions(0, 9, rows), geometry.positions(1, 10, columns));
            check(&x, |x| max_pool2d(x, &geometry), |x| max(x, [&rows, &columns]))?;
            geometry.dilation = [1; 2];
            let windows = |_: &Tensor| super::super::average::windows(&geometry, [9, 10], true, None);
            check(&x, |x| avg_pool2d(x, &geometry, true, None), |x| average(x, &windows(x)?))?;
        }
        let windows = super::super::average::adaptive_windows([9, 10], [4, 10]);
        check(&x, |x| adaptive_avg_pool2d(x, [Some(4), None]), |x| average(x, &windows))?;
        let positions = |input, outputs| -> Vec<WindowPositions> {
            adaptive_ranges(input, outputs).map(|range| range.step_by(1)).collect()
        };
        let (rows, columns) = (positions(9, 4), positions(10, 13));
        check(&x, |x| adaptive_max_pool2d(x, [Some(4), Some(13)]), |x| max(x, [&rows, &columns]))
    }
}
