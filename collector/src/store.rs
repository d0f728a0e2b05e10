//! What must survive the collector: one SQLite file, one thread that writes it.
//!
//! Operations are queued without waiting, written in groups, and acknowledged after the commit:
//! WAL with `synchronous=FULL`, so a commit is on disk. An operation that has something waiting
//! for it (events to ack, a command to send) hands that over only then. After an error the thread
//! ends, and the collector with it: it never retries and acks (DESIGN §8).

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;

use lubdub_engine::{AgentIndex, AgentRecord};
use lubdub_shared::command::Command;
use lubdub_shared::id::{AgentId, CommandId, SpoolId, StoreId};
use lubdub_shared::incident::{ActionOutcome, Incident};
use lubdub_shared::session::Event;
use lubdub_shared::time::{Mono, Wall};
use lubdub_shared::view::TransitionView;
use tokio::sync::mpsc as async_mpsc;

mod read;
mod schema;
mod write;

pub(crate) use read::Reader;

/// Operations that may wait. Full means the disk is behind: the collector then acts on nothing.
const QUEUE_DEPTH: usize = 8192;
/// Operations of one commit.
const GROUP_MAX: usize = 1024;
/// Groups whose acknowledgement may wait for the driver.
const COMMITTED_DEPTH: usize = 64;

/// One thing to write.
#[derive(Debug)]
pub(crate) enum Op {
    /// What must be known of an agent.
    Agent(Box<AgentRecord>),
    /// An incident, whole.
    Incident(AgentId, Box<Incident>),
    /// Hard facts of a sidecar; acked after the commit.
    Events {
        /// Whose.
        agent: AgentId,
        /// The stream to ack on.
        session: u64,
        /// Their spool.
        spool: SpoolId,
        /// In order.
        events: Vec<Event>,
    },
    /// A change of status.
    Transition(TransitionView),
    /// A command, before it is sent; sent after the commit.
    Command {
        /// Whose.
        agent: AgentId,
        /// The same, as the driver knows it.
        index: AgentIndex,
        /// What.
        command: Box<Command>,
        /// When it was decided.
        at: Wall,
        /// The same on the clock that its ttl is measured by.
        decided: Mono,
    },
    /// How a command ended.
    Answer {
        /// Which.
        command: CommandId,
        /// How.
        outcome: ActionOutcome,
        /// In words.
        detail: String,
        /// When.
        at: Wall,
    },
}

/// What a commit has made durable.
#[derive(Debug)]
pub(crate) enum Durable {
    /// Events of a stream, up to this number.
    Events {
        /// The stream.
        session: u64,
        /// The spool.
        spool: SpoolId,
        /// The newest.
        number: u64,
    },
    /// A command that may now be sent, and when it was decided.
    Command(AgentIndex, Box<Command>, Mono),
    /// The store is broken; why.
    Broken(String),
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The directory cannot be made.
    #[error("cannot make the data directory {path}")]
    Directory {
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
}

/// The writer's handle.
#[derive(Debug)]
pub(crate) struct Store {
    ops: Option<mpsc::SyncSender<Op>>,
    thread: Option<JoinHandle<()>>,
    path: PathBuf,
}

impl Store {
    /// Opens or makes a store, raises its epoch, and starts its thread.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn open(
        directory: &Path,
    ) -> Result<(Self, Contents, async_mpsc::Receiver<Durable>), OpenError> {
        let making = |source| OpenError::Directory { path: directory.to_owned(), source };
        // Reasons and statuses are nobody else's business.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(making)?;
        let path = directory.join("lubdub.sqlite3");
        let (connection, contents) = schema::open(&path)?;
        let (ops, queue) = mpsc::sync_channel(QUEUE_DEPTH);
        let (done, committed) = async_mpsc::channel(COMMITTED_DEPTH);
        let thread = std::thread::Builder::new()
            .name("lubdub-store".to_owned())
            .spawn(move || write::run(connection, &queue, &done))
            .map_err(OpenError::Thread)?;
        Ok((Self { ops: Some(ops), thread: Some(thread), path }, contents, committed))
    }

    /// Queues an operation.
    ///
    /// # Errors
    /// The queue is full; the operation is given back.
    pub(crate) fn queue(&self, op: Op) -> Result<(), Op> {
        let Some(ops) = &self.ops else { return Err(op) };
        ops.try_send(op).map_err(|error| match error {
            mpsc::TrySendError::Full(op) | mpsc::TrySendError::Disconnected(op) => op,
        })
    }

    /// Reads beside the writer.
    pub(crate) fn reader(&self) -> Reader {
        Reader::new(self.path.clone())
    }
}

impl Drop for Store {
    /// Waits until what was queued is written.
    fn drop(&mut self) {
        self.ops = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's thread had panicked");
        }
    }
}

#[cfg(test)]
mod tests;
