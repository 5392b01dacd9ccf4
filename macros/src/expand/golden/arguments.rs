use sconce::prelude::*;

/// A network with required arguments and arguments with defaults.
#[derive(Module)]
#[module(args(
    /// The number of features.
    width: usize,
    /// The names of the layers.
    labels: Vec<String>,
    /// The number of features between the layers.
    hidden: usize = 4 * width,
    bias: bool = true,
    dropout: Option<f64> = None,
), config_name = ArgumentsBuilder)]
pub struct Arguments {
    #[layer(width, hidden, bias = bias)]
    up: Linear,
    act: Gelu,
    #[layer(dropout.unwrap_or(0.0); if dropout.is_some())]
    dropout: Option<Dropout>,
    #[layer(hidden, width, bias = bias)]
    down: Linear,
    #[module(skip = labels)]
    labels: Vec<String>,
}
