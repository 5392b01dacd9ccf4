//! The processor's microarchitecture: one instruction set costs different times on different ones.

use std::sync::OnceLock;

/// A family of processors for which the cost model has a table of costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Microarchitecture {
    /// Intel's, taken for Emerald Rapids.
    Intel,
    /// All others, taken for AMD's Zen 5.
    Other,
}

/// Returns this machine's microarchitecture.
pub fn microarchitecture() -> Microarchitecture {
    static FOUND: OnceLock<Microarchitecture> = OnceLock::new();
    *FOUND.get_or_init(|| if is_intel() { Microarchitecture::Intel } else { Microarchitecture::Other })
}

#[cfg(target_arch = "x86_64")]
fn is_intel() -> bool {
    use std::arch::x86_64::__cpuid;
    // Safe in later versions of Rust than the oldest supported one.
    #[allow(unused_unsafe)]
    // SAFETY: every x86-64 processor has the instruction, and its leaf 0.
    let leaf = unsafe { __cpuid(0) };
    [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).as_flattened() == b"GenuineIntel"
}

#[cfg(not(target_arch = "x86_64"))]
fn is_intel() -> bool {
    false
}
