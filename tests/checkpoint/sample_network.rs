//! Helpers: a network, and its tensors under other names.

use sconce::prelude::*;

use crate::load_checks::CPU;

#[derive(Module)]
#[module(args(outputs: usize), forward = |x| bn(fc(x)))]
pub struct Net {
    #[layer(4, outputs)]
    pub fc: Linear,
    #[layer(outputs)]
    pub bn: BatchNorm,
}

pub fn net_config() -> NetConfig {
    Net::config(3)
}

/// Returns the state of a new network, with 2 added to all values.
pub fn net_state(outputs: usize) -> Result<StateDict> {
    let state = Net::new(outputs, &CPU)?.state_dict();
    state.iter().map(|(name, tensor)| Ok((name.to_owned(), (tensor + 2.)?))).collect()
}

pub fn with_prefix(prefix: &str, state: &StateDict) -> StateDict {
    state.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone())).collect()
}
