//! Every row of a table that can be read, whatever some pages of the file look like.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Row, Statement};

use super::sums::{Sum, crc};
use super::tables::Table;

/// Steps over a damaged stretch before they grow without end: rows of many pages.
const SMALL_STEPS: u32 = 1024;
/// A small step: about the rows of one page.
const SMALL_STEP: i64 = 16;

/// Rows that cannot be read, by their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) first: i64,
    /// `None`: nothing behind it can be read.
    pub(super) last: Option<i64>,
}

/// One row, as it was found.
pub(super) struct Found<'a> {
    pub(super) rowid: i64,
    pub(super) columns: &'a [ValueRef<'a>],
    pub(super) row: &'a Row<'a>,
    /// Its columns are as they were written.
    pub(super) whole: bool,
    /// Of a row of the log.
    pub(super) sum: Option<Sum>,
}

/// The file itself is damaged there; anything else is no property of the file.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// A table or a column that should be there and is not is damage as well.
///
/// # Errors
/// SQLite refused.
pub(super) fn prepare<'c>(
    connection: &'c Connection,
    sql: &str,
) -> rusqlite::Result<Statement<'c>> {
    connection.prepare(sql).map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::Unknown) => {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
            rusqlite::Error::SqliteFailure(code, Some(error.to_string()))
        }
        _ => error,
    })
}

/// Reads all rows in the order of their numbers, and tells where some are unreadable.
///
/// # Errors
/// SQLite refused for another reason than damage, or `each` did.
pub(super) fn rows(
    connection: &Connection,
    table: &Table,
    mut each: impl FnMut(Found<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<Vec<Gap>> {
    let (list, name) = (table.list(), table.name);
    let sql = format!("SELECT rowid, {list} FROM {name} WHERE rowid >= ?1 ORDER BY rowid");
    let mut query = prepare(connection, &sql)?;
    let probe = format!("SELECT rowid FROM {name} WHERE rowid >= ?1 ORDER BY rowid LIMIT 1");
    let mut probe = prepare(connection, &probe)?;
    let mut gaps = Vec::new();
    let mut from = i64::MIN;
    loop {
        let mut rows = query.query([from])?;
        let damaged = loop {
            match rows.next() {
                Ok(None) => break false,
                Ok(Some(row)) => {
                    let Ok(rowid) = row.get::<_, i64>(0) else { break true };
                    // In a damaged tree a page may come twice, or out of order.
                    if table.is_log() && rowid < from {
                        break true;
                    }
                    // The number of a row that is not whole may be what is damaged of it.
                    if give(table, rowid, row, &mut each)? {
                        let Some(next) = rowid.checked_add(1) else { break false };
                        from = from.max(next);
                    }
                }
                Err(error) if is_damage(&error) => break true,
                Err(error) => return Err(error),
            }
        };
        drop(rows);
        if !damaged {
            return Ok(gaps);
        }
        let first = from.max(1);
        let Some(next) = next_readable(&mut probe, first)? else {
            gaps.push(Gap { first, last: None });
            return Ok(gaps);
        };
        gaps.push(Gap { first, last: Some(next.saturating_sub(1)) });
        from = next;
    }
}

fn give(
    table: &Table,
    rowid: i64,
    row: &Row<'_>,
    each: &mut impl FnMut(Found<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<bool> {
    let count = table.columns.len();
    let columns = (1..=count).map(|at| row.get_ref(at));
    let columns = columns.collect::<rusqlite::Result<Vec<_>>>()?;
    let stored = row.get_ref(count + 1)?;
    let whole = matches!(stored, ValueRef::Integer(own) if own == crc(&columns));
    let sum = match table.is_log().then(|| row.get_ref(count + 2)).transpose()? {
        Some(ValueRef::Blob(bytes)) => Sum::from_slice(bytes),
        _ => None,
    };
    each(Found { rowid, columns: &columns, row, whole, sum })?;
    Ok(whole)
}

/// The first number behind a damaged stretch from which rows can be read again; `None` where
/// nothing can.
fn next_readable(probe: &mut Statement<'_>, damaged: i64) -> rusqlite::Result<Option<i64>> {
    let mut reads = |from: i64| match probe.query_row([from], |row| row.get(0)).optional() {
        Ok(Some(row)) if row < from => Ok(None),
        Ok(found) => Ok(Some(found)),
        Err(error) if is_damage(&error) => Ok(None),
        Err(error) => Err(error),
    };
    let (mut bad, mut step, mut steps) = (damaged, 1_i64, 0);
    let (mut good, mut found): (i64, Option<i64>) = loop {
        let Some(next) = bad.checked_add(step) else { return Ok(None) };
        if let Some(found) = reads(next)? {
            break (next, found);
        }
        (bad, steps) = (next, steps + 1);
        let grown = step.saturating_mul(2);
        step = if steps < SMALL_STEPS { grown.min(SMALL_STEP) } else { grown };
    };
    while good - bad > 1 {
        let middle = bad + (good - bad) / 2;
        match reads(middle)? {
            Some(row) => (good, found) = (middle, row),
            None => bad = middle,
        }
    }
    Ok(found)
}
