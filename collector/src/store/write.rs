//! Writing: the thread, and one statement an operation.

use std::sync::mpsc;

use lubdub_shared::command::Command;
use lubdub_shared::id::AgentId;
use lubdub_shared::incident::{ActionOutcome, Incident};
use lubdub_shared::session::Event;
use lubdub_shared::time::Wall;
use lubdub_shared::view::TransitionView;
use rusqlite::{Connection, Transaction};
use tokio::sync::mpsc as async_mpsc;
use tracing::error;

use super::read::AgentRow;
use super::{Durable, GROUP_MAX, Op};

/// Writes groups until the queue is closed, or something fails.
pub(super) fn run(
    mut connection: Connection,
    queue: &mpsc::Receiver<Op>,
    done: &async_mpsc::Sender<Durable>,
) {
    while let Ok(first) = queue.recv() {
        let mut group = vec![first];
        group.extend(queue.try_iter().take(GROUP_MAX - 1));
        match write(&mut connection, &group) {
            Ok(()) => {
                for durable in group.into_iter().filter_map(durable) {
                    if done.blocking_send(durable).is_err() {
                        return;
                    }
                }
            }
            Err(failed) => {
                error!(error = %failed, "the store failed; the collector stops");
                // Without the driver there is nobody left to stop.
                let (Ok(()) | Err(_)) = done.blocking_send(Durable::Broken(failed.to_string()));
                return;
            }
        }
    }
}

fn durable(op: Op) -> Option<Durable> {
    match op {
        Op::Events { session, spool, events, .. } => {
            let number = events.last()?.number;
            Some(Durable::Events { session, spool, number })
        }
        Op::Command { index, command, decided, .. } => {
            Some(Durable::Command(index, command, decided))
        }
        Op::Agent(_) | Op::Incident(..) | Op::Transition(_) | Op::Answer { .. } => None,
    }
}

fn write(connection: &mut Connection, group: &[Op]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for op in group {
        match op {
            Op::Agent(record) => {
                let row = json(&AgentRow::from(&**record));
                transaction
                    .prepare_cached("INSERT OR REPLACE INTO agents (id, record) VALUES (?1, ?2)")?
                    .execute((record.id.as_str(), row))?;
            }
            Op::Incident(agent, incident) => put_incident(&transaction, agent, incident)?,
            Op::Events { agent, spool, events, .. } => {
                for event in events {
                    put_event(&transaction, agent, spool.as_bytes(), event)?;
                }
            }
            Op::Transition(transition) => put_transition(&transaction, transition)?,
            Op::Command { agent, command, at, .. } => {
                put_command(&transaction, agent, command, *at)?;
            }
            Op::Answer { command, outcome, detail, at } => {
                transaction
                    .prepare_cached(
                        "UPDATE commands SET outcome = ?2, detail = ?3, ended = ?4 WHERE id = ?1",
                    )?
                    .execute((command.as_bytes().as_slice(), outcome.as_str(), detail, at.0))?;
            }
        }
    }
    transaction.commit()
}

fn put_incident(
    transaction: &Transaction<'_>,
    agent: &AgentId,
    incident: &Incident,
) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT OR REPLACE INTO incidents
           (id, agent, cause, level, opened, resolved, incarnation, summary, actions)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    statement.execute((
        incident.id.as_bytes().as_slice(),
        agent.as_str(),
        incident.cause.as_str(),
        incident.level.as_str(),
        incident.opened.0,
        incident.resolved.map(|at| at.0),
        incident.incarnation,
        &incident.summary,
        json(&incident.actions),
    ))?;
    Ok(())
}

/// A fact that is there already stays as it is: replays are written once.
fn put_event(
    transaction: &Transaction<'_>,
    agent: &AgentId,
    spool: &[u8; 16],
    event: &Event,
) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT OR IGNORE INTO events (spool, number, at, agent, incarnation, kind, detail)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    statement.execute((
        spool.as_slice(),
        i64::try_from(event.number).unwrap_or(i64::MAX),
        event.at.0,
        agent.as_str(),
        event.life.map(|life| life.ordinal.get()),
        event.what.kind(),
        json(&event.what),
    ))?;
    Ok(())
}

fn put_transition(transaction: &Transaction<'_>, t: &TransitionView) -> rusqlite::Result<()> {
    let detail = serde_json::json!({
        "from": t.from, "to": t.to, "lifecycle": t.lifecycle, "why": t.why,
    });
    transaction
        .prepare_cached("INSERT INTO events (at, agent, kind, detail) VALUES (?1, ?2, ?3, ?4)")?
        .execute((t.at.0, t.agent.as_str(), "status", detail.to_string()))?;
    Ok(())
}

fn put_command(
    transaction: &Transaction<'_>,
    agent: &AgentId,
    command: &Command,
    at: Wall,
) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO commands
           (id, agent, kind, life, requested_by, reason, asked, outcome, detail, ended)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, '', NULL)",
    )?;
    statement.execute((
        command.id.as_bytes().as_slice(),
        agent.as_str(),
        command.kind.as_str(),
        command.life.map(|life| life.as_bytes().to_vec()),
        command.requested_by.to_string(),
        &command.reason,
        at.0,
        ActionOutcome::Accepted.as_str(),
    ))?;
    Ok(())
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("keys are strings, numbers are finite")
}
