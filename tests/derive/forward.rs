//! Forward closures: ordinary Rust with calls to layers. The derive clones a value only if a later use needs it,
//! because operations are fused only if their input has no other owner.

use sconce::prelude::*;

const DEVICE: Device = Device::Cpu;

fn ones(shape: &[usize]) -> Tensor {
    Tensor::ones(shape, DType::F32, &DEVICE).expect("a tensor of ones should be created")
}

/// Returns a line for each launch of `run`: the path of the launch's first layer, and the operations.
fn launches(run: impl FnOnce() -> Result<Tensor>) -> Vec<String> {
    let (result, launches) = sconce::trace(run);
    result.expect("the forward pass should succeed");
    launches.iter().map(ToString::to_string).collect()
}

fn twice(x: impl Into<Signal>) -> Signal {
    x.into() * 2.0
}

#[derive(Module)]
#[module(forward = |x| {
    let mut x = x;
    for block in blocks {
        x = relu(block(x));
    }
    for (i, block) in blocks.iter().enumerate() {
        if i > 0 {
            x = block(x);
        }
    }
    while x.dim(0)? > 4 {
        x = x.narrow(0, 0, 4);
    }
    blocks.iter().fold(x, |x, block| relu(block(x)))
})]
struct Loops {
    #[layer(2, 2, 1; for _ in 0..3)]
    blocks: Vec<Conv2d>,
}

#[derive(Module)]
#[module(forward = |x| {
    let h = relu(conv1(x));
    let mut y = relu(conv2(h) + x);
    if let Some(conv) = optional {
        y = conv(y);
    } else {
        y = relu(y);
    }
    let y = match kind {
        0 => y,
        1 => twice(y),
        n => y * n as f64,
    };
    if y.dim(1)? == 7 {
        return Tensor::zeros(1, DType::F32, &Device::Cpu);
    }
    -(1.0 - y / 2.0)
})]
struct Branches {
    #[layer(2, 2, 1)]
    conv1: Conv2d,
    #[layer(2, 2, 1)]
    conv2: Conv2d,
    #[layer(2, 2, 1; if false)]
    optional: Option<Conv2d>,
    #[module(skip = 2)]
    kind: usize,
}

#[derive(Module)]
#[module(forward = |x| {
    let branches: Vec<Signal> = blocks.iter().map(|block| block(x)).collect();
    let apply = |i: usize, h: Signal| blocks[i](h);
    let y = apply(0, cat(branches, 1).narrow(1, 0, 2));
    let stage = &stages[1];
    let mut z = y;
    for stage in stages {
        for block in stage {
            z = block(z);
        }
    }
    stage[0](stages[0][1](z)) + self.blocks[1](x) + self.tail(x)
})]
struct Nested {
    #[layer(2, 2, 1; for _ in 0..2)]
    blocks: Vec<Conv2d>,
    #[layer(; for _ in 0..2)]
    stages: Vec<Stage>,
    #[layer(2, 2, 1)]
    tail: Conv2d,
}

/// A type alias for a list of layers.
type Stage = Vec<Conv2d>;

/// Adds the function `config`, which the derive calls, to [`Stage`].
trait StageConfig {
    fn config() -> StageOfTwo;
}

impl StageConfig for Stage {
    fn config() -> StageOfTwo {
        StageOfTwo
    }
}

struct StageOfTwo;

impl Config for StageOfTwo {
    type Output = Stage;
    fn build(self, vb: sconce::nn::VarBuilder) -> Result<Stage> {
        (0..2).map(|i| Conv2d::config(2, 2, 1).build(vb.pp(i))).collect()
    }
}

#[derive(Module)]
#[module(forward = |x, h: Option<Signal>| {
    let state = match h {
        Some(h) => fc(x) + h,
        None => fc(x),
    };
    let doubled = move |y: Signal| y + state;
    (doubled(x), (state, vec![state; 2].len() as f64 * x))
})]
struct Outputs {
    #[layer(2, 2)]
    fc: Linear,
}

#[derive(Module)]
#[module(forward = |x| {
    if mode.is_train() { dropout(x) } else { x }
})]
struct Modes {
    #[layer(1.0)]
    dropout: Dropout,
}

#[derive(Module)]
#[module(forward = |x| blocks[3](x))]
struct OutOfRange {
    #[layer(2, 2, 1; for _ in 0..2)]
    blocks: Vec<Conv2d>,
}

#[test]
fn reassigned_values_are_moved_so_that_operations_fuse() -> Result<()> {
    let net = Loops::new(&DEVICE)?;
    let fused = launches(|| net.forward(ones(&[5, 2, 3, 3])));
    let expected = [
        "Loops.blocks[0]: conv2d + bias + relu",
        "Loops.blocks[1]: conv2d + bias + relu",
        "Loops.blocks[2]: conv2d + bias + relu",
        "Loops.blocks[1]: conv2d + bias",
        "Loops.blocks[2]: conv2d + bias",
        "Loops: narrow",
        "Loops.blocks[0]: conv2d + bias + relu",
        "Loops.blocks[1]: conv2d + bias + relu",
        "Loops.blocks[2]: conv2d + bias + relu",
    ];
    assert_eq!(fused, expected);
    Ok(())
}

#[test]
fn branches_and_operators_are_supported() -> Result<()> {
    let net = Branches::new(&DEVICE)?;
    let x = ones(&[1, 2, 3, 3]);
    let fused = launches(|| net.forward(&x));
    assert_eq!(
        fused[..2],
        ["Branches.conv1: conv2d + bias + relu", "Branches.conv2: conv2d + bias + residual + relu"]
    );
    let y = net.forward(&x)?;
    let h = net.conv1.call((&x).into(), Mode::Eval).into_tensor()?.relu()?;
    let expected = ((net.conv2.call(h.into(), Mode::Eval).into_tensor()? + x)?.relu()? - 1.)?;
    let errors = (y - expected)?.abs()?.flatten_all()?.to_vec1::<f32>()?;
    assert!(errors.iter().all(|error| *error < 1e-5), "{errors:?}");
    Ok(())
}

#[test]
fn nested_lists_and_closures_are_supported() -> Result<()> {
    let net = Nested::new(&DEVICE)?;
    assert_eq!(net.forward(ones(&[1, 2, 3, 3]))?.dims(), [1, 2, 3, 3]);
    let error = net.forward(ones(&[1, 3, 3, 3])).unwrap_err().to_string();
    assert!(error.starts_with("at Nested.blocks"), "{error}");
    let paths = launches(|| net.forward(ones(&[1, 2, 3, 3])));
    assert!(paths.iter().any(|path| path.starts_with("Nested.stages[1][0]:")), "{paths:?}");
    Ok(())
}

#[test]
fn several_outputs_are_supported() -> Result<()> {
    let (y, (state, x)) = Outputs::new(&DEVICE)?.forward(ones(&[1, 2]), None)?;
    assert_eq!(y.to_vec2::<f32>()?, (state + 1.)?.to_vec2::<f32>()?);
    assert_eq!(x.to_vec2::<f32>()?, [[2., 2.]]);
    Ok(())
}

#[test]
fn the_closure_can_read_the_mode() -> Result<()> {
    let net = Modes::new(&DEVICE)?;
    assert_eq!(net.forward(ones(&[2]))?.to_vec1::<f32>()?, [1., 1.]);
    assert_eq!(net.forward_t(ones(&[2]), true)?.to_vec1::<f32>()?, [0., 0.]);
    Ok(())
}

#[test]
fn an_index_out_of_range_is_an_error() -> Result<()> {
    let error = OutOfRange::new(&DEVICE)?.forward(ones(&[1, 2, 3, 3])).unwrap_err().to_string();
    assert_eq!(error, "at OutOfRange.blocks[3]: index 3 is out of range for 2 layers");
    Ok(())
}
