//! The processor's microarchitecture, on which the duration of instructions depends.

use std::sync::OnceLock;

/// A family of processors for which the cost model has a table of costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Microarchitecture {
    /// Intel processors. The costs were measured on Emerald Rapids.
    Intel,
    /// All other processors. The costs were measured on AMD's Zen 5.
    Other,
}

#[cfg(feature = "testing")]
impl Microarchitecture {
    /// All microarchitectures.
    pub const ALL: [Self; 2] = [Self::Intel, Self::Other];
}

/// Returns this machine's microarchitecture.
pub fn microarchitecture() -> Microarchitecture {
    static FOUND: OnceLock<Microarchitecture> = OnceLock::new();
    *FOUND.get_or_init(|| if is_intel() { Microarchitecture::Intel } else { Microarchitecture::Other })
}

#[cfg(target_arch = "x86_64")]
fn is_intel() -> bool {
    use std::arch::x86_64::__cpuid;
    // The intrinsic is safe in newer versions of Rust, but unsafe in the oldest supported version.
    #[allow(unused_unsafe)]
    // SAFETY: every x86-64 processor supports the `cpuid` instruction and its leaf 0.
    let leaf = unsafe { __cpuid(0) };
    [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).as_flattened() == b"GenuineIntel"
}

#[cfg(not(target_arch = "x86_64"))]
fn is_intel() -> bool {
    false
}
