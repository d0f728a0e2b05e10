//! Reading: rows to domain types, and the queries of people, on connections of their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lubdub_engine::{AgentRecord, Treated, Unanswered};
use lubdub_shared::beat::Evidence;
use lubdub_shared::id::{AgentId, CommandId, IncidentId, Life, SpoolId};
use lubdub_shared::incident::{Action, ActionOutcome, Cause, Incident};
use lubdub_shared::session::EventKind;
use lubdub_shared::status::{Lifecycle, Status};
use lubdub_shared::time::Wall;
use lubdub_shared::view::{EventView, IncidentView};
use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};

use super::tables::Table;

/// Queries that run at one time; the next ones wait.
const AT_ONCE: usize = 4;

/// Incidents of one answer at most.
const INCIDENTS_MAX: i64 = 1000;

/// Events of one answer at most.
const EVENTS_MAX: u32 = 1000;

/// The JSON of an agent's row.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AgentRow {
    host: String,
    labels: BTreeMap<String, String>,
    life: Option<Life>,
    started: Option<Wall>,
    lifecycle: Lifecycle,
    shown: Evidence,
    left: bool,
    applied: Vec<(SpoolId, u64)>,
    held: Option<String>,
    treating: Option<Treated>,
    verifying: bool,
}

impl From<&AgentRecord> for AgentRow {
    fn from(record: &AgentRecord) -> Self {
        let record = record.clone();
        Self {
            host: record.host,
            labels: record.labels,
            life: record.life,
            started: record.started,
            lifecycle: record.lifecycle,
            shown: record.shown,
            left: record.left,
            applied: record.applied,
            held: record.held,
            treating: record.treating,
            verifying: record.verifying,
        }
    }
}

/// An agent, from the columns of [`super::tables::AGENTS`], the first of them here.
pub(super) fn agent_of(row: &Row<'_>, from: usize) -> rusqlite::Result<AgentRecord> {
    let id = text(row, from, |text| text.parse().ok())?;
    let agent: AgentRow = text(row, from + 1, |text| serde_json::from_str(text).ok())?;
    Ok(AgentRecord {
        id,
        host: agent.host,
        labels: agent.labels,
        life: agent.life,
        started: agent.started,
        lifecycle: agent.lifecycle,
        shown: agent.shown,
        left: agent.left,
        applied: agent.applied,
        held: agent.held,
        treating: agent.treating,
        verifying: agent.verifying,
    })
}

/// An incident, from the columns of [`super::tables::INCIDENTS`], the first of them here.
pub(super) fn incident_of(
    row: &Row<'_>,
    from: usize,
) -> rusqlite::Result<(Option<AgentId>, Incident)> {
    let id: Vec<u8> = row.get(from)?;
    let incident = Incident {
        id: IncidentId::from_slice(&id).ok_or_else(|| bad(from, Type::Blob))?,
        cause: any_word(row, from + 2, Cause::from_any_word)?,
        level: text(row, from + 3, Status::from_word)?,
        opened: Wall(row.get(from + 4)?),
        resolved: row.get::<_, Option<i64>>(from + 5)?.map(Wall),
        incarnation: row.get(from + 6)?,
        summary: row.get(from + 7)?,
        actions: text(row, from + 8, |text| serde_json::from_str::<Vec<Action>>(text).ok())?,
    };
    Ok((agent_or_none(row, from + 1)?, incident))
}

/// A command without an answer, from the columns of [`super::tables::COMMANDS`], the first of them
/// here; `None` for one that was answered, or is of a version that kept no more than its words.
pub(super) fn unanswered_of(
    row: &Row<'_>,
    from: usize,
) -> rusqlite::Result<Option<(AgentId, Unanswered)>> {
    let outcome = any_word(row, from + 7, ActionOutcome::from_any_word)?;
    let open = matches!(outcome, ActionOutcome::Accepted | ActionOutcome::Pending);
    if !open || row.get_ref(from + 10)? == ValueRef::Null {
        return Ok(None);
    }
    let unanswered = Unanswered {
        command: text(row, from + 10, |text| serde_json::from_str(text).ok())?,
        decided: Wall(row.get(from + 6)?),
        expires: row.get::<_, Option<i64>>(from + 11)?.map(Wall),
    };
    Ok(Some((text(row, from + 1, |text| text.parse().ok())?, unanswered)))
}

/// Whether a row means something here.
///
/// # Errors
/// What of it does not.
pub(super) fn understands(table: &Table, row: &Row<'_>, from: usize) -> Result<(), String> {
    let read = match table.name {
        "agents" => agent_of(row, from).map(drop),
        "incidents" => incident_of(row, from).map(drop),
        "commands" => unanswered_of(row, from).map(drop),
        _ => Ok(()),
    };
    let column = |error: &rusqlite::Error| {
        if let rusqlite::Error::FromSqlConversionFailure(column, ..)
        | rusqlite::Error::InvalidColumnType(column, ..)
        | rusqlite::Error::IntegralValueOutOfRange(column, _) = error
        {
            return table.columns.get(column.checked_sub(from)?);
        }
        None
    };
    read.map_err(|error| match column(&error) {
        Some(name) => format!("its {name} cannot be understood"),
        None => error.to_string(),
    })
}

/// An event; one that means nothing here is listed as such, with its number.
fn event_or_why(row: &Row<'_>) -> rusqlite::Result<EventView> {
    let seq = sequence(row, 0)?;
    Ok(event_of(row).unwrap_or_else(|error| EventView {
        seq,
        at: Wall::default(),
        agent: None,
        incarnation: None,
        kind: EventKind::Other,
        detail: serde_json::json!({ "unreadable": error.to_string() }).to_string(),
    }))
}

fn event_of(row: &Row<'_>) -> rusqlite::Result<EventView> {
    Ok(EventView {
        seq: sequence(row, 0)?,
        at: Wall(row.get(1)?),
        agent: agent_or_none(row, 2)?,
        incarnation: row.get(3)?,
        kind: any_word(row, 4, EventKind::from_any_word)?,
        detail: row.get(5)?,
    })
}

/// SQLite counts rows from 1, in i64.
fn sequence(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    row.get(at).map(|seq: i64| seq.unsigned_abs())
}

/// Empty is the collector itself.
fn agent_or_none(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<AgentId>> {
    text(row, at, |text| if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) })
}

fn text<T>(row: &Row<'_>, at: usize, parse: impl Fn(&str) -> Option<T>) -> rusqlite::Result<T> {
    let text: String = row.get(at)?;
    parse(&text).ok_or_else(|| bad(at, Type::Text))
}

/// A word that a newer version may have written.
fn any_word<T>(row: &Row<'_>, at: usize, read: impl Fn(&str) -> T) -> rusqlite::Result<T> {
    text(row, at, |word| Some(read(word)))
}

fn bad(column: usize, kind: Type) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, kind, "a value that is not known here".into())
}

/// Reads beside the writer; each query has its own connection, off the runtime's threads.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    path: PathBuf,
    committed: watch::Receiver<u64>,
    /// Queries at one time: each takes a thread and a few descriptors.
    places: Arc<Semaphore>,
}

/// A command as it stands in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) outcome: ActionOutcome,
    pub(crate) detail: String,
}

/// Where a page of events stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Where to go on.
    pub(crate) next: u64,
    /// The newest event of the store.
    pub(crate) end: u64,
}

impl Reader {
    pub(super) fn new(path: PathBuf, committed: watch::Receiver<u64>) -> Self {
        Self { path, committed, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Sizes of the database and of its write-ahead log.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let [log, _] = super::beside(&self.path);
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |about| about.len());
        (size(&self.path), size(&log))
    }

    /// Changes with each commit.
    pub(crate) fn commits(&self) -> watch::Receiver<u64> {
        self.committed.clone()
    }

    /// Runs a query on a thread that may wait.
    ///
    /// # Errors
    /// SQLite refused.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Self) -> rusqlite::Result<T> + Send + 'static,
    ) -> rusqlite::Result<T> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.expect("it is never closed");
        let reader = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let answer = query(&reader);
            drop(place);
            answer
        });
        let done = done.await;
        done.unwrap_or_else(|panicked| {
            Err(rusqlite::Error::ToSqlConversionFailure(panicked.into()))
        })
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        Ok(connection)
    }

    /// Incidents, newest first.
    ///
    /// # Errors
    /// SQLite refused.
    pub(crate) fn incidents(
        &self,
        all: bool,
        agent: Option<&AgentId>,
    ) -> rusqlite::Result<Vec<IncidentView>> {
        let connection = self.connect()?;
        let mut query = connection.prepare(
            "SELECT id, agent, cause, level, opened, resolved, incarnation, summary, actions
             FROM incidents WHERE (?1 OR resolved IS NULL) AND (?2 IS NULL OR agent = ?2)
             ORDER BY opened DESC LIMIT ?3",
        )?;
        let agent = agent.map(AgentId::as_str);
        let rows = query.query_map((all, agent, INCIDENTS_MAX), |row| incident_of(row, 0))?;
        rows.map(|row| row.map(|(agent, incident)| IncidentView { agent, incident })).collect()
    }

    /// A bundle of evidence that was sent; `None` where it stayed on its host.
    ///
    /// # Errors
    /// SQLite refused.
    pub(crate) fn evidence(&self, agent: &AgentId, id: &str) -> rusqlite::Result<Option<Vec<u8>>> {
        let query = "SELECT bundle FROM evidence WHERE agent = ?1 AND id = ?2";
        self.connect()?.query_row(query, [agent.as_str(), id], |row| row.get(0)).optional()
    }

    /// Open incidents, by cause.
    ///
    /// # Errors
    /// SQLite refused.
    pub(crate) fn open_by_cause(&self) -> rusqlite::Result<BTreeMap<Cause, u64>> {
        let connection = self.connect()?;
        let mut query = connection.prepare(
            "SELECT cause, count(*) FROM incidents WHERE resolved IS NULL GROUP BY cause",
        )?;
        let row = |row: &Row<'_>| Ok((any_word(row, 0, Cause::from_any_word)?, sequence(row, 1)?));
        let mut open = BTreeMap::new();
        for row in query.query_map([], row)? {
            // Words that are not known here are one cause here.
            let (cause, count) = row?;
            *open.entry(cause).or_default() += count;
        }
        Ok(open)
    }

    /// A page of events, oldest first: the newest ones, or those behind `after`. Also where to go
    /// on.
    ///
    /// # Errors
    /// SQLite refused.
    pub(crate) fn events(
        &self,
        agent: Option<&AgentId>,
        after: u64,
        newest: u32,
    ) -> rusqlite::Result<(Vec<EventView>, Span)> {
        let connection = self.connect()?;
        let agent = agent.map(AgentId::as_str);
        let columns = "seq, at, agent, incarnation, kind, detail";
        let (sql, limit) = if newest > 0 {
            let inner = format!(
                "SELECT {columns} FROM events WHERE ?1 >= 0 AND (?2 IS NULL OR agent = ?2)
                 ORDER BY seq DESC LIMIT ?3"
            );
            (format!("SELECT * FROM ({inner}) ORDER BY seq"), newest.min(EVENTS_MAX))
        } else {
            let sql = format!(
                "SELECT {columns} FROM events WHERE seq > ?1 AND (?2 IS NULL OR agent = ?2)
                 ORDER BY seq LIMIT ?3"
            );
            (sql, EVENTS_MAX)
        };
        // First the end, then the page: what comes in between is found by the next call.
        let end = "SELECT coalesce(max(seq), 0) FROM events";
        let end = connection.query_row(end, [], |row| sequence(row, 0))?;
        let mut query = connection.prepare(&sql)?;
        let behind = i64::try_from(after).unwrap_or(i64::MAX);
        let rows = query.query_map((behind, agent, limit), event_or_why)?;
        let events = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        let full = events.len() == usize::try_from(limit).unwrap_or(usize::MAX);
        let next = match events.last() {
            Some(event) if full && newest == 0 => event.seq,
            Some(event) => end.max(event.seq),
            None => end.max(after),
        };
        Ok((events, Span { next, end }))
    }

    /// A command by its id.
    ///
    /// # Errors
    /// SQLite refused.
    pub(crate) fn command(&self, id: CommandId) -> rusqlite::Result<Option<Recorded>> {
        let connection = self.connect()?;
        let row = |row: &Row<'_>| {
            let outcome = any_word(row, 0, ActionOutcome::from_any_word)?;
            Ok(Recorded { outcome, detail: row.get(1)? })
        };
        let id = id.as_bytes().as_slice();
        connection
            .query_row("SELECT outcome, detail FROM commands WHERE id = ?1", [id], row)
            .optional()
    }
}
