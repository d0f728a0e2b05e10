//! The one thread beside the runtime: it writes the files, so that a slow or sick disk delays no
//! beat. What it cannot write is counted and told once a minute; nothing dies of it.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use lubdub_shared::fs::{Durability, write_atomic};
use lubdub_shared::time::{self, Mono};
use tracing::warn;

/// Writes that may wait. A full queue drops the write, counted: a newer one follows.
const QUEUE_DEPTH: usize = 64;
const LOG_EVERY: Duration = Duration::from_secs(60);

/// One thing to do to a file.
#[derive(Debug)]
pub(crate) enum Job {
    /// Replace it.
    Write {
        /// Which.
        path: PathBuf,
        /// Its new content.
        bytes: Vec<u8>,
        /// Its permissions.
        mode: u32,
        /// How far it must get.
        durable: Durability,
    },
    /// Take it away.
    Remove(PathBuf),
}

/// The thread's handle. Dropping it waits until what was queued is written.
#[derive(Debug)]
pub(crate) struct Worker {
    jobs: Option<mpsc::SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    failures: Arc<AtomicU64>,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start() -> io::Result<Self> {
        let (jobs, queue) = mpsc::sync_channel(QUEUE_DEPTH);
        let failures = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&failures);
        let thread = std::thread::Builder::new()
            .name("lubdub-files".to_owned())
            .spawn(move || Files { failures: counter, told: None }.run(&queue))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), failures })
    }

    /// Queues a job. False when the queue is full: the caller tries again later.
    #[must_use]
    pub(crate) fn queue(&self, job: Job) -> bool {
        self.jobs.as_ref().is_some_and(|jobs| jobs.try_send(job).is_ok())
    }

    /// Jobs that failed so far.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the thread that writes files had panicked");
        }
    }
}

struct Files {
    failures: Arc<AtomicU64>,
    told: Option<Mono>,
}

impl Files {
    fn run(mut self, queue: &mpsc::Receiver<Job>) {
        while let Ok(job) = queue.recv() {
            let (path, done) = match job {
                Job::Write { path, bytes, mode, durable } => {
                    let done = write_atomic(&path, &bytes, mode, durable);
                    (path, done)
                }
                Job::Remove(path) => {
                    let done = match std::fs::remove_file(&path) {
                        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                        done => done,
                    };
                    (path, done)
                }
            };
            if let Err(error) = done {
                self.note(&path, &error);
            }
        }
    }

    fn note(&mut self, path: &std::path::Path, error: &io::Error) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        let now = time::now().mono;
        if self.told.is_none_or(|told| now.since(told) >= LOG_EVERY) {
            self.told = Some(now);
            warn!(path = %path.display(), %error, failures, "cannot write; going on without");
        }
    }
}
