//! Writing: the thread, its groups, and what is told beside the database after each commit.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension as _};
use tokio::sync::{mpsc as async_mpsc, watch};
use tracing::{error, warn};

use super::head::{Head, HeadFile};
use super::put::Put;
use super::rebuild::beside;
use super::sums::{Sum, Tip};
use super::tables::put_anchor;
use super::{FromStore, GROUP_MAX, Write, pairing, recover};

/// How soon a disk that took nothing is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Rows that are kept; beyond it the oldest go, of incidents the resolved ones.
const EVENTS_KEPT: u64 = 1_000_000;
const COMMANDS_KEPT: i64 = 100_000;
const INCIDENTS_KEPT: i64 = 100_000;
/// The write-ahead log is copied into the database when it is as long as this, bytes.
const LOG_LONG: u64 = 4 * 1024 * 1024;
/// Operations between two looks at what is too much.
const TRIM_EVERY: usize = 10_000;

/// The thread's own.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) done: async_mpsc::Sender<FromStore>,
    /// Counts commits, for readers that wait for news.
    pub(super) commits: watch::Sender<u64>,
    pub(super) sick: bool,
    pub(super) log: Log,
}

/// What is told of each commit beside the database.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) path: PathBuf,
    /// Of the database when it was opened.
    pub(super) inode: u64,
    pub(super) file: HeadFile,
    pub(super) head: Head,
}

impl Log {
    /// Everything up to this row is committed.
    ///
    /// # Errors
    /// The file system refused; nothing may be acked.
    pub(super) fn note_commit(&mut self, tip: Tip) -> io::Result<()> {
        let [log, _] = beside(&self.path);
        let salt = pairing::salt_now(&log)?;
        self.head = Head { tip, salt, alone: None, ..self.head };
        self.file.put(&self.head)
    }

    /// The file at the store's path is still the one that is written: what goes into one that was
    /// deleted is lost, and must not be acked.
    fn is_there(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|there| there.ino() == self.inode)
    }

    /// The write-ahead log is large enough to be copied into the database.
    fn is_long(&self) -> bool {
        let [log, _] = beside(&self.path);
        std::fs::metadata(log).is_ok_and(|log| log.len() >= LOG_LONG)
    }
}

impl Writer {
    /// Writes groups until the queue is closed, or something fails.
    pub(super) fn run(mut self, queue: &mpsc::Receiver<Write>) {
        let mut written = 0;
        while let Ok(first) = queue.recv() {
            let mut ops = first.ops.len();
            let mut group = vec![first];
            while ops < GROUP_MAX
                && let Ok(next) = queue.try_recv()
            {
                ops += next.ops.len();
                group.push(next);
            }
            written += ops;
            if !self.commit(&group) {
                return;
            }
            self.commits.send_modify(|commits| *commits += 1);
            let then: Vec<_> = group.into_iter().flat_map(|write| write.then).collect();
            if !then.is_empty() {
                // A collector that ends does not listen any more; the rest is written all the same.
                let (Ok(()) | Err(_)) = self.done.blocking_send(FromStore::Durable(then));
            }
            if written >= TRIM_EVERY {
                written = 0;
                let trimmed = trim(&mut self.connection, self.log.head.tip.seq);
                if !self.goes_on(trimmed, "old rows could not be removed") {
                    return;
                }
            }
            if self.log.is_long() {
                let Log { file, head, .. } = &mut self.log;
                let done = recover::checkpoint(&self.connection, file, head);
                if !self.goes_on(done, "the write-ahead log could not be copied") {
                    return;
                }
            }
        }
    }

    /// Work beside the writing is done, or can wait for a disk that takes something again.
    fn goes_on(&self, done: rusqlite::Result<()>, otherwise: &'static str) -> bool {
        match done {
            Err(refused) if !took_nothing(&refused) => {
                self.broke(&refused);
                false
            }
            Err(error) => {
                warn!(%error, "{otherwise}");
                true
            }
            Ok(()) => true,
        }
    }

    /// Writes a group, however long a full disk makes it wait. False when there is nobody left to
    /// write for.
    fn commit(&mut self, group: &[Write]) -> bool {
        let tip = loop {
            if !self.log.is_there() {
                self.broke(&"its file was taken away");
                return false;
            }
            match write(&mut self.connection, group, self.log.head.tip) {
                Ok(tip) => break tip,
                Err(refused) if took_nothing(&refused) => {
                    if !self.waits(&refused) {
                        return false;
                    }
                }
                Err(failed) => {
                    self.broke(&failed);
                    return false;
                }
            }
        };
        while let Err(refused) = self.log.note_commit(tip) {
            if !self.waits(&refused) {
                return false;
            }
        }
        if std::mem::take(&mut self.sick) {
            let (Ok(()) | Err(_)) = self.done.blocking_send(FromStore::Well);
        }
        true
    }

    /// The disk takes nothing: told once, tried again. False when nobody waits any more.
    fn waits(&mut self, refused: &dyn std::fmt::Display) -> bool {
        if !std::mem::replace(&mut self.sick, true) {
            error!(error = %refused, "the store takes nothing; nothing is acked");
            let sick = FromStore::Sick(refused.to_string());
            if self.done.blocking_send(sick).is_err() {
                return false;
            }
        }
        if self.done.is_closed() {
            return false;
        }
        std::thread::park_timeout(RETRY_AFTER);
        true
    }

    fn broke(&self, failed: &dyn std::fmt::Display) {
        error!(error = %failed, "the store failed; the collector stops");
        let broken = FromStore::Broken(failed.to_string());
        // Without the driver there is nobody left to stop.
        let (Ok(()) | Err(_)) = self.done.blocking_send(broken);
    }
}

/// The transaction was refused whole, by a disk that may be well again: no space, read-only, or
/// another process in the way.
pub(super) fn took_nothing(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::ReadOnly
                | ErrorCode::CannotOpen
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
        )
    )
}

/// Removes what is too old. The newest row of the log that goes leaves its sum as the anchor.
fn trim(connection: &mut Connection, newest: u64) -> rusqlite::Result<()> {
    let connection = connection.transaction()?;
    let upto = newest.saturating_sub(EVENTS_KEPT);
    let sum = "SELECT seq, sum FROM events WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?));
    let upto = i64::try_from(upto).unwrap_or(i64::MAX);
    if let Some((seq, sum)) = connection.query_row(sum, [upto], row).optional()? {
        let sum = Sum::from_slice(&sum).unwrap_or_default();
        put_anchor(&connection, Tip { seq: seq.unsigned_abs(), sum })?;
        connection.execute("DELETE FROM events WHERE seq <= ?1", [seq])?;
        connection.execute("DELETE FROM holes WHERE last <= ?1", [seq])?;
    }
    connection.execute(
        "DELETE FROM commands WHERE outcome NOT IN ('accepted', 'pending') AND rowid <=
           (SELECT max(rowid) FROM commands) - ?1",
        [COMMANDS_KEPT],
    )?;
    connection.execute(
        "DELETE FROM incidents WHERE resolved IS NOT NULL AND rowid <=
           (SELECT max(rowid) FROM incidents) - ?1",
        [INCIDENTS_KEPT],
    )?;
    connection.commit()
}

/// Writes a group behind this row; gives the newest.
fn write(connection: &mut Connection, group: &[Write], mut tip: Tip) -> rusqlite::Result<Tip> {
    let transaction = connection.transaction()?;
    for op in group.iter().flat_map(|write| &write.ops) {
        Put { to: &transaction, tip: &mut tip }.op(op)?;
    }
    transaction.commit()?;
    Ok(tip)
}
