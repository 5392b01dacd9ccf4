//! Exports networks of operations that are not layers, with shapes that depend on the batch size.

use sconce::kernels::embedding::BagMode;
use sconce::prelude::*;

use crate::models::{uniform, write, write_with};

fn random(shape: &[usize]) -> Result<Tensor> {
    uniform(shape, [-2., 2.])
}

/// Defines a network for each forward closure of an input `[batch, 3, 4, 5]`, and a test that exports it.
macro_rules! images {
    ($($name:ident |$x:ident| $forward:expr;)*) => {$(
        #[test]
        fn $name() -> Result<()> {
            #[derive(Module)]
            #[module(forward = |$x| $forward)]
            struct Net {}

            sconce::set_exact(true);
            write("operations", stringify!($name), &Net {}, |batch| random(&[batch, 3, 4, 5]))
        }
    )*};
}

images! {
    arithmetic |x| (1. - &x * 2 / 3.) / (x.sqr() + 1.) - (2. / (x.abs() + 1)).sqrt() + (x.abs() + 0.1).log().exp();
    powers |x| x.abs().powf(1.5).clamp(0.1, 2.) - -x;
    comparisons |x| {
        let y = x.permute((0, 1, 2, 3)) * 2.;
        let bits = x.lt(0.5).to_dtype(DType::F32) + x.ge(&y).to_dtype(DType::F32) + x.ne(&y).to_dtype(DType::F32);
        bits + x.gt(0).where_cond(&x, &y) + y.masked_fill(x.le(0.), 3.) + x.eq(&x).to_dtype(DType::F32)
    };
    reductions |x| {
        let sums = x.sum((1, -1)).sum_keepdim(0) + x.mean(0).mean((0, 2)).unsqueeze(0);
        sums + x.var((2, 3)).std(1).unsqueeze(1) + x.var_with(3, 0.).mean_keepdim((1, 2)).squeeze(1)
    };
    parts |x| {
        let [a, b]: [Signal; 2] = x.chunk(2, 2);
        let rest: Vec<Signal> = x.split([1, 4], 3);
        let c = x.i((.., 1..3, 2)).last_two_transposed();
        (a + b.roll([1, -1], (1, 3))).flatten(1, 2).narrow(2, 1, 2).sum((1, 2))
            + rest[1].select(1, -1).sum((1, 2))
            + c.sum((1, 2))
    };
    shapes |x| {
        let (batch, channels, height, width) = x.dims4()?;
        let rows = x.transpose(1, 2).reshape((batch * height, channels, width)).unsqueeze(1);
        let repeated = rows.expand((batch * height, 2, channels, width)).reshape((batch, height, 2, -1));
        let stacked = stack([&repeated, &(&repeated * 2)], 1);
        unflatten(flatten(stacked, 1), 1, [2, -1]).permute((1, 0, 2))
    };
    half_of_a_batch |x| {
        let batch = x.dim(0)?;
        cat([&x, &(&x + 1)], 0).narrow(0, 0, batch) * x
    };
    constants |x| {
        let batch = x.dim(0)?;
        let start = Tensor::arange(0f32, 3., &Device::Cpu)?.reshape((1, 3, 1, 1))?.repeat((batch, 1, 1, 2))?;
        cat([Signal::from(start).expand((batch, 3, 4, 2)), x], 3)
    };
    selected |x| {
        let indices = Tensor::new(&[4u32, 0, 0, 2], &Device::Cpu)?;
        x.index_select(-1, &indices)
    };
    resampled |x| {
        let nearest = interpolate(&x, Upsample::config().size((7, 3)).mode("nearest"));
        let exact = interpolate(&x, Upsample::config().size((7, 3)).mode("nearest-exact"));
        let area = interpolate(&x, Upsample::config().size((7, 3)).mode("area"));
        let cubic = interpolate(&x, Upsample::config().size((7, 3)).mode("bicubic").align_corners(true));
        let linear = interpolate(&x, Upsample::config().size((7, 3)).mode("bilinear").align_corners(true));
        let scaled = interpolate(&x, Upsample::config().scale_factor((1.8, 0.7)).mode("bicubic"));
        nearest + exact + area + cubic + linear + scaled
    };
    padded |x| {
        let cropped = pad(&x, (-1, 2, 1, -1), PadMode::Constant(2.));
        pad(cropped, (1, 2, 3, 0), PadMode::Reflect).narrow(3, 0, 8) + pad(&x, (2, 1, 1, 2), PadMode::Circular)
    };
    pooled |x| {
        let ceil = avg_pool2d(&x, AvgPool2d::config(3).stride(2).padding(1).ceil_mode(true));
        let inside = AvgPool2d::config(3).stride(2).padding(1).ceil_mode(true).count_include_pad(false);
        let largest = max_pool2d(&x, MaxPool2d::config(2).stride(2).padding(1).dilation(2).ceil_mode(true));
        ceil.sum((2, 3)) + avg_pool2d(&x, inside).sum((2, 3)) + largest.sum((2, 3))
    };
    without_a_batch |x| {
        let image = x.select(0, 0);
        let convolved = conv2d(&image, &Tensor::ones((2, 3, 3, 3), DType::F32, &Device::Cpu)?, None, Conv2dOptions::default());
        max_pool2d(&image, 2) + convolved.mean((0, 1, 2)) + adaptive_avg_pool2d(&image, 2)
    };
    matrix_products |x| x.matmul(x.transpose(-1, -2)).matmul(Tensor::ones((4, 2), DType::F32, &Device::Cpu)?);
    half_precision |x| gelu_tanh(x.to_dtype(DType::F64)).to_dtype(DType::F32);
}

trait LastTransposed {
    fn last_two_transposed(&self) -> Signal;
}

impl LastTransposed for Signal {
    fn last_two_transposed(&self) -> Signal {
        self.transpose(-1, -2)
    }
}

#[derive(Module)]
#[module(forward = |x, y| (x.matmul(y), x + y.mean_keepdim(1)))]
struct TwoInputs {}

#[test]
fn several_inputs_and_outputs() -> Result<()> {
    let inputs = |batch| Ok([random(&[batch, 4, 4])?, random(&[batch, 4, 4])?]);
    write_with("operations", "several_inputs_and_outputs", &TwoInputs {}, inputs, |[x, y]| (x, y))
}

#[derive(Module)]
#[module(forward = |x| (x, &x * 2, constant))]
struct Copies {
    #[param(3, init = ones)]
    constant: Tensor,
}

#[derive(Module)]
#[module(forward = |x| {
    let (x, y, constant) = copies(x);
    (x, (y, y), constant)
})]
struct CopiesTwice {
    copies: Copies,
}

#[test]
fn outputs_can_be_inputs_constants_and_other_outputs() -> Result<()> {
    let network = CopiesTwice::new(&Device::Cpu)?;
    write("operations", "outputs", &network, |batch| random(&[batch, 2]))
}

#[derive(Module)]
#[module(forward = |x, y| (cosine(x, y), manhattan(x, y), euclidean(x, y) + maximum(x, y) + cubic(x, y)))]
struct Distances {
    #[layer(dim = 1)]
    cosine: CosineSimilarity,
    #[layer(p = 1.)]
    manhattan: PairwiseDistance,
    #[layer(keepdim = true)]
    euclidean: PairwiseDistance,
    #[layer(p = f64::INFINITY, keepdim = true)]
    maximum: PairwiseDistance,
    #[layer(p = 3., keepdim = true)]
    cubic: PairwiseDistance,
}

#[test]
fn distances() -> Result<()> {
    // The operands broadcast.
    let inputs = |batch| Ok([random(&[batch, 3, 4])?, random(&[3, 1])?]);
    write_with("operations", "distances", &Distances::new(&Device::Cpu)?, inputs, |[x, y]| (x, y))
}

#[test]
fn bilinear_maps() -> Result<()> {
    sconce::manual_seed(0);
    let bilinear = Bilinear::config(3, 4, 5).init(&Device::Cpu)?;
    let inputs = |batch| Ok([random(&[batch, 2, 3])?, random(&[batch, 2, 4])?]);
    write_with("operations", "bilinear_maps", &bilinear, inputs, |[x, y]| (x, y))
}

#[test]
fn embedding_bags() -> Result<()> {
    sconce::manual_seed(0);
    let ids = |batch: usize| {
        // The first bag has only the padding.
        let ids = (0..batch as i64 * 4).map(|i| if i < 4 { 3 } else { i * 7 % 10 });
        Ok(Tensor::from_iter(ids, &Device::Cpu)?.reshape((batch, 4))?)
    };
    for (name, mode) in [("sum", BagMode::Sum), ("mean", BagMode::Mean), ("max", BagMode::Max)] {
        let config = EmbeddingBag::config(10, 6).mode(mode);
        write("operations", &format!("embedding_bag_{name}"), &config.init(&Device::Cpu)?, ids)?;
        let padded = config.padding_idx(3).init(&Device::Cpu)?;
        write("operations", &format!("embedding_bag_{name}_padded"), &padded, ids)?;
    }
    Ok(())
}
