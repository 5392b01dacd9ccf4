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

/// The largest error of a gradient of order 1 that is a sum of a few terms, each rounded several times.
fn bound(dtype: DType) -> f64 {
    let epsilon = match dtype {
        DType::BF16 => 2f64.powi(-7),
        DType::F32 => f64::from(f32::EPSILON),
        _ => f64::EPSILON,
    };
    8. * epsilon
}

/// Asserts that the gradients of `loss` are those of candle's backward pass over the same values in f64.
fn check(variables: &[&Var], loss: impl Fn(&[Tensor]) -> Result<Tensor>) -> Result<()> {
    let exact: Vec<Var> =
        variables.iter().map(|x| Var::from_tensor(&x.to_dtype(DType::F64)?)).collect::<Result<_>>()?;
    let actual = backward(&loss(&variables.iter().map(|x| x.as_tensor().clone()).collect::<Vec<_>>())?)?;
    let expected = loss(&exact.iter().map(|x| x.as_tensor().clone()).collect::<Vec<_>>())?.backward()?;
    for (x, exact) in variables.iter().zip(&exact) {
        let (actual, expected) = (gradient(&actual, x)?, gradient(&expected, exact)?);
        assert_eq!(actual.len(), expected.len());
        let mut pairs = actual.iter().zip(&expected);
        assert!(
            pairs.all(|(a, b)| (a - b).abs() < bound(x.dtype())),
            "expected {expected:?}, found {actual:?}"
        );
        assert!(actual.iter().any(|x| *x != 0.));
    }
    Ok(())
}

#[test]
fn gradients_of_several_uses_are_added() -> Result<()> {
    let silu = |x: &Tensor| activate(Activation::Silu, x);
    for dtype in [DType::F64, DType::F32, DType::BF16] {
        let (x, y) = (&variable(&[3, 4], dtype)?, &variable(&[3, 4], dtype)?);
        check(&[x], |x| silu(&x[0]))?;
        // Two operations of this crate use `x`.
        check(&[x], |x| silu(&x[0])? * activate(Activation::Tanh, &x[0])?)?;
        // One operation uses `x` as both operands.
        check(&[x], |x| binary(Binary::Mul, &x[0], &x[0]))?;
        // Operations of this crate and an operation of candle use `x`.
        check(&[x, y], |x| binary(Binary::Mul, &x[0], &x[1])? + (&x[0] * &silu(&x[0])?)?)?;
        check(&[x, y], |x| matmul(&x[0], &x[1].t()?))?;
    }
    Ok(())
}

/// The identity function. Its backward pass runs another backward pass, for a separate loss.
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
        check(&[&x], |x| {
            let y = activate(Activation::Tanh, &x[0])?.apply_op1(Nested { with_candle, fails: false })?;
            y + activate(Activation::Silu, &x[0])?
        })?;
    }
    Ok(())
}

#[test]
fn a_failed_pass_leaves_no_gradients() -> Result<()> {
    let x = variable(&[5], DType::F64)?;
    let silu = activate(Activation::Silu, &x)?;
    let failing = activate(Activation::Tanh, &x)?.apply_op1(Nested { with_candle: true, fails: true })?;
    assert!(backward(&(&silu + failing)?).is_err());
    check(&[&x], |x| activate(Activation::Silu, &x[0]))
}
