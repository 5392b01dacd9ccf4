//! The steps of a random network, whose settings do not depend on the shapes.

use proptest::collection::vec;
use proptest::prelude::*;

/// One step on images `[batch, channels, height, width]`.
#[derive(Clone, Debug)]
pub enum Step {
    Conv {
        out: usize,
        window: Window,
        grouped: bool,
        bias: bool,
        mode: &'static str,
    },
    Transposed {
        out: usize,
        window: Window,
        output_padding: usize,
    },
    MaxPool {
        window: Window,
        ceil: bool,
    },
    AvgPool {
        window: Window,
        ceil: bool,
        count_padding: bool,
    },
    Adaptive {
        size: (usize, usize),
        max: bool,
    },
    /// An index into the norms.
    Norm(usize),
    /// An index into the activations.
    Activation(usize),
    Softmax {
        dim: isize,
        log: bool,
    },
    /// An index into the functions of signals.
    Function(usize),
    Resize {
        size: (usize, usize),
        mode: &'static str,
        align_corners: bool,
    },
    Pad {
        sides: [isize; 4],
        mode: &'static str,
    },
    /// A factor by which channels become pixels, or pixels become channels.
    Shuffle {
        factor: usize,
        inverse: bool,
    },
    /// Over the columns.
    Linear {
        out: usize,
        bias: bool,
    },
    /// Over the pixels as tokens.
    Attention {
        heads: usize,
    },
    /// Over the pixels as steps.
    Recurrent {
        hidden: usize,
        bidirectional: bool,
        lstm: bool,
    },
    Branches {
        join: Join,
        branches: Vec<Vec<Step>>,
    },
}

/// The window of a convolution or pooling, by axis.
#[derive(Clone, Debug)]
pub struct Window {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub padding: [usize; 2],
    pub dilation: usize,
}

/// How the outputs of branches are combined.
#[derive(Clone, Copy, Debug)]
pub enum Join {
    Cat,
    Sum,
    Product,
    Maximum,
}

impl Step {
    pub const KINDS: [&str; 16] = [
        "Conv",
        "Transposed",
        "MaxPool",
        "AvgPool",
        "Adaptive",
        "Norm",
        "Activation",
        "Softmax",
        "Function",
        "Resize",
        "Pad",
        "Shuffle",
        "Linear",
        "Attention",
        "Recurrent",
        "Branches",
    ];

    /// Returns the name of the variant.
    pub fn kind(&self) -> &'static str {
        let name = format!("{self:?}");
        let is_kind = |kind: &&str| name.split([' ', '(']).next() == Some(kind);
        Self::KINDS.into_iter().find(|kind| is_kind(kind)).expect("every variant should be listed")
    }
}

fn window() -> impl Strategy<Value = Window> {
    let pair = |range: std::ops::Range<usize>| [range.clone(), range];
    (pair(1..4), pair(1..4), pair(0..3), 1..3usize).prop_map(|(kernel, stride, padding, dilation)| Window {
        kernel,
        stride,
        padding,
        dilation,
    })
}

fn single() -> impl Strategy<Value = Step> {
    let padding_modes = || prop::sample::select(vec!["zeros", "reflect", "replicate", "circular"]);
    let resize_modes = prop::sample::select(vec!["nearest", "nearest-exact", "bilinear", "bicubic", "area"]);
    prop_oneof![
        4 => (1..7usize, window(), any::<bool>(), any::<bool>(), padding_modes())
            .prop_map(|(out, window, grouped, bias, mode)| Step::Conv { out, window, grouped, bias, mode }),
        1 => (1..5usize, window(), 0..3usize)
            .prop_map(|(out, window, output_padding)| Step::Transposed { out, window, output_padding }),
        1 => (window(), any::<bool>()).prop_map(|(window, ceil)| Step::MaxPool { window, ceil }),
        1 => (window(), any::<bool>(), any::<bool>())
            .prop_map(|(window, ceil, count_padding)| Step::AvgPool { window, ceil, count_padding }),
        1 => ((1..5usize, 1..5usize), any::<bool>()).prop_map(|(size, max)| Step::Adaptive { size, max }),
        2 => any::<prop::sample::Index>().prop_map(|index| Step::Norm(index.index(usize::MAX))),
        3 => any::<prop::sample::Index>().prop_map(|index| Step::Activation(index.index(usize::MAX))),
        1 => (-3..0isize, any::<bool>()).prop_map(|(dim, log)| Step::Softmax { dim, log }),
        3 => any::<prop::sample::Index>().prop_map(|index| Step::Function(index.index(usize::MAX))),
        1 => ((1..8usize, 1..8usize), resize_modes, any::<bool>())
            .prop_map(|(size, mode, align_corners)| Step::Resize { size, mode, align_corners }),
        1 => ([-1..3isize, -1..3, -1..3, -1..3], padding_modes())
            .prop_map(|(sides, mode)| Step::Pad { sides, mode }),
        1 => (2..4usize, any::<bool>()).prop_map(|(factor, inverse)| Step::Shuffle { factor, inverse }),
        1 => (1..8usize, any::<bool>()).prop_map(|(out, bias)| Step::Linear { out, bias }),
        1 => (1..4usize).prop_map(|heads| Step::Attention { heads }),
        1 => (1..5usize, any::<bool>(), any::<bool>())
            .prop_map(|(hidden, bidirectional, lstm)| Step::Recurrent { hidden, bidirectional, lstm }),
    ]
}

/// Returns chains of steps, some of which have branches.
pub fn chain() -> impl Strategy<Value = Vec<Step>> {
    let join = || prop::sample::select(vec![Join::Cat, Join::Sum, Join::Product, Join::Maximum]);
    let step = single().prop_recursive(2, 24, 4, move |step| {
        let branches = (join(), vec(vec(step.clone(), 0..4), 2..4))
            .prop_map(|(join, branches)| Step::Branches { join, branches });
        prop_oneof![4 => step, 1 => branches]
    });
    vec(step, 1..9)
}
