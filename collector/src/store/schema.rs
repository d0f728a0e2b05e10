//! The tables, how each version came from the one before, and what is read at the start. Times are
//! nanoseconds since 1970.

use std::path::Path;

use lubdub_engine::{AgentRecord, Unanswered};
use lubdub_shared::id::{AgentId, StoreId};
use lubdub_shared::incident::Incident;
use lubdub_shared::time;
use rusqlite::{Connection, OptionalExtension as _};

use super::read::{agent_of, incident_of, unanswered_of};
use super::{Contents, OpenError, Pushed};

/// Step n brings a store from `user_version` n to n + 1; a new one takes them all. Steps that were
/// released never change.
pub(super) const MIGRATIONS: [&str; 3] = [
    "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
    CREATE TABLE agents (
        id TEXT PRIMARY KEY,
        record TEXT NOT NULL                -- JSON; see store/read.rs
    ) STRICT;
    CREATE TABLE incidents (
        id BLOB PRIMARY KEY,
        agent TEXT NOT NULL,                -- empty: the collector itself
        cause TEXT NOT NULL,
        level TEXT NOT NULL,
        opened INTEGER NOT NULL,
        resolved INTEGER,
        incarnation INTEGER NOT NULL,
        summary TEXT NOT NULL,
        actions TEXT NOT NULL               -- JSON array
    ) STRICT;
    CREATE INDEX incidents_open ON incidents (resolved, opened);
    CREATE INDEX incidents_agent ON incidents (agent, opened);
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY,
        spool BLOB,                         -- NULL: said by the collector itself
        number INTEGER,
        at INTEGER NOT NULL,
        agent TEXT NOT NULL,                -- empty: the collector itself
        incarnation INTEGER,
        kind TEXT NOT NULL,
        detail TEXT NOT NULL,               -- JSON
        UNIQUE (spool, number)
    ) STRICT;
    CREATE INDEX events_agent ON events (agent, seq);
    CREATE TABLE commands (
        id BLOB PRIMARY KEY,
        agent TEXT NOT NULL,
        kind TEXT NOT NULL,
        life BLOB,
        requested_by TEXT NOT NULL,
        reason TEXT NOT NULL,
        asked INTEGER NOT NULL,
        outcome TEXT NOT NULL,
        detail TEXT NOT NULL,
        ended INTEGER
    ) STRICT;
    ",
    // Commands whole, so that they are waited for again after a crash; events of several spools.
    "
    ALTER TABLE commands ADD COLUMN command TEXT;       -- JSON
    ALTER TABLE commands ADD COLUMN expires INTEGER;    -- waits for its sidecar until then
    UPDATE commands SET outcome = 'expired', detail = 'not answered before an upgrade'
        WHERE outcome IN ('accepted', 'pending');
    CREATE INDEX commands_open ON commands (asked) WHERE outcome IN ('accepted', 'pending');
    UPDATE agents SET record = json_set(
        record,
        '$.applied', CASE json_type(record, '$.applied')
            WHEN 'array' THEN json_array(json(json_extract(record, '$.applied')))
            ELSE json('[]') END,
        '$.treating', NULL,
        '$.verifying', json('false')
    );
    ",
    // Bundles of evidence that sidecars sent; the events beside them say where they came from.
    "
    CREATE TABLE evidence (
        agent TEXT NOT NULL,
        id TEXT NOT NULL,
        bundle BLOB NOT NULL,               -- JSON, gzip
        PRIMARY KEY (agent, id)
    ) STRICT;
    ",
];

/// `user_version` that this code knows.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Resolved incidents that are taken up again, so that they may be reopened.
const RECENT_MAX: i64 = 1000;

pub(super) fn open(path: &Path) -> Result<(Connection, Contents), OpenError> {
    let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
    let mut connection = Connection::open(path).map_err(sqlite)?;
    configure(&connection).map_err(sqlite)?;
    migrate(&mut connection, path)?;
    let contents = take_up(&mut connection).map_err(sqlite)?;
    Ok((connection, contents))
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.busy_timeout(std::time::Duration::from_secs(5))
}

/// Takes each step that the store has not taken, one transaction a step.
fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
    let version = "PRAGMA user_version";
    let found: i64 = connection.query_row(version, [], |row| row.get(0)).map_err(sqlite)?;
    if found > VERSION {
        return Err(OpenError::Newer { path: path.to_owned(), found, known: VERSION });
    }
    for (from, step) in (0..).zip(MIGRATIONS).skip_while(|(from, _)| *from < found) {
        let failed = |source| OpenError::Migration { path: path.to_owned(), from, source };
        let transaction = connection.transaction().map_err(failed)?;
        transaction.execute_batch(step).map_err(failed)?;
        transaction.pragma_update(None, "user_version", from + 1).map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}

/// Raises the epoch, and reads what the engine must know.
fn take_up(connection: &mut Connection) -> rusqlite::Result<Contents> {
    let transaction = connection.transaction()?;
    let meta = |key: &str| {
        transaction
            .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
            .optional()
    };
    let known: Option<Vec<u8>> = meta("store")?;
    let known = known.as_deref().and_then(StoreId::from_slice);
    let id = known.unwrap_or_else(|| StoreId::random(&mut fastrand::Rng::new()));
    let before: Option<Vec<u8>> = meta("epoch")?;
    let before = before.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
    let epoch = before.saturating_add(1);
    let mut put =
        transaction.prepare("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?;
    put.execute(("store", id.as_bytes().as_slice()))?;
    put.execute(("epoch", epoch.to_be_bytes().as_slice()))?;
    drop(put);
    // The store is open, so whatever ailed it is over.
    let now = time::now().wall.0;
    let own = "UPDATE incidents SET resolved = ?1 WHERE agent = '' AND resolved IS NULL";
    transaction.execute(own, [now])?;
    let agents = agents(&transaction)?;
    let incidents = incidents(&transaction)?;
    let unanswered = unanswered(&transaction)?;
    let pushed = pushed(&transaction)?;
    transaction.commit()?;
    Ok(Contents { id, epoch, agents, incidents, unanswered, pushed })
}

fn pushed(connection: &Connection) -> rusqlite::Result<Option<Pushed>> {
    let query = "SELECT value FROM meta WHERE key = 'policy'";
    let found: Option<Vec<u8>> = connection.query_row(query, [], |row| row.get(0)).optional()?;
    // What cannot be read was written by something else: the file's policy holds.
    Ok(found.and_then(|json| serde_json::from_slice(&json).ok()))
}

fn agents(connection: &Connection) -> rusqlite::Result<Vec<AgentRecord>> {
    let mut query = connection.prepare("SELECT id, record FROM agents ORDER BY id")?;
    query.query_map([], agent_of)?.collect()
}

fn incidents(connection: &Connection) -> rusqlite::Result<Vec<(AgentId, Incident)>> {
    let mut query = connection.prepare(
        "SELECT id, agent, cause, level, opened, resolved, incarnation, summary, actions
         FROM incidents WHERE agent <> '' AND (resolved IS NULL OR id IN
           (SELECT id FROM incidents WHERE resolved IS NOT NULL ORDER BY resolved DESC LIMIT ?1))
         ORDER BY opened",
    )?;
    let rows = query.query_map([RECENT_MAX], incident_of)?;
    let with_agent = rows.map(|row| row.map(|(agent, incident)| Some((agent?, incident))));
    with_agent.filter_map(Result::transpose).collect()
}

fn unanswered(connection: &Connection) -> rusqlite::Result<Vec<(AgentId, Unanswered)>> {
    let mut query = connection.prepare(
        "SELECT agent, command, asked, expires FROM commands
         WHERE outcome IN ('accepted', 'pending') AND command IS NOT NULL ORDER BY asked",
    )?;
    query.query_map([], unanswered_of)?.collect()
}
