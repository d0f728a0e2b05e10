//! What the engine must know, read at a start in the one transaction that raises the epoch.

use std::collections::BTreeMap;

use lubdub_engine::{AgentRecord, Unanswered};
use lubdub_shared::id::{AgentId, SpoolId};
use lubdub_shared::incident::Incident;
use lubdub_shared::time;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _};

use super::read::{agent_of, incident_of, unanswered_of};
use super::recover::Recovered;
use super::tables::{AGENTS, COMMANDS, INCIDENTS, note, put_meta};
use super::{Contents, Lost, Pushed};

/// Resolved incidents that are taken up again, so that they may be reopened.
const RECENT_MAX: i64 = 1000;
/// Stretches of lost events that are asked for again.
const LOST_MAX: usize = 10_000;

/// Raises the epoch, writes down what was found at the start, and reads what the engine must know.
///
/// # Errors
/// SQLite refused.
pub(super) fn take_up(recovered: &mut Recovered) -> rusqlite::Result<Contents> {
    let Recovered { connection, head, notes, lost_events, .. } = recovered;
    let transaction = connection.transaction()?;
    let before: Option<Vec<u8>> = transaction
        .query_row("SELECT value FROM meta WHERE key = 'epoch'", [], |row| row.get(0))
        .optional()?;
    let before = before.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
    let epoch = before.max(head.epoch).saturating_add(1);
    put_meta(&transaction, "store", head.store.as_bytes())?;
    put_meta(&transaction, "epoch", &epoch.to_be_bytes())?;
    let mut tip = head.tip;
    let now = time::now().wall;
    notes.iter().try_for_each(|text| note(&transaction, &mut tip, text))?;
    resolve_own(&transaction, now.0)?;
    let agents = agents(&transaction)?;
    let lost = if *lost_events { lost(&transaction, &agents)? } else { Vec::new() };
    let contents = Contents {
        id: head.store,
        epoch,
        incidents: incidents(&transaction)?,
        unanswered: unanswered(&transaction)?,
        pushed: pushed(&transaction)?,
        agents,
        lost,
    };
    transaction.commit()?;
    (head.epoch, head.tip) = (epoch, tip);
    Ok(contents)
}

/// The store is open, so whatever ailed it is over.
fn resolve_own(connection: &Connection, now: i64) -> rusqlite::Result<()> {
    let open = "SELECT id, opened FROM incidents WHERE agent = '' AND resolved IS NULL";
    let mut query = connection.prepare(open)?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (id, opened) in rows.collect::<rusqlite::Result<Vec<(Vec<u8>, i64)>>>()? {
        let resolved = Value::Integer(now.max(opened));
        INCIDENTS.amend(connection, &id, &[("resolved", resolved)])?;
    }
    Ok(())
}

fn pushed(connection: &Connection) -> rusqlite::Result<Option<Pushed>> {
    let query = "SELECT value FROM meta WHERE key = 'policy'";
    let found: Option<Vec<u8>> = connection.query_row(query, [], |row| row.get(0)).optional()?;
    // What cannot be read was written by something else: the file's policy holds.
    Ok(found.and_then(|json| serde_json::from_slice(&json).ok()))
}

fn agents(connection: &Connection) -> rusqlite::Result<Vec<AgentRecord>> {
    let list = AGENTS.columns.join(", ");
    let mut query = connection.prepare(&format!("SELECT {list} FROM agents ORDER BY id"))?;
    query.query_map([], |row| agent_of(row, 0))?.collect()
}

fn incidents(connection: &Connection) -> rusqlite::Result<Vec<(AgentId, Incident)>> {
    let list = INCIDENTS.columns.join(", ");
    let mut query = connection.prepare(&format!(
        "SELECT {list}
         FROM incidents WHERE agent <> '' AND (resolved IS NULL OR id IN
           (SELECT id FROM incidents WHERE resolved IS NOT NULL ORDER BY resolved DESC LIMIT ?1))
         ORDER BY opened"
    ))?;
    let rows = query.query_map([RECENT_MAX], |row| incident_of(row, 0))?;
    let with_agent = rows.map(|row| row.map(|(agent, incident)| Some((agent?, incident))));
    with_agent.filter_map(Result::transpose).collect()
}

fn unanswered(connection: &Connection) -> rusqlite::Result<Vec<(AgentId, Unanswered)>> {
    let list = COMMANDS.columns.join(", ");
    let mut query = connection.prepare(&format!(
        "SELECT {list} FROM commands
         WHERE outcome IN ('accepted', 'pending') AND command IS NOT NULL ORDER BY asked"
    ))?;
    query.query_map([], |row| unanswered_of(row, 0))?.filter_map(Result::transpose).collect()
}

/// What sidecars told and is not there any more, by the numbers that are missing between others and
/// before what was applied.
fn lost(connection: &Connection, agents: &[AgentRecord]) -> rusqlite::Result<Vec<Lost>> {
    let mut applied: BTreeMap<(AgentId, SpoolId), u64> = BTreeMap::new();
    for agent in agents {
        applied.extend(
            agent.applied.iter().map(|(spool, number)| ((agent.id.clone(), *spool), *number)),
        );
    }
    let mut query = connection.prepare(
        "SELECT agent, spool, number FROM events WHERE spool IS NOT NULL
         ORDER BY agent, spool, number",
    )?;
    let mut rows = query.query([])?;
    let mut last: BTreeMap<(AgentId, SpoolId), u64> = BTreeMap::new();
    let mut lost = Vec::new();
    let mut hole = |(agent, spool): &(AgentId, SpoolId), first, upto| {
        if lost.len() < LOST_MAX && first <= upto {
            lost.push(Lost { agent: agent.clone(), spool: *spool, first, last: upto });
        }
    };
    while let Some(row) = rows.next()? {
        let agent: Option<AgentId> = row.get::<_, String>(0)?.parse().ok();
        let spool = SpoolId::from_slice(&row.get::<_, Vec<u8>>(1)?);
        let (Some(agent), Some(spool)) = (agent, spool) else { continue };
        let number = row.get::<_, i64>(2)?.unsigned_abs();
        let key = (agent, spool);
        // Before the first that is there may be what was pruned long ago.
        if let Some(before) = last.get(&key) {
            hole(&key, before + 1, number.saturating_sub(1));
        }
        last.insert(key, number);
    }
    for (key, applied) in applied {
        let there = last.get(&key).copied().unwrap_or_default();
        hole(&key, there + 1, applied);
    }
    Ok(lost)
}
