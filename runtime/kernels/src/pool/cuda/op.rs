//! Pooling on CUDA devices as a differentiable candle operation.

use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, Result, Shape, Tensor, bail};

use crate::cuda::{Operand as CudaOperand, launch, run};
use crate::operation::{self, Operation};
use crate::planes::with_size;
use crate::pool::PoolGeometry;

use super::{Divisor, PoolProblem, average, average_backward, max, max_backward};

/// The reduction of a window.
#[derive(Clone, Copy)]
pub(in crate::pool) enum Reduction {
    Max,
    Average(Divisor),
}

struct Pooling {
    pool: PoolProblem,
    kind: Reduction,
}

/// Pools planes of size `input` to planes of size `output`, with the windows of `geometry`, or adaptively if `geometry`
/// is `None`.
pub(in crate::pool) fn pool(
    x: &Tensor,
    [input, output]: [[usize; 2]; 2],
    geometry: Option<PoolGeometry>,
    kind: Reduction,
) -> Result<Tensor> {
    let planes = x.dims()[..x.rank() - 2].iter().product();
    operation::apply([x], Pooling { pool: PoolProblem { planes, input, output, geometry }, kind })
}

impl Operation<1> for Pooling {
    fn name(&self) -> &'static str {
        match self.kind {
            Reduction::Max => "max_pool2d",
            Reduction::Average(_) => "avg_pool2d",
        }
    }

    fn forward_on_cuda(&self, [(x, layout)]: [CudaOperand; 1]) -> Result<(CudaStorage, Shape)> {
        let Self { pool, kind } = self;
        let outputs = run(
            self.name(),
            &|_| match kind {
                Reduction::Max => max(pool, x.dtype()),
                Reduction::Average(divisor) => average(pool, *divisor, x.dtype()),
            },
            &[(x, layout)],
        )?;
        match outputs.into_iter().next() {
            Some(y) => Ok((y, with_size(layout.dims(), pool.output).into())),
            None => bail!("{}: the program has no output", self.name()),
        }
    }

    fn backward(&self, [x]: [&Tensor; 1], y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let Self { pool, kind } = self;
        let gradients = match kind {
            Reduction::Max => {
                launch(self.name(), &[x, y, grad], [x.shape()], |_| max_backward(pool, x.dtype()))
            }
            Reduction::Average(divisor) => {
                launch(self.name(), &[grad], [x.shape()], |_| average_backward(pool, *divisor, x.dtype()))
            }
        };
        Ok([gradients?.into_iter().next()])
    }
}
