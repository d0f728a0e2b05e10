//! The tables whose rows are guarded by sums: what is written through here carries them.

use lubdub_shared::session::EventKind;
use lubdub_shared::time::now;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, Row, ToSql, params_from_iter};
use serde_json::json;

use super::sums::{Sum, Tip, crc};

/// A table and the columns that its rows' sums cover, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [&'static str],
    /// What a row is known by, among the columns.
    pub(super) name_at: usize,
}

pub(super) static META: Table = Table { name: "meta", columns: &["key", "value"], name_at: 0 };
pub(super) static AGENTS: Table = Table { name: "agents", columns: &["id", "record"], name_at: 0 };
pub(super) static INCIDENTS: Table = Table {
    name: "incidents",
    columns: &[
        "id",
        "agent",
        "cause",
        "level",
        "opened",
        "resolved",
        "incarnation",
        "summary",
        "actions",
    ],
    name_at: 1,
};
pub(super) static EVENTS: Table = Table {
    name: "events",
    columns: &["seq", "spool", "number", "at", "agent", "incarnation", "kind", "detail"],
    name_at: 4,
};
pub(super) static COMMANDS: Table = Table {
    name: "commands",
    columns: &[
        "id",
        "agent",
        "kind",
        "life",
        "requested_by",
        "reason",
        "asked",
        "outcome",
        "detail",
        "ended",
        "command",
        "expires",
    ],
    name_at: 1,
};
pub(super) static EVIDENCE: Table =
    Table { name: "evidence", columns: &["agent", "id", "bundle"], name_at: 0 };

/// All but the log, whose rows carry a chain as well.
pub(super) static PLAIN: [&Table; 5] = [&META, &AGENTS, &INCIDENTS, &COMMANDS, &EVIDENCE];

impl Table {
    /// It is the log.
    pub(super) fn is_log(&self) -> bool {
        *self == EVENTS
    }

    /// The columns with the sums behind them, as a list.
    pub(super) fn list(&self) -> String {
        let sums = if self.is_log() { "crc, sum" } else { "crc" };
        format!("{}, {sums}", self.columns.join(", "))
    }

    /// Writes a row; one with the same key is replaced in its place.
    pub(super) fn put(
        &self,
        connection: &Connection,
        columns: &[ValueRef<'_>],
    ) -> rusqlite::Result<()> {
        debug_assert_eq!(columns.len(), self.columns.len());
        let crc = crc(columns);
        let marks: Vec<String> = (1..=columns.len() + 1).map(|at| format!("?{at}")).collect();
        let sets = self.columns.iter().zip(1..).map(|(name, at)| format!("{name} = ?{at}"));
        let sets: Vec<String> = sets.collect();
        let sql = format!(
            "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT DO UPDATE SET {}, crc = ?{}",
            self.name,
            self.list(),
            marks.join(", "),
            sets.join(", "),
            columns.len() + 1
        );
        let parameters = columns.iter().copied().chain([ValueRef::Integer(crc)]);
        let parameters = params_from_iter(parameters.map(ToSqlOutput::Borrowed));
        connection.prepare_cached(&sql)?.execute(parameters)?;
        Ok(())
    }

    /// Changes some columns of a row that is there, by its key; false where it is not.
    pub(super) fn amend(
        &self,
        connection: &Connection,
        key: &dyn ToSql,
        changes: &[(&str, Value)],
    ) -> rusqlite::Result<bool> {
        let list = self.columns.join(", ");
        let sql = format!("SELECT {list} FROM {} WHERE {} = ?1", self.name, self.columns[0]);
        let mut query = connection.prepare_cached(&sql)?;
        let mut rows = query.query([key])?;
        let Some(row) = rows.next()? else { return Ok(false) };
        let columns = (0..self.columns.len()).map(|at| row.get_ref(at));
        let mut columns = columns.collect::<rusqlite::Result<Vec<_>>>()?;
        for (name, value) in changes {
            let at = self.columns.iter().position(|column| column == name);
            columns[at.expect("a column of this table")] = value.into();
        }
        self.put(connection, &columns)?;
        Ok(true)
    }
}

/// Writes the next row of the log.
pub(super) fn append(
    connection: &Connection,
    tip: &mut Tip,
    entry: &Entry<'_>,
) -> rusqlite::Result<()> {
    let seq = tip.seq + 1;
    put_log(connection, tip, seq, entry)
}

/// Writes a row of the log under a number of its own, behind the newest.
pub(super) fn put_log(
    connection: &Connection,
    tip: &mut Tip,
    seq: u64,
    entry: &Entry<'_>,
) -> rusqlite::Result<()> {
    let columns = entry.columns(seq);
    let sum = tip.sum.behind(&columns);
    let sql = "INSERT INTO events (seq, spool, number, at, agent, incarnation, kind, detail, crc,
                 sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let sums = [ValueRef::Integer(crc(&columns)), ValueRef::Blob(&sum.0)];
    let parameters = columns.into_iter().chain(sums).map(ToSqlOutput::Borrowed);
    connection.prepare_cached(sql)?.execute(params_from_iter(parameters))?;
    *tip = Tip { seq, sum };
    Ok(())
}

/// Writes down what a person should know of the collector itself.
pub(super) fn note(connection: &Connection, tip: &mut Tip, text: &str) -> rusqlite::Result<()> {
    let detail = json!({ "text": text }).to_string();
    let entry = Entry {
        told: None,
        at: now().wall.0,
        agent: "",
        incarnation: None,
        kind: EventKind::Note.as_str(),
        detail: &detail,
    };
    append(connection, tip, &entry)
}

/// A row of the log to be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    /// The sidecar's own number of it.
    pub(super) told: Option<(&'a [u8], u64)>,
    /// Nanoseconds since 1970.
    pub(super) at: i64,
    /// Empty: the collector itself.
    pub(super) agent: &'a str,
    pub(super) incarnation: Option<u32>,
    pub(super) kind: &'a str,
    /// JSON.
    pub(super) detail: &'a str,
}

impl Entry<'_> {
    fn columns(&self, seq: u64) -> [ValueRef<'_>; 8] {
        let number = |number: u64| ValueRef::Integer(i64::try_from(number).unwrap_or(i64::MAX));
        let or_null = |column: Option<ValueRef<'static>>| column.unwrap_or(ValueRef::Null);
        [
            number(seq),
            self.told.map_or(ValueRef::Null, |(spool, _)| ValueRef::Blob(spool)),
            or_null(self.told.map(|(_, told)| number(told))),
            ValueRef::Integer(self.at),
            ValueRef::Text(self.agent.as_bytes()),
            or_null(self.incarnation.map(|life| ValueRef::Integer(life.into()))),
            ValueRef::Text(self.kind.as_bytes()),
            ValueRef::Text(self.detail.as_bytes()),
        ]
    }
}

/// The anchor in `meta`: the newest row of the log that was pruned.
pub(super) const ANCHOR: &str = "anchor";

pub(super) fn put_anchor(connection: &Connection, anchor: Tip) -> rusqlite::Result<()> {
    let mut bytes = anchor.seq.to_be_bytes().to_vec();
    bytes.extend(anchor.sum.0);
    put_meta(connection, ANCHOR, &bytes)
}

pub(super) fn anchor_of(bytes: &[u8]) -> Option<Tip> {
    let (seq, sum) = bytes.split_at_checked(8)?;
    Some(Tip { seq: u64::from_be_bytes(seq.try_into().ok()?), sum: Sum::from_slice(sum)? })
}

pub(super) fn put_meta(connection: &Connection, key: &str, value: &[u8]) -> rusqlite::Result<()> {
    META.put(connection, &[ValueRef::Text(key.as_bytes()), ValueRef::Blob(value)])
}

/// A row as people can read it, whatever is in it.
pub(super) fn as_json(table: &Table, row: &Row<'_>, from: usize) -> String {
    let column = |at: usize| match row.get_ref(from + at) {
        Ok(ValueRef::Null) => json!(null),
        Ok(ValueRef::Integer(number)) => json!(number),
        Ok(ValueRef::Real(number)) => json!(number.to_string()),
        Ok(ValueRef::Text(bytes)) => json!(String::from_utf8_lossy(bytes)),
        Ok(ValueRef::Blob(bytes)) => {
            json!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
        Err(error) => json!(error.to_string()),
    };
    let columns = table.columns.iter().enumerate();
    let map: serde_json::Map<_, _> =
        columns.map(|(at, name)| ((*name).to_owned(), column(at))).collect();
    serde_json::Value::Object(map).to_string()
}
