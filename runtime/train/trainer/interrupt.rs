//! Ctrl-C during training. Without the feature `ctrlc`, training does not handle Ctrl-C.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The number of calls of `fit` that handle Ctrl-C.
static ACTIVE: AtomicUsize = AtomicUsize::new(0);
/// Whether Ctrl-C was pressed since the first of the active calls began.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Handles Ctrl-C until the guard is dropped, if the feature `ctrlc` is enabled: the first Ctrl-C sets a flag, the
/// second ends the process.
pub(super) struct InterruptGuard(());

impl InterruptGuard {
    pub fn new() -> Self {
        #[cfg(feature = "ctrlc")]
        handler::install();
        if ACTIVE.fetch_add(1, Ordering::SeqCst) == 0 {
            INTERRUPTED.store(false, Ordering::SeqCst);
        }
        Self(())
    }

    /// Returns `true` if Ctrl-C was pressed.
    pub fn is_interrupted(&self) -> bool {
        INTERRUPTED.load(Ordering::SeqCst)
    }
}

impl Drop for InterruptGuard {
    fn drop(&mut self) {
        ACTIVE.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(feature = "ctrlc")]
mod handler {
    use std::sync::atomic::Ordering;
    use std::sync::{Mutex, PoisonError};

    use super::{ACTIVE, INTERRUPTED};

    /// The exit code of a process that Ctrl-C ends.
    const EXIT_CODE: i32 = 130;

    /// Installs the handler once. It stays installed, because handlers cannot be removed. Without a guard, the handler
    /// ends the process, as the system would without a handler. If the program has its own handler, that handler stays.
    pub fn install() {
        static INSTALLED: Mutex<bool> = Mutex::new(false);
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut *installed, true) {
            // Fails if the program has its own handler, or if the system call fails. Training then runs without this
            // handler.
            let _ = ctrlc::try_set_handler(on_interrupt);
        }
    }

    fn on_interrupt() {
        let is_second = INTERRUPTED.swap(true, Ordering::SeqCst);
        if is_second || ACTIVE.load(Ordering::SeqCst) == 0 {
            std::process::exit(EXIT_CODE);
        }
    }
}
