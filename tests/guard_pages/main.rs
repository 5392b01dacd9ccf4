//! The kernels' tests again, with every buffer of numbers between two pages that nobody may touch.
//!
//! A buffer lies right against the page after it, and the next one right behind the page before it: one
//! element too far, read or written, ends the process with a fault. What is left of a buffer's pages is filled
//! with a pattern, and looked at when the buffer is freed, so that a write there shows too.

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
#[path = "../kernels/blocked_behind.rs"]
mod blocked_behind;
#[path = "../kernels/blocked_conv.rs"]
mod blocked_conv;
#[path = "../kernels/conv_backward.rs"]
mod conv_backward;
#[path = "../kernels/conv_forward.rs"]
mod conv_forward;
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

/// Reads one element too far. Run by the next test alone.
#[test]
#[ignore = "ends its process"]
fn reads_one_element_too_far() {
    for _ in 0..2 {
        let buffer = vec![1f32; 100];
        for beyond in [buffer.as_ptr().wrapping_sub(1), buffer.as_ptr().wrapping_add(100)] {
            // SAFETY: none; the page that is read cannot be.
            println!("read {}", unsafe { beyond.read_volatile() });
        }
    }
}

/// What the other tests rely on: one element too far ends the process.
#[test]
fn nothing_beyond_a_buffer_can_be_read() {
    let run = test_command(module_path!(), "reads_one_element_too_far").output().unwrap();
    assert_eq!(run.status.signal(), Some(libc::SIGSEGV), "{run:?}");
}

/// And the guard is where it is said to be.
#[test]
fn buffers_are_guarded() {
    for _ in 0..2 {
        let buffer = vec![0f32; 100];
        let address = buffer.as_ptr() as usize;
        let ends = [address, address + 400].map(|end| end % allocator::PAGE);
        assert!(ends.contains(&0), "neither end of the buffer at {address:#x} is at a page's end");
        assert!(allocator::is_guarded(address));
    }
}
