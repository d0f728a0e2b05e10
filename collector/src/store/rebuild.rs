//! A new database of everything in a damaged one that can be read, and how a database is put in the
//! place of another without a moment in which a crash could mix them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use lubdub_shared::fs::private_directory;
use lubdub_shared::id::StoreId;
use lubdub_shared::time::{Wall, now};
use rusqlite::{Connection, ErrorCode};
use tracing::warn;

use super::examine::{Examined, Spoilt};
use super::head::{Generation, Head, HeadFile};
use super::scan::{self, Found, is_damage};
use super::sums::Tip;
use super::tables::{ANCHOR, EVENTS, Entry, PLAIN, anchor_of, note, put_log, put_meta};
use super::{FILE, OpenError, read, schema};

/// Damaged or replaced files that are kept; beyond it the oldest go.
const KEPT_MAX: usize = 3;
/// Rows put aside that are kept; beyond it the oldest go.
const ASIDE_KEPT: i64 = 10_000;

/// The name of a database while it is made.
const NEW: &str = "lubdub.sqlite3.new";

/// The write-ahead log, and what SQLite shares between processes.
pub(super) fn beside(database: &Path) -> [PathBuf; 2] {
    ["-wal", "-shm"].map(|ending| {
        let mut name = database.as_os_str().to_owned();
        name.push(ending);
        name.into()
    })
}

/// What a rebuilt store is to have where the damaged one does not say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity {
    pub(super) store: Option<StoreId>,
    pub(super) epoch: u64,
}

/// Makes a database of what can be read. Gives its path and its newest row.
///
/// # Errors
/// It cannot be made.
pub(super) fn rebuild(
    source: Option<&Connection>,
    examined: &Examined,
    directory: &Path,
    identity: Identity,
    generation: Generation,
    notes: &[String],
) -> Result<(PathBuf, Tip), OpenError> {
    let path = directory.join(NEW);
    let making = |source| OpenError::Directory { path: directory.to_owned(), source };
    for old in [&path].into_iter().chain(&beside(&path)) {
        remove(old).map_err(making)?;
    }
    let sqlite = |source| OpenError::Sqlite { path: path.clone(), source };
    let mut target = Connection::open(&path).map_err(sqlite)?;
    target.pragma_update(None, "synchronous", "FULL").map_err(sqlite)?;
    schema::migrate(&mut target, &path)?;
    target.pragma_update(None, "application_id", generation.mark()).map_err(sqlite)?;
    let tip = fill(&mut target, source, examined, identity, notes).map_err(sqlite)?;
    target.close().map_err(|(_, source)| sqlite(source))?;
    Ok((path, tip))
}

fn fill(
    target: &mut Connection,
    source: Option<&Connection>,
    examined: &Examined,
    identity: Identity,
    notes: &[String],
) -> rusqlite::Result<Tip> {
    let target = target.transaction()?;
    // What the damaged one says wins over this.
    put_meta(&target, "epoch", &identity.epoch.to_be_bytes())?;
    if let Some(store) = identity.store {
        put_meta(&target, "store", store.as_bytes())?;
    }
    let mut anchor = Tip::default();
    for table in source.iter().flat_map(|_| PLAIN) {
        readable(source, table, |found| {
            if !found.whole || read::understands(table, found.row, 1).is_err() {
                return Ok(());
            }
            if table.name == "meta" && is_anchor(&found) {
                anchor = found.row.get_ref(2)?.as_blob().ok().and_then(anchor_of).unwrap_or(anchor);
            }
            table.put(&target, found.columns)
        })?;
    }
    let mut tip = anchor;
    readable(source, &EVENTS, |found| {
        if !found.whole {
            return Ok(());
        }
        let row = found.row;
        let spool: Option<Vec<u8>> = row.get(2)?;
        let number: Option<i64> = row.get(3)?;
        let told = spool.as_deref().zip(number.map(i64::unsigned_abs));
        let (agent, kind, detail): (String, String, String) =
            (row.get(5)?, row.get(7)?, row.get(8)?);
        let entry = Entry {
            told,
            at: row.get(4)?,
            agent: &agent,
            incarnation: row.get(6)?,
            kind: &kind,
            detail: &detail,
        };
        let seq = found.rowid.unsigned_abs();
        match put_log(&target, &mut tip, seq, &entry) {
            // The index that forbids it was damaged when it came a second time.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                put_log(&target, &mut tip, seq, &Entry { told: None, ..entry })
            }
            done => done,
        }
    })?;
    tip.seq = tip.seq.max(examined.newest);
    for text in notes {
        note(&target, &mut tip, text)?;
    }
    examined.known.iter().chain(&examined.holes).try_for_each(|hole| hole.write_down(&target))?;
    copy_aside(source, &target)?;
    put_aside(&target, examined.damaged.iter().chain(&examined.unreadable), now().wall)?;
    target.commit()?;
    Ok(tip)
}

fn is_anchor(found: &Found<'_>) -> bool {
    found.row.get_ref(1).is_ok_and(|key| key.as_bytes().is_ok_and(|key| key == ANCHOR.as_bytes()))
}

/// The rows of a table, where anything of it can be read.
fn readable(
    source: Option<&Connection>,
    table: &super::tables::Table,
    each: impl FnMut(Found<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let Some(source) = source else { return Ok(()) };
    match scan::rows(source, table, each) {
        Ok(_) => Ok(()),
        Err(error) if is_damage(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What was put aside before, as far as that can be read.
fn copy_aside(source: Option<&Connection>, target: &Connection) -> rusqlite::Result<()> {
    let Some(source) = source else { return Ok(()) };
    let rows = || {
        let mut query =
            source.prepare("SELECT at, source, name, content, why FROM aside ORDER BY rowid")?;
        let row = |row: &rusqlite::Row<'_>| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        };
        query.query_map([], row)?.collect::<rusqlite::Result<Vec<AsideRow>>>()
    };
    let Ok(rows) = rows() else { return Ok(()) };
    let mut put = target.prepare(PUT_ASIDE)?;
    rows.into_iter().try_for_each(|row| put.execute(row).map(drop))
}

type AsideRow = (i64, String, String, String, String);
const PUT_ASIDE: &str =
    "INSERT INTO aside (at, source, name, content, why) VALUES (?1, ?2, ?3, ?4, ?5)";

/// Writes down rows that could not be used.
pub(super) fn put_aside<'a>(
    connection: &Connection,
    rows: impl Iterator<Item = &'a Spoilt>,
    at: Wall,
) -> rusqlite::Result<()> {
    let mut put = connection.prepare(PUT_ASIDE)?;
    for row in rows {
        put.execute((at.0, row.table, &row.name, &row.columns, &row.why))?;
    }
    let old = "DELETE FROM aside WHERE rowid <= (SELECT max(rowid) FROM aside) - ?1";
    connection.execute(old, [ASIDE_KEPT]).map(drop)
}

/// Where files are kept that make room now.
pub(super) fn kept_name(directory: &Path, what: &str) -> PathBuf {
    let stamp = now().wall.to_string().replace(':', "-");
    directory.join(format!("{what}-{stamp}"))
}

/// Keeps the files that are there under a name of their own. Called when what replaces them is
/// made: a try that fails takes no older ones away.
///
/// # Errors
/// What the file system said.
pub(super) fn keep_old(directory: &Path, kept: &Path, what: &str) -> io::Result<()> {
    private_directory(kept)?;
    let database = directory.join(FILE);
    let [log, _] = beside(&database);
    for path in [database, log] {
        let name = path.file_name().unwrap_or_default();
        match fs::hard_link(&path, kept.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
            // Not every file system has them.
            Err(_) => drop(fs::copy(&path, kept.join(name))?),
            Ok(()) => {}
        }
    }
    forget_oldest(directory, what);
    Ok(())
}

fn forget_oldest(directory: &Path, what: &str) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let named = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{what}-")))
    };
    let mut kept: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(named).collect();
    kept.sort();
    for oldest in kept.iter().rev().skip(KEPT_MAX) {
        warn!(path = %oldest.display(), "removed: {KEPT_MAX} newer ones are kept");
        if let Err(error) = fs::remove_dir_all(oldest) {
            warn!(path = %oldest.display(), %error, "could not be removed");
        }
    }
}

/// Puts a database that stands alone in the place of the one that is there. Until it is there
/// `head` says what it said, and which generation needs no log.
///
/// # Errors
/// What the file system said.
pub(super) fn put_in_place(
    new: &Path,
    directory: &Path,
    file: &mut HeadFile,
    head: Head,
    generation: Generation,
) -> io::Result<()> {
    file.put(&Head { alone: Some(generation), salt: None, ..head })?;
    file.sync()?;
    let database = directory.join(FILE);
    fs::rename(new, &database)?;
    File::open(directory)?.sync_all()?;
    for old in beside(&database) {
        remove(&old)?;
    }
    File::open(directory)?.sync_all()
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
