//! The one match on `Effect`: each goes where it belongs, and none is waited for.

use std::sync::Arc;

use lubdub_engine::{AgentIndex, Effect, Fleet};
use lubdub_shared::command::Command;
use lubdub_shared::id::AgentId;
use lubdub_shared::incident::{Incident, Transition};
use lubdub_shared::time::{Mono, Now};
use lubdub_shared::view::TransitionView;
use tokio::sync::broadcast;
use tracing::{info, warn};

use crate::journal::Journal;
use crate::metrics::Counters;
use crate::store::{Op, Then};
use crate::streams::Streams;
use crate::waiters::{Acted, Waiters};

/// Hands effects on.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) journal: Journal,
    pub(crate) streams: Streams,
    pub(crate) waiters: Waiters,
    transitions: broadcast::Sender<Arc<TransitionView>>,
    counters: Arc<Counters>,
}

impl Route {
    pub(crate) fn new(
        journal: Journal,
        transitions: broadcast::Sender<Arc<TransitionView>>,
        counters: Arc<Counters>,
    ) -> Self {
        let (streams, waiters) = (Streams::default(), Waiters::default());
        Self { journal, streams, waiters, transitions, counters }
    }

    /// Does one effect.
    pub(crate) fn run(&mut self, fleet: &Fleet, index: AgentIndex, effect: Effect, now: Now) {
        let id = fleet.agent(index).who.id.clone();
        match effect {
            Effect::Send(command) => {
                info!(agent = %id, kind = %command.kind, by = %command.requested_by,
                    reason = command.reason, "command");
                let (at, sent) = (now.wall, command.clone());
                let op = Op::Command { agent: id, command, at, expires: None };
                self.journal.write_then(op, Then::Send(index, sent, now.mono));
            }
            Effect::Defer(command, expires) => {
                info!(agent = %id, kind = %command.kind, by = %command.requested_by,
                    reason = command.reason, %expires, "command waits for its sidecar");
                let waiting = Then::Waiting(command.id);
                let (at, expires) = (now.wall, Some(expires));
                self.journal.write_then(Op::Command { agent: id, command, at, expires }, waiting);
            }
            Effect::Note(text) => {
                warn!(agent = %id, "{text}");
                self.journal.write(Op::Note(Some(id), text, now.wall));
            }
            Effect::Policy(policy) => {
                info!(agent = %id, policy = policy.name, "another policy");
                self.streams.send_policy(index, &policy);
            }
            Effect::Forget => {
                info!(agent = %id, "forgotten");
                self.journal.write_then(Op::Forget(id), Then::Forgotten(index));
            }
            Effect::Transition(transition) => self.tell_all(id, transition, now),
            Effect::Incident(incident) => self.incident(id, incident),
            Effect::Remember(record) => self.journal.write(Op::Agent(record)),
            Effect::Restarted { cause, origin } => self.counters.restarted(cause, origin),
            Effect::Answered { command, of, outcome, detail, full } => {
                info!(agent = %id, %command, %outcome, detail, "answered");
                self.waiters.end(command, outcome, &detail, full);
                if let Some((kind, origin)) = of {
                    self.counters.answered(kind, origin, outcome);
                }
                self.journal.write(Op::Answer {
                    command,
                    agent: id,
                    outcome,
                    detail,
                    at: now.wall,
                });
            }
            Effect::WouldHave { kind, cause, reason } => {
                info!(agent = %id, %kind, %cause, reason, "shadow: would have acted");
                self.journal.write(Op::WouldHave { agent: id, kind, cause, reason, at: now.wall });
            }
        }
    }

    fn incident(&mut self, agent: AgentId, incident: Box<Incident>) {
        let (cause, level) = (incident.cause, incident.level);
        if incident.resolved.is_some() {
            info!(%agent, incident = %incident.id, %cause, "incident resolved");
        } else {
            let (id, summary) = (incident.id, &incident.summary);
            warn!(%agent, incident = %id, %cause, %level, "incident: {summary}");
        }
        self.journal.write(Op::Incident(Some(agent), incident));
    }

    /// A change of status, for the record and for whoever watches.
    fn tell_all(&mut self, agent: AgentId, transition: Transition, now: Now) {
        self.counters.changed(transition.to);
        info!(%agent, "{transition}");
        let Transition { from, to, lifecycle, cause, why } = transition;
        let view = TransitionView { at: now.wall, agent, from, to, lifecycle, cause, why };
        self.journal.write(Op::Transition(view.clone()));
        // Nobody may be listening.
        let (Ok(_) | Err(_)) = self.transitions.send(Arc::new(view));
    }

    /// A command that is on disk goes down; when it was decided.
    pub(crate) fn send(
        &mut self,
        index: AgentIndex,
        mut command: Box<Command>,
        decided: Mono,
        now: Mono,
    ) {
        let id = command.id;
        command.age = now.since(decided);
        self.waiters.tell(id, Acted::Accepted);
        if command.age > command.ttl {
            return warn!(command = %id, "not sent: it was too old when it was on disk");
        }
        if !self.streams.send(index, command) {
            warn!(command = %id, "not sent: the stream is gone or full; it will expire");
        }
    }
}
