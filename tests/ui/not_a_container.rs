use std::borrow::Cow;

use sconce::nn::VarBuilder;
use sconce::prelude::*;
use sconce::{Config, Module, Visitor, VisitorMut};

struct Scale;

impl Module for Scale {
    fn kind(&self) -> Cow<'static, str> {
        "Scale".into()
    }

    fn visit<'a>(&'a self, _: &mut dyn Visitor<'a>) {}

    fn visit_mut(&mut self, _: &mut dyn VisitorMut) {}

    fn share(&self) -> Self {
        Scale
    }
}

impl Forward for Scale {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
        x
    }
}

struct ScaleConfig;

impl Config for ScaleConfig {
    type Output = Scale;

    fn build(self, _: VarBuilder) -> Result<Scale> {
        Ok(Scale)
    }
}

impl Scale {
    fn config(_: usize) -> ScaleConfig {
        ScaleConfig
    }
}

type Blocks = Vec<Linear>;
type Maybe = Option<Linear>;

#[derive(Module)]
struct Net {
    #[layer(10; for i in 0..3)]
    list: Scale,
    #[layer(10; if true)]
    optional: Scale,
    #[layer(2; for i in 0..3)]
    pool: AdaptiveAvgPool2d,
    #[layer(3, 3; if true)]
    not_optional: Blocks,
    #[layer(3, 3; for _ in 0..3)]
    not_a_list: Maybe,
    #[layer((3, 3, bias = true), (3, 3))]
    not_a_tuple: Linear,
}

fn main() {}
