//! The one match on `Effect`: each goes where it belongs, and none is waited for.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use lubdub_engine::{AgentIndex, Effect, Fleet};
use lubdub_shared::command::Command;
use lubdub_shared::id::AgentId;
use lubdub_shared::incident::Transition;
use lubdub_shared::policy::VersionedPolicy;
use lubdub_shared::session::ToSidecar;
use lubdub_shared::time::{Mono, Now};
use lubdub_shared::view::TransitionView;
use tokio::sync::{broadcast, mpsc};
use tracing::{error, info, warn};

use crate::metrics::Counters;
use crate::store::{Durable, Op, Store};
use crate::waiters::{Acted, Waiters};

/// Writes that wait while the store's queue is full. Beyond it the oldest is lost, and said so.
const BACKLOG_MAX: usize = 65_536;
/// When the first sidecar should come back to a collector that leaves.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// And how many in each second after that: a handshake costs a third of a millisecond.
const RETURNS_PER_SECOND: u32 = 500;

/// Hands effects on.
#[derive(Debug)]
pub(crate) struct Dispatch {
    store: Store,
    /// What one event led to so far.
    together: Vec<Op>,
    backlog: VecDeque<Op>,
    sessions: HashMap<AgentIndex, Stream>,
    pub(crate) waiters: Waiters,
    transitions: broadcast::Sender<Arc<TransitionView>>,
    counters: Arc<Counters>,
    /// Why the store takes nothing now.
    sick: Option<String>,
    /// A write was dropped.
    lost: bool,
}

#[derive(Debug)]
struct Stream {
    session: u64,
    outbound: mpsc::Sender<ToSidecar>,
}

impl Dispatch {
    pub(crate) fn new(
        store: Store,
        transitions: broadcast::Sender<Arc<TransitionView>>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            store,
            together: Vec::new(),
            backlog: VecDeque::new(),
            sessions: HashMap::new(),
            waiters: Waiters::default(),
            transitions,
            counters,
            sick: None,
            lost: false,
        }
    }

    /// Does one effect.
    pub(crate) fn run(&mut self, fleet: &Fleet, index: AgentIndex, effect: Effect, now: Now) {
        let id = fleet.agent(index).who.id.clone();
        match effect {
            Effect::Send(command) => {
                info!(agent = %id, kind = %command.kind, by = %command.requested_by,
                    reason = command.reason, "command");
                let (at, decided) = (now.wall, now.mono);
                self.write(Op::Command { agent: id, index, command, at, decided, expires: None });
            }
            Effect::Defer(command, expires) => {
                info!(agent = %id, kind = %command.kind, by = %command.requested_by,
                    reason = command.reason, %expires, "command waits for its sidecar");
                let (at, decided, expires) = (now.wall, now.mono, Some(expires));
                self.write(Op::Command { agent: id, index, command, at, decided, expires });
            }
            Effect::Note(text) => {
                warn!(agent = %id, "{text}");
                self.write(Op::Note(Some(id), text, now.wall));
            }
            Effect::Policy(policy) => {
                info!(agent = %id, policy = policy.name, "another policy");
                self.send_policy(index, &policy);
            }
            Effect::Forget => {
                info!(agent = %id, "forgotten");
                self.write(Op::Forget(id, index));
            }
            Effect::Transition(transition) => self.tell_all(id, transition, now),
            Effect::Incident(incident) => {
                let (cause, level) = (incident.cause, incident.level);
                if incident.resolved.is_some() {
                    info!(agent = %id, incident = %incident.id, %cause, "incident resolved");
                } else {
                    warn!(agent = %id, incident = %incident.id, %cause, %level, "incident: {}",
                        incident.summary);
                }
                self.write(Op::Incident(Some(id), incident));
            }
            Effect::Remember(record) => self.write(Op::Agent(record)),
            Effect::Restarted { cause, origin } => self.counters.restarted(cause, origin),
            Effect::Answered { command, of, outcome, detail, full } => {
                info!(agent = %id, %command, %outcome, detail, "answered");
                self.waiters.end(command, outcome, &detail, full);
                if let Some((kind, origin)) = of {
                    self.counters.answered(kind, origin, outcome);
                }
                self.write(Op::Answer { command, agent: id, outcome, detail, at: now.wall });
            }
            Effect::WouldHave { kind, cause, reason } => {
                info!(agent = %id, %kind, %cause, reason, "shadow: would have acted");
                self.write(Op::WouldHave { agent: id, kind, cause, reason, at: now.wall });
            }
        }
    }

    /// A change of status, for the record and for whoever watches.
    fn tell_all(&mut self, agent: AgentId, transition: Transition, now: Now) {
        self.counters.changed(transition.to);
        info!(%agent, "{transition}");
        let Transition { from, to, lifecycle, cause, why } = transition;
        let view = TransitionView { at: now.wall, agent, from, to, lifecycle, cause, why };
        self.write(Op::Transition(view.clone()));
        // Nobody may be listening.
        let (Ok(_) | Err(_)) = self.transitions.send(Arc::new(view));
    }

    /// A commit: what waited for it goes out.
    pub(crate) fn durable(&mut self, durable: Durable, now: Mono) {
        match durable {
            Durable::Events { session, spool, number } => {
                let stream = self.sessions.values().find(|stream| stream.session == session);
                if let Some(stream) = stream
                    && stream.outbound.try_send(ToSidecar::Ack { spool, number }).is_err()
                {
                    info!(session, "a slow stream got no ack; its events come again");
                }
            }
            Durable::Command(index, mut command, decided) => {
                command.age = now.since(decided);
                self.send(index, command);
            }
            Durable::Waiting(id) => self.waiters.tell(id, Acted::Pending),
            Durable::Sick(why) => self.sick = Some(why),
            Durable::Well => self.sick = None,
            // The driver's own.
            Durable::Policy | Durable::Epoch(_) | Durable::Forgotten(_) | Durable::Broken(_) => {}
        }
        self.catch_up();
    }

    /// A sidecar that does not hear of its policy would never be judged again: where its stream is
    /// full it ends, and the next one begins with the policy.
    fn send_policy(&mut self, index: AgentIndex, policy: &VersionedPolicy) {
        let Some(stream) = self.sessions.get(&index) else { return };
        let (policy, mark) = (Box::new((**policy).clone()), policy.version());
        if stream.outbound.try_send(ToSidecar::Policy { policy, mark }).is_err() {
            warn!(session = stream.session, "a full stream is ended: it must hear of its policy");
            self.sessions.remove(&index);
        }
    }

    fn send(&mut self, index: AgentIndex, command: Box<Command>) {
        let id = command.id;
        self.waiters.tell(id, Acted::Accepted);
        if command.age > command.ttl {
            return warn!(command = %id, "not sent: it was too old when it was on disk");
        }
        let sent = self
            .sessions
            .get(&index)
            .is_some_and(|stream| stream.outbound.try_send(ToSidecar::Command(command)).is_ok());
        if !sent {
            warn!(command = %id, "not sent: the stream is gone or full; it will expire");
        }
    }

    /// Adds a write to what goes to the store at the next [`Dispatch::commit`].
    pub(crate) fn write(&mut self, op: Op) {
        if self.sick.is_some() && matches!(op, Op::Events { .. }) {
            // Not acked, so its sidecar sends them again: no need to keep them here as well.
            return;
        }
        self.together.push(op);
    }

    /// Queues what was written since, to be stored whole or not at all. While the store is behind
    /// it waits here, in order.
    pub(crate) fn commit(&mut self) {
        if self.together.is_empty() {
            return;
        }
        let op = Op::Together(std::mem::take(&mut self.together));
        self.catch_up();
        let refused = if self.backlog.is_empty() { self.store.queue(op).err() } else { Some(op) };
        if let Some(op) = refused {
            if self.backlog.len() == BACKLOG_MAX {
                if !std::mem::replace(&mut self.lost, true) {
                    error!("the store is too far behind: writes are lost until it is not");
                }
                self.backlog.pop_front();
            }
            self.backlog.push_back(op);
        }
    }

    pub(crate) fn catch_up(&mut self) {
        while let Some(op) = self.backlog.pop_front() {
            if let Err(op) = self.store.queue(op) {
                return self.backlog.push_front(op);
            }
        }
    }

    /// Why nothing may be acted on now: what is decided could not be written down.
    pub(crate) fn behind(&self) -> Option<String> {
        if let Some(why) = &self.sick {
            return Some(format!("the store takes nothing: {why}"));
        }
        let waiting = self.backlog.len();
        (waiting > 0).then(|| format!("the store is behind by {waiting} writes"))
    }

    /// Writes were lost, and everything that waited is written: what the engine knows is to be
    /// written whole.
    pub(crate) fn take_lost(&mut self) -> bool {
        self.sick.is_none() && self.backlog.is_empty() && std::mem::take(&mut self.lost)
    }

    /// Operations that wait for the store.
    pub(crate) fn waiting(&self) -> usize {
        self.backlog.len()
    }

    /// Streams that stand.
    pub(crate) fn streams(&self) -> usize {
        self.sessions.len()
    }

    /// A stream begins; an older one of the same agent ends by that.
    pub(crate) fn open(
        &mut self,
        agent: AgentIndex,
        session: u64,
        outbound: mpsc::Sender<ToSidecar>,
        welcome: ToSidecar,
    ) {
        let (Ok(()) | Err(_)) = outbound.try_send(welcome);
        self.sessions.insert(agent, Stream { session, outbound });
    }

    pub(crate) fn close(&mut self, agent: AgentIndex) {
        self.sessions.remove(&agent);
    }

    /// The stream is the agent's newest: what an older one still says does not count.
    pub(crate) fn is_current(&self, agent: AgentIndex, session: u64) -> bool {
        self.sessions.get(&agent).is_some_and(|stream| stream.session == session)
    }

    /// The collector leaves: every sidecar is told, and when to come back, one after the other.
    pub(crate) fn drain(&self, reason: &str) {
        for (stream, number) in self.sessions.values().zip(0..) {
            let retry_after = RETRY_AFTER + Duration::from_secs(1) * number / RETURNS_PER_SECOND;
            let message = ToSidecar::GoAway { reason: reason.to_owned(), retry_after };
            let (Ok(()) | Err(_)) = stream.outbound.try_send(message);
        }
    }
}
