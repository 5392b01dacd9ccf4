//! The values of a forward closure: ordinary Rust applies to them, except that a value that is used again later is
//! cloned.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicUsize, Ordering};

use sconce::candle;
use sconce::prelude::*;

const DEVICE: Device = Device::Cpu;

fn ones(shape: &[usize]) -> Tensor {
    Tensor::ones(shape, DType::F32, &DEVICE).expect("a tensor of ones should be created")
}

/// A network with one linear layer `fc` from 3 to 3 features.
macro_rules! network {
    ($name:ident, $forward:expr) => {
        #[derive(Module)]
        #[module(forward = $forward)]
        #[deny(warnings)]
        pub struct $name {
            #[layer(3, 3)]
            fc: Linear,
        }
    };
}

/// Returns the output of the layer `fc`.
fn fc(layer: &Linear, x: &Tensor) -> Result<Tensor> {
    layer.call(x.into(), Mode::Eval).into_tensor()
}

/// Returns the largest difference between two tensors of equal shape.
fn difference(a: &Tensor, b: &Tensor) -> Result<f32> {
    assert_eq!(a.dims(), b.dims());
    Ok((a - b)?.abs()?.flatten_all()?.to_vec1::<f32>()?.into_iter().fold(0., f32::max))
}

network!(Asserted, |x| {
    assert!(fc(x).dims2()?.0 + x.rank()? == [3, 4][0]);
    x
});

#[test]
fn failed_assertions_print_the_condition_as_it_was_written() {
    let network = Asserted::new(&DEVICE).expect("the network is valid");
    let run = || network.forward(ones(&[2, 3]));
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).expect_err("2 + 2 is not 3");
    let message = panic.downcast_ref::<&str>().expect("the message is constant");
    assert_eq!(*message, "assertion failed: fc(x).dims2()?.0 + x.rank()? == [3, 4][0]");
}

static COUNTS: AtomicUsize = AtomicUsize::new(0);

network!(Mutated, |mut x| {
    let count = Cell::new(0);
    for _ in 0..2 {
        count.update(|n| n + 1);
        x = fc(x);
    }
    let log = RefCell::new(vec![1]);
    let taken = log.take();
    COUNTS.store(count.get() * 10 + taken.len() + log.borrow().len(), Ordering::Relaxed);
    x
});

#[test]
fn interior_mutability_acts_on_the_value_itself() -> Result<()> {
    Mutated::new(&DEVICE)?.forward(ones(&[1, 3]))?;
    // `count` is 2, `taken` has one element, and `log` has none.
    assert_eq!(COUNTS.load(Ordering::Relaxed), 21);
    Ok(())
}

/// A value that cannot be cloned.
struct Timer(Cell<usize>);

impl Timer {
    fn lap(&self, _label: &str) {
        self.0.set(self.0.get() + 1);
    }

    fn finish(self) -> usize {
        self.0.get()
    }
}

network!(Receivers, |x| {
    let timer = Timer(Cell::new(0));
    let y = fc(x);
    timer.lap("fc");
    let y = relu(y);
    timer.lap("relu");
    y * timer.finish()
});

network!(Borrowed, |x, name: &'static str, scale: &Tensor, log: &mut Vec<usize>| {
    push(log, name.len());
    push(log, name.len() + 1);
    log.push(x.rank()?);
    fc(x) * scale * name.len()
});
network!(BorrowedOnly, |x: &Tensor| fc(x) + fc(x));
network!(BorrowedFields, |x, pair: &(Signal, Vec<Signal>)| fc(x) * pair.0 + pair.1[0]);

#[test]
fn inputs_may_be_references() -> Result<()> {
    let network = Borrowed::new(&DEVICE)?;
    let x = ones(&[1, 3]);
    let expected = (fc(&network.fc, &x)? * 2.)?;
    let mut log = Vec::new();
    assert!(difference(&network.forward(&x, "ab", &x, &mut log)?, &expected)? < 1e-5);
    assert_eq!(log, [2, 3, 2]);
    let network = BorrowedOnly::new(&DEVICE)?;
    let expected = (fc(&network.fc, &x)? * 2.)?;
    assert!(difference(&network.forward(&x)?, &expected)? < 1e-5);
    let network = BorrowedFields::new(&DEVICE)?;
    let pair = (Signal::from(&x), vec![Signal::from(&x)]);
    let expected = (fc(&network.fc, &x)? + 1.)?;
    assert!(difference(&network.forward(&x, &pair)?, &expected)? < 1e-5);
    Ok(())
}

network!(Trimmed, |x, name: String| {
    let short = name.trim();
    fc(x) * (short.len() + name.len())
});

network!(Windows, |x, sizes: Vec<usize>| {
    let pairs: Vec<&[usize]> = sizes.chunks(2).collect();
    let sum = sizes.iter().sum::<usize>();
    fc(x) * (pairs.len() * sizes.len() + sum)
});

#[test]
fn methods_may_borrow_from_their_receiver() -> Result<()> {
    let x = ones(&[1, 3]);
    let network = Trimmed::new(&DEVICE)?;
    let expected = (fc(&network.fc, &x)? * (1. + 3.))?;
    assert!(difference(&network.forward(&x, " a ".to_string())?, &expected)? < 1e-5);
    let network = Windows::new(&DEVICE)?;
    let expected = (fc(&network.fc, &x)? * 12.)?;
    assert!(difference(&network.forward(&x, vec![1, 2, 3])?, &expected)? < 1e-5);
    let network = Receivers::new(&DEVICE)?;
    let expected = (fc(&network.fc, &x)?.relu()? * 2.)?;
    assert!(difference(&network.forward(&x)?, &expected)? < 1e-5);
    Ok(())
}

network!(Early, |x| {
    if x.rank()? != 2 {
        return Err(Error::msg("two dimensions, please"));
    }
    fc(x)
});

network!(Wrapped, |x| {
    let y = fc(x);
    Ok(y)
});

network!(Returned, |x| {
    let y = fc(x);
    return y;
});

network!(Branches, |x| {
    if x.dim(0)? > 1 {
        return Ok(fc(x));
    } else if x.rank()? == 3 {
        Err(Error::msg("no batches of one"))?;
    }
    match x.dim(0)? {
        1 => Ok(x),
        0 => Err(candle::Error::Msg("an empty batch".into())),
        _ => unreachable!("larger batches return earlier"),
    }
});

network!(Pair, |x| Ok((fc(x), x)));

#[derive(Module)]
#[module(forward = |x| { x * 2.0 })]
#[deny(warnings)]
struct Braces {}

network!(Tuple, |x| -> (Signal, Signal) { (fc(x), x) });

#[test]
fn results_and_returns_work() -> Result<()> {
    let x = ones(&[1, 3]);
    let network = Early::new(&DEVICE)?;
    assert_eq!(network.forward(&x)?.dims(), [1, 3]);
    let error = network.forward(ones(&[3])).expect_err("there is one dimension");
    assert_eq!(error.to_string(), "at Early: two dimensions, please");
    assert_eq!(Wrapped::new(&DEVICE)?.forward(&x)?.dims(), [1, 3]);
    assert_eq!(Returned::new(&DEVICE)?.forward(&x)?.dims(), [1, 3]);
    let network = Branches::new(&DEVICE)?;
    assert_eq!(network.forward(ones(&[2, 3]))?.dims(), [2, 3]);
    assert!(difference(&network.forward(&x)?, &x)? == 0.);
    assert_eq!(
        network.forward(ones(&[0, 3])).expect_err("the batch is empty").to_string(),
        "at Branches: an empty batch"
    );
    assert!(network.forward(ones(&[1, 3, 3])).is_err());
    assert_eq!(Pair::new(&DEVICE)?.forward(&x)?.1.dims(), [1, 3]);
    assert_eq!(Tuple::new(&DEVICE)?.forward(&x)?.1.dims(), [1, 3]);
    assert!(difference(&Braces::new(&DEVICE)?.forward(&x)?, &(x * 2.)?)? < 1e-6);
    Ok(())
}

#[derive(Module)]
#[module(forward = |x, h, c| {
    let (mut h, mut c) = (h, c);
    for t in 0..x.dim(1)? {
        (h, c) = cell(x.narrow(1, t, 1).squeeze(1), (h, c));
    }
    let [mut a, mut b] = [h, c];
    [a, b] = [b, a];
    a - b
})]
struct Recurrent {
    #[layer(3, 3)]
    cell: LSTMCell,
}

#[test]
fn assignments_may_destructure() -> Result<()> {
    let network = Recurrent::new(&DEVICE)?;
    let x = Tensor::randn(0f32, 1., (2, 4, 3), &DEVICE)?;
    let zeros = Tensor::zeros((2, 3), DType::F32, &DEVICE)?;
    let mut state = (Signal::from(&zeros), Signal::from(&zeros));
    for t in 0..4 {
        let input = Signal::from(x.narrow(1, t, 1)?.squeeze(1)?);
        state = network.cell.call_with((input, state), Mode::Eval);
    }
    let expected = (state.1 - state.0).into_tensor()?;
    assert!(difference(&network.forward(&x, &zeros, &zeros)?, &expected)? < 1e-6);
    Ok(())
}

#[derive(Module)]
#[module(forward = |X| {
    let Q = q(X);
    let K = k(X);
    let A = softmax(Q.matmul(K.transpose(-2, -1)), -1);
    A.matmul(X) + Q
})]
#[allow(non_snake_case)]
struct Attention {
    #[layer(3, 3)]
    q: Linear,
    #[layer(3, 3)]
    k: Linear,
}

#[test]
fn uppercase_names_are_locals() -> Result<()> {
    assert_eq!(Attention::new(&DEVICE)?.forward(ones(&[2, 5, 3]))?.dims(), [2, 5, 3]);
    Ok(())
}

const MAX: usize = 4;

#[derive(Clone, Copy, PartialEq)]
enum Norm {
    Plain,
    Scaled(f64),
}

use Norm::{Plain, Scaled};

fn factor(norm: Norm, other: Norm) -> f64 {
    match (norm, other) {
        (Scaled(a), Scaled(b)) => a * b,
        _ => 3.0,
    }
}

#[derive(Module)]
#[module(forward = |x, norm: Norm, n: usize| {
    let y = fc(x);
    let scale = match norm {
        Plain => factor(Plain, Plain) + factor(norm, Plain),
        Scaled(S) => factor(Scaled(S), Scaled(S)) + S,
    };
    let extra = match n {
        MAX => [1, 2].iter().map(move |i| i * MAX).sum::<usize>() + MAX + MAX,
        Other => [1, 2].iter().map(move |i| i * Other).sum::<usize>() + Other + Other,
    };
    if let (Z, 1..) = (y, extra) {
        let ys = [1.0, 2.0].map(move |i| Z * i);
        let [a, b] = ys;
        a + b + Z * (scale + extra as f64)
    } else {
        x
    }
})]
#[deny(warnings)]
#[allow(non_snake_case)]
struct Constants {
    #[layer(3, 3)]
    fc: Linear,
}

#[test]
fn names_in_refutable_patterns_are_locals_or_constants() -> Result<()> {
    let network = Constants::new(&DEVICE)?;
    let x = ones(&[1, 3]);
    let y = fc(&network.fc, &x)?;
    let check = |norm, n, factor: f64| -> Result<()> {
        assert!(difference(&network.forward(&x, norm, n)?, &(&y * factor)?)? < 1e-4);
        Ok(())
    };
    // The output is `y` times the sum of 1 + 2, `scale` and `extra`.
    check(Plain, 4, 3. + 6. + 20.)?;
    check(Scaled(2.), 1, 3. + 6. + 5.)
}

macro_rules! two_contexts {
    ($name:ident, $y:ident) => {
        #[derive(Module)]
        #[module(forward = |x| { let y = fc(x); let $y = y * 2.0; $y + y })]
        struct $name {
            #[layer(3, 3)]
            fc: Linear,
        }
    };
}

two_contexts!(TwoContexts, y);

#[test]
fn names_from_two_hygiene_contexts_are_two_locals() -> Result<()> {
    let network = TwoContexts::new(&DEVICE)?;
    let x = ones(&[1, 3]);
    let expected = (fc(&network.fc, &x)? * 3.)?;
    assert!(difference(&network.forward(&x)?, &expected)? < 1e-5);
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| {
    let y = blocks.iter().fold(x, |x, block| block(x));
    let z = y.abs();
    let ys: Vec<Signal> = blocks.iter().map(|block| block(x)).collect();
    let direct = blocks[0].call(x, Mode::Train);
    y + z + ys[0].abs() - ys[0] + direct.sqr() - direct
})]
struct Outputs {
    #[layer(3, 3; for _ in 0..2)]
    blocks: Vec<Linear>,
}

#[test]
fn outputs_of_layers_are_values() -> Result<()> {
    let network = Outputs::new(&DEVICE)?;
    let x = Tensor::randn(0f32, 1., (2, 3), &DEVICE)?;
    let first = fc(&network.blocks[0], &x)?;
    let y = fc(&network.blocks[1], &first)?;
    let expected = ((&y + y.abs()?)? + ((first.abs()? - &first)? + (first.sqr()? - &first)?)?)?;
    assert!(difference(&network.forward(&x)?, &expected)? < 1e-5);
    Ok(())
}

#[derive(Clone, Debug)]
struct Settings {
    scale: f64,
    names: Vec<String>,
}

#[derive(Module)]
#[module(forward = |mut x, y| {
    x += y;
    x -= 1;
    x *= scale;
    x /= settings.scale as f32;
    let [a, b, c] = x.chunk(3, -1);
    let (batch, width) = x.dims2()?;
    let mut rows = 0;
    for name in &settings.names {
        rows += name.len();
    }
    for size in sizes {
        rows += size;
    }
    counter.fetch_add(rows, Ordering::Relaxed);
    let rest = cat([a * 2, b / 4f32, c + width], -1);
    2 * rest + 1.0 * batch as f64 + sizes[1]
})]
struct Data {
    #[module(skip = 3)]
    scale: usize,
    #[module(skip = Settings { scale: 0.5, names: vec!["ab".into(), "c".into()] })]
    settings: Settings,
    #[module(skip = [4, 5])]
    sizes: [usize; 2],
    #[module(skip = std::sync::Arc::new(AtomicUsize::new(0)))]
    counter: std::sync::Arc<AtomicUsize>,
}

#[test]
fn plain_data_numbers_and_compound_assignments_work() -> Result<()> {
    let network = Data::new(&DEVICE)?;
    let x = Tensor::new(&[[1f32, 2., 3.], [4., 5., 6.]], &DEVICE)?;
    let output = network.forward(&x, ones(&[3]))?;
    // x is 6 times the input; then 2 · [2a, b / 4, c + 3] + 2 + 5.
    let expected = Tensor::new(&[[31f32, 13., 49.], [103., 22., 85.]], &DEVICE)?;
    assert!(difference(&output, &expected)? < 1e-4, "{output}");
    assert_eq!(network.counter.load(Ordering::Relaxed), 12);
    Ok(())
}

#[derive(Module)]
#[module(forward = |mut x, y| {
    x = conv(x);
    x += y;
    relu(x)
})]
struct FusedAssignment {
    #[layer(2, 2, 1)]
    conv: Conv2d,
}

#[test]
fn compound_assignment_keeps_fusion() -> Result<()> {
    let network = FusedAssignment::new(&DEVICE)?;
    let x = ones(&[1, 2, 3, 3]);
    let (result, launches) = sconce::trace(|| network.forward(&x, &x));
    result?;
    let lines: Vec<String> = launches.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["FusedAssignment.conv: conv2d + bias + residual + relu"]);
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| {
    let [a, b] = x.chunk(3, 1);
    a + b
})]
struct Chunks {}

#[test]
fn a_wrong_number_of_parts_is_an_error() -> Result<()> {
    let error = Chunks::new(&DEVICE)?.forward(ones(&[1, 3])).expect_err("there are 3 parts");
    assert!(error.to_string().contains("expected 2 parts, found 3"), "{error}");
    Ok(())
}

network!(LastArm, |x| match x.rank()? {
    0 => unreachable!("scalars have no batch"),
    1 => Err(Error::msg("expected a batch")),
    _ => Ok((fc(x), x)),
});
network!(OtherBranch, |x| {
    if x.rank()? == 1 {
        return Err(Error::msg("expected a batch"));
    } else {
        (fc(x), x)
    }
});
network!(FromLoop, |x| loop {
    if x.rank()? == 2 {
        break (fc(x), x);
    }
});
network!(FromVariables, |x| {
    let y = fc(x).into_tensor()?;
    let pair = (y, x);
    pair
});
network!(TupleInput, |x, (h, c)| (fc(x), h + c));
network!(Nested, |x, state: (Signal, Signal)| (fc(x), state));

#[test]
fn outputs_may_be_tuples_in_any_branch() -> Result<()> {
    let x = ones(&[2, 3]);
    let expected = fc(&Pair::new(&DEVICE)?.fc, &x)?.dims().to_vec();
    assert_eq!(LastArm::new(&DEVICE)?.forward(&x)?.0.dims(), expected);
    assert!(LastArm::new(&DEVICE)?.forward(ones(&[3])).is_err());
    assert_eq!(OtherBranch::new(&DEVICE)?.forward(&x)?.0.dims(), expected);
    assert_eq!(FromLoop::new(&DEVICE)?.forward(&x)?.0.dims(), expected);
    assert_eq!(FromVariables::new(&DEVICE)?.forward(&x)?.0.dims(), expected);
    let state = || (Signal::from(&x), Signal::from(&x));
    let (_, sum) = TupleInput::new(&DEVICE)?.forward(&x, state())?;
    assert!(difference(&sum, &(&x * 2.)?)? == 0.);
    let (_, (h, _)) = Nested::new(&DEVICE)?.forward(&x, state())?;
    assert!(difference(&h, &x)? == 0.);
    Ok(())
}

network!(Conversions, |x, t: Tensor| {
    if x.rank()? == 1 {
        return Err(candle::Error::Msg("expected a batch".into()).into());
    }
    let layer = fc;
    let y = fc(t.clone().into());
    Ok((y + layer((&t * 1.)?.into())).into_tensor()?.into())
});

#[test]
fn values_may_be_converted_with_into() -> Result<()> {
    let x = ones(&[1, 3]);
    let network = Conversions::new(&DEVICE)?;
    let expected = (fc(&network.fc, &x)? * 2.)?;
    assert!(difference(&network.forward(&x, x.clone())?, &expected)? < 1e-5);
    let error = network.forward(ones(&[3]), x).expect_err("there is one dimension");
    assert_eq!(error.to_string(), "at Conversions: expected a batch");
    Ok(())
}

/// A value that cannot be cloned or copied.
struct Token(usize);

fn next(token: Token) -> Token {
    Token(token.0 + 1)
}

network!(Jumps, |x| {
    let mut token = Token(0);
    let token = loop {
        if token.0 == 3 {
            break token;
        }
        token = next(token);
    };
    let token = 'block: {
        if x.rank()? == 2 {
            break 'block token;
        }
        next(token)
    };
    fc(x) * token.0
});

fn push(list: &mut Vec<usize>, value: usize) {
    list.push(value);
}

fn counter() -> impl FnMut() -> usize {
    let mut count = 0;
    move || {
        count += 1;
        count
    }
}

network!(References, |x, scale: std::sync::Arc<dyn Fn(f64) -> f64>| {
    let mut list = Vec::new();
    let borrowed = &mut list;
    push(borrowed, 1);
    push(borrowed, 2);
    let twice = |list: &mut Vec<usize>| {
        push(list, 3);
        push(list, 4);
    };
    twice(&mut list);
    let mut add = move |value| {
        list.push(value);
        list.len()
    };
    add(5);
    let mut count = counter();
    count();
    fc(x) * (add(6) + count()) * scale(1.0) * scale(2.0)
});

network!(ConsumedFunctions, |x, f: Box<dyn FnOnce(Signal) -> Signal>, factor: usize| {
    let token = Token(2);
    let consume = spend(token);
    let layer = Linear::config(3, 3).init(&DEVICE)?;
    let y = f(fc(x));
    let n = consume(3);
    let hook = Some(Token(factor)).map(|token| move |y: Signal| y * token.0);
    let y = match hook {
        Some(hook) => hook(y),
        None => y,
    };
    y * n + layer(x) * 0.0
});

fn spend(token: Token) -> impl FnOnce(usize) -> usize {
    move |n| n + next(token).0
}

#[test]
fn functions_that_implement_only_fn_once_can_be_called() -> Result<()> {
    let network = ConsumedFunctions::new(&DEVICE)?;
    let x = ones(&[1, 3]);
    // `n` is 3 + 3, and `factor` is 5.
    let expected = (fc(&network.fc, &x)?.relu()? * (6. * 5.))?;
    let output = network.forward(&x, Box::new(|x: Signal| relu(x)), 5)?;
    assert!(difference(&output, &expected)? < 1e-4);
    Ok(())
}

network!(Parts, |x| {
    let beams = [(fc(x), 1.0)];
    let first = beams.first().ok_or_else(|| Error::msg("no beam"))?;
    let nested = (first, (x, 2.0));
    first.0 + beams[0].0 * beams[0].1 + nested.1.0 * nested.1.1
});

#[test]
fn values_move_and_borrow_as_in_ordinary_rust() -> Result<()> {
    let x = ones(&[1, 3]);
    let network = Jumps::new(&DEVICE)?;
    let expected = (fc(&network.fc, &x)? * 3.)?;
    assert!(difference(&network.forward(&x)?, &expected)? < 1e-5);
    let network = References::new(&DEVICE)?;
    // `add(6)` returns 6, and the second call of `count` returns 2; `scale` doubles 1 and 2.
    let expected = (fc(&network.fc, &x)? * (8. * 2. * 4.))?;
    let output = network.forward(&x, std::sync::Arc::new(|value| 2. * value))?;
    assert!(difference(&output, &expected)? < 1e-4);
    let network = Parts::new(&DEVICE)?;
    let expected = ((fc(&network.fc, &x)? * 2.)? + (&x * 2.)?)?;
    assert!(difference(&network.forward(&x)?, &expected)? < 1e-5);
    Ok(())
}

/// A network with one convolution `conv`, and a test of its launches.
macro_rules! fused {
    ($name:ident, $launches:expr, $forward:expr) => {
        #[derive(Module)]
        #[module(forward = $forward)]
        pub struct $name {
            #[layer(2, 2, 1)]
            conv: Conv2d,
        }

        impl $name {
            fn check() -> Result<()> {
                let network = Self::new(&DEVICE)?;
                let (result, launches) = sconce::trace(|| network.forward(ones(&[1, 2, 3, 3])));
                result?;
                let lines: Vec<String> = launches.iter().map(ToString::to_string).collect();
                assert_eq!(lines, $launches, stringify!($name));
                Ok(())
            }
        }
    };
}

fused!(
    Dimensions,
    ["Dimensions.conv: conv2d + bias + relu", "Dimensions: divide", "Dimensions: reshape"],
    |x| {
        let y = conv(x);
        let (batch, c, h, w) = y.dims4()?;
        let width: f64 = (y.dim(-1)? as f64).sqrt();
        let z = relu(y) / width;
        z.reshape((batch, c * h * w))
    }
);
struct Branch {
    y: Signal,
    z: Signal,
}
fused!(Fields, ["Fields.conv: conv2d + bias + relu", "Fields: add"], |x| {
    let branch = Branch { y: conv(x), z: x };
    relu(branch.y) + branch.z
});
fused!(LeftLoop, ["LeftLoop.conv: conv2d + bias + relu"], |mut x| {
    loop {
        x = conv(x);
        if x.rank()? == 4 {
            break relu(x);
        }
        x = x.abs();
    }
});

#[test]
fn shapes_and_jumps_keep_fusion() -> Result<()> {
    Dimensions::check()?;
    Fields::check()?;
    LeftLoop::check()
}

/// Methods that a user adds to signals. The derive cannot tell by their names whether the results borrow from the
/// signal.
trait Inspect {
    fn channels(&self) -> usize;
    fn sizes(&self) -> &[usize];
    fn itself(&self) -> &Signal;
}

impl Inspect for Signal {
    fn channels(&self) -> usize {
        self.dim(1).unwrap_or_default()
    }

    fn sizes(&self) -> &[usize] {
        self.dims().unwrap_or_default()
    }

    fn itself(&self) -> &Signal {
        self
    }
}

fn batch_size(x: &Signal) -> Result<usize> {
    x.dim(0)
}

/// Networks that call a method or function (`$query`) on the output of `conv`, then use the output for the last time,
/// and then use the result of `$query`, which may borrow from the output. The number after the name is the number of
/// launches.
macro_rules! queried {
    ($($name:ident $launches:expr, $y:ident => $query:expr, $z:ident $found:ident => $result:expr;)*) => {$(
        #[derive(Module)]
        #[module(forward = |x| {
            let $y = conv(x);
            let $found = $query;
            let $z = relu($y);
            $result
        })]
        pub struct $name {
            #[layer(2, 2, 1)]
            conv: Conv2d,
        }

        impl $name {
            fn check(expected: impl Fn(&Tensor) -> Result<Tensor>) -> Result<()> {
                let network = Self::new(&DEVICE)?;
                let x = Tensor::randn(0f32, 1., (1, 2, 3, 3), &DEVICE)?;
                let (output, launches) = sconce::trace(|| network.forward(&x));
                let lines: Vec<String> = launches.iter().map(ToString::to_string).collect();
                let path = stringify!($name);
                let (last, first) = (format!("{path}: "), format!("{path}.conv: conv2d + bias + relu"));
                assert!(lines.contains(&first), "{lines:?}");
                assert_eq!(lines.len(), $launches, "{lines:?}");
                assert!(lines[1..].iter().all(|line| line.starts_with(&last) || line.contains("conv2d + bias")));
                let y = network.conv.call((&x).into(), Mode::Eval).into_tensor()?;
                assert!(difference(&output?, &expected(&y)?)? < 1e-5, "{path}");
                Ok(())
            }
        }
    )*};
}

queried! {
    Dim 2, y => y.dim(1)?, z n => z * n;
    Dims2 2, y => y.dims2().is_ok(), z n => z * usize::from(n);
    Dims3 2, y => y.dims3().is_ok(), z n => z * usize::from(n);
    Dims4 2, y => y.dims4()?, z n => z * n.1;
    Length 2, y => y.dims()?.len(), z n => z * n;
    Rank 2, y => y.rank()?, z n => z * n;
    Dtype 1, y => y.dtype()?, z n => if n == DType::F32 { Ok(z) } else { Err(Error::msg("expected f32")) };
    OwnNumber 2, y => y.channels(), z n => z * n;
    OwnBorrow 2, y => y.sizes(), z sizes => z * sizes[2];
    OwnFunction 2, y => batch_size(&y)?, z n => z * n;
    InClosure 2, y => y.dims()?, z sizes => { let scale = |z: Signal| z * sizes[3]; scale(z) };
    // The convolution runs a second time for the residual.
    ReadAgain 3, y => y.itself(), z again => z + again;
}
fused!(Shared, ["Shared.conv: conv2d + bias", "Shared: relu", "Shared: add"], |x| {
    let y = conv(x);
    let copy = y.clone();
    relu(y) + copy
});

fused!(Listed, ["Listed.conv: conv2d + bias + relu", "Listed: add", "Listed: multiply"], |x| {
    let ys = vec![conv(x)];
    let count = ys.len();
    let mut sum = x;
    for y in ys {
        sum += relu(y);
    }
    sum * count
});

#[derive(Clone)]
struct State {
    y: Signal,
    count: usize,
}

impl State {
    fn count(&self) -> &usize {
        &self.count
    }
}

fn activate(State { y, .. }: State) -> Signal {
    relu(y)
}

fused!(InStruct, ["InStruct.conv: conv2d + bias + relu", "InStruct: multiply"], |x| {
    let state = State { y: conv(x), count: 2 };
    let count = state.count();
    activate(state) * *count
});

#[test]
fn queries_keep_fusion() -> Result<()> {
    Listed::check()?;
    InStruct::check()?;
    Dim::check(|y| Ok((y.relu()? * 2.)?))?;
    Dims2::check(|y| Ok((y.relu()? * 0.)?))?;
    Dims3::check(|y| Ok((y.relu()? * 0.)?))?;
    Dims4::check(|y| Ok((y.relu()? * 2.)?))?;
    Length::check(|y| Ok((y.relu()? * 4.)?))?;
    Rank::check(|y| Ok((y.relu()? * 4.)?))?;
    Dtype::check(|y| Ok(y.relu()?))?;
    OwnNumber::check(|y| Ok((y.relu()? * 2.)?))?;
    OwnBorrow::check(|y| Ok((y.relu()? * 3.)?))?;
    OwnFunction::check(|y| Ok(y.relu()?))?;
    InClosure::check(|y| Ok((y.relu()? * 3.)?))?;
    ReadAgain::check(|y| Ok((y.relu()? + y)?))?;
    // The explicit `clone` in `Shared` shares the convolution, which then runs once.
    Shared::check()
}

fn increment(x: &mut Signal) {
    *x += 1;
}

network!(LastUses, |x, mut list: Vec<Signal>, mut token: usize| {
    let mut state = fc(x);
    let mut sum = x;
    {
        let (state, other) = (&mut state, &mut sum);
        let rank = state.rank()?;
        increment(state);
        *other *= rank;
    }
    let mut iter = list.iter_mut();
    let n = iter.len();
    if let Some(y) = iter.next() {
        let size = y.dim(0)?;
        increment(&mut *y);
        increment(y);
        token += size;
    }
    let names = ["a", "b"];
    let first = names.first();
    let count = count_all(names) + first.map_or(0, |name| name.len());
    state + sum * count * token + n + list.remove(0)
});

fn count_all(names: [&str; 2]) -> usize {
    names.len()
}

#[test]
fn last_uses_of_borrowed_values_keep_their_type() -> Result<()> {
    let network = LastUses::new(&DEVICE)?;
    let x = ones(&[1, 3]);
    // The terms are `fc(x) + 1`, `sum * count * token` = 2 · 3 · 2, `n` = 1, and the element of the list, 1 + 2.
    let expected = (fc(&network.fc, &x)? + (1. + 12. + 1. + 3.))?;
    let output = network.forward(&x, vec![Signal::from(&x)], 1)?;
    assert!(difference(&output, &expected)? < 1e-4, "{output}");
    Ok(())
}
