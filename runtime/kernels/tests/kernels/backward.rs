//! Compares `backward` with candle's `Tensor::backward`.

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Result, Shape, Tensor, Var, bail};
use sconce_kernels::{Activation, Binary, activate, backward, binary, matmul};

fn variable(shape: &[usize], dtype: DType) -> Result<Var> {
    Var::from_tensor(&Tensor::rand(-1f64, 1., shape, &Device::Cpu)?.to_dtype(dtype)?)
}

fn gradient(gradients: &GradStore, x: &Var) -> Result<Vec<f64>> {
    let gradient = gradients.get(x).expect("the loss depends on the variable");
    gradient.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// Asserts that both backward passes return the same gradients.
fn check(loss: &Tensor, variables: &[&Var]) -> Result<()> {
    let (actual, expected) = (backward(loss)?, loss.backward()?);
    for x in variables {
        let (actual, expected) = (gradient(&actual, x)?, gradient(&expected, x)?);
        assert_eq!(actual.len(), expected.len());
        let mut pairs = actual.iter().zip(&expected);
        assert!(pairs.all(|(a, b)| (a - b).abs() < 1e-2), "expected {expected:?}, found {actual:?}");
        assert!(actual.iter().any(|x| *x != 0.));
    }
    Ok(())
}

#[test]
fn gradients_of_several_uses_are_added() -> Result<()> {
    for dtype in [DType::F64, DType::F32, DType::BF16] {
        let (x, y) = (variable(&[3, 4], dtype)?, variable(&[3, 4], dtype)?);
        let silu = |x: &Tensor| activate(Activation::Silu, x);
        check(&silu(&x)?, &[&x])?;
        // Two operations of this crate, then the same operand twice, then operations of this crate and of candle.
        check(&(silu(&x)? * activate(Activation::Tanh, &x)?)?, &[&x])?;
        check(&binary(Binary::Mul, &x, &x)?, &[&x])?;
        check(&(binary(Binary::Mul, &x, &y)? + (x.as_tensor() * &silu(&x)?)?)?, &[&x, &y])?;
        check(&matmul(&x, &y.t()?)?, &[&x, &y])?;
    }
    Ok(())
}

/// The identity function with a backward pass that computes the gradient of another loss.
struct Nested {
    /// Whether the inner pass is candle's.
    with_candle: bool,
    fails: bool,
}

impl CustomOp1 for Nested {
    fn name(&self) -> &'static str {
        "nested"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((x.clone(), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if self.fails {
            bail!("no gradient");
        }
        let inner = Var::from_tensor(&x.detach())?;
        let loss = activate(Activation::Silu, &inner)?;
        let gradients = if self.with_candle { loss.backward()? } else { backward(&loss)? };
        let slope = gradients.get(&inner).expect("the inner loss depends on the inner variable");
        Ok(Some((grad * slope)?))
    }
}

#[test]
fn backward_passes_can_be_nested() -> Result<()> {
    let x = variable(&[5], DType::F64)?;
    for with_candle in [true, false] {
        let y = activate(Activation::Tanh, &x)?.apply_op1(Nested { with_candle, fails: false })?;
        check(&(y + activate(Activation::Silu, &x)?)?, &[&x])?;
    }
    Ok(())
}

#[test]
fn a_failed_pass_leaves_no_gradients() -> Result<()> {
    let x = variable(&[5], DType::F64)?;
    let silu = activate(Activation::Silu, &x)?;
    let failing = activate(Activation::Tanh, &x)?.apply_op1(Nested { with_candle: true, fails: true })?;
    assert!(backward(&(&silu + failing)?).is_err());
    check(&activate(Activation::Silu, &x)?, &[&x])
}
