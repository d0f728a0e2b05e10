//! What people do with a store: verify it, back it up while it is used, put a backup back.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::examine::{Examined, Hole, examine};
use super::head::{Found, Generation, Head, HeadFile};
use super::pairing::{self, Pair};
use super::rebuild::{beside, keep_old, kept_name, put_in_place, remove};
use super::recover::store_of;
use super::sums::Tip;
use super::tables::{note, put_meta};
use super::{FILE, OpenError, lock, only_files, own_directory, schema};

/// What a database that was replaced is kept as.
const REPLACED: &str = "replaced";
const NO_STORE: &str = "it is no store of a collector";
/// The name of a database on its way to its place.
const COPY: &str = "lubdub.sqlite3.restore";

/// Why a store cannot be verified, backed up or restored.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// A file cannot be read or written.
    #[error("{path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// SQLite refused.
    #[error("cannot read the store {path}")]
    Sqlite {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// There is something under that name.
    #[error("{0} is there already; a backup replaces nothing")]
    Exists(PathBuf),
    /// The store, or the backup, is not what was written.
    #[error("{path} is damaged: {why}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// It is of another store, or another version.
    #[error("{path}: {why}")]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Somebody else's.
    #[error("{path} belongs to uid {owner}: restore as that user")]
    Owner {
        /// Which directory.
        path: PathBuf,
        /// Whose.
        owner: u32,
    },
    /// A collector runs, or the directory is none of ours.
    #[error("nothing is done here")]
    Directory(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn owned(error: OpenError) -> Failed {
    Failed::Directory(Box::new(error))
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> Failed {
    let path = path.to_owned();
    |source| Failed::File { path, source }
}

/// What went wrong while a copy was made: where there is no room, that is not the original's fault.
fn copy_error(from: &Path, to: &Path) -> impl FnOnce(rusqlite::Error) -> Failed {
    let (from, to) = (from.to_owned(), to.to_owned());
    move |source| match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            Failed::File { path: to, source: io::ErrorKind::StorageFull.into() }
        }
        _ => Failed::Sqlite { path: from, source },
    }
}

fn sqlite_error(path: &Path) -> impl FnOnce(rusqlite::Error) -> Failed {
    let path = path.to_owned();
    |source| Failed::Sqlite { path, source }
}

/// Examines a store, used or not, or a backup.
///
/// # Errors
/// There is none, or it cannot be read at all.
pub fn verify(path: &Path) -> Result<Examined, Failed> {
    if !path.is_dir() {
        return examine_file(path, None, true);
    }
    only_files(path).map_err(owned)?;
    let database = path.join(FILE);
    let head = head_of(path)?;
    let [log, _] = beside(&database);
    let pair = match &head {
        Some(head) => pairing::look(&database, &log, head).map_err(file_error(&database))?,
        None => Pair::Fits,
    };
    match pair {
        Pair::Torn(why) => {
            return Ok(Examined { file: vec![why.to_owned()], ..Examined::default() });
        }
        Pair::Fits | Pair::OldHead | Pair::Alone => {}
    }
    let tip = head.filter(|_| pair == Pair::Fits).map(|head| head.tip);
    examine_file(&database, tip, false)
}

fn head_of(directory: &Path) -> Result<Option<Head>, Failed> {
    match HeadFile::read(directory).map_err(file_error(directory))? {
        Found::Whole(head) => Ok(Some(head)),
        Found::Nothing | Found::Damaged => Ok(None),
    }
}

/// A file that was given may be anything; one in a data directory is a store.
fn examine_file(path: &Path, tip: Option<Tip>, is_given: bool) -> Result<Examined, Failed> {
    let connection = open(path)?;
    let damaged = |why: String| Examined { file: vec![why], ..Examined::default() };
    let version = match schema::version(&connection) {
        Ok(version) => version,
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) && is_given => {
            return Err(Failed::Foreign { path: path.to_owned(), why: NO_STORE.to_owned() });
        }
        Err(error) if super::scan::is_damage(&error) => return Ok(damaged(error.to_string())),
        Err(source) => return Err(Failed::Sqlite { path: path.to_owned(), source }),
    };
    if version != schema::VERSION {
        let known = schema::VERSION;
        let why = format!("its tables are of version {version}, this program knows {known}");
        return Err(Failed::Foreign { path: path.to_owned(), why });
    }
    // One state, whatever is written meanwhile.
    let state = connection.unchecked_transaction().map_err(sqlite_error(path))?;
    examine(&state, tip, true).map_err(sqlite_error(path))
}

fn open(path: &Path) -> Result<Connection, Failed> {
    if !fs::metadata(path).map_err(file_error(path))?.is_file() {
        return Err(file_error(path)(io::Error::other("it is no file")));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(sqlite_error(path))?;
    let patience = std::time::Duration::from_secs(5);
    connection.busy_timeout(patience).map_err(sqlite_error(path))?;
    Ok(connection)
}

/// A backup that was made.
#[derive(Debug)]
pub struct Backup {
    /// Its newest event.
    pub newest: u64,
    /// Its size, bytes.
    pub bytes: u64,
}

/// Copies a store, used or not, as it is at one moment, and verifies the copy before it gets its
/// name.
///
/// # Errors
/// The name is taken, the store is damaged, or a file cannot be read or written.
pub fn backup(directory: &Path, to: &Path) -> Result<Backup, Failed> {
    if fs::symlink_metadata(to).is_ok() {
        return Err(Failed::Exists(to.to_owned()));
    }
    only_files(directory).map_err(owned)?;
    let database = directory.join(FILE);
    // What is in the store now is in the copy, whatever comes meanwhile.
    let tip = head_of(directory)?.map(|head| head.tip);
    let connection = open(&database)?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or_else(|| Path::new("."));
    let making = tempfile::Builder::new().prefix(".lubdub-backup-").tempdir_in(parent);
    // The error's own words name a file that nobody asked for.
    let making = making.map_err(|error| file_error(parent)(error.kind().into()))?;
    let copy = making.path().join(FILE);
    let name = copy.to_str().ok_or_else(|| Failed::Foreign {
        path: to.to_owned(),
        why: "a name that is not UTF-8".to_owned(),
    })?;
    connection.execute("VACUUM INTO ?1", [name]).map_err(copy_error(&database, to))?;
    fs::set_permissions(&copy, Permissions::from_mode(0o600)).map_err(file_error(&copy))?;
    File::open(&copy).and_then(|file| file.sync_all()).map_err(file_error(&copy))?;
    let examined = examine_file(&copy, None, false)?;
    sound(&database, &examined)?;
    let tip = tip.unwrap_or_default();
    if examined.newest < tip.seq {
        let why = format!("its newest event is {}, {} was acked", examined.newest, tip.seq);
        return Err(Failed::Damaged { path: database, why });
    }
    let bytes = fs::metadata(&copy).map_err(file_error(&copy))?.len();
    let path = tempfile::TempPath::try_from_path(&copy).map_err(file_error(&copy))?;
    match path.persist_noclobber(to) {
        Ok(()) => {}
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Failed::Exists(to.to_owned()));
        }
        Err(error) => return Err(file_error(to)(error.error)),
    }
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(file_error(parent))?;
    Ok(Backup { newest: examined.newest, bytes })
}

fn sound(path: &Path, examined: &Examined) -> Result<(), Failed> {
    let first = examined.faults().next();
    let damaged = |why| Failed::Damaged { path: path.to_owned(), why };
    first.map_or(Ok(()), |why| Err(damaged(why)))
}

/// A store that was put back.
#[derive(Debug)]
pub struct Restored {
    /// The newest event of the backup.
    pub newest: u64,
    /// Events that were acked after it was made, and are not in it.
    pub missing: Option<(u64, u64)>,
    /// Where the files that were there are kept.
    pub kept: Option<PathBuf>,
}

/// Puts a backup in the place of a store that no collector uses.
///
/// # Errors
/// A collector runs, the backup is damaged or another store's, or a file cannot be written.
pub fn restore(directory: &Path, from: &Path, by: &str) -> Result<Restored, Failed> {
    if !from.is_file() {
        let error = fs::metadata(from).err().unwrap_or_else(|| io::Error::other("it is no file"));
        return Err(file_error(from)(error));
    }
    let directory = own_directory(directory).map_err(file_error(directory))?;
    let owner = fs::metadata(&directory).map_err(file_error(&directory))?.uid();
    if owner != rustix::process::geteuid().as_raw() {
        // Its collector could not read what is made here.
        return Err(Failed::Owner { path: directory, owner });
    }
    let _lock = lock(&directory).map_err(owned)?;
    let copy = directory.join(COPY);
    for old in [&copy].into_iter().chain(&beside(&copy)) {
        remove(old).map_err(file_error(old))?;
    }
    take_copy(from, &copy).inspect_err(|_| {
        let (Ok(()) | Err(_)) = remove(&copy);
    })?;
    fs::set_permissions(&copy, Permissions::from_mode(0o600)).map_err(file_error(&copy))?;
    let head = head_of(&directory)?;
    let database = directory.join(FILE);
    let was_there = fs::metadata(&database).is_ok_and(|there| there.len() > 0);
    let generation = pairing::generation_in(&database).map_err(file_error(&database))?;
    let generation = next(generation.into_iter().chain(head.map(|head| head.begun)));
    let prepared = prepare(&copy, from, head, generation, by).inspect_err(|_| {
        let (Ok(()) | Err(_)) = remove(&copy);
    })?;
    let (mut file, _) = HeadFile::open(&directory).map_err(file_error(&directory))?;
    let kept = was_there.then(|| kept_name(&directory, REPLACED));
    if let Some(kept) = &kept {
        keep_old(&directory, kept, REPLACED).map_err(file_error(&directory))?;
    }
    put_in_place(&copy, &directory, &mut file, head.unwrap_or(prepared.head), generation)
        .and_then(|()| file.put(&prepared.head))
        .and_then(|()| file.sync())
        .map_err(file_error(&directory))?;
    Ok(Restored { newest: prepared.newest, missing: prepared.missing, kept })
}

/// Everything that a file holds, with what its write-ahead log adds, where it has one.
fn take_copy(from: &Path, copy: &Path) -> Result<(), Failed> {
    let foreign = |path: &Path, why: &str| {
        let (path, why) = (path.to_owned(), why.to_owned());
        Failed::Foreign { path, why }
    };
    let name = copy.to_str().ok_or_else(|| foreign(copy, "a name that is not UTF-8"))?;
    match open(from)?.execute("VACUUM INTO ?1", [name]) {
        Ok(_) => Ok(()),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
            Err(foreign(from, NO_STORE))
        }
        Err(error) if super::scan::is_damage(&error) => {
            Err(Failed::Damaged { path: from.to_owned(), why: error.to_string() })
        }
        Err(error) => Err(copy_error(from, copy)(error)),
    }
}

/// The generation after all of these.
fn next(generations: impl Iterator<Item = Generation>) -> Generation {
    let newest = generations.reduce(|one, other| if one.is_before(other) { other } else { one });
    newest.unwrap_or_default().next()
}

struct Prepared {
    head: Head,
    newest: u64,
    missing: Option<(u64, u64)>,
}

/// Makes of a copied backup a store that goes on behind everything that was ever acked here.
fn prepare(
    copy: &Path,
    from: &Path,
    head: Option<Head>,
    generation: Generation,
    by: &str,
) -> Result<Prepared, Failed> {
    let sqlite = |source| copy_error(from, copy)(source);
    let foreign = |why| Failed::Foreign { path: from.to_owned(), why };
    let mut connection = Connection::open(copy).map_err(sqlite)?;
    if !looks_like_a_store(&connection).map_err(sqlite)? {
        return Err(foreign(NO_STORE.to_owned()));
    }
    connection.pragma_update(None, "journal_mode", "DELETE").map_err(sqlite)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(sqlite)?;
    schema::migrate(&mut connection, from)
        .map_err(|error| foreign(lubdub_shared::telemetry::chain(&error)))?;
    let examined = examine(&connection, None, true).map_err(sqlite)?;
    sound(from, &examined)?;
    let store = store_of(&connection, &examined);
    let store = store.ok_or_else(|| foreign("it does not say whose it is".to_owned()))?;
    if let Some(own) = head.map(|head| head.store)
        && own != store
    {
        let why = format!("it is a backup of store {store}, and this is the place of {own}");
        return Err(foreign(format!("{why}; move what is there away first")));
    }
    let before = head.map_or(0, |head| head.tip.seq);
    let missing = (before > examined.newest).then_some((examined.newest + 1, before));
    let mut tip = Tip { seq: examined.newest.max(before), ..examined.tip };
    let transaction = connection.transaction().map_err(sqlite)?;
    transaction.pragma_update(None, "application_id", generation.mark()).map_err(sqlite)?;
    let epoch = epoch_of(&transaction).max(head.map_or(0, |head| head.epoch));
    put_meta(&transaction, "epoch", &epoch.to_be_bytes()).map_err(sqlite)?;
    if let Some((first, last)) = missing {
        let hole = Hole { first, last, why: "not in the backup that was restored".to_owned() };
        hole.write_down(&transaction).map_err(sqlite)?;
    }
    let text = restored_text(from, by, examined.newest, missing);
    note(&transaction, &mut tip, &text).map_err(sqlite)?;
    transaction.commit().map_err(sqlite)?;
    connection.close().map_err(|(_, source)| sqlite(source))?;
    let head = Head::of(store, epoch, tip, generation);
    Ok(Prepared { head, newest: examined.newest, missing })
}

fn restored_text(from: &Path, by: &str, newest: u64, missing: Option<(u64, u64)>) -> String {
    let lost = missing
        .map(|(first, last)| format!("; the events {first} to {last}, acked since, are not in it"));
    let from = from.display();
    let lost = lost.unwrap_or_default();
    format!("the store was restored from {from} by {by}: its newest event is {newest}{lost}")
}

fn looks_like_a_store(connection: &Connection) -> rusqlite::Result<bool> {
    let tables = "SELECT count(*) FROM sqlite_schema
                  WHERE name IN ('meta', 'agents', 'incidents', 'events', 'commands')";
    match connection.query_row(tables, [], |row| row.get::<_, i64>(0)) {
        Ok(count) => Ok(count == 5),
        Err(error) if super::scan::is_damage(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn epoch_of(connection: &Connection) -> u64 {
    let query = "SELECT value FROM meta WHERE key = 'epoch'";
    let found: rusqlite::Result<Vec<u8>> = connection.query_row(query, [], |row| row.get(0));
    found.ok().and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
}
