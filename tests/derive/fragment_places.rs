//! `$t:ty`, `$e:expr` and `$f:expr` in all places that `fragments.rs` leaves out.

use std::collections::BTreeMap;
use std::sync::Arc;

use sconce::prelude::*;

const DEVICE: Device = Device::Cpu;

#[derive(Clone)]
struct Sizes {
    width: usize,
}

/// Types: a tuple, an `Arc`, a map, a map's value, an argument, a user's config, a type in a closure, a return type.
macro_rules! types {
    ($name:ident, $own:ident, $layer:ty, $other:ty, $map:ty, $arg:ty, $config:ty, $input:ty, $output:ty) => {
        #[derive(Module)]
        #[module(args(width: $arg, list: Vec<$arg> = vec![width]), forward = |x, scale: $input| -> $output {
                                    let x = tuple(shared(x)) * scale;
                                    let y: $output = maps["a"](boxed(x));
                                    y
                                })]
        struct $name {
            #[layer((width, list[0]), ())]
            tuple: ($layer, $other),
            #[layer(width, width)]
            shared: Arc<$layer>,
            #[layer(width, width; if true)]
            boxed: Option<Box<$layer>>,
            #[layer(with = |vb| [("a", 3)].into_iter().map(|(name, n)| {
                                        Ok((name.to_string(), <$layer>::config(n, n).build(vb.pp(name))?))
                                    }).collect())]
            maps: $map,
        }

        #[derive(Module)]
        #[module(config = $config)]
        struct $own {
            #[layer(config.width, config.width)]
            fc: $layer,
        }
    };
}

types!(Types, OwnConfig, Linear, Relu, BTreeMap<String, Linear>, usize, Sizes, f64, Signal);

/// Expressions: `with`, `skip`, `init`, `loss`, `optimizer`, `schedule`, a default, a named argument, a condition of a
/// list, an index, and expressions and closures inside of the closure.
macro_rules! expressions {
    ($name:ident, $with:expr, $skip:expr, $init:expr, $loss:expr, $optimizer:expr, $schedule:expr, $default:expr,
     $bias:expr, $n:expr, $keep:expr, $index:expr, $factor:expr, $function:expr, $rename:expr, $tie:literal) => {
        #[derive(Module)]
        #[module(
                                    args(width: usize = $default),
                                    forward = |x| {
                                        let apply = $function;
                                        apply(list[$index](with(x)) * $factor + bias) * data + tied(x) * 0.0
                                    },
                                    loss = $loss,
                                    optimizer = $optimizer,
                                    schedule = $schedule,
                                )]
        struct $name {
            #[layer(with = $with)]
            #[module(rename = $rename)]
            with: Linear,
            #[layer($n, width, bias = $bias; for _ in 0..$n, if $keep)]
            list: Vec<Option<Linear>>,
            #[layer($n, $n, bias = $bias)]
            #[module(tie = $tie)]
            tied: Linear,
            #[param($n, init = $init)]
            bias: Tensor,
            #[module(skip = $skip)]
            data: f64,
        }
    };
}

expressions!(
    Expressions,
    |vb| Linear::config(1 + 2, 3).bias(false).build(vb).map_err(Into::into),
    1.0 + 1.0,
    constant(0.5),
    |output, target| mse_loss(target, output),
    Sgd::new(0.1 + 0.1),
    (StepLr::new(5 + 5), Every::Epoch),
    1 + 2,
    1 > 2,
    1 + 2,
    2 > 1,
    2 - 1,
    1.0 + 1.0,
    |x: Signal| relu(x) + 1,
    "first",
    "first.weight"
);

/// An enum: conditions and forward closures.
macro_rules! variants {
    ($name:ident, $when:expr, $deep:expr, $shallow:expr, $t:ty, $mode:ident) => {
        #[derive(Module)]
        #[module(args(width: usize, depth: usize = 0))]
        enum $name {
            #[module(when = $when, forward = $deep)]
            Deep {
                #[layer(width, width; for _ in 0..2)]
                layers: Vec<$t>,
            },
            #[module(forward = $shallow)]
            Shallow {
                #[layer(width, width)]
                #[module(mode = $mode)]
                fc: $t,
            },
        }
    };
}

variants!(Variants, 1 + 1 > 3, |x| layers[1](layers[0](x)), |x| fc(x) * 2, Linear, eval);

#[test]
fn fragments_are_supported_in_every_place() -> Result<()> {
    let x = Tensor::ones((1, 3), DType::F32, &DEVICE)?;
    assert_eq!(Types::new(3, &DEVICE)?.forward(&x, 2.0)?.dims(), [1, 3]);
    assert_eq!(OwnConfig::new(Sizes { width: 3 }, &DEVICE)?.forward(&x)?.dims(), [1, 3]);
    let net = Expressions::new(&DEVICE)?;
    let names: Vec<String> = net.named_parameters().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["first.weight", "list.0.weight", "list.1.weight", "list.2.weight", "bias"]);
    let y = net.forward(&x)?;
    let h = ((net.list[1].forward(net.with.forward(&x)?)? * 2.)? + 0.5)?.relu()?;
    let expected = ((h + 1.)? * 2.)?;
    assert!((y - expected)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-5);
    assert!(matches!(Variants::new(3, &DEVICE)?, Variants::Shallow { .. }));
    assert_eq!(Variants::new(3, &DEVICE)?.forward(&x)?.dims(), [1, 3]);
    Ok(())
}
