//! How kernels are told their activation.

use super::Arg;
use crate::activation::Activation;

impl Activation {
    /// Returns the two arguments of a kernel that stand for this activation: its kind, numbered as in
    /// `activation.cuh`, and its parameter (a `double`).
    pub fn arguments(self) -> [Arg; 2] {
        let (kind, parameter) = self.kind_and_parameter();
        [Arg::Int(kind), Arg::Double(parameter)]
    }
}
