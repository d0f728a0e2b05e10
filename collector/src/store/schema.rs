//! The tables, and what is read from them at the start. Times are nanoseconds since 1970.

use std::path::Path;

use lubdub_engine::AgentRecord;
use lubdub_shared::id::{AgentId, StoreId};
use lubdub_shared::incident::Incident;
use rusqlite::{Connection, OptionalExtension as _};

use super::read::{agent_of, incident_of};
use super::{Contents, OpenError};

/// `user_version` of this schema.
const VERSION: i64 = 1;

const TABLES: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
    CREATE TABLE agents (
        id TEXT PRIMARY KEY,
        record TEXT NOT NULL                -- JSON; see store/read.rs
    ) STRICT;
    CREATE TABLE incidents (
        id BLOB PRIMARY KEY,
        agent TEXT NOT NULL,
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
        agent TEXT NOT NULL,
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
";

/// Resolved incidents that are taken up again, so that they may be reopened.
const RECENT_MAX: i64 = 1000;

pub(super) fn open(path: &Path) -> Result<(Connection, Contents), OpenError> {
    let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
    let mut connection = Connection::open(path).map_err(sqlite)?;
    configure(&connection).map_err(sqlite)?;
    let found: i64 =
        connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(sqlite)?;
    if found > VERSION {
        return Err(OpenError::Newer { path: path.to_owned(), found, known: VERSION });
    }
    let contents = take_up(&mut connection, found == 0).map_err(sqlite)?;
    Ok((connection, contents))
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.busy_timeout(std::time::Duration::from_secs(5))
}

/// Makes the tables if they are new, raises the epoch, reads what the engine must know.
fn take_up(connection: &mut Connection, new: bool) -> rusqlite::Result<Contents> {
    let transaction = connection.transaction()?;
    if new {
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    let known = transaction
        .query_row("SELECT value FROM meta WHERE key = 'store'", [], |row| row.get::<_, Vec<u8>>(0))
        .optional()?;
    let known = known.as_deref().and_then(StoreId::from_slice);
    let id = known.unwrap_or_else(|| StoreId::random(&mut fastrand::Rng::new()));
    let before = transaction
        .query_row("SELECT value FROM meta WHERE key = 'epoch'", [], |row| row.get::<_, Vec<u8>>(0))
        .optional()?;
    let before = before.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
    let epoch = before + 1;
    let mut put =
        transaction.prepare("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?;
    put.execute(("store", id.as_bytes().as_slice()))?;
    put.execute(("epoch", epoch.to_be_bytes().as_slice()))?;
    drop(put);
    let agents = agents(&transaction)?;
    let incidents = incidents(&transaction)?;
    transaction.commit()?;
    Ok(Contents { id, epoch, agents, incidents })
}

fn agents(connection: &Connection) -> rusqlite::Result<Vec<AgentRecord>> {
    let mut query = connection.prepare("SELECT id, record FROM agents ORDER BY id")?;
    query.query_map([], agent_of)?.collect()
}

fn incidents(connection: &Connection) -> rusqlite::Result<Vec<(AgentId, Incident)>> {
    let mut query = connection.prepare(
        "SELECT id, agent, cause, level, opened, resolved, incarnation, summary, actions
         FROM incidents WHERE resolved IS NULL OR id IN
           (SELECT id FROM incidents WHERE resolved IS NOT NULL ORDER BY resolved DESC LIMIT ?1)
         ORDER BY opened",
    )?;
    query.query_map([RECENT_MAX], incident_of)?.collect()
}
