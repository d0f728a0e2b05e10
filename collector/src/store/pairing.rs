//! Whether the database file and the write-ahead log beside it belong together, looked at before
//! SQLite would replay one onto the other. Formats: sqlite.org/fileformat2.html, sections 1.3
//! and 4.1.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::head::{Generation, Head};

const MAGIC: &[u8] = b"SQLite format 3\0";
/// Where `application_id` stands in the database's header.
const MARK_AT: usize = 68;
const HEADER_LEN: usize = 100;
const LOG_HEADER_LEN: usize = 32;

/// How the files stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pair {
    /// Nothing speaks against opening them.
    Fits,
    /// `head` is older than the database: what it says of the newest row holds no more.
    OldHead,
    /// The database was put there whole; a log beside it belongs to the one before.
    Alone,
    /// Opened together they would be torn.
    Torn(&'static str),
}

/// Looks at the files.
///
/// # Errors
/// What the file system said.
pub(super) fn look(database: &Path, log: &Path, head: &Head) -> io::Result<Pair> {
    let generation = generation_in(database)?;
    let salt = salt_of(&begin_of::<LOG_HEADER_LEN>(log)?);
    Ok(judge(generation, salt, head))
}

fn judge(generation: Option<Generation>, salt: Option<u32>, head: &Head) -> Pair {
    if generation.is_some() && generation == head.alone {
        return Pair::Alone;
    }
    if let Some(own) = generation
        && head.begun.is_before(own)
    {
        return Pair::OldHead;
    }
    let Some(salt) = salt else { return Pair::Fits };
    if generation.is_some_and(|own| own.is_before(head.whole)) {
        return Pair::Torn("the database file is an older copy than the write-ahead log beside it");
    }
    // It may have been begun anew right before the end.
    let expected = head.salt.map(|known| [known, known.wrapping_add(1)]);
    if expected.is_some_and(|expected| !expected.contains(&salt)) {
        return Pair::Torn("the write-ahead log is an older copy than the database file beside it");
    }
    Pair::Fits
}

/// The first bytes of a file; zeros where it ends before.
fn begin_of<const LEN: usize>(path: &Path) -> io::Result<[u8; LEN]> {
    let mut bytes = Vec::with_capacity(LEN);
    match File::open(path) {
        Ok(file) => file.take(LEN as u64).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    bytes.resize(LEN, 0);
    Ok(bytes.try_into().expect("of this length"))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// The generation of a database file; `None`: of an earlier version, damaged, or no database.
///
/// # Errors
/// What the file system said.
pub(super) fn generation_in(database: &Path) -> io::Result<Option<Generation>> {
    Ok(generation_of(&begin_of::<HEADER_LEN>(database)?))
}

fn generation_of(header: &[u8; HEADER_LEN]) -> Option<Generation> {
    let mark = word(header, MARK_AT).cast_signed();
    header.starts_with(MAGIC).then(|| Generation::from_mark(mark))?
}

/// The first salt of a log; `None` where its header proves nothing: SQLite ignores such a log.
fn salt_of(header: &[u8; LOG_HEADER_LEN]) -> Option<u32> {
    const MAGIC_LITTLE: u32 = 0x377f_0682;
    const MAGIC_BIG: u32 = 0x377f_0683;
    let read: fn([u8; 4]) -> u32 = match word(header, 0) {
        MAGIC_LITTLE => u32::from_le_bytes,
        MAGIC_BIG => u32::from_be_bytes,
        _ => return None,
    };
    let number = |at: usize| read(header[at..at + 4].try_into().expect("four bytes"));
    let (mut first, mut second) = (0_u32, 0_u32);
    for at in (0..24).step_by(8) {
        first = first.wrapping_add(number(at)).wrapping_add(second);
        second = second.wrapping_add(number(at + 4)).wrapping_add(first);
    }
    let proven = (word(header, 24), word(header, 28)) == (first, second);
    proven.then(|| word(header, 16))
}

/// The salt of the log that is written now.
///
/// # Errors
/// What the file system said.
pub(super) fn salt_now(log: &Path) -> io::Result<Option<u32>> {
    Ok(salt_of(&begin_of::<LOG_HEADER_LEN>(log)?))
}

#[cfg(test)]
mod tests {
    use lubdub_shared::id::StoreId;

    use super::*;
    use crate::store::sums::Tip;

    #[test]
    fn what_fits_and_what_would_be_torn() {
        let mut generations = vec![Generation::default()];
        for _ in 0..5 {
            generations.push(generations.last().expect("some").next());
        }
        let of = |at: usize| Some(generations[at]);
        let head = Head {
            store: StoreId::random(&mut fastrand::Rng::with_seed(1)),
            epoch: 1,
            schema: 4,
            tip: Tip::default(),
            whole: generations[2],
            begun: generations[3],
            alone: of(5),
            salt: Some(40),
        };
        let old_database =
            Pair::Torn("the database file is an older copy than the write-ahead log beside it");
        let old_log =
            Pair::Torn("the write-ahead log is an older copy than the database file beside it");
        let table = [
            ("as it was left", of(2), Some(40), Pair::Fits),
            ("in the middle of a checkpoint", of(3), Some(40), Pair::Fits),
            ("the log was begun anew", of(3), Some(41), Pair::Fits),
            ("closed in order", of(3), None, Pair::Fits),
            ("an old copy", of(1), Some(40), old_database),
            ("an old copy alone is whole", of(1), None, Pair::Fits),
            ("an old log", of(2), Some(39), old_log),
            ("a log of another start", of(2), Some(7), old_log),
            ("head is the old one", of(4), Some(70), Pair::OldHead),
            ("put there whole", of(5), Some(40), Pair::Alone),
            ("a header that proves nothing", None, Some(40), Pair::Fits),
        ];
        for (name, generation, salt, expected) in table {
            assert_eq!(judge(generation, salt, &head), expected, "{name}");
        }
        let fresh = Head { salt: None, ..head };
        assert_eq!(judge(of(2), Some(7), &fresh), Pair::Fits, "before the first commit");
    }

    #[test]
    fn a_header_of_sqlite_is_read_and_a_flipped_bit_proves_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("db");
        let connection = rusqlite::Connection::open(&path).expect("opens");
        let own = Generation::default().next();
        connection.pragma_update(None, "journal_mode", "WAL").expect("set");
        connection.pragma_update(None, "application_id", own.mark()).expect("set");
        let log = directory.path().join("db-wal");
        let header = begin_of::<LOG_HEADER_LEN>(&log).expect("read");
        let salt = salt_of(&header).expect("SQLite's own");
        for bit in 0..LOG_HEADER_LEN * 8 {
            let mut damaged = header;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(salt_of(&damaged), None, "bit {bit}");
        }
        connection.query_row("PRAGMA wal_checkpoint", [], |_| Ok(())).expect("done");
        assert_eq!(generation_of(&begin_of(&path).expect("read")), Some(own));
        connection.pragma_update(None, "user_version", 7).expect("set");
        let next = salt_now(&log).expect("read").expect("a log");
        assert_eq!(next, salt.wrapping_add(1), "begun anew");
    }
}
