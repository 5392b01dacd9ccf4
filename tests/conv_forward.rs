//! The fused convolution's forward pass against a plain loop in f64 and against candle's own operations.

use proptest::prelude::*;
use sconce::candle::{DType, Device, Result, Tensor};
use sconce::kernels::activation::Activation;
use sconce::kernels::conv::{ConvGeometry, Epilogue, conv2d};

/// One convolution with all its operands, in f64.
#[derive(Clone, Debug)]
struct Case {
    input: [usize; 4],
    weight: [usize; 4],
    geometry: ConvGeometry,
    scale: bool,
    shift: bool,
    residual: bool,
    activation: Activation,
    seed: u64,
}

/// A case's operands.
struct Data {
    input: Tensor,
    weight: Tensor,
    epilogue: Epilogue,
}

impl Case {
    fn output(&self) -> [usize; 4] {
        let [n, _, h, w] = self.input;
        let [cout, _, kh, kw] = self.weight;
        let [oh, ow] = self.geometry.output_size([h, w], [kh, kw]).unwrap();
        [n, cout, oh, ow]
    }

    fn data(&self, dtype: DType) -> Data {
        let mut state = self.seed;
        let mut random = |dims: &[usize]| {
            let values: Vec<f64> = (0..dims.iter().product()).map(|_| uniform(&mut state)).collect();
            Tensor::from_vec(values, dims, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
        };
        let channels = [self.weight[0]];
        let (input, weight) = (random(&self.input), random(&self.weight));
        let epilogue = Epilogue {
            scale: self.scale.then(|| random(&channels)),
            shift: self.shift.then(|| random(&channels)),
            residual: self.residual.then(|| random(&self.output())),
            activation: self.activation,
        };
        Data { input, weight, epilogue }
    }
}

/// A number in [-1, 1) (splitmix64).
fn uniform(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e3779b97f4a7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d049bb133111eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn activate(activation: Activation, x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    match activation {
        Activation::Identity => x,
        Activation::Relu => x.max(0.),
        Activation::Relu6 => x.clamp(0., 6.),
        Activation::LeakyRelu { negative_slope } => {
            if x > 0. {
                x
            } else {
                x * negative_slope
            }
        }
        Activation::Silu => x / (1. + (-x).exp()),
        Activation::Gelu => 0.5 * x * (1. + sconce::candle::cpu::erf::erf_f64(x / 2f64.sqrt())),
        Activation::Sigmoid => 1. / (1. + (-x).exp()),
        Activation::Tanh => x.tanh(),
        Activation::Hardswish => x * (x + 3.).clamp(0., 6.) / 6.,
    }
}

/// The definition, one loop an index.
fn reference(data: &Data, geometry: &ConvGeometry) -> Vec<f64> {
    let (x, w) = (flat(&data.input), flat(&data.weight));
    let (n, cin, h, wd) = data.input.dims4().unwrap();
    let (cout, cg, kh, kw) = data.weight.dims4().unwrap();
    let [oh, ow] = geometry.output_size([h, wd], [kh, kw]).unwrap();
    let vector = |t: &Option<Tensor>| t.as_ref().map(flat);
    let (scale, shift) = (vector(&data.epilogue.scale), vector(&data.epilogue.shift));
    let residual = vector(&data.epilogue.residual);
    let mut output = vec![];
    for (i, co, y, z) in itertools(n, cout, oh, ow) {
        let mut sum = 0.;
        for (c, ky, kx, _) in itertools(cg, kh, kw, 1) {
            let iy = (y * geometry.stride[0] + ky * geometry.dilation[0]) as isize
                - geometry.padding[0][0] as isize;
            let ix = (z * geometry.stride[1] + kx * geometry.dilation[1]) as isize
                - geometry.padding[1][0] as isize;
            if (0..h as isize).contains(&iy) && (0..wd as isize).contains(&ix) {
                let ci = co / (cout / geometry.groups) * cg + c;
                sum += x[((i * cin + ci) * h + iy as usize) * wd + ix as usize]
                    * w[((co * cg + c) * kh + ky) * kw + kx];
            }
        }
        sum *= scale.as_ref().map_or(1., |s| s[co]);
        sum += shift.as_ref().map_or(0., |s| s[co]);
        sum += residual.as_ref().map_or(0., |r| r[output.len()]);
        output.push(activate(data.epilogue.activation, sum));
    }
    output
}

fn itertools(a: usize, b: usize, c: usize, d: usize) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    (0..a).flat_map(move |i| {
        (0..b).flat_map(move |j| (0..c).flat_map(move |k| (0..d).map(move |l| (i, j, k, l))))
    })
}

/// Equal within `tolerance` of the largest magnitude, NaN and infinities in the same places.
fn assert_close(got: &Tensor, expected: &[f64], tolerance: f64) {
    let got = flat(got);
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().filter(|x| x.is_finite()).fold(1f64, |m, x| m.max(x.abs()));
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        let same = g == e || (g.is_nan() && e.is_nan()) || (g - e).abs() <= tolerance * largest;
        assert!(same, "element {i}: got {g}, expected {e}");
    }
}

fn run(data: &Data, geometry: &ConvGeometry) -> Result<Tensor> {
    conv2d(&data.input, &data.weight, geometry, &data.epilogue, None)
}

fn activations() -> impl Strategy<Value = Activation> {
    prop_oneof![
        Just(Activation::Identity),
        Just(Activation::Relu),
        Just(Activation::Relu6),
        (-0.5..1.5).prop_map(|negative_slope| Activation::LeakyRelu { negative_slope }),
        Just(Activation::Silu),
        Just(Activation::Gelu),
        Just(Activation::Sigmoid),
        Just(Activation::Tanh),
        Just(Activation::Hardswish),
    ]
}

prop_compose! {
    fn geometries()(
        stride in [1usize..4, 1..4],
        padding in [[0usize..4, 0..4], [0..4, 0..4]],
        dilation in [1usize..4, 1..4],
        groups in prop_oneof![3 => Just(1usize), 1 => 2usize..5],
    ) -> ConvGeometry {
        ConvGeometry { stride, padding, dilation, groups }
    }
}

prop_compose! {
    fn cases()(
        geometry in geometries(),
        batch in 0usize..4,
        group_inputs in prop_oneof![Just(1usize), 1usize..20],
        group_outputs in prop_oneof![Just(1usize), 1usize..20],
        kernel in [1usize..6, 1..6],
        extra in [0usize..30, 0..40],
        epilogue in any::<[bool; 3]>(),
        activation in activations(),
        seed in any::<u64>(),
    ) -> Case {
        let reach = |i: usize| {
            let padding: usize = geometry.padding[i].iter().sum();
            (geometry.dilation[i] * (kernel[i] - 1) + 1).saturating_sub(padding).max(1)
        };
        let [scale, shift, residual] = epilogue;
        Case {
            input: [batch, group_inputs * geometry.groups, reach(0) + extra[0], reach(1) + extra[1]],
            weight: [group_outputs * geometry.groups, group_inputs, kernel[0], kernel[1]],
            geometry, scale, shift, residual, activation, seed,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_definition(case in cases()) {
        let expected = reference(&case.data(DType::F64), &case.geometry);
        let double = run(&case.data(DType::F64), &case.geometry).unwrap();
        prop_assert_eq!(double.dims(), &case.output());
        assert_close(&double, &expected, 1e-13);
        assert_close(&run(&case.data(DType::F32), &case.geometry).unwrap(), &expected, 1e-5);
    }

    #[test]
    fn halves_are_rounded_once(case in cases()) {
        for (dtype, half_step) in [(DType::F16, 0.5 / 1024.), (DType::BF16, 0.5 / 128.)] {
            let data = case.data(dtype);
            let expected = reference(&data, &case.geometry);
            let got = run(&data, &case.geometry).unwrap();
            prop_assert_eq!(got.dtype(), dtype);
            for (g, e) in flat(&got).iter().zip(&expected) {
                prop_assert!((g - e).abs() <= e.abs() * half_step * 1.01 + 1e-4, "got {}, expected {}", g, e);
            }
        }
    }
}
