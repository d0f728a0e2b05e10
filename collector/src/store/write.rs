//! Writing: the thread, and one statement an operation.

use std::borrow::Cow;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use lubdub_shared::command::Command;
use lubdub_shared::id::AgentId;
use lubdub_shared::incident::{ActionOutcome, Incident};
use lubdub_shared::session::{Bundle, Event, EventKind, Happening};
use lubdub_shared::time::Wall;
use rusqlite::{Connection, ErrorCode, Transaction};
use serde_json::json;
use tokio::sync::{mpsc as async_mpsc, watch};
use tracing::{error, warn};

use super::read::AgentRow;
use super::{Durable, GROUP_MAX, Op};

/// How soon a disk that took nothing is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Rows that are kept; beyond it the oldest go, of incidents the resolved ones.
const EVENTS_KEPT: i64 = 1_000_000;
const COMMANDS_KEPT: i64 = 100_000;
const INCIDENTS_KEPT: i64 = 100_000;
const EVIDENCE_KEPT: i64 = 1000;
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
    pub(super) path: PathBuf,
    /// Of the file when it was opened.
    pub(super) inode: u64,
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
                match trim(&mut self.connection) {
                    Err(refused) if !took_nothing(&refused) => return self.broke(&refused),
                    Err(error) => warn!(%error, "old rows could not be removed"),
                    Ok(()) => {}
                }
            }
        }
    }

    /// Writes a group, however long a full disk makes it wait. False when there is nobody left to
    /// write for.
    fn commit(&mut self, group: &[Op]) -> bool {
        loop {
            if !self.is_there() {
                self.broke(&"its file was taken away");
                return false;
            }
            match write(&mut self.connection, group) {
                Ok(()) if self.sick => {
                    self.sick = false;
                    let (Ok(()) | Err(_)) = self.done.blocking_send(Durable::Well);
                    return true;
                }
                Ok(()) => return true,
                Err(refused) if took_nothing(&refused) => {
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
                }
                Err(failed) => {
                    self.broke(&failed);
                    return false;
                }
            }
        }
    }

    /// The file at the store's path is still the one that is written: what goes into one that was
    /// deleted is lost, and must not be acked.
    fn is_there(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|there| there.ino() == self.inode)
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

fn trim(connection: &mut Connection) -> rusqlite::Result<()> {
    let connection = connection.transaction()?;
    let newest = "DELETE FROM events WHERE seq <= (SELECT max(seq) FROM events) - ?1";
    connection.execute(newest, [EVENTS_KEPT])?;
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

fn write(connection: &mut Connection, group: &[Op]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for op in group {
        put(&transaction, op)?;
    }
    transaction.commit()
}

fn put(transaction: &Transaction<'_>, op: &Op) -> rusqlite::Result<()> {
    match op {
        Op::Agent(record) => {
            let row = json(&AgentRow::from(&**record));
            transaction
                .prepare_cached("INSERT OR REPLACE INTO agents (id, record) VALUES (?1, ?2)")?
                .execute((record.id.as_str(), row))?;
        }
        Op::Incident(agent, incident) => {
            put_incident(transaction, agent.as_ref().map_or("", AgentId::as_str), incident)?;
        }
        Op::Events { agent, spool, events, .. } => {
            for event in events {
                put_event(transaction, agent, spool.as_bytes(), event)?;
            }
        }
        Op::Transition(t) => {
            let detail = json!({
                "from": t.from, "to": t.to, "lifecycle": t.lifecycle, "why": t.why,
            });
            put_own(transaction, Some(&t.agent), EventKind::Status, t.at, &detail)?;
        }
        Op::Command { agent, command, at, expires, .. } => {
            put_command(transaction, agent, command, *at, *expires)?;
        }
        Op::Answer { command, agent, outcome, detail, at } => {
            let said = json!({ "command": command, "outcome": outcome, "detail": detail });
            let same = transaction
                .prepare_cached("SELECT 1 FROM commands WHERE id = ?1 AND outcome = ?2")?
                .exists((command.as_bytes().as_slice(), outcome.as_str()))?;
            // An answer that comes again after a crash is the same answer.
            if !same {
                put_own(transaction, Some(agent), EventKind::Answer, *at, &said)?;
            }
            transaction
                .prepare_cached(
                    "UPDATE commands SET outcome = ?2, detail = ?3, ended = ?4 WHERE id = ?1",
                )?
                .execute((command.as_bytes().as_slice(), outcome.as_str(), detail, at.0))?;
        }
        Op::Note(agent, text, at) => {
            put_own(transaction, agent.as_ref(), EventKind::Note, *at, &json!({ "text": text }))?;
        }
        Op::Together(ops) => ops.iter().try_for_each(|op| put(transaction, op))?,
        Op::Forget(agent, _) => {
            transaction.execute("DELETE FROM agents WHERE id = ?1", [agent.as_str()])?;
        }
        Op::Policy(Some(pushed)) => {
            let json = serde_json::to_vec(pushed).expect("keys are strings");
            let put = "INSERT OR REPLACE INTO meta (key, value) VALUES ('policy', ?1)";
            transaction.execute(put, [json])?;
        }
        Op::Policy(None) => {
            transaction.execute("DELETE FROM meta WHERE key = 'policy'", [])?;
        }
        Op::Epoch(epoch) => {
            transaction.execute(
                "UPDATE meta SET value = ?1 WHERE key = 'epoch' AND value < ?1",
                [epoch.to_be_bytes().as_slice()],
            )?;
        }
    }
    Ok(())
}

fn put_incident(
    transaction: &Transaction<'_>,
    agent: &str,
    incident: &Incident,
) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO incidents
           (id, agent, cause, level, opened, resolved, incarnation, summary, actions)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (id) DO UPDATE SET cause = ?3, level = ?4, resolved = ?6, summary = ?8,
           actions = ?9",
    )?;
    statement.execute((
        incident.id.as_bytes().as_slice(),
        agent,
        incident.cause.as_str(),
        incident.level.as_str(),
        incident.opened.0,
        incident.resolved.map(|at| at.0),
        incident.incarnation,
        &incident.summary,
        json(&incident.actions),
    ))?;
    Ok(())
}

/// A fact that is there already stays as it is: replays are written once.
fn put_event(
    transaction: &Transaction<'_>,
    agent: &AgentId,
    spool: &[u8; 16],
    event: &Event,
) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT OR IGNORE INTO events (spool, number, at, agent, incarnation, kind, detail)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    statement.execute((
        spool.as_slice(),
        i64::try_from(event.number).unwrap_or(i64::MAX),
        event.at.0,
        agent.as_str(),
        event.life.map(|life| life.ordinal.get()),
        event.what.kind().as_str(),
        json(&listed(transaction, agent, &event.what)?),
    ))?;
    Ok(())
}

/// What of a fact stands in its row.
fn listed<'a>(
    transaction: &Transaction<'_>,
    agent: &AgentId,
    what: &'a Happening,
) -> rusqlite::Result<Cow<'a, Happening>> {
    let Happening::Evidence(bundle) = what else { return Ok(Cow::Borrowed(what)) };
    put_bundle(transaction, agent, bundle)?;
    Ok(Cow::Owned(Happening::Evidence(Bundle { sent: Vec::new(), ..bundle.clone() })))
}

/// Keeps a bundle that was sent beside its event; listings carry none.
fn put_bundle(
    transaction: &Transaction<'_>,
    agent: &AgentId,
    bundle: &Bundle,
) -> rusqlite::Result<()> {
    if bundle.sent.is_empty() {
        return Ok(());
    }
    transaction
        .prepare_cached("INSERT OR REPLACE INTO evidence (agent, id, bundle) VALUES (?1, ?2, ?3)")?
        .execute((agent.as_str(), &bundle.id, &bundle.sent))?;
    // Each is large: the oldest go at once.
    transaction
        .prepare_cached(
            "DELETE FROM evidence WHERE rowid <= (SELECT max(rowid) FROM evidence) - ?1",
        )?
        .execute([EVIDENCE_KEPT])?;
    Ok(())
}

/// What the collector itself says.
fn put_own(
    transaction: &Transaction<'_>,
    agent: Option<&AgentId>,
    kind: EventKind,
    at: Wall,
    detail: &serde_json::Value,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT INTO events (at, agent, kind, detail) VALUES (?1, ?2, ?3, ?4)")?
        .execute((at.0, agent.map_or("", AgentId::as_str), kind.as_str(), detail.to_string()))?;
    Ok(())
}

fn put_command(
    transaction: &Transaction<'_>,
    agent: &AgentId,
    command: &Command,
    at: Wall,
    expires: Option<Wall>,
) -> rusqlite::Result<()> {
    let said = json!({
        "command": command.id, "kind": command.kind, "reason": command.reason,
        "requested_by": command.requested_by.to_string(), "dry_run": command.dry_run,
    });
    put_own(transaction, Some(agent), EventKind::Command, at, &said)?;
    // An id that is there already belongs to the same request: who asked may ask again.
    let mut statement = transaction.prepare_cached(
        "INSERT OR IGNORE INTO commands
           (id, agent, kind, life, requested_by, reason, asked, outcome, detail, ended, command,
            expires)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, '', NULL, ?9, ?10)",
    )?;
    let outcome = if expires.is_some() { ActionOutcome::Pending } else { ActionOutcome::Accepted };
    statement.execute((
        command.id.as_bytes().as_slice(),
        agent.as_str(),
        command.kind.as_str(),
        command.life.map(|life| life.as_bytes().to_vec()),
        command.requested_by.to_string(),
        &command.reason,
        at.0,
        outcome.as_str(),
        json(command),
        expires.map(|at| at.0),
    ))?;
    Ok(())
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("keys are strings, numbers are finite")
}
