//! Whose processor this is: instruction sets of one name cost different times.

use std::sync::OnceLock;

/// Who made the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    Intel,
    Other,
}

/// This machine's.
pub fn maker() -> Maker {
    static MAKER: OnceLock<Maker> = OnceLock::new();
    *MAKER.get_or_init(|| if is_intel() { Maker::Intel } else { Maker::Other })
}

#[cfg(target_arch = "x86_64")]
fn is_intel() -> bool {
    use std::arch::x86_64::__cpuid;
    // Safe by itself in later versions of Rust than the oldest that this crate takes.
    #[allow(unused_unsafe)]
    // SAFETY: every x86-64 processor has the instruction, and its leaf 0.
    let leaf = unsafe { __cpuid(0) };
    [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).as_flattened() == b"GenuineIntel"
}

#[cfg(not(target_arch = "x86_64"))]
fn is_intel() -> bool {
    false
}
