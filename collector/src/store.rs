//! What must survive the collector: one SQLite file, one thread that writes it.
//!
//! Operations are queued without waiting, written in groups, and acknowledged after the commit:
//! WAL with `synchronous=FULL`, so a commit is on disk. An operation that has something waiting
//! for it (events to ack, a command to send) hands that over only then.
//!
//! A disk without space, or that is read-only, refuses a commit whole: the group waits and is tried
//! again each second, nothing is acked, and the collector acts on nothing meanwhile. After any
//! other error, a failed sync above all, the thread ends and the collector with it: it never
//! retries and acks.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;

use lubdub_engine::{AgentRecord, Unanswered};
use lubdub_shared::fs::{is_open_to_all, is_ours, private_directory};
use lubdub_shared::id::{AgentId, SpoolId, StoreId};
use lubdub_shared::incident::Incident;
use lubdub_shared::time::Wall;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc as async_mpsc, watch};

pub(crate) mod examine;
mod head;
pub(crate) mod maintain;
mod op;
mod pairing;
mod put;
mod read;
mod rebuild;
mod recover;
mod scan;
mod schema;
mod sums;
mod tables;
mod take_up;
mod write;

pub(crate) use op::{FromStore, Op, Queue, Then, Write};
pub(crate) use read::{Reader, Recorded, Span};
use rebuild::beside;
use write::{Log, Writer};

const FILE: &str = "lubdub.sqlite3";
const LOCK: &str = "lock";
/// Writes that may wait. Full means the disk is behind: the collector then acts on nothing.
const QUEUE_DEPTH: usize = 8192;
/// Operations of one commit; the write with which there are as many is its last.
const GROUP_MAX: usize = 1024;
/// Groups whose acknowledgement may wait for the driver.
const COMMITTED_DEPTH: usize = 64;

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The directory cannot be made or written.
    #[error("cannot use the data directory {path}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What goes by the name of one of the store's files is something else.
    #[error("{path} is no regular file: nothing is read from it or written to it; move it away")]
    NoFile {
        /// Which.
        path: PathBuf,
    },
    /// One of the store's files cannot be opened.
    #[error("cannot use {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// SQLite refused.
    #[error("cannot open the store {path}")]
    Sqlite {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// It was written by a newer version.
    #[error("the store {path} has schema {found}, this version knows up to {known}")]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The files do not belong together.
    #[error(
        "refused: {why} ({path}); put the newest file back, or a backup by `lubdub store restore`; \
         where there is neither, begin in an empty directory: the sidecars attach to it"
    )]
    Torn {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// It was made anew, and is damaged again.
    #[error("the store {0} was made anew of what can be read, and is damaged again: is the disk?")]
    StillDamaged(PathBuf),
    /// Another collector has it.
    #[error("the store in {path} is in use by the collector with pid {owner}")]
    Owned {
        /// Which directory.
        path: PathBuf,
        /// Whose.
        owner: String,
    },
    /// A version's step could not be made.
    #[error("cannot bring the store {path} from schema {from} to {}", from + 1)]
    Migration {
        /// Which file.
        path: PathBuf,
        /// The version it has.
        from: i64,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The system gives no thread.
    #[error("cannot start the store's thread")]
    Thread(#[source] io::Error),
}

/// What was found in a store when it was opened.
#[derive(Debug)]
pub(crate) struct Contents {
    /// Its identity.
    pub id: StoreId,
    /// Of this start; it has grown by one.
    pub epoch: u64,
    /// All agents.
    pub agents: Vec<AgentRecord>,
    /// Open incidents, and those resolved last, by agent.
    pub incidents: Vec<(AgentId, Incident)>,
    /// Commands without an answer, oldest first.
    pub unanswered: Vec<(AgentId, Unanswered)>,
    /// The policy that a person pushed last.
    pub pushed: Option<Pushed>,
    /// What sidecars told, and was found missing at this start.
    pub lost: Vec<Lost>,
}

/// Events of a sidecar that were acked and are not there any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Whose.
    pub(crate) agent: AgentId,
    /// In which spool.
    pub(crate) spool: SpoolId,
    /// Number of the first.
    pub(crate) first: u64,
    /// Number of the last.
    pub(crate) last: u64,
}

/// A policy that a person pushed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Pushed {
    /// As it was pushed.
    pub(crate) text: String,
    /// Who pushed it.
    pub(crate) by: String,
    /// When.
    pub(crate) at: Wall,
}

/// Reasons and statuses are nobody else's business, whoever made the directory. One that is
/// somebody else's, as a volume that a group may write, is taken where the rest of the world may
/// not write.
fn own_directory(directory: &Path) -> io::Result<PathBuf> {
    let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    let theirs = std::fs::metadata(&directory);
    let theirs = theirs.is_ok_and(|about| !is_ours(&about) && !is_open_to_all(&about));
    if !theirs {
        private_directory(&directory)?;
    }
    Ok(directory)
}

/// The writer's handle.
#[derive(Debug)]
pub(crate) struct Store {
    writes: Option<mpsc::SyncSender<Write>>,
    thread: Option<JoinHandle<()>>,
    path: PathBuf,
    committed: watch::Receiver<u64>,
    _lock: Lock,
}

impl Store {
    /// Opens or makes a store, raises its epoch, and starts its thread.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn open(
        directory: &Path,
    ) -> Result<(Self, Contents, async_mpsc::Receiver<FromStore>), OpenError> {
        let making = |source| OpenError::Directory { path: directory.to_owned(), source };
        let directory = &own_directory(directory).map_err(making)?;
        let lock = lock(directory)?;
        let path = directory.join(FILE);
        // What SQLite makes beside it has its mode.
        drop(open_own(&path).map_err(|source| OpenError::File { path: path.clone(), source })?);
        let mut recovered = recover::recover(directory)?;
        let sqlite = |source| OpenError::Sqlite { path: path.clone(), source };
        let contents = take_up::take_up(&mut recovered).map_err(sqlite)?;
        recovered.notes.iter().for_each(|text| tracing::error!("{text}"));
        let recover::Recovered { connection, file, head, .. } = recovered;
        let (writes, queue) = mpsc::sync_channel(QUEUE_DEPTH);
        let (done, durable) = async_mpsc::channel(COMMITTED_DEPTH);
        let (commits, committed) = watch::channel(0);
        let inode = std::fs::metadata(&path).map_err(making)?.ino();
        let own = path.clone();
        let mut log = Log { path: own, inode, file, head };
        log.note_commit(head.tip).map_err(making)?;
        recover::checkpoint(&connection, &mut log.file, &mut log.head).map_err(sqlite)?;
        let writer = Writer { connection, done, commits, sick: false, log };
        let thread = std::thread::Builder::new()
            .name("lubdub-store".to_owned())
            .spawn(move || writer.run(&queue))
            .map_err(OpenError::Thread)?;
        let store =
            Self { writes: Some(writes), thread: Some(thread), path, committed, _lock: lock };
        Ok((store, contents, durable))
    }

    /// Reads beside the writer.
    pub(crate) fn reader(&self) -> Reader {
        Reader::new(self.path.clone(), self.committed.clone())
    }
}

impl Queue for Store {
    fn queue(&self, write: Write) -> Result<(), Write> {
        match &self.writes {
            Some(writes) => writes.queue(write),
            None => Err(write),
        }
    }
}

/// Refuses a directory where something else goes by the name of a file of the store: a link would
/// be followed to what is somebody else's, and a pipe would be waited for.
fn only_files(directory: &Path) -> Result<(), OpenError> {
    let database = directory.join(FILE);
    let [log, index] = beside(&database);
    let paths = [directory.join(LOCK), directory.join(head::FILE_NAME), database, log, index];
    for path in paths {
        match path.symlink_metadata() {
            Ok(there) if !there.is_file() => return Err(OpenError::NoFile { path }),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(OpenError::File { path, source }),
        }
    }
    Ok(())
}

/// Opens or makes a file of the store: itself, and not what a link of its name leads to.
fn open_own(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let options = options.read(true).write(true).create(true).truncate(false);
    options.mode(0o600).custom_flags(flags).open(path)
}

/// One collector a store: locks on the directory itself, which nobody can take away from under us,
/// and on a file in it that says whose they are and that older versions lock.
#[derive(Debug)]
struct Lock {
    _directory: File,
    _file: File,
}

fn lock(directory: &Path) -> Result<Lock, OpenError> {
    only_files(directory)?;
    let failed = |source| OpenError::Directory { path: directory.to_owned(), source };
    let path = directory.join(LOCK);
    let mut file = open_own(&path).map_err(|source| OpenError::File { path, source })?;
    let own = File::open(directory).map_err(failed)?;
    match own.try_lock().and_then(|()| file.try_lock()) {
        Ok(()) => {
            file.set_len(0).map_err(failed)?;
            file.write_all(std::process::id().to_string().as_bytes()).map_err(failed)?;
            Ok(Lock { _directory: own, _file: file })
        }
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            file.take(16).read_to_string(&mut owner).map_err(failed)?;
            Err(OpenError::Owned { path: directory.to_owned(), owner })
        }
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

impl Drop for Store {
    /// Waits until what was queued is written.
    fn drop(&mut self) {
        self.writes = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's thread had panicked");
        }
    }
}

#[cfg(test)]
mod tests;
