//! Structs that `macro_rules!` generates: every fragment (`$t:ty`, `$e:expr`, `$l:literal`, …) works in every place.

use std::sync::Arc;

use sconce::prelude::*;

const DEVICE: Device = Device::Cpu;

fn names(network: &impl Network) -> Vec<String> {
    network.named_parameters().into_iter().map(|(name, _)| name).collect()
}

/// Generates a network with one field. The attributes of the field are passed as `meta` fragments.
macro_rules! field {
    ($name:ident, $t:ty, $f:expr, $(#[$attribute:meta])*) => {
        #[derive(Module)]
        #[module(forward = $f)]
        struct $name {
            $(#[$attribute])*
            body: $t,
        }
    };
}

field!(Plain, Linear, |x| body(x), #[layer(3, 3)]);
field!(List, Vec<Linear>, |x| body(x), #[layer(3, 3; for _ in 0..2)]);
field!(Array, [Linear; 2], |x| body(x), #[layer(3, 3; for _ in 0..2)]);
field!(Boxed, Box<Linear>, |x| body(x), #[layer(3, 3)]);
field!(Shared, Arc<Linear>, |x| body(x), #[layer(3, 3)]);
field!(Maybe, Option<Linear>, |x| body(x), #[layer(3, 3)]);
field!(Chosen, Option<Linear>, |x| body(x), #[layer(3, 3; if true)]);
field!(Pair, (Linear, Relu), |x| body(x), #[layer((3, 3), ())]);
field!(Parameter, Tensor, |x| x + body, #[param((1, 3))]);
field!(Skipped, f64, |x| x * body, #[module(skip = 2.0)]);

/// Generates a network whose parts are all fragments.
macro_rules! network {
    ($vis:vis $name:ident, $list:ident: $element:ty, $size:ty, $width:expr, $bias:literal, $key:literal, $range:expr,
     $on:expr, $shape:expr, $init:expr, $sconce:path, $loss:path, $optimizer:expr, $index:pat) => {
        #[derive(Module)]
        #[module(
            args(size: $size = $width, unused: Option<$size> = None),
            crate = $sconce,
            loss = $loss,
            optimizer = $optimizer,
            forward = |x| $list(down(up(x))) + bias,
        )]
        $vis struct $name {
            #[layer($width, size * 2, bias = $bias)]
            up: $element,
            #[layer(2 * $width, size; if $on)]
            #[module(rename = $key)]
            down: Option<$element>,
            #[layer($width, $width; for $index in $range)]
            $list: Vec<Box<$element>>,
            #[param($shape, init = $init)]
            bias: Tensor,
            #[module(skip = unused)]
            _unused: Option<$size>,
        }
    };
}

network!(
    pub(crate) Everything, layers: Linear, usize, 2 + 1, false, "features.0", 0..1 + 1,
    1 + 1 > 1, (1, 3), constant(1.0), ::sconce, mse_loss, Sgd::new(0.1 + 0.1), _
);

/// Generates a network from fragments that contain operators, such as `1 + 1`.
macro_rules! widths {
    ($name:ident, $a:expr, $t:ty) => {
        #[derive(Module)]
        #[module(args(width: usize = $a * 2, extra: Option<$t> = Some($a)))]
        struct $name {
            #[layer($a * 2, $a * 2)]
            first: Linear,
            #[layer(width, extra.unwrap_or(0) + width)]
            second: Linear,
        }
    };
}

widths!(Widths, 1 + 1, usize);

#[test]
fn the_type_of_a_field_can_be_a_fragment() -> Result<()> {
    let x = Tensor::ones((1, 3), DType::F32, &DEVICE)?;
    assert_eq!(Plain::new(&DEVICE)?.forward(&x)?.dims(), [1, 3]);
    assert_eq!(names(&List::new(&DEVICE)?)[2], "body.1.weight");
    assert_eq!(names(&Array::new(&DEVICE)?)[2], "body.1.weight");
    assert_eq!(names(&Boxed::new(&DEVICE)?), ["body.weight", "body.bias"]);
    assert_eq!(names(&Shared::new(&DEVICE)?), ["body.weight", "body.bias"]);
    assert_eq!(names(&Maybe::new(&DEVICE)?), ["body.weight", "body.bias"]);
    assert_eq!(names(&Chosen::new(&DEVICE)?), ["body.weight", "body.bias"]);
    assert_eq!(names(&Pair::new(&DEVICE)?), ["body.0.weight", "body.0.bias"]);
    assert_eq!(names(&Parameter::new(&DEVICE)?), ["body"]);
    assert_eq!(Skipped::new(&DEVICE)?.forward(&x)?.to_vec2::<f32>()?, [[2., 2., 2.]]);
    Ok(())
}

#[test]
fn every_part_of_a_network_can_be_a_fragment() -> Result<()> {
    let net = Everything::new(&DEVICE)?;
    let expected = [
        "up.weight",
        "features.0.weight",
        "features.0.bias",
        "layers.0.weight",
        "layers.0.bias",
        "layers.1.weight",
    ];
    assert_eq!(names(&net)[..6], expected);
    assert_eq!(net.up.weight().dims(), [6, 3]);
    assert_eq!(net.forward(Tensor::ones((1, 3), DType::F32, &DEVICE)?)?.dims(), [1, 3]);
    Ok(())
}

#[test]
fn the_precedence_of_an_expression_is_kept() -> Result<()> {
    let net = Widths::new(&DEVICE)?;
    assert_eq!(net.first.weight().dims(), [4, 4]);
    assert_eq!(net.second.weight().dims(), [6, 4]);
    Ok(())
}
