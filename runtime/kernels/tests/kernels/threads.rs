//! Tests that operations give bit-identical results, forward and backward, with one thread and with several.

use candle_core::{D, DType, Result, Tensor};
use sconce_kernels::activation::{self, Activation};
use sconce_kernels::arithmetic::{Binary, binary, mean, sum};
use sconce_kernels::norm::{batch_norm_eval, batch_norm_train};
use sconce_kernels::pool::{PoolGeometry, adaptive_avg_pool2d, avg_pool2d, max_pool2d};
use sconce_kernels::softmax::softmax;

use crate::common::{Rng, gradients, values};

fn outputs_and_gradients() -> Result<Vec<Vec<f64>>> {
    let mut numbers = Rng::new(11);
    let mut tensor = |shape: &[usize]| numbers.tensor(shape, 2.0).to_dtype(DType::F32);
    let inputs = [tensor(&[7, 6, 33, 35])?, tensor(&[6])?, tensor(&[6])?];
    let windows = PoolGeometry { stride: [2; 2], padding: [1; 2], ..PoolGeometry::new([3; 2]) };
    // Each operation comes with the number of inputs that it reads.
    type Op<'a> = Box<dyn Fn(&[Tensor]) -> Result<Tensor> + 'a>;
    let ops: Vec<(usize, Op)> = vec![
        (1, Box::new(|x| activation::apply(Activation::Gelu, &x[0]))),
        (2, Box::new(|x| activation::prelu(&x[0], &x[1]))),
        (1, Box::new(|x| max_pool2d(&x[0], &windows))),
        (1, Box::new(|x| avg_pool2d(&x[0], &windows, true, None))),
        (1, Box::new(|x| adaptive_avg_pool2d(&x[0], [Some(5), Some(4)]))),
        (3, Box::new(|x| Ok(batch_norm_train(&x[0], Some(&x[1]), Some(&x[2]), 1e-5)?.0))),
        (2, Box::new(|x| batch_norm_eval(&x[0], &inputs[2], &inputs[1].sqr()?, Some(&x[1]), None, 1e-5))),
        (1, Box::new(|x| softmax(&x[0], 1))),
        (1, Box::new(|x| softmax(&x[0], D::Minus1))),
        (2, Box::new(|x| binary(Binary::Div, &x[0], &x[1].reshape((6, 1, 1))?))),
        (1, Box::new(|x| sum(&x[0], 1))),
        (1, Box::new(|x| mean(&x[0], (0, 1, 2, 3)))),
    ];
    let mut results = Vec::new();
    for (count, op) in ops {
        let output_grad = Rng::new(5).tensor(op(&inputs)?.dims(), 1.0).to_dtype(DType::F32)?;
        let (output, grads) = gradients(op, &inputs[..count], &output_grad)?;
        results.push(values(&output)?);
        for grad in &grads {
            results.push(values(grad)?);
        }
    }
    Ok(results)
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
    let on_threads = |threads| crate::common::on_threads(threads, outputs_and_gradients);
    let single = on_threads(1)?;
    for threads in crate::common::lists::THREADS {
        assert!(single == on_threads(threads)?, "{threads} threads give different results from one thread");
    }
    Ok(())
}
