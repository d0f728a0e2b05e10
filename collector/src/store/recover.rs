//! A start: whether the files belong together, whether they hold what was written to them, and a
//! store that can be served whatever they look like.

use std::path::Path;

use lubdub_shared::id::StoreId;
use lubdub_shared::time::now;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension as _};
use tracing::{error, warn};

use super::examine::{Examined, Hole, Spoilt, examine};
use super::head::{Found, Head, HeadFile};
use super::pairing::{self, Pair};
use super::rebuild::{
    Identity, beside, keep_old, kept_name, put_aside, put_in_place, rebuild, remove,
};
use super::scan::is_damage;
use super::sums::Tip;
use super::{FILE, OpenError, schema};

/// Things that are told one by one; beyond it only their count.
const TOLD_MAX: usize = 20;
const UNKNOWN: &str = "whether its newest events are missing cannot be told";
/// A database of at most so many bytes is examined index by index at each start.
const THOROUGH_MAX: u64 = 64 * 1024 * 1024;
/// What a damaged file is kept as.
const DAMAGED: &str = "damaged";

/// A store that holds what can be had of it.
pub(super) struct Recovered {
    pub(super) connection: Connection,
    pub(super) file: HeadFile,
    /// True once the first transaction is committed; its epoch is the one before.
    pub(super) head: Head,
    /// What a person should know.
    pub(super) notes: Vec<String>,
    /// Rows of the log are missing.
    pub(super) lost_events: bool,
}

/// Opens the database in a directory, and makes it anew where it is damaged.
///
/// # Errors
/// It cannot be used at all; which file, and why.
pub(super) fn recover(directory: &Path) -> Result<Recovered, OpenError> {
    let failed = |source| OpenError::Directory { path: directory.to_owned(), source };
    let path = directory.join(FILE);
    let (mut file, found) = HeadFile::open(directory).map_err(failed)?;
    let mut notes = Vec::new();
    let told = pair(&path, found, &mut notes)?;
    if let Told { head: Some(head), tip: Some(_) } = told {
        // A log that is begun from here on has a salt of its own.
        file.put(&Head { salt: None, ..head }).and_then(|()| file.sync()).map_err(failed)?;
    }
    // Read now: a second descriptor on the file, closed, would take SQLite's locks with it.
    let before = pairing::generation_in(&path).map_err(failed)?;
    let Tried { mut connection, examined, headless } = open(&path, told)?;
    if headless && notes.is_empty() {
        notes.push(format!("the store's head file is missing: {UNKNOWN}"));
    }
    let own = connection.as_ref().and_then(|connection| store_of(connection, &examined));
    let expected = told.head.map(|head| head.store);
    if let (Some(own), Some(expected)) = (own, expected)
        && own != expected
    {
        let why = "the database is another store's than the one that was written here";
        return Err(OpenError::Torn { path, why });
    }
    let begun = told.head.map(|head| head.begun);
    let newest = before
        .into_iter()
        .chain(begun)
        .reduce(|one, other| if one.is_before(other) { other } else { one });
    let mut generation = newest.unwrap_or_default();
    let mut tip = examined.tip;
    let in_file = before.or_else(|| told.head.map(|head| head.whole));
    let rebuilt = !examined.is_sound();
    let store = own.or(expected).unwrap_or_else(|| StoreId::random(&mut fastrand::Rng::new()));
    let epoch = told.head.map_or(0, |head| head.epoch);
    let base = Head::of(store, epoch, tip, generation);
    if !examined.is_sound() {
        generation = generation.next();
        let source = connection.take();
        let kept = kept_name(directory, DAMAGED);
        let identity = Identity { store: Some(store), epoch };
        let notes = told_of(&examined, &kept);
        let made = rebuild(source.as_ref(), &examined, directory, identity, generation, &notes)?;
        keep_old(directory, &kept, DAMAGED).map_err(failed)?;
        drop(source);
        notes.iter().for_each(|text| error!("{text}"));
        let head = told.head.unwrap_or(base);
        put_in_place(&made.0, directory, &mut file, head, generation).map_err(failed)?;
        let again = open(&path, Told { head: None, tip: None })?;
        tip = made.1;
        connection = again.connection.filter(|_| again.examined.is_sound());
    }
    let mut connection = connection.ok_or_else(|| OpenError::StillDamaged(path.clone()))?;
    let sqlite = |source| OpenError::Sqlite { path: path.clone(), source };
    if examined.is_sound() {
        set_aside(&mut connection, &examined.unreadable).map_err(sqlite)?;
    }
    notes.extend(examined.unreadable.iter().take(TOLD_MAX).map(|row| format!("put aside: {row}")));
    checkpoint_on_close(&connection, true).map_err(sqlite)?;
    // What is in the file is whole; a checkpoint that was begun may not have got there.
    let whole = if rebuilt { generation } else { in_file.unwrap_or(generation) };
    let head = Head { tip, whole, begun: generation, ..base };
    let lost_events = !examined.holes.is_empty() || !examined.known.is_empty();
    Ok(Recovered { connection, file, head, notes, lost_events })
}

/// What the file beside the database said, as far as it holds.
#[derive(Debug, Clone, Copy)]
struct Told {
    head: Option<Head>,
    /// The newest row of the log.
    tip: Option<Tip>,
}

fn pair(path: &Path, found: Found, notes: &mut Vec<String>) -> Result<Told, OpenError> {
    let failed = |source| OpenError::Directory { path: path.to_owned(), source };
    let head = match found {
        Found::Whole(head) => head,
        Found::Nothing => return Ok(Told { head: None, tip: None }),
        Found::Damaged => {
            notes.push(format!("the store's head file is damaged: {UNKNOWN}"));
            return Ok(Told { head: None, tip: None });
        }
    };
    let [log, shared] = beside(path);
    let (head, tip) = match pairing::look(path, &log, &head).map_err(failed)? {
        Pair::Fits => (head, Some(head.tip)),
        Pair::OldHead => {
            notes.push(format!("the store's head file is older than the store: {UNKNOWN}"));
            (head, None)
        }
        Pair::Alone => {
            remove(&log).and_then(|()| remove(&shared)).map_err(failed)?;
            (head, None)
        }
        Pair::Torn(why) => return Err(OpenError::Torn { path: path.to_owned(), why }),
    };
    Ok(Told { head: Some(head), tip })
}

/// A database, as far as it could be opened, and what is wrong with it.
struct Tried {
    connection: Option<Connection>,
    examined: Examined,
    /// Its tables are of this version, and nothing beside it says how far it got.
    headless: bool,
}

fn open(path: &Path, told: Told) -> Result<Tried, OpenError> {
    let nothing = |why: String| {
        let mut examined = Examined { file: vec![why], ..Examined::default() };
        let newest = told.tip.unwrap_or_default();
        if newest.seq > 0 {
            let why = "the database cannot be opened".to_owned();
            examined.holes.push(Hole { first: 1, last: newest.seq, why });
        }
        (examined.newest, examined.tip) = (newest.seq, newest);
        Tried { connection: None, examined, headless: false }
    };
    let opened = Connection::open(path).and_then(|connection| {
        checkpoint_on_close(&connection, false)?;
        schema::configure(&connection)?;
        let version = schema::version(&connection)?;
        Ok((connection, version))
    });
    let (mut connection, version) = match opened {
        Ok(opened) => opened,
        Err(error) if is_damage(&error) => return Ok(nothing(error.to_string())),
        Err(source) => return Err(OpenError::Sqlite { path: path.to_owned(), source }),
    };
    let known = told.head.map(|head| head.schema);
    let damaged = known.is_some_and(|known| {
        version < known || (version > schema::VERSION && known <= schema::VERSION)
    });
    let mut headless = false;
    if !damaged {
        headless = told.head.is_none() && version == schema::VERSION;
        match schema::migrate(&mut connection, path) {
            Err(OpenError::Migration { source, .. } | OpenError::Sqlite { source, .. })
                if is_damage(&source) && known.is_some() =>
            {
                return Ok(nothing(source.to_string()));
            }
            done => done?,
        }
    }
    let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
    // Of a large store whether each index agrees takes long; `store verify` looks at that as well.
    let size = std::fs::metadata(path).map_or(0, |about| about.len());
    let mut examined = examine(&connection, told.tip, size <= THOROUGH_MAX).map_err(sqlite)?;
    if damaged {
        examined.file.push(format!("it says that its version is {version}"));
    }
    Ok(Tried { connection: Some(connection), examined, headless })
}

/// A damaged file is to stay as it is: closing it writes nothing into it.
fn checkpoint_on_close(connection: &Connection, wanted: bool) -> rusqlite::Result<()> {
    let never = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    connection.set_db_config(never, !wanted).map(drop)
}

/// Whose store it is; `None` where that is damaged, or not written yet.
pub(super) fn store_of(connection: &Connection, examined: &Examined) -> Option<StoreId> {
    if examined.damaged.iter().any(|row| row.table == "meta") {
        return None;
    }
    let query = "SELECT value FROM meta WHERE key = 'store'";
    let found: Option<Vec<u8>> =
        connection.query_row(query, [], |row| row.get(0)).optional().ok().flatten();
    found.as_deref().and_then(StoreId::from_slice)
}

/// Takes rows that cannot be understood out of their tables.
fn set_aside(connection: &mut Connection, rows: &[Spoilt]) -> rusqlite::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    put_aside(&transaction, rows.iter(), now().wall)?;
    for row in rows {
        let delete = format!("DELETE FROM {} WHERE rowid = ?1", row.table);
        transaction.execute(&delete, [row.row])?;
    }
    transaction.commit()
}

/// What was wrong, for the record.
fn told_of(examined: &Examined, kept: &Path) -> Vec<String> {
    let found = |count: usize, what: &str| (count > 0).then(|| format!("{count} {what}"));
    let counts = [
        found(examined.holes.len(), "stretches of events are missing"),
        found(examined.damaged.len(), "rows are damaged"),
        found(examined.file.len(), "faults of the file"),
    ];
    let counts: Vec<String> = counts.into_iter().flatten().collect();
    let mut notes = vec![format!(
        "the store was damaged ({}); it is made anew of what can be read, and the damaged file is \
         kept in {}",
        counts.join(", "),
        kept.display()
    )];
    let mut all: Vec<String> =
        examined.faults().map(|fault| format!("of the store: {fault}")).collect();
    if all.len() > TOLD_MAX {
        let more = all.len() - TOLD_MAX;
        all.truncate(TOLD_MAX);
        all.push(format!("and {more} more: lubdub store verify tells all of it"));
    }
    notes.extend(all);
    notes
}

/// Copies everything that is committed into the database file; a reader of an old state may hold
/// some of it back.
///
/// # Errors
/// SQLite refused.
pub(super) fn checkpoint(
    connection: &Connection,
    file: &mut HeadFile,
    head: &mut Head,
) -> rusqlite::Result<()> {
    let generation = head.begun.next();
    let begun = Head { begun: generation, ..*head };
    // Said before it is true, and on disk: a database that is ahead of it would make it an old one.
    if let Err(why) = file.put(&begun).and_then(|()| file.sync()) {
        warn!(%why, "the write-ahead log is not copied: the head cannot be written");
        return Ok(());
    }
    *head = begun;
    connection.pragma_update(None, "application_id", generation.mark())?;
    let progress = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let (busy, all, done): (i64, i64, i64) =
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], progress)?;
    if busy == 0 && all == done {
        head.whole = generation;
        if let Err(why) = file.put(head) {
            warn!(%why, "the head cannot be written");
        }
    }
    Ok(())
}
