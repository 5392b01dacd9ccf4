use sconce::prelude::*;

#[derive(Module)]
#[module(forward = |x| blcoks[0](x))]
struct Element {
    #[layer(3, 3; for _ in 0..2)]
    blocks: Vec<Linear>,
}

#[derive(Module)]
#[module(forward = |mut x| { for block in blcks { x = block(x); } x })]
struct Looped {
    #[layer(3, 3; for _ in 0..2)]
    blocks: Vec<Linear>,
}

#[derive(Module)]
#[module(forward = |x| { assert!(clasifier(x).rank()? == 2); classifier(x) })]
struct InMacro {
    #[layer(3, 3)]
    classifier: Linear,
}

#[derive(Module)]
#[module(forward = |x| { let f = |y: Signal| clasifier(y); f(x) })]
struct InClosure {
    #[layer(3, 3)]
    classifier: Linear,
}

#[derive(Module)]
enum Variants {
    #[module(when = true, forward = |x| hiden(x))]
    Deep {
        #[layer(3, 3)]
        hidden: Linear,
    },
    Shallow(#[layer(3, 3)] Linear),
}

#[derive(Module)]
#[module(forward = |x| hed(x))]
struct Short {
    #[layer(3, 3)]
    head: Linear,
}

#[derive(Module)]
#[module(forward = |x| down_sampel(x))]
struct TwoEdits {
    #[layer(3, 3)]
    down_sample: Linear,
}

#[derive(Module)]
#[module(forward = |x| convoultoin_stme(x))]
struct ThreeEdits {
    #[layer(3, 3)]
    convolution_stem: Linear,
}

#[derive(Module)]
#[module(forward = |x| Classifier(x))]
struct Case {
    #[layer(3, 3)]
    classifier: Linear,
}

#[derive(Module)]
#[module(forward = |x| fc_1(x))]
struct Underscore {
    #[layer(3, 3)]
    fc1: Linear,
}

#[derive(Module)]
#[module(forward = |x| fc(fx(x)))]
struct TwoLetters {
    #[layer(3, 3)]
    fc: Linear,
}

fn main() {}
