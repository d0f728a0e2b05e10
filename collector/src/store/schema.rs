//! The tables, and how each version came from the one before. Times are nanoseconds since 1970.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use tracing::warn;

use super::OpenError;
use super::sums::{Sum, Tip, crc};
use super::tables::{EVENTS, PLAIN, put_anchor};

/// Step n brings a store from `user_version` n to n + 1; a new one takes them all. Steps that were
/// released never change.
pub(super) const MIGRATIONS: [&str; 4] = [
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
    // Sums for all that is written, and a chain over the log; numbers are unique for an agent. The
    // sums of rows that are there are put by `seal`.
    "
    ALTER TABLE events RENAME TO older_events;
    DROP INDEX events_agent;
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY,
        spool BLOB,                         -- NULL: said by the collector itself
        number INTEGER,
        at INTEGER NOT NULL,
        agent TEXT NOT NULL,                -- empty: the collector itself
        incarnation INTEGER,
        kind TEXT NOT NULL,
        detail TEXT NOT NULL,               -- JSON
        crc INTEGER NOT NULL,               -- of the columns before; see store/sums.rs
        sum BLOB NOT NULL                   -- of this row and all before
    ) STRICT;
    INSERT INTO events SELECT seq, spool, number, at, agent, incarnation, kind, detail, 0, x''
        FROM older_events;
    DROP TABLE older_events;
    CREATE INDEX events_agent ON events (agent, seq);
    CREATE UNIQUE INDEX events_told ON events (agent, spool, number) WHERE spool IS NOT NULL;
    ALTER TABLE meta ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE agents ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE incidents ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE commands ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE evidence ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
    ",
];

/// What is lost of a store; made before the last step, which needs it.
const FOR_DAMAGE: &str = "
    CREATE TABLE holes (                    -- rows of the log that were lost
        first INTEGER PRIMARY KEY,
        last INTEGER NOT NULL,
        found INTEGER NOT NULL,
        why TEXT NOT NULL
    ) STRICT;
    CREATE TABLE aside (                    -- rows that could not be used
        at INTEGER NOT NULL,
        source TEXT NOT NULL,               -- its table
        name TEXT NOT NULL,
        content TEXT NOT NULL,              -- JSON
        why TEXT NOT NULL
    ) STRICT;
    ";

/// `user_version` that this code knows.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// The last version whose rows carried no sums.
const UNSEALED: i64 = 3;
/// Write-ahead log that stays on disk after a checkpoint, bytes.
const LOG_KEPT: i64 = 1024 * 1024;

/// As every connection that writes is to be. Checkpoints are made by the writer alone, which says
/// so in `head` first.
pub(super) fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", LOG_KEPT)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))
}

/// The version that a store says it has.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Takes each step that the store has not taken, one transaction a step.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let found = version(connection)
        .map_err(|source| OpenError::Sqlite { path: path.to_owned(), source })?;
    if found > VERSION {
        return Err(OpenError::Newer { path: path.to_owned(), found, known: VERSION });
    }
    for (from, step) in (0..).zip(MIGRATIONS).skip_while(|(from, _)| *from < found) {
        let failed = |source| OpenError::Migration { path: path.to_owned(), from, source };
        let transaction = connection.transaction().map_err(failed)?;
        if from == UNSEALED {
            let aside = put_odd_aside(&transaction).map_err(failed)?;
            if aside > 0 {
                let path = path.display();
                warn!(%path, aside, "rows of an older version were damaged, and are put aside");
            }
        }
        transaction.execute_batch(step).map_err(failed)?;
        if from == UNSEALED {
            seal(&transaction).map_err(failed)?;
        }
        transaction.pragma_update(None, "user_version", from + 1).map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}

/// A row that holds what its column cannot was damaged before rows had sums; no later step can be
/// made with it. How many there were.
fn put_odd_aside(connection: &Connection) -> rusqlite::Result<usize> {
    const WHY: &str = "damaged before the store was brought to this version";
    connection.execute_batch(FOR_DAMAGE)?;
    let mut count = 0;
    for table in PLAIN.into_iter().chain([&EVENTS]) {
        let columns = "SELECT name, lower(type), \"notnull\" FROM pragma_table_info(?1)";
        let mut columns = connection.prepare(columns)?;
        let columns = columns.query_map([table.name], |row| {
            let (name, kind): (String, String) = (row.get(0)?, row.get(1)?);
            let or_null = if row.get(2)? { "" } else { ", 'null'" };
            Ok((
                format!("typeof({name}) IN ('{kind}'{or_null})"),
                format!("'{name}', quote({name})"),
            ))
        })?;
        let (fits, said): (Vec<_>, Vec<_>) =
            columns.collect::<rusqlite::Result<Vec<_>>>()?.into_iter().unzip();
        let odd = format!("FROM {} WHERE NOT ({})", table.name, fits.join(" AND "));
        let name = table.columns[table.name_at];
        let put = format!(
            "INSERT INTO aside SELECT unixepoch() * 1000000000, '{}',
             CASE typeof({name}) WHEN 'text' THEN {name} ELSE quote({name}) END,
             json_object({}), ?1 {odd}",
            table.name,
            said.join(", ")
        );
        count += connection.execute(&put, [WHY])?;
        if table.is_log() {
            let holes = "INSERT INTO holes SELECT seq, seq, unixepoch() * 1000000000, ?1";
            connection.execute(&format!("{holes} {odd}"), [WHY])?;
        }
        connection.execute(&format!("DELETE {odd}"), [])?;
    }
    Ok(count)
}

/// Puts sums on rows as they are: from here on a change of them is seen.
fn seal(connection: &Connection) -> rusqlite::Result<()> {
    for table in PLAIN {
        let (name, list) = (table.name, table.columns.join(", "));
        let mut put =
            connection.prepare(&format!("UPDATE {name} SET crc = ?2 WHERE rowid = ?1"))?;
        let mut query = connection.prepare(&format!("SELECT rowid, {list} FROM {name}"))?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let columns = (1..=table.columns.len()).map(|at| row.get_ref(at));
            let sum = crc(&columns.collect::<rusqlite::Result<Vec<_>>>()?);
            put.execute((row.get::<_, i64>(0)?, sum))?;
        }
    }
    seal_log(connection)
}

fn seal_log(connection: &Connection) -> rusqlite::Result<()> {
    let list = EVENTS.columns.join(", ");
    let mut put = connection.prepare("UPDATE events SET crc = ?2, sum = ?3 WHERE seq = ?1")?;
    let mut query = connection.prepare(&format!("SELECT {list} FROM events ORDER BY seq"))?;
    let mut rows = query.query([])?;
    let mut sum = Sum::default();
    let mut first = None;
    while let Some(row) = rows.next()? {
        let columns = (0..EVENTS.columns.len()).map(|at| row.get_ref(at));
        let columns = columns.collect::<rusqlite::Result<Vec<ValueRef<'_>>>>()?;
        sum = sum.behind(&columns);
        let seq: i64 = row.get(0)?;
        first.get_or_insert(seq);
        put.execute((seq, crc(&columns), sum.0.as_slice()))?;
    }
    let before = first.map_or(0, |first| first.unsigned_abs() - 1);
    put_anchor(connection, Tip { seq: before, sum: Sum::default() })
}
