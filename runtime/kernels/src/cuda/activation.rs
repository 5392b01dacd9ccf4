//! The arguments that select a kernel's activation.

use crate::activation::Activation;

use super::Arg;

impl Activation {
    /// Returns the two kernel arguments that select this activation: its kind, numbered as in `activation.cuh`, and its
    /// parameter (a `double`).
    pub fn arguments(self) -> [Arg; 2] {
        let (kind, parameter) = self.kind_and_parameter();
        [Arg::Int(kind), Arg::Double(parameter)]
    }
}
