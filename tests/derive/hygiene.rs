//! Hygiene of the generated code: it needs no prelude, causes no warnings, and does not shadow or use the
//! user's names.

#![no_implicit_prelude]
#![deny(warnings, unused, missing_docs, clippy::all, clippy::pedantic)]
#![allow(clippy::many_single_char_names, clippy::used_underscore_binding)]

// The generated code needs none of these names. The closures and tests below use them; `candle_nn::Module` could clash
// with the derive.
use ::std::assert_eq;
use ::std::option::Option::{self, None, Some};
use ::std::result::Result::Ok;

use ::candle_nn::Module;
use ::sconce::layers::{Conv2d, Linear, Relu};

/// A function with the name of a field.
#[must_use]
pub fn relu(x: ::sconce::Signal) -> ::sconce::Signal {
    x
}

mod framework {
    //! A module in place of a crate that re-exports sconce.
    pub use ::sconce as inner;
}

/// A network.
#[derive(::sconce::Module)]
#[module(args(r#type: usize, vb: usize = 3, device: usize = 3, self_: usize = 1), forward = |input| {
    let x = relu(r#match(input));
    let network = fc(x);
    relu(network)
})]
pub struct Net {
    /// A field whose name is a keyword.
    #[layer(r#type, vb)]
    pub r#match: Linear,
    /// A field whose name is also the name of a function.
    pub(crate) relu: Relu,
    #[layer(vb, device * self_)]
    fc: Linear,
}

#[derive(::sconce::Module)]
#[module(
    crate = crate::hygiene::framework::inner,
    args(channels: usize),
    forward = |x, mask: Option<framework::inner::Signal>| {
        let x = match mask {
            Some(mask) => conv(x) * mask,
            None => conv(x),
        };
        relu(x)
    },
)]
struct Private<A: ::sconce::Layer + ::std::default::Default>
where
    A: ::std::marker::Send,
{
    #[layer(channels, channels, 1)]
    conv: Conv2d,
    relu: A,
}

mod inner {
    //! A module whose network is only visible in the parent module.
    use ::sconce::layers::Linear;

    /// A network that is visible in the parent module.
    #[derive(::sconce::Module)]
    #[module(args(width: usize))]
    pub(super) struct Inner(#[layer(width, width)] pub(super) Linear);
}

#[test]
fn generated_code_compiles_without_a_prelude_and_with_clashing_names() -> ::sconce::Result<()> {
    let cpu = ::sconce::candle::Device::Cpu;
    let x = ::sconce::candle::Tensor::ones((1, 3), ::sconce::candle::DType::F32, &cpu)?;
    let net = Net::config(3).device(2).init(&cpu)?;
    assert_eq!(net.forward(&x)?.dims(), [1, 2]);
    let names = ::sconce::Network::named_parameters(&net);
    assert_eq!(names[0].0, "match.weight");
    assert_eq!(inner::Inner::new(3, &cpu)?.forward(&x)?.dims(), [1, 3]);
    assert_eq!(inner::Inner::new(3, &cpu)?.0.weight().dims(), [3, 3]);
    assert_eq!(::candle_nn::Linear::new(x, None).forward(net.fc.weight())?.dims(), [2, 1]);
    let image = ::sconce::candle::Tensor::ones((1, 2, 4, 4), ::sconce::candle::DType::F32, &cpu)?;
    assert_eq!(Private::<Relu>::new(2, &cpu)?.forward(&image, None)?.dims(), [1, 2, 4, 4]);
    Ok(())
}
