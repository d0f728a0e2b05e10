//! The one thread beside the runtime: it writes the files, so that a slow or sick disk delays no
//! beat. How far it got is told through a watch; what it cannot write is counted and logged once a
//! minute; nothing dies of it.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use lubdub_shared::fs::{Durability, write_atomic};
use lubdub_shared::time::{self, Mono};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::link::outbox;
use crate::link::spool::SpoolFile;
use crate::state;

/// Jobs that may wait. When it is full the caller keeps what it has, and tries again.
const QUEUE_DEPTH: usize = 64;
const LOG_EVERY: Duration = Duration::from_secs(60);

/// One thing to do to a file.
#[derive(Debug)]
pub(crate) enum Job {
    /// The state file, as of a generation.
    State {
        /// Grows with each.
        generation: u64,
        /// Its new content.
        bytes: Vec<u8>,
    },
    /// The spool.
    Spool(outbox::Write),
    /// The tombstone, or none.
    Tombstone(Option<Vec<u8>>),
    /// The heartbeat file.
    Heartbeat {
        /// Where.
        path: PathBuf,
        /// Its new content.
        bytes: Vec<u8>,
        /// Its permissions.
        mode: u32,
    },
    /// Takes the heartbeat file away.
    NoHeartbeat(PathBuf),
}

/// How far the thread got.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Newest generation of the state that is on disk.
    pub(crate) state: u64,
    /// Newest generation that was tried.
    pub(crate) state_tried: u64,
    /// Newest write of the spool that is on disk.
    pub(crate) spool: u64,
    /// Writes of the spool that failed.
    pub(crate) spool_failures: u64,
    /// Jobs that were done, well or not. A heartbeat file's shows at the next look only.
    pub(crate) answers: u64,
    /// Files that could not be written, of any kind.
    pub(crate) failures: u64,
    /// Why the state directory cannot be written: the newest try of some file there failed.
    pub(crate) sick: Option<String>,
    /// Why the heartbeat file cannot be written.
    pub(crate) heartbeat: Option<String>,
}

/// The thread's handle. Dropping it waits until what was queued is written.
#[derive(Debug)]
pub(crate) struct Worker {
    jobs: Option<mpsc::SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread for a state directory.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(directory: &Path) -> io::Result<(Self, watch::Receiver<Progress>)> {
        let (jobs, queue) = mpsc::sync_channel(QUEUE_DEPTH);
        let (progress, seen) = watch::channel(Progress::default());
        let files = Files {
            state: directory.join(state::FILE_NAME),
            tombstone: directory.join(state::TOMBSTONE),
            spool: SpoolFile::new(directory),
            progress,
            sick: Sick::default(),
            told: None,
        };
        let thread = std::thread::Builder::new()
            .name("lubdub-files".to_owned())
            .spawn(move || files.run(&queue))?;
        Ok((Self { jobs: Some(jobs), thread: Some(thread) }, seen))
    }

    /// Queues a job.
    ///
    /// # Errors
    /// The queue is full; the job is given back.
    pub(crate) fn queue(&self, job: Job) -> Result<(), Job> {
        let Some(jobs) = &self.jobs else { return Err(job) };
        jobs.try_send(job).map_err(|error| match error {
            mpsc::TrySendError::Full(job) | mpsc::TrySendError::Disconnected(job) => job,
        })
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

/// Which files of the state directory could not be written when they were last tried.
#[derive(Debug, Default)]
struct Sick {
    state: Option<String>,
    spool: Option<String>,
    tombstone: Option<String>,
}

struct Files {
    state: PathBuf,
    tombstone: PathBuf,
    spool: SpoolFile,
    progress: watch::Sender<Progress>,
    sick: Sick,
    told: Option<Mono>,
}

impl Files {
    fn run(mut self, queue: &mpsc::Receiver<Job>) {
        while let Ok(job) = queue.recv() {
            // Nobody waits for the one that comes each second.
            let awaited = !matches!(job, Job::Heartbeat { .. });
            match job {
                Job::State { generation, bytes } => self.write_state(generation, &bytes),
                Job::Spool(write) => self.write_spool(write),
                Job::Tombstone(content) => {
                    let done = match content {
                        Some(bytes) => replace(&self.tombstone, &bytes),
                        None => remove(&self.tombstone),
                    };
                    self.sick.tombstone = self.note(&self.tombstone.clone(), done);
                }
                Job::Heartbeat { path, bytes, mode } => {
                    let done = write_heartbeat(&path, &bytes, mode);
                    let why = self.note(&path, done);
                    self.progress.send_if_modified(|progress| {
                        let changed = progress.heartbeat != why;
                        progress.heartbeat = why;
                        changed
                    });
                }
                Job::NoHeartbeat(path) => {
                    let done = remove(&path);
                    self.note(&path, done);
                }
            }
            self.progress.send_if_modified(|progress| {
                progress.answers += 1;
                awaited
            });
            self.tell_health();
        }
    }

    fn write_state(&mut self, generation: u64, bytes: &[u8]) {
        let done = replace(&self.state, bytes);
        self.sick.state = self.note(&self.state.clone(), done);
        let written = self.sick.state.is_none();
        self.progress.send_modify(|progress| {
            progress.state_tried = generation;
            if written {
                progress.state = generation;
            }
        });
    }

    fn write_spool(&mut self, write: outbox::Write) {
        let (ticket, done) = match write {
            outbox::Write::Append { ticket, bytes } => {
                (ticket, self.spool.append(&bytes, ticket.is_some()))
            }
            outbox::Write::Rewrite { ticket, bytes } => (Some(ticket), self.spool.rewrite(&bytes)),
        };
        let path = self.spool.path().to_owned();
        self.sick.spool = self.note(&path, done);
        let written = self.sick.spool.is_none();
        self.progress.send_modify(|progress| match ticket {
            Some(ticket) if written => progress.spool = ticket,
            _ if written => {}
            _ => progress.spool_failures += 1,
        });
    }

    /// Counts a failure, tells it once a minute, and gives its words.
    fn note(&mut self, path: &Path, done: io::Result<()>) -> Option<String> {
        let error = done.err()?;
        self.progress.send_modify(|progress| progress.failures += 1);
        let now = time::now().mono;
        if self.told.is_none_or(|told| now.since(told) >= LOG_EVERY) {
            self.told = Some(now);
            warn!(path = %path.display(), %error, "cannot write; going on without");
        }
        Some(format!("{}: {error}", path.display()))
    }

    fn tell_health(&self) {
        let Sick { state, spool, tombstone } = &self.sick;
        let sick = state.as_ref().or(spool.as_ref()).or(tombstone.as_ref());
        self.progress.send_if_modified(|progress| {
            let changed = progress.sick.is_some() != sick.is_some();
            if changed {
                if sick.is_none() {
                    info!("the state directory can be written again");
                }
                progress.sick = sick.cloned();
            }
            changed
        });
    }
}

/// Its directory may have been taken away. The new one is open to whom the file is open to.
fn write_heartbeat(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let write = || write_atomic(path, bytes, mode, Durability::Visible);
    match write() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let Some(directory) = path.parent() else { return Err(error) };
            let enter = (mode & 0o444) >> 2;
            let made = DirBuilder::new().recursive(true).mode(mode | enter).create(directory);
            made.and_then(|()| write())?;
            warn!(path = %directory.display(), "the directory was gone, and is made anew");
            Ok(())
        }
        done => done,
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_atomic(path, bytes, 0o600, Durability::Synced)
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
