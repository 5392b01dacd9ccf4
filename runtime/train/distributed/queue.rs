//! The thread that communicates, so that gradients are reduced while the backward pass runs.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

use crate::{Error, Result};

use super::Communicator;

/// Runs operations of a communicator on a thread of their own, in the order in which they were submitted.
pub(super) struct Queue {
    /// `None` once the queue ends.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

type Job = Box<dyn FnOnce(&dyn Communicator) + Send>;

/// The result of a submitted operation.
pub(super) struct Pending<T>(Receiver<Result<T>>);

impl Queue {
    /// Starts the thread.
    pub fn start(communicator: Arc<dyn Communicator>) -> Result<Self> {
        let (jobs, queue) = channel::<Job>();
        let run = move || queue.into_iter().for_each(|job| job(&*communicator));
        let thread = Builder::new().name("sconce communication".into()).spawn(run).map_err(|error| {
            Error::msg(format!("cannot start the thread that communicates with other ranks: {error}"))
        })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Adds an operation.
    pub fn submit<T: Send + 'static>(
        &self,
        run: impl FnOnce(&dyn Communicator) -> Result<T> + Send + 'static,
    ) -> Pending<T> {
        let (sender, receiver) = channel();
        let job: Job = Box::new(move |communicator| {
            // If training has failed, nobody receives the result.
            let _ = sender.send(run(communicator));
        });
        if let Some(jobs) = &self.jobs {
            // If the thread has ended, the job is dropped, and `wait` returns an error.
            let _ = jobs.send(job);
        }
        Pending(receiver)
    }
}

impl<T> Pending<T> {
    /// Waits for the result.
    pub fn wait(self) -> Result<T> {
        let ended = || Error::msg("the thread that communicates with other ranks ended unexpectedly");
        self.0.recv().map_err(|_| ended())?
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // After a panic of the communicator, `Pending::wait` has returned an error.
            let _ = thread.join();
        }
    }
}
