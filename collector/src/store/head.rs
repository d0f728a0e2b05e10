//! How far the store got, in a file beside it: what a damaged or exchanged database cannot say of
//! itself.
//!
//! ```text
//! head   two slots of 512 bytes, written in turn:  CRC32 {"turn":7,"store":…,"seq":…,"sum":…}
//! ```
//!
//! Written after each commit and before anything is acked by it, into the page cache, and synced at
//! a start and at each checkpoint: a kill loses nothing of it, a power cut at most what came since.
//! So it never claims a row that was not committed, and a log that ends before it has lost rows.
//!
//! It also says which database file belongs to which write-ahead log. SQLite replays a log that is
//! whole onto any file beside it: an old copy put back beside a newer log would be torn without a
//! word. Each checkpoint therefore writes a *generation* into the file (`application_id`), and the
//! log has its salt.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use lubdub_shared::id::StoreId;
use serde::{Deserialize, Serialize};

use super::schema;
use super::sums::{Sum, Tip};

pub(super) const FILE_NAME: &str = "head";
/// Of one slot, bytes.
const SLOT: usize = 512;
/// Bits of a generation that count; the others prove them, so that a flipped bit is no old copy.
const COUNT_BITS: u32 = 20;

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Whose it is.
    pub(super) store: StoreId,
    /// Of the newest start.
    pub(super) epoch: u64,
    /// Version of its tables.
    pub(super) schema: i64,
    /// The newest row of the log that was committed.
    pub(super) tip: Tip,
    /// Of the newest checkpoint that is known to be whole.
    pub(super) whole: Generation,
    /// Of the newest checkpoint that was begun.
    pub(super) begun: Generation,
    /// A database of this generation was put in place whole; `None` once it has a log of its own.
    pub(super) alone: Option<Generation>,
    /// Salt of the write-ahead log; it grows by one each time that one is begun anew. `None` until
    /// the first commit of a start.
    pub(super) salt: Option<u32>,
}

impl Head {
    /// Of a database that is whole, and has no log yet.
    pub(super) fn of(store: StoreId, epoch: u64, tip: Tip, generation: Generation) -> Self {
        Self {
            store,
            epoch,
            schema: schema::VERSION,
            tip,
            whole: generation,
            begun: generation,
            alone: None,
            salt: None,
        }
    }
}

/// Counts checkpoints, as the database file has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Generation(u32);

impl Generation {
    /// The next one; after the last comes the first.
    #[must_use]
    pub(super) fn next(self) -> Self {
        Self((self.0 + 1) % (1 << COUNT_BITS))
    }

    /// Fewer checkpoints ago than half of all that can be counted.
    pub(super) fn is_before(self, other: Self) -> bool {
        let ahead = other.0.wrapping_sub(self.0) % (1 << COUNT_BITS);
        ahead > 0 && ahead < 1 << (COUNT_BITS - 1)
    }

    /// As `application_id`.
    pub(super) fn mark(self) -> i32 {
        (self.0 | (crc32fast::hash(&self.0.to_le_bytes()) << COUNT_BITS)).cast_signed()
    }

    /// `None` where the mark is none of ours: an older version's, or damaged.
    pub(super) fn from_mark(mark: i32) -> Option<Self> {
        let own = Self(mark.cast_unsigned() % (1 << COUNT_BITS));
        (own.mark() == mark).then_some(own)
    }
}

#[derive(Serialize, Deserialize)]
struct Slot {
    turn: u64,
    store: StoreId,
    epoch: u64,
    schema: i64,
    seq: u64,
    sum: String,
    whole: u32,
    begun: u32,
    alone: Option<u32>,
    salt: Option<u32>,
}

impl Slot {
    fn render(&self) -> [u8; SLOT] {
        let json = serde_json::to_string(self).expect("keys are strings");
        let line = format!("{:08x} {json}", crc32fast::hash(json.as_bytes()));
        let mut bytes = [b' '; SLOT];
        bytes[..line.len()].copy_from_slice(line.as_bytes());
        bytes[SLOT - 1] = b'\n';
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(bytes).ok()?.trim_end();
        let (crc, json) = line.split_once(' ')?;
        let crc = u32::from_str_radix(crc, 16).ok()?;
        (crc == crc32fast::hash(json.as_bytes())).then(|| serde_json::from_str(json).ok())?
    }
}

/// What was found where the file should be.
#[derive(Debug)]
pub(super) enum Found {
    Whole(Head),
    /// A store of an earlier version, a new one, or one whose file is gone.
    Nothing,
    /// Neither slot can be read.
    Damaged,
}

/// The file.
#[derive(Debug)]
pub(super) struct HeadFile {
    file: File,
    turn: u64,
}

impl HeadFile {
    /// Opens or makes it, and reads what it says.
    ///
    /// # Errors
    /// What the file system said.
    pub(super) fn open(directory: &Path) -> io::Result<(Self, Found)> {
        let file = super::open_own(&directory.join(FILE_NAME))?;
        let (found, turn) = read(&file)?;
        Ok((Self { file, turn }, found))
    }

    /// Reads what it says.
    ///
    /// # Errors
    /// What the file system said.
    pub(super) fn read(directory: &Path) -> io::Result<Found> {
        match File::open(directory.join(FILE_NAME)) {
            Ok(file) => Ok(read(&file)?.0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Writes what is true from now on.
    ///
    /// # Errors
    /// What the file system said; what it said before holds.
    pub(super) fn put(&mut self, head: &Head) -> io::Result<()> {
        let slot = Slot { turn: self.turn + 1, ..Slot::from(head) };
        let at = (slot.turn % 2) * SLOT as u64;
        self.file.write_all_at(&slot.render(), at)?;
        self.turn = slot.turn;
        Ok(())
    }

    /// What it says survives a power cut.
    ///
    /// # Errors
    /// What the file system said.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// What a file says, and the newest turn of its slots.
fn read(file: &File) -> io::Result<(Found, u64)> {
    let mut bytes = [0; 2 * SLOT];
    let mut len = 0;
    while len < bytes.len() {
        match file.read_at(&mut bytes[len..], len as u64)? {
            0 => break,
            read => len += read,
        }
    }
    let slots = [Slot::parse(&bytes[..SLOT]), Slot::parse(&bytes[SLOT..])];
    let newest = slots.into_iter().flatten().max_by_key(|slot| slot.turn);
    let turn = newest.as_ref().map_or(0, |slot| slot.turn);
    let found = match newest.map(Head::try_from) {
        Some(Ok(head)) => Found::Whole(head),
        None if len == 0 => Found::Nothing,
        Some(Err(())) | None => Found::Damaged,
    };
    Ok((found, turn))
}

impl From<&Head> for Slot {
    fn from(head: &Head) -> Self {
        let sum = head.tip.sum.0.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            turn: 0,
            store: head.store,
            epoch: head.epoch,
            schema: head.schema,
            seq: head.tip.seq,
            sum,
            whole: head.whole.0,
            begun: head.begun.0,
            alone: head.alone.map(|own| own.0),
            salt: head.salt,
        }
    }
}

impl TryFrom<Slot> for Head {
    type Error = ();

    fn try_from(slot: Slot) -> Result<Self, ()> {
        let byte = |at: usize| u8::from_str_radix(slot.sum.get(2 * at..2 * at + 2)?, 16).ok();
        let sum: Option<Vec<u8>> = (0..32).map(byte).collect();
        let sum = sum.and_then(|bytes| Sum::from_slice(&bytes)).ok_or(())?;
        Ok(Self {
            store: slot.store,
            epoch: slot.epoch,
            schema: slot.schema,
            tip: Tip { seq: slot.seq, sum },
            whole: Generation(slot.whole),
            begun: Generation(slot.begun),
            alone: slot.alone.map(Generation),
            salt: slot.salt,
        })
    }
}

#[cfg(test)]
mod tests {
    use lubdub_shared::fs::{Durability, write_atomic};

    use super::*;

    fn head(seq: u64) -> Head {
        let store = StoreId::random(&mut fastrand::Rng::with_seed(1));
        let tip = Tip { seq, sum: Sum([7; 32]) };
        let whole = Generation(3);
        let begun = whole.next();
        Head { store, epoch: 2, schema: 4, tip, whole, begun, alone: None, salt: Some(9) }
    }

    fn found(directory: &Path) -> Found {
        HeadFile::open(directory).expect("opens").1
    }

    #[test]
    fn what_was_written_last_is_found_and_a_torn_slot_costs_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let (mut file, nothing) = HeadFile::open(directory.path()).expect("opens");
        assert!(matches!(nothing, Found::Nothing));
        for seq in 1..=5 {
            file.put(&head(seq)).expect("written");
            let Found::Whole(read) = found(directory.path()) else { panic!("nothing at {seq}") };
            assert_eq!(read, head(seq));
        }
        let path = directory.path().join(FILE_NAME);
        let whole = std::fs::read(&path).expect("read");
        let put = |bytes: &[u8]| {
            write_atomic(&path, bytes, 0o600, Durability::Visible).expect("written");
        };
        let mut kept = [0; 2];
        for bit in (0..whole.len() * 8).step_by(7) {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            put(&damaged);
            let Found::Whole(read) = found(directory.path()) else { panic!("nothing at {bit}") };
            assert!(read == head(5) || read == head(4), "bit {bit}");
            kept[usize::from(read == head(5))] += 1;
        }
        assert!(kept[0] > 0 && kept[1] > 0);
        put(&[b'x'; 2 * SLOT]);
        assert!(matches!(found(directory.path()), Found::Damaged));
    }

    #[test]
    fn a_flipped_bit_is_no_other_generation() {
        let own = Generation(1234);
        assert_eq!(Generation::from_mark(own.mark()), Some(own));
        for bit in 0..32 {
            assert_eq!(Generation::from_mark(own.mark() ^ (1 << bit)), None, "bit {bit}");
        }
        assert_eq!(Generation::from_mark(0), None, "what SQLite gives a new file");
        let last = Generation((1 << COUNT_BITS) - 1);
        assert_eq!(last.next(), Generation(0));
        assert!(last.is_before(Generation(0)) && !Generation(0).is_before(last));
        assert!(!own.is_before(own));
    }
}
