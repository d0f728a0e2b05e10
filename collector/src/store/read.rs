//! Reading: rows to domain types, and the queries of people, on connections of their own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lubdub_engine::AgentRecord;
use lubdub_shared::beat::Evidence;
use lubdub_shared::id::{AgentId, IncidentId, Life, SpoolId};
use lubdub_shared::incident::{Action, Cause, Incident};
use lubdub_shared::status::{Lifecycle, Status};
use lubdub_shared::time::Wall;
use lubdub_shared::view::IncidentView;
use rusqlite::types::Type;
use rusqlite::{Connection, OpenFlags, Row};
use serde::{Deserialize, Serialize};

/// Incidents of one answer at most.
const INCIDENTS_MAX: i64 = 1000;

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
    applied: Option<(SpoolId, u64)>,
    held: Option<String>,
}

impl From<&AgentRecord> for AgentRow {
    fn from(record: &AgentRecord) -> Self {
        Self {
            host: record.host.clone(),
            labels: record.labels.clone(),
            life: record.life,
            started: record.started,
            lifecycle: record.lifecycle,
            shown: record.shown,
            left: record.left,
            applied: record.applied,
            held: record.held.clone(),
        }
    }
}

pub(super) fn agent_of(row: &Row<'_>) -> rusqlite::Result<AgentRecord> {
    let id = text(row, 0, |text| text.parse().ok())?;
    let agent: AgentRow = text(row, 1, |text| serde_json::from_str(text).ok())?;
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
    })
}

pub(super) fn incident_of(row: &Row<'_>) -> rusqlite::Result<(AgentId, Incident)> {
    let id: Vec<u8> = row.get(0)?;
    let incident = Incident {
        id: IncidentId::from_slice(&id).ok_or_else(|| bad(0, Type::Blob))?,
        cause: text(row, 2, Cause::from_word)?,
        level: text(row, 3, Status::from_word)?,
        opened: Wall(row.get(4)?),
        resolved: row.get::<_, Option<i64>>(5)?.map(Wall),
        incarnation: row.get(6)?,
        summary: row.get(7)?,
        actions: text(row, 8, |text| serde_json::from_str::<Vec<Action>>(text).ok())?,
    };
    Ok((text(row, 1, |text| text.parse().ok())?, incident))
}

fn text<T>(row: &Row<'_>, at: usize, parse: impl Fn(&str) -> Option<T>) -> rusqlite::Result<T> {
    let text: String = row.get(at)?;
    parse(&text).ok_or_else(|| bad(at, Type::Text))
}

fn bad(column: usize, kind: Type) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, kind, "a value that is not known here".into())
}

/// Reads beside the writer; each query has its own connection, off the runtime's threads.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    path: PathBuf,
}

impl Reader {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
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
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        let mut query = connection.prepare(
            "SELECT id, agent, cause, level, opened, resolved, incarnation, summary, actions
             FROM incidents WHERE (?1 OR resolved IS NULL) AND (?2 IS NULL OR agent = ?2)
             ORDER BY opened DESC LIMIT ?3",
        )?;
        let agent = agent.map(AgentId::as_str);
        let rows = query.query_map((all, agent, INCIDENTS_MAX), incident_of)?;
        rows.map(|row| row.map(|(agent, incident)| IncidentView { agent, incident })).collect()
    }
}
