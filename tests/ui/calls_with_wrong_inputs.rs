use sconce::prelude::*;

#[derive(Module)]
#[module(forward = |x| fc() + x)]
struct NoInputs {
    #[layer(3, 3)]
    fc: Linear,
}

#[derive(Module)]
#[module(forward = |x| relu(fc(x, x) + x))]
struct TwoInputs {
    #[layer(3, 3)]
    fc: Linear,
}

#[derive(Module)]
#[module(forward = |x| relu(fc("a") + x).sqrt())]
struct Text {
    #[layer(3, 3)]
    fc: Linear,
}

#[derive(Module)]
#[module(forward = |x| relu(fcs[0](x, x) + x))]
struct TwoInputsOfAnElement {
    #[layer(3, 3; for _ in 0..2)]
    fcs: Vec<Linear>,
}

#[derive(Module)]
#[module(forward = |x| relu(fcs[0]("a") + x))]
struct TextForAnElement {
    #[layer(3, 3; for _ in 0..2)]
    fcs: Vec<Linear>,
}

#[derive(Module)]
#[module(forward = |x| { let (a, b) = fc(x); a + b })]
struct TwoOutputs {
    #[layer(3, 3)]
    fc: Linear,
}

#[derive(Module)]
#[module(forward = |x| { let fc = &fcs[0]; fc("a").sqrt() + x })]
struct TextForAValue {
    #[layer(3, 3; for _ in 0..2)]
    fcs: Vec<Linear>,
}

#[derive(Module)]
#[module(forward = |x| { let fc = &fcs[0]; fc(x, x).sqrt() + x })]
struct TwoInputsOfAValue {
    #[layer(3, 3; for _ in 0..2)]
    fcs: Vec<Linear>,
}

#[derive(Module)]
#[module(forward = |x| fc().sqrt())]
struct MethodOnCallWithoutInputs {
    #[layer(3, 3)]
    fc: Linear,
}

fn main() {}
