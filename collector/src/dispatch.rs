//! The one match on `Effect`: each goes where it belongs, and none is waited for.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use lubdub_engine::{AgentIndex, Effect, Fleet};
use lubdub_shared::command::Command;
use lubdub_shared::id::CommandId;
use lubdub_shared::session::ToSidecar;
use lubdub_shared::time::{Mono, Now};
use lubdub_shared::view::TransitionView;
use tokio::sync::{broadcast, mpsc};
use tracing::{error, info, warn};

use crate::driver::Acted;
use crate::store::{Durable, Op, Store};

/// Writes that wait while the store's queue is full. Beyond it the oldest is lost, and said so.
const BACKLOG_MAX: usize = 65_536;
/// People who may wait for outcomes at one time; the next is answered at once.
const WAITERS_MAX: usize = 4096;

/// Hands effects on.
#[derive(Debug)]
pub(crate) struct Dispatch {
    store: Store,
    backlog: VecDeque<Op>,
    sessions: HashMap<AgentIndex, Stream>,
    waiters: HashMap<CommandId, mpsc::Sender<Acted>>,
    transitions: broadcast::Sender<Arc<TransitionView>>,
}

#[derive(Debug)]
struct Stream {
    session: u64,
    outbound: mpsc::Sender<ToSidecar>,
}

impl Dispatch {
    pub(crate) fn new(store: Store, transitions: broadcast::Sender<Arc<TransitionView>>) -> Self {
        Self {
            store,
            backlog: VecDeque::new(),
            sessions: HashMap::new(),
            waiters: HashMap::new(),
            transitions,
        }
    }

    /// Does one effect.
    pub(crate) fn run(&mut self, fleet: &Fleet, index: AgentIndex, effect: Effect, now: Now) {
        let id = fleet.agent(index).id.clone();
        match effect {
            Effect::Send(command) => {
                info!(agent = %id, kind = %command.kind, by = %command.requested_by,
                    reason = command.reason, "command");
                let (at, decided) = (now.wall, now.mono);
                self.write(Op::Command { agent: id, index, command, at, decided });
            }
            Effect::Transition(transition) => {
                info!(agent = %id, "{transition}");
                let view = TransitionView {
                    at: now.wall,
                    agent: id,
                    from: transition.from,
                    to: transition.to,
                    lifecycle: transition.lifecycle,
                    why: transition.why,
                };
                self.write(Op::Transition(view.clone()));
                // Nobody may be listening.
                let (Ok(_) | Err(_)) = self.transitions.send(Arc::new(view));
            }
            Effect::Incident(incident) => {
                let (cause, level) = (incident.cause, incident.level);
                if incident.resolved.is_some() {
                    info!(agent = %id, incident = %incident.id, %cause, "incident resolved");
                } else {
                    warn!(agent = %id, incident = %incident.id, %cause, %level, "incident: {}",
                        incident.summary);
                }
                self.write(Op::Incident(id, incident));
            }
            Effect::Remember(record) => self.write(Op::Agent(record)),
            Effect::Answered { command, outcome, detail, full } => {
                info!(agent = %id, %command, %outcome, detail, "answered");
                if let Some(waiter) = self.waiters.remove(&command) {
                    let detail = detail.clone();
                    // Whoever asked may have gone.
                    let ended = Acted::Ended { outcome, detail, full };
                    let (Ok(()) | Err(_)) = waiter.try_send(ended);
                }
                self.write(Op::Answer { command, outcome, detail, at: now.wall });
            }
            Effect::WouldHave { kind, reason } => {
                info!(agent = %id, %kind, reason, "shadow: would have acted");
            }
        }
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
            // The driver stops on this one.
            Durable::Broken(why) => error!(why, "the store failed"),
        }
        self.catch_up();
    }

    fn send(&mut self, index: AgentIndex, command: Box<Command>) {
        if let Some(waiter) = self.waiters.get(&command.id) {
            let (Ok(()) | Err(_)) = waiter.try_send(Acted::Accepted);
        }
        let id = command.id;
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

    /// Queues a write; while the store is behind it waits here, in order.
    pub(crate) fn write(&mut self, op: Op) {
        self.catch_up();
        let refused = if self.backlog.is_empty() { self.store.queue(op).err() } else { Some(op) };
        if let Some(op) = refused {
            if self.backlog.len() == BACKLOG_MAX {
                error!("the store is too far behind: a write is lost");
                self.backlog.pop_front();
            }
            self.backlog.push_back(op);
        }
    }

    fn catch_up(&mut self) {
        while let Some(op) = self.backlog.pop_front() {
            if let Err(op) = self.store.queue(op) {
                return self.backlog.push_front(op);
            }
        }
    }

    /// Why nothing may be acted on now: what is decided could not be written down.
    pub(crate) fn backlog(&self) -> Option<String> {
        let waiting = self.backlog.len();
        (waiting > 0).then(|| format!("the store is behind by {waiting} writes"))
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

    pub(crate) fn say_to_all(&self, message: &ToSidecar) {
        for stream in self.sessions.values() {
            let (Ok(()) | Err(_)) = stream.outbound.try_send(message.clone());
        }
    }

    /// Somebody waits for a command.
    pub(crate) fn wait_for(&mut self, command: CommandId) -> mpsc::Receiver<Acted> {
        let (sender, receiver) = mpsc::channel(2);
        self.waiters.retain(|_, waiter| !waiter.is_closed());
        if self.waiters.len() < WAITERS_MAX {
            self.waiters.insert(command, sender);
        }
        receiver
    }
}
