//! Signals without numbers: their states, operations with several operands, and errors.

use sconce::IntoTensors;
use sconce::prelude::*;

fn meta(shape: &[usize]) -> Signal {
    Signal::meta(shape, DType::F32)
}

fn message(signal: &Signal) -> String {
    signal.error().map(ToString::to_string).unwrap_or_default()
}

#[test]
fn a_signal_without_numbers_has_a_shape_a_dtype_and_a_device() -> Result<()> {
    let x = Signal::meta((2, 3, 4), DType::F16);
    assert!(x.is_meta() && !Signal::from(Tensor::zeros(2, DType::F32, &Device::Cpu)?).is_meta());
    assert_eq!((x.dims3()?, x.dim(-1)?, x.rank()?, x.dtype()?), ((2, 3, 4), 4, 3, DType::F16));
    assert!(x.device()?.is_cpu());
    assert_eq!(format!("{x:?}"), "Signal::Meta([2, 3, 4])");
    let too_large = Signal::meta((1 << 40, 1 << 40), DType::F32);
    assert!(message(&too_large).contains("the number of elements of the shape"), "{too_large:?}");
    // A shape that no memory could hold.
    let huge = Signal::meta((1 << 30, 1 << 20, 3), DType::F32);
    assert_eq!((huge.relu() * 2. - 1.).mean(-1).dims()?, [1 << 30, 1 << 20]);
    Ok(())
}

#[test]
fn operations_mix_signals_with_and_without_numbers() -> Result<()> {
    let x = meta(&[2, 3, 1, 5]);
    let ones = Tensor::ones((3, 4, 1), DType::F32, &Device::Cpu)?;
    for y in [&x + &ones, &x - &ones, &ones * &x, x.clone() / ones.clone(), x.gt(&ones), x.gt(0.)] {
        assert!(y.is_meta() && [&[2, 3, 4, 5][..], &[2, 3, 1, 5]].contains(&y.dims()?), "{y:?}");
    }
    let bias = Signal::from(&ones);
    assert!(message(&bias.where_cond(&x, 0.)).contains("where"), "a condition is not a float");
    assert_eq!(bias.gt(0.).where_cond(0., &x).dims()?, [2, 3, 4, 5]);
    assert_eq!(
        cat([meta(&[2, 3]), Signal::from(Tensor::ones((2, 4), DType::F32, &Device::Cpu)?)], 1).dims()?,
        [2, 7]
    );
    assert_eq!(stack([meta(&[2, 3]), meta(&[2, 3])], -1).dims()?, [2, 3, 2]);
    assert_eq!(meta(&[7, 2, 3]).matmul(Tensor::ones((3, 4), DType::F32, &Device::Cpu)?).dims()?, [7, 2, 4]);
    let [q, k, v] = [[2, 4, 5, 8], [2, 4, 6, 8], [2, 4, 6, 7]].map(|shape| meta(&shape));
    let y = scaled_dot_product_attention(q, k, v, meta(&[5, 6]));
    assert_eq!(y.dims()?, [2, 4, 5, 7]);
    Ok(())
}

/// Checks that an operation fails with the same message with and without numbers.
fn check_error(shape: &[usize], operation: impl Fn(Signal) -> Signal) -> Result<()> {
    let with_numbers = operation(Tensor::zeros(shape, DType::F32, &Device::Cpu)?.into());
    let error = with_numbers.into_tensor().expect_err("the operation should fail").to_string();
    assert_eq!(message(&operation(meta(shape))), error);
    Ok(())
}

#[test]
fn errors_are_those_of_signals_with_numbers() -> Result<()> {
    let weight = Tensor::zeros(4, DType::F32, &Device::Cpu)?;
    check_error(&[2, 5], |x| layer_norm(x, 4, Some(&weight), None, 1e-5))?;
    check_error(&[2, 5, 3], |x| group_norm(x, 4, None, None, 1e-5))?;
    check_error(&[2, 5], |x| glu(x, 1))?;
    check_error(&[2, 5], |x| x.softmax(2))?;
    check_error(&[2, 5], |x| x.reshape((3, -1)))?;
    check_error(&[2, 5], |x| x.narrow(1, 3, 3))?;
    check_error(&[2, 5], |x| x.sum(2))?;
    check_error(&[2, 5], |x| flatten(x, 3))?;
    check_error(&[2, 5], |x| x + Tensor::zeros(4, DType::F32, &Device::Cpu).unwrap())?;
    check_error(&[2, 5], |x| linear(x, Tensor::zeros((3, 4), DType::F32, &Device::Cpu).unwrap(), None))?;
    check_error(&[2, 5, 4, 4], |x| max_pool2d(x, MaxPool2d::config(5)))?;
    check_error(&[2, 5, 4, 4], |x| pixel_shuffle(x, 2))?;
    check_error(&[2, 5, 4, 4], |x| pad(x, 4, "reflect"))?;
    check_error(&[2, 5, 4], |x| interpolate(x, Upsample::config().size(3).mode("bilinear")))?;
    check_error(&[2, 5], |x| unflatten(x, 1, [2, 2]))?;
    check_error(&[4, 4], |x| pixel_shuffle(x, 2))?;
    check_error(&[4, 4], |x| pixel_unshuffle(x, 2))?;
    check_error(&[4, 4], |x| adaptive_avg_pool2d(x, 2))?;
    check_error(&[4], |x| max_pool1d(x, MaxPool1d::config(2)))?;
    check_error(&[2, 5], |x| x.index_select(1, &Tensor::new(&[5u32], &Device::Cpu).unwrap()))?;
    check_error(&[2, 5], |x| cat([x, Tensor::zeros((3, 4), DType::F32, &Device::Cpu).unwrap().into()], 1))?;
    check_error(&[2, 5], |x| stack([x, Tensor::zeros((2, 4), DType::F32, &Device::Cpu).unwrap().into()], 0))?;
    check_error(&[2, 5], |x| x.matmul(Tensor::zeros((4, 2), DType::F32, &Device::Cpu).unwrap()))?;
    check_error(&[2, 5], |x| x.roll([1, 2], 0))?;
    let attend = |x: Signal, options: AttentionOptions| {
        let (key, value) = (x.clone(), x.clone());
        scaled_dot_product_attention(x, key, value, options)
    };
    let mask = Tensor::zeros((3, 3), DType::F32, &Device::Cpu)?;
    check_error(&[2, 5], |x| attend(x, (&mask).into()))?;
    check_error(&[3, 5], |x| attend(x, AttentionOptions::from(&mask).is_causal(true)))?;
    check_error(&[3, 5], |x| attend(x, mask.to_dtype(DType::U32).unwrap().into()))?;
    check_error(&[3, 5], |x| attend(x, AttentionOptions::default().dropout_p(1.5, Mode::Train)))?;
    Ok(())
}

#[test]
fn training_checks_what_a_run_with_numbers_checks() -> Result<()> {
    let train = |x: Signal, norm: &BatchNorm| norm.call(x, Mode::Train);
    let norm = BatchNorm::config(4).init(&Device::Cpu)?;
    check_error(&[1, 4], |x| train(x, &norm))?;
    check_error(&[1, 4, 1, 1], |x| train(x, &norm))?;
    check_error(&[2, 5], |x| train(x, &norm))?;
    let instance = InstanceNorm2d::config(4).track_running_stats(true).init(&Device::Cpu)?;
    check_error(&[2, 4, 1, 1], |x| instance.call(x, Mode::Train))?;
    // The first error passes through attention, whatever the other inputs are.
    let attention = MultiheadAttention::config(4, 2).init(&Device::Cpu)?;
    let failed = Signal::fail(Error::msg("failed before"));
    let (y, _) = attention.call((meta(&[3, 2, 4]), failed.clone(), meta(&[3, 2, 4])), Mode::Eval);
    assert_eq!(message(&y), "failed before");
    assert_eq!(message(&stack([failed, meta(&[2])], 0)), "failed before");
    // A mask of 10¹² scores is not created.
    let causal = MultiheadAttention::config(4, 2).is_causal(true).batch_first(true).init(&Device::Cpu)?;
    let x = meta(&[2, 1_000_000, 4]);
    assert_eq!(causal.call((x.clone(), x.clone(), x), Mode::Eval).0.dims()?, [2, 1_000_000, 4]);
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| {
    let h = relu(stem(x));
    head(block(h).flatten(1, -1))
})]
struct Net {
    #[layer(3, 8, 3)]
    stem: Conv2d,
    block: Block,
    #[layer(8 * 6 * 6, 10)]
    head: Linear,
}

#[derive(Module)]
#[module(forward = |x| norm(conv(&x)) + x)]
struct Block {
    #[layer(8, 8, 3, padding = 1)]
    conv: Conv2d,
    #[layer(8)]
    norm: BatchNorm,
}

#[test]
fn a_network_checks_shapes_and_names_the_layer() -> Result<()> {
    let net = Net::new(&Device::Cpu)?;
    assert_eq!(net.call(meta(&[5, 3, 8, 8]), Mode::Train).dims()?, [5, 10]);
    // The running statistics have not changed.
    assert_eq!(net.state_dict().get("block.norm.num_batches_tracked").unwrap().to_scalar::<i64>()?, 0);

    let error = message(&net.call(meta(&[5, 3, 9, 8]), Mode::Eval));
    assert_eq!(error, "at head (Linear 288→10): expected an input […, 288], found [5, 336]");
    let error = message(&net.call(meta(&[5, 1, 8, 8]), Mode::Eval));
    assert_eq!(error, "at stem (Conv2d 3→8, 3×3): expected 3 input channels, found 1 (input [5, 1, 8, 8])");
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| second(first(x)))]
struct Recomputed {
    #[module(recompute)]
    first: Block,
    #[module(recompute)]
    second: Block,
}

#[test]
fn recomputed_layers_run_without_numbers() -> Result<()> {
    let network = Recomputed::new(&Device::Cpu)?;
    for mode in [Mode::Train, Mode::Eval] {
        assert_eq!(network.call(meta(&[5, 8, 6, 7]), mode).dims()?, [5, 8, 6, 7]);
    }
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| {
    let largest = x.tensor()?.max_all()?;
    fc(x / largest)
})]
struct Scaled {
    #[layer(3, 2)]
    fc: Linear,
}

#[test]
fn an_operation_that_reads_numbers_is_an_error() -> Result<()> {
    let scaled = Scaled::new(&Device::Cpu)?;
    let error = message(&scaled.call(meta(&[2, 3]), Mode::Eval));
    assert_eq!(
        error,
        "expected a signal with numbers, found a signal that only has a shape (`Signal::meta`)"
    );
    let mapped = meta(&[2]).map(|t| t.cumsum(0));
    assert!(message(&mapped).contains("expected a signal with numbers"));
    assert!(meta(&[2]).into_tensor().is_err());
    Ok(())
}

/// Checks a layer whose parameters would need more memory than any machine has.
fn check_huge<C>(config: C, x: &[usize], dtype: DType, output: &[usize]) -> Result<()>
where
    C: Config<Output: Forward<Signal, Output: IntoTensors>>,
{
    let y = config.meta()?.summary(Signal::meta(x, dtype))?;
    assert_eq!(y.layers[0].output_shape.as_deref(), Some(output), "{}", y.layers[0].kind);
    Ok(())
}

#[test]
fn parameters_without_memory_are_not_copied() -> Result<()> {
    const N: usize = 1 << 24;
    let floats = DType::F32;
    check_huge(Linear::config(N, N), &[2, N], floats, &[2, N])?;
    check_huge(Conv1d::config(N, N, 3), &[2, N, 5], floats, &[2, N, 3])?;
    check_huge(Conv2d::config(N, N, 3), &[2, N, 5, 5], floats, &[2, N, 3, 3])?;
    check_huge(Conv3d::config(N, N, 3), &[2, N, 5, 5, 5], floats, &[2, N, 3, 3, 3])?;
    check_huge(ConvTranspose1d::config(N, N, 3), &[2, N, 5], floats, &[2, N, 7])?;
    check_huge(ConvTranspose2d::config(N, N, 3), &[2, N, 5, 5], floats, &[2, N, 7, 7])?;
    check_huge(ConvTranspose3d::config(N, N, 3), &[2, N, 5, 5, 5], floats, &[2, N, 7, 7, 7])?;
    check_huge(Embedding::config(N, N), &[2, 7], DType::U32, &[2, 7, N])?;
    check_huge(EmbeddingBag::config(N, N), &[2, 7], DType::U32, &[2, N])?;
    check_huge(LSTM::config(N, N), &[2, 7, N], floats, &[2, 7, N])?;
    check_huge(GRU::config(N, N), &[2, 7, N], floats, &[2, 7, N])?;
    check_huge(RNN::config(N, N), &[2, 7, N], floats, &[2, 7, N])?;
    check_huge(TransformerEncoderLayer::config(N, 1), &[2, 7, N], floats, &[2, 7, N])?;
    Ok(())
}

#[test]
fn weights_of_bilinear_layers_without_memory_are_not_copied() -> Result<()> {
    const N: usize = 1 << 16;
    let inputs = (Signal::meta((2, N), DType::F32), Signal::meta((2, N), DType::F32));
    let summary = Bilinear::config(N, N, N).meta()?.summary(inputs)?;
    assert_eq!(summary.layers[0].output_shape.as_deref(), Some(&[2, N][..]));
    Ok(())
}
