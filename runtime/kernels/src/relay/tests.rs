//! Tests the gradients that pass through gradient slots: they equal candle's, even after a failed backward pass.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, Shape, Var};

use super::*;

/// An elementwise function. The tests use it instead of the activations, whose kernels are slow to compile.
#[derive(Clone, Copy)]
struct Elementwise {
    value: fn(f64) -> f64,
    slope: fn(f64) -> f64,
}

const TANH: Elementwise = Elementwise { value: f64::tanh, slope: |x| 1. - x.tanh().powi(2) };
const IDENTITY: Elementwise = Elementwise { value: |x| x, slope: |_| 1. };
const SILU: Elementwise =
    Elementwise { value: |x| x * sigmoid(x), slope: |x| sigmoid(x) * (1. + x * (1. - sigmoid(x))) };

fn sigmoid(x: f64) -> f64 {
    1. / (1. + (-x).exp())
}

impl Operation<1> for Elementwise {
    fn name(&self) -> &'static str {
        "elementwise"
    }

    fn forward(&self, [(x, layout)]: [CpuOperand; 1]) -> Result<(CpuStorage, Shape)> {
        let CpuStorage::F64(x) = x else { bail!("expected f64") };
        assert_eq!((layout.start_offset(), x.len()), (0, layout.shape().elem_count()));
        Ok((CpuStorage::F64(x.iter().map(|x| (self.value)(*x)).collect()), layout.shape().clone()))
    }

    fn backward(&self, [x]: [&Tensor; 1], _: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let x = x.flatten_all()?.to_vec1::<f64>()?;
        let slopes: Vec<f64> = x.into_iter().map(self.slope).collect();
        Ok([Some((grad * Tensor::from_vec(slopes, grad.shape(), &Device::Cpu)?)?)])
    }
}

fn tanh(x: &Tensor) -> Result<Tensor> {
    apply([x], TANH)
}

fn variable() -> Result<Var> {
    Var::from_tensor(&Tensor::rand(-2f64, 2., (3, 5), &Device::Cpu)?)
}

fn gradient(loss: &Tensor, x: &Var) -> Result<Vec<f64>> {
    let gradient = |grads: GradStore| grads.get(x).expect("the loss depends on `x`").flatten_all()?.to_vec1();
    let ours = gradient(crate::backward(loss)?)?;
    assert_close(&ours, &gradient(loss.backward()?)?);
    Ok(ours)
}

fn assert_close(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12), "expected {b:?}, found {a:?}");
}

/// Alternates operations of this crate with candle's own. Some outputs have several readers.
fn network(
    x: &Tensor,
    silu: impl Fn(&Tensor) -> Result<Tensor>,
    tanh: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let a = silu(x)?;
    let b = tanh(&a)?;
    let c = silu(&(&a * &b)?)?;
    ((tanh(&c)? + (silu(&b)? * silu(&a)?)?)? + &a)?.sum_all()
}

/// Reads reshaped tensors in operations of this crate and in candle's. The variable itself is reshaped, too.
fn network_of_reshaped(
    x: &Tensor,
    tanh: impl Fn(&Tensor) -> Result<Tensor>,
    reshape: impl Fn(&Tensor, &[usize]) -> Result<Reshaped>,
) -> Result<Tensor> {
    let variable = reshape(x, &[5, 3])?;
    let a = tanh(&variable)?;
    let b = reshape(&tanh(&a)?, &[15])?.into_tensor();
    // A reshaped tensor of a tensor that is not contiguous, and one of a reshaped tensor.
    let c = reshape(&tanh(&a.t()?.contiguous()?)?.t()?, &[15])?;
    let [d, e] = [reshape(&b, &[1, 15])?, reshape(&c, &[1, 15])?];
    let e = (tanh(&d)? * tanh(&e)?)?;
    (e.flatten_all()? + tanh(&b)? + (&b * &*c)?)?.sum_all()
}

#[test]
fn gradients_of_reshaped_tensors_match_candle() -> Result<()> {
    let x = variable()?;
    let composed =
        network_of_reshaped(&x, Tensor::tanh, |x, dims| Ok(x.contiguous()?.reshape(dims)?.into()))?;
    let expected = gradient(&composed, &x)?;
    let loss = network_of_reshaped(&x, tanh, |x, dims| reshape(x, dims))?;
    for _ in 0..2 {
        assert_close(&gradient(&loss, &x)?, &expected);
    }
    Ok(())
}

#[test]
fn the_links_of_reshaped_tensors_are_removed() -> Result<()> {
    let x = variable()?;
    let variable = reshape(&x, (5, 3))?;
    let of_variable = reshape(&variable, 15)?;
    let y = tanh(&of_variable)?;
    let of_output = reshape(&y, (3, 5))?.into_tensor();
    let ids = [&variable, &of_variable, &y, &of_output].map(|tensor| tensor.id());
    let has_links = || ids.map(|id| links().contains_key(&id));
    assert_eq!(has_links(), [true; 4]);
    drop((variable, of_variable));
    assert_eq!(has_links(), [false, false, true, true]);
    drop(y);
    assert_eq!(has_links(), [false, false, true, true]);
    drop(of_output);
    assert_eq!(has_links(), [false; 4]);
    Ok(())
}

fn ours(x: &Tensor) -> Result<Tensor> {
    network(x, |x| apply([x], SILU), tanh)
}

#[test]
fn gradients_match_candle() -> Result<()> {
    let x = variable()?;
    let candle = gradient(&network(&x, Tensor::silu, Tensor::tanh)?, &x)?;
    let loss = ours(&x)?;
    // Backward passes may repeat, and may run on several threads at the same time.
    assert_close(&gradient(&loss, &x)?, &candle);
    assert_close(&gradient(&loss, &x)?, &candle);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| gradient(&loss, &x))).collect();
        threads.into_iter().try_for_each(|thread| {
            assert_close(&thread.join().expect("the thread does not panic")?, &candle);
            Ok(())
        })
    })
}

#[test]
fn a_backward_pass_can_begin_at_any_output() -> Result<()> {
    let x = Var::new(0.5f64, &Device::Cpu)?;
    let slope = 1. - 0.5f64.tanh().powi(2);
    assert_close(&gradient(&tanh(&x)?, &x)?, &[slope]);
    Ok(())
}

#[test]
fn dropped_outputs_leave_no_links() -> Result<()> {
    let x = variable()?;
    let y = tanh(&x)?;
    let z = tanh(&y)?;
    let ids = [y.id(), z.id()];
    drop(y);
    assert!(ids.iter().all(|id| links().contains_key(id)));
    drop(z);
    assert!(ids.iter().all(|id| !links().contains_key(id)));
    Ok(())
}

#[test]
fn dropping_a_long_chain_does_not_overflow_the_stack() -> Result<()> {
    let run = || -> Result<()> {
        let mut y = variable()?.as_tensor().clone();
        for _ in 0..20_000 {
            y = tanh(&y)?;
        }
        Ok(())
    };
    let builder = thread::Builder::new().stack_size(1 << 18);
    thread::scope(|scope| builder.spawn_scoped(scope, run)?.join().expect("the thread does not panic"))
}

/// Fails in the first backward pass and passes the gradient through in every later one.
struct FailsOnce(AtomicBool);

impl Operation<1> for FailsOnce {
    fn name(&self) -> &'static str {
        "fails once"
    }

    fn forward(&self, [(x, layout)]: [CpuOperand; 1]) -> Result<(CpuStorage, Shape)> {
        Ok((x.clone(), layout.shape().clone()))
    }

    fn backward(&self, _: [&Tensor; 1], _: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        if self.0.swap(true, Ordering::Relaxed) { Ok([Some(grad.clone())]) } else { bail!("not yet") }
    }
}

#[test]
fn gradients_of_a_failed_pass_are_never_used() -> Result<()> {
    let x = variable()?;
    let once = gradient(&tanh(&x)?.sum_all()?, &x)?;
    let twice: Vec<f64> = once.iter().map(|x| 2. * x).collect();
    // In one order, the gradient of `IDENTITY` is already in the slot of `y` when the first pass fails.
    let mut rejected = 0;
    for failing_first in [false, true] {
        let y = tanh(&x)?;
        let mut terms = [apply([&y], FailsOnce(false.into()))?, apply([&y], IDENTITY)?];
        if failing_first {
            terms.reverse();
        }
        let loss = (&terms[0] + &terms[1])?.sum_all()?;
        assert!(loss.backward().is_err());
        match gradient(&loss, &x) {
            Ok(gradient) => assert_close(&gradient, &twice),
            Err(error) => {
                assert!(error.to_string().contains("an earlier backward pass"), "{error}");
                rejected += 1;
            }
        }
    }
    assert!(rejected > 0, "no failed pass left a gradient behind");
    Ok(())
}
