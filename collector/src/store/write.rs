//! Writing: the thread, and one statement an operation.

use std::borrow::Cow;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use lubdub_shared::command::Command;
use lubdub_shared::id::{AgentId, CommandId};
use lubdub_shared::incident::{ActionOutcome, Incident};
use lubdub_shared::session::{Bundle, Event, EventKind, Happening};
use lubdub_shared::time::Wall;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Transaction};
use serde_json::json;
use tokio::sync::{mpsc as async_mpsc, watch};
use tracing::{error, warn};

use super::head::{Head, HeadFile};
use super::read::AgentRow;
use super::rebuild::beside;
use super::sums::{Sum, Tip};
use super::tables::{AGENTS, COMMANDS, EVIDENCE, Entry, INCIDENTS, append, put_anchor, put_meta};
use super::{Durable, GROUP_MAX, Op, pairing, recover};

/// How soon a disk that took nothing is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Rows that are kept; beyond it the oldest go, of incidents the resolved ones.
const EVENTS_KEPT: u64 = 1_000_000;
const COMMANDS_KEPT: i64 = 100_000;
const INCIDENTS_KEPT: i64 = 100_000;
const EVIDENCE_KEPT: i64 = 1000;
/// The write-ahead log is copied into the database when it is as long as this, bytes.
const LOG_LONG: u64 = 4 * 1024 * 1024;
/// Operations between two looks at what is too much.
const TRIM_EVERY: usize = 10_000;

/// The thread's own.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) done: async_mpsc::Sender<Durable>,
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
    pub(super) fn run(mut self, queue: &mpsc::Receiver<Op>) {
        let mut written = 0;
        while let Ok(first) = queue.recv() {
            let mut group = vec![first];
            group.extend(queue.try_iter().take(GROUP_MAX - 1));
            written += group.len();
            if !self.commit(&group) {
                return;
            }
            self.commits.send_modify(|commits| *commits += 1);
            let mut told = Vec::new();
            group.into_iter().for_each(|op| durable(op, &mut told));
            for durable in told {
                // A collector that ends does not listen any more; the rest is written all the same.
                let (Ok(()) | Err(_)) = self.done.blocking_send(durable);
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
                let done = recover::checkpoint(&self.connection, file, head).map(drop);
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
    fn commit(&mut self, group: &[Op]) -> bool {
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
            let (Ok(()) | Err(_)) = self.done.blocking_send(Durable::Well);
        }
        true
    }

    /// The disk takes nothing: told once, tried again. False when nobody waits any more.
    fn waits(&mut self, refused: &dyn std::fmt::Display) -> bool {
        if !std::mem::replace(&mut self.sick, true) {
            error!(error = %refused, "the store takes nothing; nothing is acked");
            let sick = Durable::Sick(refused.to_string());
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
        let broken = Durable::Broken(failed.to_string());
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

/// What waited for an operation to be written.
fn durable(op: Op, told: &mut Vec<Durable>) {
    match op {
        Op::Events { session, spool, events, .. } => {
            let number = events.last().map(|event| event.number);
            told.extend(number.map(|number| Durable::Events { session, spool, number }));
        }
        Op::Command { command, expires: Some(_), .. } => told.push(Durable::Waiting(command.id)),
        Op::Command { index, command, decided, .. } => {
            told.push(Durable::Command(index, command, decided));
        }
        Op::Epoch(epoch) => told.push(Durable::Epoch(epoch)),
        Op::Policy(_) => told.push(Durable::Policy),
        Op::Forget(_, index) => told.push(Durable::Forgotten(index)),
        Op::Together(ops) => ops.into_iter().for_each(|op| durable(op, told)),
        Op::Agent(_) | Op::Incident(..) | Op::Transition(_) | Op::Answer { .. } | Op::Note(..) => {}
    }
}

/// Writes a group behind this row; gives the newest.
fn write(connection: &mut Connection, group: &[Op], mut tip: Tip) -> rusqlite::Result<Tip> {
    let transaction = connection.transaction()?;
    for op in group {
        Put { to: &transaction, tip: &mut tip }.op(op)?;
    }
    transaction.commit()?;
    Ok(tip)
}

/// One transaction, and how far the log has got in it.
struct Put<'a> {
    to: &'a Transaction<'a>,
    tip: &'a mut Tip,
}

impl Put<'_> {
    fn op(&mut self, op: &Op) -> rusqlite::Result<()> {
        match op {
            Op::Agent(record) => {
                let row = json(&AgentRow::from(&**record));
                AGENTS.put(self.to, &[text(record.id.as_str()), text(&row)])
            }
            Op::Incident(agent, incident) => {
                self.incident(agent.as_ref().map_or("", AgentId::as_str), incident)
            }
            Op::Events { agent, spool, events, .. } => {
                events.iter().try_for_each(|event| self.event(agent, spool.as_bytes(), event))
            }
            Op::Transition(t) => {
                let detail = json!({
                    "from": t.from, "to": t.to, "lifecycle": t.lifecycle, "why": t.why,
                });
                self.own(Some(&t.agent), EventKind::Status, t.at, &detail)
            }
            Op::Command { agent, command, at, expires, .. } => {
                self.command(agent, command, *at, *expires)
            }
            Op::Answer { command, agent, outcome, detail, at } => {
                self.answer(*command, agent, *outcome, detail, *at)
            }
            Op::Note(agent, text, at) => {
                self.own(agent.as_ref(), EventKind::Note, *at, &json!({ "text": text }))
            }
            Op::Together(ops) => ops.iter().try_for_each(|op| self.op(op)),
            Op::Forget(agent, _) => {
                self.to.execute("DELETE FROM agents WHERE id = ?1", [agent.as_str()]).map(drop)
            }
            Op::Policy(Some(pushed)) => {
                let json = serde_json::to_vec(pushed).expect("keys are strings");
                put_meta(self.to, "policy", &json)
            }
            Op::Policy(None) => {
                self.to.execute("DELETE FROM meta WHERE key = 'policy'", []).map(drop)
            }
            Op::Epoch(epoch) => put_meta(self.to, "epoch", &epoch.to_be_bytes()),
        }
    }

    fn incident(&self, agent: &str, incident: &Incident) -> rusqlite::Result<()> {
        let actions = json(&incident.actions);
        INCIDENTS.put(
            self.to,
            &[
                ValueRef::Blob(incident.id.as_bytes()),
                text(agent),
                text(incident.cause.as_str()),
                text(incident.level.as_str()),
                ValueRef::Integer(incident.opened.0),
                time(incident.resolved),
                ValueRef::Integer(incident.incarnation.into()),
                text(&incident.summary),
                text(&actions),
            ],
        )
    }

    /// A fact that is there already stays as it is: replays are written once. Another fact under
    /// the same number (a sidecar's state was put back from a copy) is written without one: what
    /// is acked is in the store.
    fn event(&mut self, agent: &AgentId, spool: &[u8; 16], event: &Event) -> rusqlite::Result<()> {
        let detail = json(&self.listed(agent, &event.what)?);
        let kind = event.what.kind();
        let number = i64::try_from(event.number).unwrap_or(i64::MAX);
        let same = "SELECT at = ?4 AND kind = ?5 AND detail = ?6 FROM events
                    WHERE agent = ?1 AND spool = ?2 AND number = ?3";
        let known: Option<bool> = self
            .to
            .prepare_cached(same)?
            .query_row((agent.as_str(), spool, number, event.at.0, kind.as_str(), &detail), |row| {
                row.get(0)
            })
            .optional()?;
        if known == Some(true) {
            return Ok(());
        }
        let entry = Entry {
            told: known.is_none().then_some((spool.as_slice(), event.number)),
            at: event.at.0,
            agent: agent.as_str(),
            incarnation: event.life.map(|life| life.ordinal.get()),
            kind: kind.as_str(),
            detail: &detail,
        };
        append(self.to, self.tip, &entry)
    }

    /// What of a fact stands in its row.
    fn listed<'a>(
        &self,
        agent: &AgentId,
        what: &'a Happening,
    ) -> rusqlite::Result<Cow<'a, Happening>> {
        let Happening::Evidence(bundle) = what else { return Ok(Cow::Borrowed(what)) };
        self.bundle(agent, bundle)?;
        Ok(Cow::Owned(Happening::Evidence(Bundle { sent: Vec::new(), ..bundle.clone() })))
    }

    /// Keeps a bundle that was sent beside its event; listings carry none.
    fn bundle(&self, agent: &AgentId, bundle: &Bundle) -> rusqlite::Result<()> {
        if bundle.sent.is_empty() {
            return Ok(());
        }
        let row = [text(agent.as_str()), text(&bundle.id), ValueRef::Blob(&bundle.sent)];
        EVIDENCE.put(self.to, &row)?;
        // Each is large: the oldest go at once.
        self.to
            .prepare_cached(
                "DELETE FROM evidence WHERE rowid <= (SELECT max(rowid) FROM evidence) - ?1",
            )?
            .execute([EVIDENCE_KEPT])
            .map(drop)
    }

    /// What the collector itself says.
    fn own(
        &mut self,
        agent: Option<&AgentId>,
        kind: EventKind,
        at: Wall,
        detail: &serde_json::Value,
    ) -> rusqlite::Result<()> {
        let entry = Entry {
            told: None,
            at: at.0,
            agent: agent.map_or("", AgentId::as_str),
            incarnation: None,
            kind: kind.as_str(),
            detail: &detail.to_string(),
        };
        append(self.to, self.tip, &entry)
    }

    fn command(
        &mut self,
        agent: &AgentId,
        command: &Command,
        at: Wall,
        expires: Option<Wall>,
    ) -> rusqlite::Result<()> {
        let said = json!({
            "command": command.id, "kind": command.kind, "reason": command.reason,
            "requested_by": command.requested_by.to_string(), "dry_run": command.dry_run,
        });
        self.own(Some(agent), EventKind::Command, at, &said)?;
        let id = command.id.as_bytes().as_slice();
        let known = "SELECT 1 FROM commands WHERE id = ?1";
        // An id that is there already belongs to the same request: who asked may ask again.
        if self.to.prepare_cached(known)?.exists([id])? {
            return Ok(());
        }
        let waits = expires.is_some();
        let outcome = if waits { ActionOutcome::Pending } else { ActionOutcome::Accepted };
        let (by, whole) = (command.requested_by.to_string(), json(command));
        COMMANDS.put(
            self.to,
            &[
                ValueRef::Blob(id),
                text(agent.as_str()),
                text(command.kind.as_str()),
                command
                    .life
                    .as_ref()
                    .map_or(ValueRef::Null, |life| ValueRef::Blob(life.as_bytes())),
                text(&by),
                text(&command.reason),
                ValueRef::Integer(at.0),
                text(outcome.as_str()),
                text(""),
                ValueRef::Null,
                text(&whole),
                time(expires),
            ],
        )
    }

    fn answer(
        &mut self,
        command: CommandId,
        agent: &AgentId,
        outcome: ActionOutcome,
        detail: &str,
        at: Wall,
    ) -> rusqlite::Result<()> {
        let said = json!({ "command": command, "outcome": outcome, "detail": detail });
        let id = command.as_bytes().as_slice();
        let same = "SELECT 1 FROM commands WHERE id = ?1 AND outcome = ?2";
        // An answer that comes again after a crash is the same answer.
        if !self.to.prepare_cached(same)?.exists((id, outcome.as_str()))? {
            self.own(Some(agent), EventKind::Answer, at, &said)?;
        }
        let changes = [
            ("outcome", Value::Text(outcome.as_str().to_owned())),
            ("detail", Value::Text(detail.to_owned())),
            ("ended", Value::Integer(at.0)),
        ];
        COMMANDS.amend(self.to, &id, &changes).map(drop)
    }
}

fn text(text: &str) -> ValueRef<'_> {
    ValueRef::Text(text.as_bytes())
}

fn time(at: Option<Wall>) -> ValueRef<'static> {
    at.map_or(ValueRef::Null, |at| ValueRef::Integer(at.0))
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("keys are strings, numbers are finite")
}
