//! The spool on disk: hard facts that no collector has acked yet, one line each.
//!
//! ```text
//! CRC32 {"head":{"spool":ID,"last":N}}     numbers go on behind N, in this spool
//! CRC32 {"event":{"number":N+1,…}}
//! CRC32 {"acked":{"spool":ID,"number":N}}  not synced: what it tells is told again
//! ```
//!
//! Appended and synced before an event is sent; written anew when it has grown. A line that a
//! crash cut short is the last one and was never sent. Any other line whose sum is wrong was
//! damaged: the others are kept, the file is put aside, and numbering begins anew.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use lubdub_shared::fs::{Durability, read_own, write_atomic};
use lubdub_shared::id::SpoolId;
use lubdub_shared::session::{Event, Happening};
use serde::{Deserialize, Serialize};

use crate::state::Reached;

/// Name of the file in the agent's state directory.
pub(crate) const FILE_NAME: &str = "spool.log";

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    /// From here on numbers belong to this spool.
    Head { spool: SpoolId, last: u64 },
    /// A hard fact.
    Event(Event),
    /// A collector has these.
    Acked { spool: SpoolId, number: u64 },
}

impl Line {
    /// Appends its bytes.
    pub(crate) fn render(&self, out: &mut Vec<u8>) {
        let json = serde_json::to_string(self).expect("keys are strings, numbers are finite");
        let sum = crc32fast::hash(json.as_bytes());
        out.extend_from_slice(format!("{sum:08x} {json}\n").as_bytes());
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        let (sum, json) = line.split_once(' ')?;
        let sum = u32::from_str_radix(sum, 16).ok()?;
        if sum != crc32fast::hash(json.as_bytes()) {
            return None;
        }
        serde_json::from_str(json).ok().or_else(|| Self::of_a_newer_kind(json))
    }

    /// An event of a kind that only newer sidecars write keeps its number.
    fn of_a_newer_kind(json: &str) -> Option<Self> {
        let mut line: serde_json::Value = serde_json::from_str(json).ok()?;
        let what = line.get_mut("event")?.get_mut("what")?;
        *what = serde_json::to_value(Happening::Other).ok()?;
        serde_json::from_value(line).ok()
    }
}

/// What a spool held.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// The spool that numbers go on in; `None`: a new one begins.
    pub(crate) spool: Option<SpoolId>,
    /// The newest number of it.
    pub(crate) last: u64,
    /// What was not acked, oldest first, and the spool of each.
    pub(crate) events: Vec<(SpoolId, Event)>,
    /// What is wrong with the file, in words.
    pub(crate) damage: Option<String>,
}

impl Contents {
    /// What is missing of a spool that reached so far: it was emptied, cut, or put back from an
    /// older copy. Numbers that were used are not used again.
    pub(crate) fn compare(&mut self, reached: Reached) {
        let Reached { spool, last, acked } = reached;
        let found = if self.spool == Some(spool) { self.last } else { 0 };
        if found >= last || self.damage.is_some() {
            return;
        }
        (self.spool, self.last) = (None, 0);
        let first = found.max(acked) + 1;
        if first <= last {
            self.damage = Some(format!(
                "the events {first} to {last} of spool {spool} are not in it; those that the \
                 collector has not got are lost"
            ));
        }
    }
}

/// Reads every line that is whole.
pub(crate) fn parse(bytes: &[u8]) -> Contents {
    let mut contents = Contents::default();
    let (mut spool, mut damaged, mut rest) = (None, 0, bytes);
    // Without its end a line was cut short by a crash, and never sent.
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = Line::parse(&rest[..end]);
        rest = &rest[end + 1..];
        match (line, spool) {
            (Some(Line::Head { spool: own, last }), _) => {
                spool = Some(own);
                (contents.spool, contents.last) = (spool, last);
            }
            (Some(Line::Event(event)), Some(own)) => {
                contents.last = event.number;
                contents.events.push((own, event));
            }
            (Some(Line::Acked { spool: own, number }), _) => {
                contents.events.retain(|(spool, event)| *spool != own || event.number > number);
            }
            (Some(Line::Event(_)) | None, _) => damaged += 1,
        }
    }
    if damaged > 0 {
        contents.damage = Some(format!("{damaged} of its lines cannot be read"));
        (contents.spool, contents.last) = (None, 0);
    }
    contents
}

/// Reads the spool in a state directory. A damaged one is put aside.
///
/// # Errors
/// It cannot be read at all, or not be put aside.
pub(crate) fn load(directory: &Path) -> io::Result<Contents> {
    let path = directory.join(FILE_NAME);
    let mut contents = match read_own(&path) {
        Ok(None) => return Ok(Contents::default()),
        Ok(Some(bytes)) => parse(&bytes),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Contents { damage: Some(error.to_string()), ..Contents::default() }
        }
        Err(error) => return Err(error),
    };
    if let Some(damage) = &mut contents.damage {
        let aside = directory.join(format!("{FILE_NAME}.corrupt"));
        fs::rename(&path, &aside)?;
        damage.push_str(&format!("; put aside as {}", aside.display()));
    }
    Ok(contents)
}

/// The file, as the writing thread holds it.
#[derive(Debug)]
pub(crate) struct SpoolFile {
    path: PathBuf,
    /// `None` once something could not be written: what follows would stand behind a torn line.
    file: Option<File>,
}

impl SpoolFile {
    pub(crate) fn new(directory: &Path) -> Self {
        Self { path: directory.join(FILE_NAME), file: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends lines, and syncs them where somebody waits for that.
    ///
    /// # Errors
    /// What the file system said; the file must be written anew then.
    pub(crate) fn append(&mut self, bytes: &[u8], sync: bool) -> io::Result<()> {
        let broken = || io::Error::other("the spool has to be written anew first");
        let mut file = self.file.take().ok_or_else(broken)?;
        let before = file.metadata()?.len();
        let written = file.write_all(bytes);
        let done = written.and_then(|()| if sync { file.sync_data() } else { Ok(()) });
        if let Err(error) = done {
            // Lines that did fit go on under other numbers: here they would be told twice.
            file.set_len(before)?;
            return Err(error);
        }
        self.file = Some(file);
        Ok(())
    }

    /// Replaces the whole file.
    ///
    /// # Errors
    /// What the file system said; the old file is untouched then.
    pub(crate) fn rewrite(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file = None;
        write_atomic(&self.path, bytes, 0o600, Durability::Synced)?;
        self.file = Some(File::options().append(true).open(&self.path)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use lubdub_shared::session::Happening;
    use lubdub_shared::time::Wall;

    use super::*;

    fn event(number: u64) -> Event {
        let what = Happening::Note { text: "n".to_owned() };
        Event { number, at: Wall(1_000_000), life: None, what }
    }

    fn spool() -> SpoolId {
        SpoolId::random(&mut fastrand::Rng::with_seed(1))
    }

    fn lines(lines: &[Line]) -> Vec<u8> {
        let mut bytes = Vec::new();
        lines.iter().for_each(|line| line.render(&mut bytes));
        bytes
    }

    fn three() -> Vec<u8> {
        let head = Line::Head { spool: spool(), last: 7 };
        lines(&[head, Line::Event(event(8)), Line::Event(event(9)), Line::Event(event(10))])
    }

    fn numbers(contents: &Contents) -> Vec<u64> {
        contents.events.iter().map(|(_, event)| event.number).collect()
    }

    #[test]
    fn what_was_written_is_read() {
        let mut bytes = three();
        bytes.extend(lines(&[Line::Acked { spool: spool(), number: 8 }]));
        let contents = parse(&bytes);
        assert_eq!((contents.spool, contents.last), (Some(spool()), 10));
        assert_eq!(numbers(&contents), [9, 10]);
        assert_eq!(contents.events[0], (spool(), event(9)));
        assert_eq!(contents.damage, None);
    }

    #[test]
    fn a_line_that_was_cut_short_was_never_written() {
        let whole = three();
        for cut in 1..60 {
            let contents = parse(&whole[..whole.len() - cut]);
            assert_eq!(numbers(&contents), [8, 9], "cut by {cut}");
            assert_eq!((contents.spool, contents.last), (Some(spool()), 9));
            assert_eq!(contents.damage, None);
        }
    }

    #[test]
    fn any_flipped_bit_is_found() {
        let whole = three();
        for at in 0..whole.len() - 1 {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x04;
            let contents = parse(&damaged);
            assert!(contents.damage.is_some(), "byte {at}");
            assert_eq!(contents.spool, None, "its numbers cannot be trusted");
            assert!(numbers(&contents).len() < 3);
        }
    }
}
