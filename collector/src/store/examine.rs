//! Looks at a whole store: what of it is as it was written, and what is missing or damaged.
//!
//! The log is read row by row along its chain. A number that is missing, or a row that is not as it
//! was written, is a *hole*. What was repaired once is known: its holes are written down. Rows of
//! other tables are judged alone, and whether the file itself is in order SQLite says.

use lubdub_shared::id::AgentId;
use lubdub_shared::time::now;
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::read;
use super::scan::{self, Found, is_damage};
use super::sums::Tip;
use super::tables::{ANCHOR, EVENTS, PLAIN, Table, anchor_of, as_json};

/// Rows of the log that are missing or not as they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// Number of the first.
    pub first: u64,
    /// Number of the last.
    pub last: u64,
    /// What is wrong.
    pub why: String,
}

impl std::fmt::Display for Hole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { first, last, why } = self;
        match last - first {
            0 => write!(f, "event {first}: {why}"),
            _ => write!(f, "events {first} to {last}: {why}"),
        }
    }
}

impl Hole {
    /// From now on it is known.
    pub(super) fn write_down(&self, connection: &Connection) -> rusqlite::Result<()> {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        connection
            .execute(
                "INSERT OR REPLACE INTO holes (first, last, found, why) VALUES (?1, ?2, ?3, ?4)",
                (number(self.first), number(self.last), now().wall.0, &self.why),
            )
            .map(drop)
    }
}

/// A row that cannot be used, and is put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoilt {
    /// Its table.
    pub table: &'static str,
    /// Its number there.
    pub row: i64,
    /// Whose it is, as far as that can be read.
    pub name: String,
    /// All of it, as JSON.
    pub columns: String,
    /// What is wrong.
    pub why: String,
}

impl std::fmt::Display for Spoilt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { table, row, name, why, .. } = self;
        write!(f, "row {row} of {table} ({name}): {why}")
    }
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Examined {
    /// Rows of the log that are there.
    pub events: u64,
    /// Rows of other tables.
    pub others: u64,
    /// Number of the newest row of the log; 0: there is none.
    pub newest: u64,
    /// What is missing of the log, and was not known.
    pub holes: Vec<Hole>,
    /// What was found missing at an earlier start, and is written down.
    pub known: Vec<Hole>,
    /// Rows whose content is not what was written.
    pub damaged: Vec<Spoilt>,
    /// Rows that are whole and cannot be understood.
    pub unreadable: Vec<Spoilt>,
    /// What is wrong with the file itself.
    pub file: Vec<String>,
    pub(super) tip: Tip,
}

impl Examined {
    /// The file holds what was written to it, but for what is known.
    pub fn is_sound(&self) -> bool {
        self.holes.is_empty() && self.damaged.is_empty() && self.file.is_empty()
    }

    /// What is wrong, one line each.
    pub fn faults(&self) -> impl Iterator<Item = String> {
        let holes = self.holes.iter().map(ToString::to_string);
        let rows = self.damaged.iter().filter(|row| row.table != EVENTS.name);
        holes.chain(rows.map(ToString::to_string)).chain(self.file.iter().cloned())
    }

    /// A row whose content is damaged.
    fn put_down(&mut self, spoilt: Spoilt) {
        if self.damaged.len() < SPOILT_MAX {
            self.damaged.push(spoilt);
        }
    }

    fn hole(&mut self, first: u64, last: u64, why: &str) {
        if let Some(newest) = self.holes.last_mut()
            && newest.last + 1 == first
            && newest.why == why
        {
            newest.last = last;
            return;
        }
        self.holes.push(Hole { first, last, why: why.to_owned() });
    }
}

/// Examines a store whose newest row was this, as far as that is known from outside. Thorough:
/// whether each index agrees with its table as well.
///
/// # Errors
/// SQLite refused for another reason than damage.
pub(super) fn examine(
    connection: &Connection,
    tip: Option<Tip>,
    thorough: bool,
) -> rusqlite::Result<Examined> {
    let mut examined = Examined { file: file_faults(connection, thorough)?, ..Examined::default() };
    let mut anchor = None;
    for table in PLAIN {
        let looked = scan::rows(connection, table, |found| {
            examined.others += 1;
            look(&mut examined, table, &found, &mut anchor);
            Ok(())
        });
        note_gaps(&mut examined, table, looked)?;
    }
    let known = known_holes(connection);
    examined.known = match known {
        Ok(known) => known,
        Err(error) if is_damage(&error) => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut chain = Chain::new(anchor.unwrap_or_default(), tip);
    let looked = scan::rows(connection, &EVENTS, |found| {
        chain.follow(&mut examined, &found);
        Ok(())
    });
    note_gaps(&mut examined, &EVENTS, looked)?;
    chain.end(&mut examined);
    Ok(examined)
}

fn file_faults(connection: &Connection, thorough: bool) -> rusqlite::Result<Vec<String>> {
    const FAULTS_MAX: usize = 10;
    let check = if thorough { "integrity_check" } else { "quick_check" };
    let look = || {
        let mut query = connection.prepare(&format!("PRAGMA {check}({FAULTS_MAX})"))?;
        query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()
    };
    match look() {
        Ok(faults) => Ok(faults.into_iter().filter(|fault| fault != "ok").collect()),
        Err(error) if is_damage(&error) => Ok(vec![error.to_string()]),
        Err(error) => Err(error),
    }
}

fn known_holes(connection: &Connection) -> rusqlite::Result<Vec<Hole>> {
    let mut query = scan::prepare(connection, "SELECT first, last, why FROM holes ORDER BY first")?;
    let hole = |row: &rusqlite::Row<'_>| {
        let number = |at| row.get(at).map(|number: i64| number.unsigned_abs());
        Ok(Hole { first: number(0)?, last: number(1)?, why: row.get(2)? })
    };
    query.query_map([], hole)?.collect()
}

fn note_gaps(
    examined: &mut Examined,
    table: &Table,
    looked: rusqlite::Result<Vec<scan::Gap>>,
) -> rusqlite::Result<()> {
    match looked {
        // Of the log the chain tells what is missing.
        Ok(gaps) if table.is_log() || gaps.is_empty() => Ok(()),
        Ok(gaps) => {
            let stretch = |gap: &scan::Gap| match gap.last {
                Some(last) => format!("{} to {last}", gap.first),
                None => format!("from {} on", gap.first),
            };
            let stretches: Vec<String> = gaps.iter().map(stretch).collect();
            let text = format!("rows {} of {} cannot be read", stretches.join(", "), table.name);
            examined.file.push(text);
            Ok(())
        }
        Err(error) if is_damage(&error) => {
            examined.file.push(format!("nothing of {} can be read: {error}", table.name));
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// One row of a table that is not the log.
fn look(examined: &mut Examined, table: &Table, found: &Found<'_>, anchor: &mut Option<Tip>) {
    if !found.whole {
        return examined.put_down(spoilt(table, found, DAMAGED));
    }
    if let [ValueRef::Text(key), ValueRef::Blob(value)] = found.columns
        && *key == ANCHOR.as_bytes()
    {
        *anchor = anchor_of(value);
    }
    if let Err(why) = read::understands(table, found.row, 1)
        && examined.unreadable.len() < SPOILT_MAX
    {
        examined.unreadable.push(spoilt(table, found, &why));
    }
}

fn spoilt(table: &Table, found: &Found<'_>, why: &str) -> Spoilt {
    let name = found.columns[table.name_at].as_bytes().map_or_else(
        |_| "no name".to_owned(),
        |text| {
            let text = String::from_utf8_lossy(text);
            let id: Option<AgentId> = text.parse().ok();
            id.map_or_else(|| format!("{text:?}"), |id| id.to_string())
        },
    );
    Spoilt {
        table: table.name,
        row: found.rowid,
        name,
        columns: as_json(table, found.row, 1),
        why: why.to_owned(),
    }
}

/// Follows the log.
struct Chain {
    at: Tip,
    /// What the row at this number must have for a sum.
    known: Option<Tip>,
    /// A row before is missing, or not as it was written: what its sum was is not known.
    cut: bool,
    /// The first of the rows whose sums do not follow.
    astray: Option<u64>,
}

const MISSING: &str = "missing";
const DAMAGED: &str = "damaged, it is not as it was written";
/// Rows that are told and put aside; more are only left out.
const SPOILT_MAX: usize = 10_000;

impl Chain {
    fn new(anchor: Tip, known: Option<Tip>) -> Self {
        Self { at: anchor, known, cut: false, astray: None }
    }

    fn follow(&mut self, examined: &mut Examined, found: &Found<'_>) {
        let seq = found.rowid.unsigned_abs();
        if !found.whole {
            // Its number may be what is damaged: which one is missing the next row tells.
            self.cut = true;
            return examined.put_down(spoilt(&EVENTS, found, DAMAGED));
        }
        if seq > self.at.seq + 1 {
            self.skip(examined, self.at.seq + 1, seq - 1);
        }
        let computed = self.at.sum.behind(found.columns);
        examined.events += 1;
        let stored = found.sum;
        let sum = if self.cut { stored.unwrap_or(computed) } else { computed };
        if !self.cut && stored != Some(computed) {
            self.astray.get_or_insert(seq);
        } else if let Some(from) = self.astray.take() {
            // What follows rests on what these rows hold: only their own sums were damaged.
            examined.file.push(format!("sums of the rows {from} to {} are damaged", seq - 1));
        }
        self.cut = false;
        self.at = Tip { seq, sum };
        if let Some(known) = self.known
            && known.seq == seq
            && known.sum != sum
            && self.astray.is_none()
        {
            self.astray = Some(seq);
        }
    }

    fn skip(&mut self, examined: &mut Examined, first: u64, last: u64) {
        let mut from = first;
        for known in &examined.known {
            if known.first <= from && known.last >= from {
                from = known.last + 1;
            }
        }
        if from > last {
            return;
        }
        examined.hole(from, last, MISSING);
        self.cut = true;
    }

    fn end(mut self, examined: &mut Examined) {
        // What is known to be missing behind the newest row was given away.
        for hole in &examined.known {
            if hole.first <= self.at.seq + 1 && hole.last > self.at.seq {
                self.at.seq = hole.last;
            }
        }
        if let Some(known) = self.known
            && known.seq > self.at.seq
        {
            self.skip(examined, self.at.seq + 1, known.seq);
            self.at.seq = known.seq;
        }
        let proven = self.known == Some(self.at);
        if let Some(from) = self.astray
            && proven
        {
            examined.file.push(format!("sums of the rows {from} to {} are damaged", self.at.seq));
        } else if let Some(from) = self.astray {
            let why = "these do not follow from the rows before: somebody changed them, or their \
                       sums";
            examined.hole(from, self.at.seq, why);
        }
        examined.newest = self.at.seq;
        examined.tip = self.at;
    }
}
