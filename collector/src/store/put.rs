//! What each operation becomes: rows of its tables, and of the log.

use std::borrow::Cow;

use lubdub_shared::command::{Command, Outcome};
use lubdub_shared::id::{AgentId, CommandId};
use lubdub_shared::incident::{ActionOutcome, Incident};
use lubdub_shared::session::{Bundle, Event, EventKind, Happening};
use lubdub_shared::time::Wall;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{OptionalExtension as _, Transaction};
use serde_json::json;

use super::Op;
use super::read::AgentRow;
use super::sums::Tip;
use super::tables::{AGENTS, COMMANDS, EVIDENCE, Entry, INCIDENTS, append, put_meta};

/// Bundles that are kept; beyond it the oldest go.
const EVIDENCE_KEPT: i64 = 1000;

/// One transaction, and how far the log has got in it.
pub(super) struct Put<'a> {
    pub(super) to: &'a Transaction<'a>,
    pub(super) tip: &'a mut Tip,
}

impl Put<'_> {
    /// # Errors
    /// SQLite refused.
    pub(super) fn op(&mut self, op: &Op) -> rusqlite::Result<()> {
        match op {
            Op::Agent(record) => {
                let row = json(&AgentRow::from(&**record));
                AGENTS.put(self.to, &[text(record.id.as_str()), text(&row)])
            }
            Op::Incident(agent, incident) => {
                self.incident(agent.as_ref().map_or("", AgentId::as_str), incident)
            }
            Op::Events { agent, spool, events } => self.events(agent, spool.as_bytes(), events),
            Op::Transition(t) => {
                let detail = json!({
                    "from": t.from, "to": t.to, "lifecycle": t.lifecycle, "cause": t.cause,
                    "why": t.why,
                });
                self.own(Some(&t.agent), EventKind::Status, t.at, &detail)
            }
            Op::Command { agent, command, at, expires } => {
                self.command(agent, command, *at, *expires)
            }
            Op::Answer { command, agent, outcome, detail, at } => {
                self.answer(*command, agent, *outcome, detail, *at)
            }
            Op::Note(agent, text, at) => {
                self.own(agent.as_ref(), EventKind::Note, *at, &json!({ "text": text }))
            }
            Op::WouldHave { agent, kind, cause, reason, at } => {
                let text = format!("shadow: would have sent {kind}: {reason}");
                let note = json!({ "text": text, "would_have": kind, "cause": cause });
                self.own(Some(agent), EventKind::Note, *at, &note)
            }
            Op::Forget(agent) => {
                self.to.execute("DELETE FROM agents WHERE id = ?1", [agent.as_str()]).map(drop)
            }
            Op::Policy(Some(pushed)) => {
                let json = serde_json::to_vec(pushed).expect("keys are strings");
                put_meta(self.to, "policy", &json)
            }
            Op::Policy(None) => {
                self.to.execute("DELETE FROM meta WHERE key = 'policy'", []).map(drop)
            }
            Op::Epoch(epoch) => put_meta(self.to, "epoch", &epoch.to_be_bytes()),
        }
    }

    fn incident(&self, agent: &str, incident: &Incident) -> rusqlite::Result<()> {
        let actions = json(&incident.actions);
        INCIDENTS.put(
            self.to,
            &[
                ValueRef::Blob(incident.id.as_bytes()),
                text(agent),
                text(incident.cause.as_str()),
                text(incident.level.as_str()),
                ValueRef::Integer(incident.opened.0),
                time(incident.resolved),
                ValueRef::Integer(incident.incarnation.into()),
                text(&incident.summary),
                text(&actions),
            ],
        )
    }

    /// A fact that is there already stays as it is: replays are written once. Another fact under
    /// the same number (a sidecar's state was put back from a copy) is written without one: what
    /// is acked is in the store.
    fn events(
        &mut self,
        agent: &AgentId,
        spool: &[u8; 16],
        events: &[Event],
    ) -> rusqlite::Result<()> {
        let newest = "SELECT max(number) FROM events WHERE agent = ?1 AND spool = ?2";
        let newest: Option<i64> =
            self.to.prepare_cached(newest)?.query_row((agent.as_str(), spool), |row| row.get(0))?;
        // What is behind the newest is new: it need not be looked for one by one.
        let mut newest = newest.unwrap_or(-1);
        for event in events {
            let number = i64::try_from(event.number).unwrap_or(i64::MAX);
            self.event(agent, spool, event, number > newest)?;
            newest = newest.max(number);
        }
        Ok(())
    }

    fn event(
        &mut self,
        agent: &AgentId,
        spool: &[u8; 16],
        event: &Event,
        is_new: bool,
    ) -> rusqlite::Result<()> {
        let detail = json(&self.listed(agent, &event.what)?);
        let kind = event.what.kind();
        let known = if is_new { None } else { self.known(agent, spool, event, &detail)? };
        if known == Some(true) {
            return Ok(());
        }
        let entry = Entry {
            told: known.is_none().then_some((spool.as_slice(), event.number)),
            at: event.at.0,
            agent: agent.as_str(),
            incarnation: event.life.map(|life| life.ordinal.get()),
            kind: kind.as_str(),
            detail: &detail,
        };
        append(self.to, self.tip, &entry)
    }

    /// Whether the fact that stands under the number of this one is the same; `None`: none does.
    fn known(
        &self,
        agent: &AgentId,
        spool: &[u8; 16],
        event: &Event,
        detail: &str,
    ) -> rusqlite::Result<Option<bool>> {
        let number = i64::try_from(event.number).unwrap_or(i64::MAX);
        // A spool keeps times to the millisecond, and a stream to the nanosecond.
        let same =
            "SELECT at / 1000000 = ?4 / 1000000 AND kind = ?5 AND detail IN (?6, ?7) FROM events
                    WHERE agent = ?1 AND spool = ?2 AND number = ?3";
        let kind = event.what.kind().as_str();
        let older = as_before(&event.what).map(|what| json(&what));
        let older = older.as_deref().unwrap_or(detail);
        let row = (agent.as_str(), spool, number, event.at.0, kind, detail, older);
        self.to.prepare_cached(same)?.query_row(row, |row| row.get(0)).optional()
    }

    /// What of a fact stands in its row.
    fn listed<'a>(
        &self,
        agent: &AgentId,
        what: &'a Happening,
    ) -> rusqlite::Result<Cow<'a, Happening>> {
        let Happening::Evidence(bundle) = what else { return Ok(Cow::Borrowed(what)) };
        self.bundle(agent, bundle)?;
        Ok(Cow::Owned(Happening::Evidence(Bundle { sent: Vec::new(), ..bundle.clone() })))
    }

    /// Keeps a bundle that was sent beside its event; listings carry none.
    fn bundle(&self, agent: &AgentId, bundle: &Bundle) -> rusqlite::Result<()> {
        if bundle.sent.is_empty() {
            return Ok(());
        }
        let row = [text(agent.as_str()), text(&bundle.id), ValueRef::Blob(&bundle.sent)];
        EVIDENCE.put(self.to, &row)?;
        // Each is large: the oldest go at once.
        self.to
            .prepare_cached(
                "DELETE FROM evidence WHERE rowid <= (SELECT max(rowid) FROM evidence) - ?1",
            )?
            .execute([EVIDENCE_KEPT])
            .map(drop)
    }

    /// What the collector itself says.
    fn own(
        &mut self,
        agent: Option<&AgentId>,
        kind: EventKind,
        at: Wall,
        detail: &serde_json::Value,
    ) -> rusqlite::Result<()> {
        let entry = Entry {
            told: None,
            at: at.0,
            agent: agent.map_or("", AgentId::as_str),
            incarnation: None,
            kind: kind.as_str(),
            detail: &detail.to_string(),
        };
        append(self.to, self.tip, &entry)
    }

    fn command(
        &mut self,
        agent: &AgentId,
        command: &Command,
        at: Wall,
        expires: Option<Wall>,
    ) -> rusqlite::Result<()> {
        let said = json!({
            "command": command.id, "kind": command.kind, "reason": command.reason,
            "requested_by": command.requested_by.to_string(), "dry_run": command.dry_run,
        });
        self.own(Some(agent), EventKind::Command, at, &said)?;
        let id = command.id.as_bytes().as_slice();
        let known = "SELECT 1 FROM commands WHERE id = ?1";
        // An id that is there already belongs to the same request: who asked may ask again.
        if self.to.prepare_cached(known)?.exists([id])? {
            return Ok(());
        }
        let waits = expires.is_some();
        let outcome = if waits { ActionOutcome::Pending } else { ActionOutcome::Accepted };
        let (by, whole) = (command.requested_by.to_string(), json(command));
        COMMANDS.put(
            self.to,
            &[
                ValueRef::Blob(id),
                text(agent.as_str()),
                text(command.kind.as_str()),
                command
                    .life
                    .as_ref()
                    .map_or(ValueRef::Null, |life| ValueRef::Blob(life.as_bytes())),
                text(&by),
                text(&command.reason),
                ValueRef::Integer(at.0),
                text(outcome.as_str()),
                text(""),
                ValueRef::Null,
                text(&whole),
                time(expires),
            ],
        )
    }

    fn answer(
        &mut self,
        command: CommandId,
        agent: &AgentId,
        outcome: ActionOutcome,
        detail: &str,
        at: Wall,
    ) -> rusqlite::Result<()> {
        let said = json!({ "command": command, "outcome": outcome, "detail": detail });
        let id = command.as_bytes().as_slice();
        let same = "SELECT 1 FROM commands WHERE id = ?1 AND outcome = ?2";
        // An answer that comes again after a crash is the same answer.
        if !self.to.prepare_cached(same)?.exists((id, outcome.as_str()))? {
            self.own(Some(agent), EventKind::Answer, at, &said)?;
        }
        let changes = [
            ("outcome", Value::Text(outcome.as_str().to_owned())),
            ("detail", Value::Text(detail.to_owned())),
            ("ended", Value::Integer(at.0)),
        ];
        COMMANDS.amend(self.to, &id, &changes).map(drop)
    }
}

/// A fact as a collector of 0.1.0 stored it, which knew nothing of what came since: where it was
/// replaced before its ack arrived the same fact comes again.
fn as_before(what: &Happening) -> Option<Happening> {
    if let Happening::Outcome(outcome) = what {
        return Some(Happening::Outcome(Outcome { evidence: None, ..outcome.clone() }));
    }
    let Happening::Evidence(bundle) = what else { return None };
    let (command, sent) = (None, Vec::new());
    Some(Happening::Evidence(Bundle { command, sent, ..bundle.clone() }))
}

fn text(text: &str) -> ValueRef<'_> {
    ValueRef::Text(text.as_bytes())
}

fn time(at: Option<Wall>) -> ValueRef<'static> {
    at.map_or(ValueRef::Null, |at| ValueRef::Integer(at.0))
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("keys are strings, numbers are finite")
}
