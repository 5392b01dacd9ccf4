//! `#[derive(Module)]` on small networks: each convolution runs in one launch with the operations that are fused
//! into it.

use sconce::prelude::*;

#[derive(Module)]
#[module(forward = |x| {
    let x = relu(conv1(x));
    relu(conv2(x))
})]
struct Model {
    #[layer(1, 20, 5)]
    conv1: Conv2d,
    #[layer(20, 20, 5)]
    conv2: Conv2d,
}

#[derive(Module)]
struct Chain {
    #[layer(1, 20, 5)]
    conv1: Conv2d,
    act1: Relu,
    #[layer(20, 20, 5)]
    conv2: Conv2d,
    act2: Relu,
}

#[derive(Module)]
#[module(
    args(in_channels: usize, out_channels: usize, stride: usize = 1),
    forward = |x| {
        let h = relu(bn1(conv1(x)));
        relu(bn2(conv2(h)) + downsample(x))
    },
)]
struct BasicBlock {
    #[layer(in_channels, out_channels, 3, stride = stride, padding = 1, bias = false)]
    conv1: Conv2d,
    #[layer(out_channels)]
    bn1: BatchNorm,
    #[layer(out_channels, out_channels, 3, padding = 1, bias = false)]
    conv2: Conv2d,
    #[layer(out_channels)]
    bn2: BatchNorm,
    #[layer(in_channels, out_channels, stride; if stride != 1 || in_channels != out_channels)]
    downsample: Option<Downsample>,
}

#[derive(Module)]
#[module(args(in_channels: usize, out_channels: usize, stride: usize))]
struct Downsample(
    #[layer(in_channels, out_channels, 1, stride = stride, bias = false)] Conv2d,
    #[layer(out_channels)] BatchNorm,
);

#[derive(Module)]
#[module(args(widths: [usize; 4], depths: [usize; 4], classes: usize = 1000), forward = |x| {
    let mut x = relu(stem(x));
    for block in layer1 {
        x = block(x);
    }
    let x = layer2(x);
    fc(mean(x, (2, 3)))
})]
struct ResNet {
    #[layer(3, 64, 7, stride = 2, padding = 3)]
    stem: Conv2d,
    #[layer(if i == 0 { 64 } else { widths[0] }, widths[0]; for i in 0..depths[0])]
    layer1: Vec<BasicBlock>,
    #[layer(
        if i == 0 { widths[0] } else { widths[1] },
        widths[1],
        stride = if i == 0 { 2 } else { 1 };
        for i in 0..depths[1]
    )]
    layer2: Vec<BasicBlock>,
    #[layer(widths[1], classes)]
    fc: Linear,
}

fn mean(x: impl Into<Signal>, dims: (usize, usize)) -> Signal {
    x.into().mean(dims)
}

#[test]
fn each_convolution_is_one_launch() -> Result<()> {
    let device = Device::Cpu;
    let model = Model::new(&device)?;
    let x = Tensor::ones((1, 1, 28, 28), DType::F32, &device)?;
    let (y, launches) = sconce::trace(|| model.forward(&x));
    assert_eq!(y?.dims(), [1, 20, 20, 20]);
    assert_eq!(launches.len(), 2, "{launches:?}");
    assert_eq!(launches[0].to_string(), "Model.conv1: conv2d + bias + relu");
    let (y, launches) = sconce::trace(|| Chain::new(&device)?.forward(&x));
    assert_eq!(y?.dims(), [1, 20, 20, 20]);
    assert_eq!(launches.len(), 2, "{launches:?}");
    Ok(())
}

#[test]
fn convolutions_of_residual_blocks_are_fused() -> Result<()> {
    let device = Device::Cpu;
    let net = ResNet::config([8, 16, 32, 64], [2, 2, 2, 2]).classes(10).init(&device)?;
    let x = Tensor::ones((1, 3, 64, 64), DType::F32, &device)?;
    let (y, launches) = sconce::trace(|| net.forward(&x));
    assert_eq!(y?.dims(), [1, 10]);
    let launches: Vec<String> = launches.iter().map(ToString::to_string).collect();
    let expected = [
        "ResNet.stem: conv2d + bias + relu",
        "ResNet.layer1[0].conv1: conv2d + batch_norm + relu",
        "ResNet.layer1[0].downsample[0]: conv2d + batch_norm",
        "ResNet.layer1[0].conv2: conv2d + batch_norm + residual + relu",
    ];
    assert_eq!(launches[..4], expected);
    let names: Vec<_> = net.named_parameters().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names[..3], ["stem.weight", "stem.bias", "layer1.0.conv1.weight"]);
    let error = net.forward(&x.narrow(1, 0, 1)?).unwrap_err().to_string();
    let expected =
        "at ResNet.stem (Conv2d 3→64, 7×7): expected 3 input channels, found 1 (input [1, 1, 64, 64])";
    assert_eq!(error, expected);
    Ok(())
}

/// Defines two networks that compute the same function. In `$plain`, every value is moved at its last use. `$queried`
/// also queries the values by method calls such as `y.dims()`, whose results may borrow from the value. The last line
/// uses the results, so in plain Rust, the queried values could not be moved before that line. In the test, the sum of
/// the results is 76, the factor in `$plain`.
macro_rules! pair {
    ($plain:ident, $queried:ident, $($layers:tt)*) => {
        #[derive(Module)]
        #[module(forward = |x| {
            let y = relu(bn(conv(x)));
            relu(depthwise(pool(y))) * 76
        })]
        struct $plain { $($layers)* }

        #[derive(Module)]
        #[module(forward = |x| {
            let y = conv(x);
            let a = y.dims()?;
            let z = bn(y);
            let b = z.dims4()?;
            let z = relu(z);
            let c = z.shape()?;
            let p = pool(z);
            let d = p.rank()?;
            let q = depthwise(p);
            let e = q.dims()?;
            relu(q) * (a.len() + b.1 + c.rank() + d + e[1])
        })]
        struct $queried { $($layers)* }
    };
}

pair! { Plain, Queried,
    #[layer(3, 32, 3, padding = 1)]
    conv: Conv2d,
    #[layer(32)]
    bn: BatchNorm,
    #[layer(2)]
    pool: MaxPool2d,
    #[layer(32, 32, 3, padding = 1, groups = 32)]
    depthwise: Conv2d,
}

#[test]
fn queries_do_not_change_the_launches() -> Result<()> {
    let device = Device::Cpu;
    let mut plain = Plain::new(&device)?;
    let mut queried = Queried::new(&device)?;
    plain.load_state_dict(&queried.state_dict())?;
    let x = Tensor::randn(0f32, 1., (2, 3, 24, 24), &device)?;
    let compare = |plain: &Plain, queried: &Queried, train: bool| -> Result<()> {
        let (expected, launches) = sconce::trace(|| plain.forward_t(&x, train));
        let launches: Vec<String> =
            launches.iter().map(|launch| launch.to_string().replace("Plain", "Queried")).collect();
        let (found, with_queries) = sconce::trace(|| queried.forward_t(&x, train));
        let with_queries: Vec<String> = with_queries.iter().map(ToString::to_string).collect();
        assert_eq!(with_queries, launches);
        let difference = (found? - expected?)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
        assert!(difference == 0., "{difference}");
        Ok(())
    };
    compare(&plain, &queried, true)?;
    // The queries have not updated the running statistics again: both networks have equal buffers.
    for ((name, found), (_, expected)) in queried.buffers().into_iter().zip(plain.buffers()) {
        let equal = found.to_dtype(DType::F64)?.eq(&expected.to_dtype(DType::F64)?)?;
        assert!(equal.flatten_all()?.to_vec1::<u8>()?.iter().all(|&equal| equal == 1), "{name}");
    }
    compare(&plain, &queried, false)?;
    plain = plain.inference()?;
    queried = queried.inference()?;
    compare(&plain, &queried, false)
}
