//! Compares activation layers with the golden data.

use sconce::prelude::*;

use crate::cases::{Case, golden_tests};
use crate::layer::check;

fn number(case: &Case, name: &str, default: f64) -> f64 {
    case.number(name).unwrap_or(default)
}

fn dim(case: &Case) -> isize {
    number(case, "dim", -1.) as isize
}

golden_tests! {
    relu: "ReLU", 2 => |case| check(Relu::config(), case);
    relu6: "ReLU6", 2 => |case| check(Relu6::config(), case);
    silu: "SiLU", 2 => |case| check(Silu::config(), case);
    sigmoid: "Sigmoid", 2 => |case| check(Sigmoid::config(), case);
    tanh: "Tanh", 2 => |case| check(Tanh::config(), case);
    hardswish: "Hardswish", 2 => |case| check(Hardswish::config(), case);
    softmax: "Softmax", 4 => |case| check(Softmax::config(dim(case)), case);
    log_softmax: "LogSoftmax", 4 => |case| check(LogSoftmax::config(dim(case)), case);
    elu: "ELU", 2 => |case| check(Elu::config(), case);
    elu_with_alpha: "ELUAlpha", 2 => |case| check(Elu::config().alpha(number(case, "alpha", 1.)), case);
    celu: "CELU", 2 => |case| check(Celu::config().alpha(number(case, "alpha", 1.)), case);
    selu: "SELU", 1 => |case| check(Selu::config(), case);
    mish: "Mish", 2 => |case| check(Mish::config(), case);
    softplus: "Softplus", 2 => |case| check(Softplus::config(), case);
    softplus_with_beta: "SoftplusBeta", 2 => |case| {
        let config = Softplus::config().beta(number(case, "beta", 1.));
        check(config.threshold(number(case, "threshold", 20.)), case)
    };
    hardsigmoid: "Hardsigmoid", 2 => |case| check(Hardsigmoid::config(), case);
    hardtanh: "Hardtanh", 2 => |case| {
        let config = Hardtanh::config().min_val(number(case, "min_val", -1.));
        check(config.max_val(number(case, "max_val", 1.)), case)
    };
    threshold: "Threshold", 2 => |case| {
        check(Threshold::config(number(case, "threshold", 0.), number(case, "value", 0.)), case)
    };
    softshrink: "Softshrink", 2 => |case| check(Softshrink::config().lambd(number(case, "lambd", 0.5)), case);
    hardshrink: "Hardshrink", 2 => |case| check(Hardshrink::config().lambd(number(case, "lambd", 0.5)), case);
    tanhshrink: "Tanhshrink", 1 => |case| check(Tanhshrink::config(), case);
    softsign: "Softsign", 1 => |case| check(Softsign::config(), case);
    log_sigmoid: "LogSigmoid", 1 => |case| check(LogSigmoid::config(), case);
    gelu: "GELU", 2 => |case| check(Gelu::config(), case);
    gelu_tanh: "GELUTanh", 1 => |case| check(Gelu::config().approximate("tanh"), case);
    glu: "GLU", 3 => |case| check(Glu::config(dim(case)), case);
    softmin: "Softmin", 2 => |case| check(Softmin::config(dim(case)), case);
    leaky_relu: "LeakyReLU", 2 => |case| {
        check(LeakyRelu::config().negative_slope(number(case, "negative_slope", 0.01)), case)
    };
    prelu: "PReLU", 4 => |case| {
        check(PRelu::config().num_parameters(case.size("num_parameters")), case)
    };
    rrelu: "RReLU", 4 => |case| {
        check(RRelu::config().lower(number(case, "lower", 1. / 8.)).upper(number(case, "upper", 1. / 3.)), case)
    };
    softmax2d: "Softmax2d", 4 => |case| check(Softmax2d::config(), case);
}
