//! Runs the kernels' tests with every buffer of numbers between two inaccessible pages.
//!
//! Buffers alternately end right before a page or begin right after one, so that an access one element out of
//! bounds ends the process with a fault. The unused bytes in a buffer's pages hold a pattern that is checked
//! when the buffer is freed, so that writes there are also detected.

#![cfg(unix)]

mod allocator;
#[path = "../common/mod.rs"]
mod common;

use std::os::unix::process::ExitStatusExt;

use common::process::test_command;

#[global_allocator]
static GUARDED: allocator::Guarded = allocator::Guarded;

#[path = "../kernels/activation.rs"]
mod activation;
#[path = "../kernels/blocked_conv.rs"]
mod blocked_conv;
#[path = "../kernels/conv_backward.rs"]
mod conv_backward;
#[path = "../kernels/conv_forward.rs"]
mod conv_forward;
#[path = "../kernels/fused_consumer.rs"]
mod fused_consumer;
#[path = "../kernels/linear.rs"]
mod linear;
#[path = "../kernels/norm.rs"]
mod norm;
#[path = "../kernels/pool.rs"]
mod pool;
#[path = "../kernels/threads.rs"]
mod threads;
#[path = "../kernels/winograd.rs"]
mod winograd;

/// Reads one element out of bounds. The next test runs it in its own process.
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

/// Checks what the other tests rely on: an access one element out of bounds ends the process.
#[test]
fn reading_out_of_bounds_ends_the_process() {
    let run = test_command(module_path!(), "reads_one_element_out_of_bounds").output().unwrap();
    assert_eq!(run.status.signal(), Some(libc::SIGSEGV), "{run:?}");
}

/// Checks that one end of each buffer is at the edge of a guard page.
#[test]
fn buffers_are_guarded() {
    for _ in 0..2 {
        let buffer = vec![0f32; 100];
        let address = buffer.as_ptr() as usize;
        let ends = [address, address + 400].map(|end| end % allocator::PAGE);
        assert!(ends.contains(&0), "expected an end of the buffer at {address:#x} to be at a page boundary");
        assert!(allocator::is_guarded(address));
    }
}
