//! Places every buffer of numbers between two inaccessible pages while the tests of this binary run.
//!
//! Buffers alternately end right before a page or begin right after one, so that an access one element out of
//! bounds ends the process with a fault. The unused bytes in a buffer's pages hold a pattern that is checked
//! when the buffer is freed, so that writes there are also detected. The environment variable
//! `SCONCE_GUARD_PAGES=off` disables the guard pages, for tools that replace the allocator.

use std::os::unix::process::ExitStatusExt;

use crate::allocator::{Guarded, PAGE, is_guarded};
use crate::common::process::test_command;

#[global_allocator]
static GUARDED: Guarded = Guarded;

/// Reads one element out of bounds. `wrong_accesses_end_the_process` runs this test in its own process.
#[test]
#[ignore = "ends the test process"]
fn reads_one_element_out_of_bounds() {
    for _ in 0..2 {
        let buffer = vec![1f32; 100];
        for outside in [buffer.as_ptr().wrapping_sub(1), buffer.as_ptr().wrapping_add(100)] {
            // SAFETY: not sound. The read is out of bounds on purpose; the guard page must end the process.
            println!("read {}", unsafe { outside.read_volatile() });
        }
    }
}

/// Writes one element out of bounds, on the side of the buffer that has no guard page next to it.
#[test]
#[ignore = "ends the test process"]
fn writes_into_padding() {
    let mut buffer = vec![1f32; 100];
    let start = buffer.as_mut_ptr();
    let outside =
        if start.addr().is_multiple_of(PAGE) { start.wrapping_add(100) } else { start.wrapping_sub(1) };
    // SAFETY: not sound. The write is out of bounds on purpose; the allocator must end the process when it frees
    // the buffer.
    unsafe { outside.write_volatile(2.) };
}

/// Writes to many freed buffers and allocates until their memory is reused.
#[test]
#[ignore = "ends the test process"]
fn writes_after_free() {
    for _ in 0..10_000 {
        let buffer = vec![1f32; 100];
        let start = buffer.as_ptr().cast_mut();
        drop(buffer);
        // SAFETY: not sound. The memory is freed; the allocator must end the process, at the latest when it reuses
        // the memory.
        unsafe { start.write_volatile(2.) };
    }
}

/// Runs the tests above in their own processes, and checks that their wrong accesses end these processes.
#[test]
fn wrong_accesses_end_the_process() {
    for (name, signals) in [
        ("reads_one_element_out_of_bounds", &[libc::SIGSEGV][..]),
        ("writes_into_padding", &[libc::SIGABRT]),
        ("writes_after_free", &[libc::SIGABRT, libc::SIGSEGV]),
    ] {
        let run = test_command(module_path!(), name).output().unwrap();
        assert!(run.status.signal().is_some_and(|signal| signals.contains(&signal)), "{name}: {run:?}");
    }
}

/// Checks that one end of each buffer is at the edge of a guard page.
#[test]
fn buffers_are_guarded() {
    // The buffers of the first two sizes are reused after they are freed; those of the third size are not.
    for elements in [100, 5000, 100_000] {
        for _ in 0..2000 {
            let buffer = vec![0f32; elements];
            let address = buffer.as_ptr() as usize;
            let ends = [address, address + 4 * elements].map(|end| end % PAGE);
            assert!(
                ends.contains(&0),
                "expected an end of the buffer at {address:#x} to be at a page boundary"
            );
            assert!(is_guarded(address));
        }
    }
}
