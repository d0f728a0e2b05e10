//! The owner task of the fleet: recv | deadline → engine → dispatch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use lubdub_engine::{AgentIndex, Attached, Detached, Effect, Event, Fleet, Identity, Request};
use lubdub_shared::command::{CommandKind, Outcome};
use lubdub_shared::id::{AgentId, CommandId};
use lubdub_shared::incident::ActionOutcome;
use lubdub_shared::session::{FromSidecar, Hello, ToSidecar, Welcome};
use lubdub_shared::time::{self, Now};
use lubdub_shared::view::{AgentView, CollectorView, Explanation, TransitionView};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tracing::info;

use crate::config::Policies;
use crate::dispatch::Dispatch;
use crate::snapshot;
use crate::store::{Contents, Durable, Op, Store};

/// Between reports of a healthy sidecar.
const INTERVAL: Duration = Duration::from_secs(5);
/// When sidecars should come back to a collector that leaves.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the driver is told.
#[derive(Debug)]
pub(crate) enum ToDriver {
    /// A stream begins. The reply is its agent, or nothing when it is refused.
    Hello {
        session: u64,
        hello: Box<Hello>,
        outbound: mpsc::Sender<ToSidecar>,
        reply: oneshot::Sender<Option<AgentIndex>>,
    },
    /// A message of a stream that stands.
    Message { session: u64, agent: AgentIndex, message: FromSidecar },
    /// A stream ended without a word.
    Lost { session: u64, agent: AgentIndex },
    /// A page of agents.
    List { after: Option<AgentId>, only: Option<AgentId>, reply: oneshot::Sender<Listed> },
    /// One agent, explained.
    Explain { agent: AgentId, reply: oneshot::Sender<Result<Explanation, Unknown>> },
    /// A person asks for an act.
    Act { agent: AgentId, asked: Asked, reply: oneshot::Sender<Result<Acting, Unknown>> },
}

/// What a person asks for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) kind: CommandKind,
    pub(crate) reason: String,
    pub(crate) requested_by: String,
}

/// A page of agents.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) collector: CollectorView,
    pub(crate) agents: Result<Vec<AgentView>, Unknown>,
    pub(crate) more: bool,
}

/// There is no such agent; the nearest ids.
#[derive(Debug, Clone)]
pub(crate) struct Unknown {
    pub(crate) agent: String,
    pub(crate) near: Vec<String>,
}

/// An act under way: first that it is written down, then how it ended.
#[derive(Debug)]
pub(crate) struct Acting {
    pub(crate) command: CommandId,
    pub(crate) progress: mpsc::Receiver<Acted>,
}

/// How far an act got.
#[derive(Debug)]
pub(crate) enum Acted {
    Accepted,
    Ended { outcome: ActionOutcome, detail: String, full: Option<Box<Outcome>> },
}

/// Owns the fleet.
#[derive(Debug)]
pub(crate) struct Driver {
    fleet: Fleet,
    policies: Policies,
    identity: Identity,
    started: Now,
    rng: fastrand::Rng,
    inbox: mpsc::Receiver<ToDriver>,
    /// Dropped before `dispatch`, whose store waits for its thread, which must not wait for us.
    durable: mpsc::Receiver<Durable>,
    dispatch: Dispatch,
    effects: Vec<(AgentIndex, Effect)>,
}

impl Driver {
    pub(crate) fn new(
        policies: Policies,
        store: Store,
        contents: Contents,
        inbox: mpsc::Receiver<ToDriver>,
        durable: mpsc::Receiver<Durable>,
        transitions: broadcast::Sender<Arc<TransitionView>>,
    ) -> Self {
        let now = time::now();
        let identity = Identity { store: contents.id, epoch: contents.epoch, interval: INTERVAL };
        let mut rng = fastrand::Rng::new();
        let mut fleet = Fleet::new(identity, rng.u64(..), now.mono);
        let mut incidents: BTreeMap<AgentId, Vec<_>> = BTreeMap::new();
        for (agent, incident) in contents.incidents {
            incidents.entry(agent).or_default().push(incident);
        }
        for record in contents.agents {
            let policy = policies.of(&record.id, &record.labels);
            let own = incidents.remove(&record.id).unwrap_or_default();
            fleet.restore(record, policy, own, now);
        }
        info!(agents = fleet.len(), epoch = identity.epoch, "store opened");
        let dispatch = Dispatch::new(store, transitions);
        Self {
            fleet,
            policies,
            identity,
            started: now,
            rng,
            dispatch,
            inbox,
            durable,
            effects: Vec::new(),
        }
    }

    /// Runs until it is told to stop, or the store fails.
    pub(crate) async fn run(mut self, shutdown: &mut watch::Receiver<bool>) -> anyhow::Result<()> {
        loop {
            let wake = time::instant_at(self.fleet.next_deadline());
            tokio::select! {
                biased;
                stop = shutdown.wait_for(|stop| *stop) => {
                    drop(stop);
                    break;
                }
                durable = self.durable.recv() => match durable {
                    Some(Durable::Broken(why)) => bail!("the store failed: {why}"),
                    Some(durable) => self.dispatch.durable(durable, time::now().mono),
                    None => bail!("the store's thread is gone"),
                },
                message = self.inbox.recv() => match message {
                    Some(message) => self.apply(message, time::now()),
                    None => break,
                },
                () = tokio::time::sleep_until(wake.into()) => {}
            }
            let now = time::now();
            if self.fleet.next_deadline() <= now.mono {
                self.fleet.tick(now, &mut self.effects);
            }
            self.flush(now);
        }
        self.dispatch.say_to_all(&ToSidecar::GoAway {
            reason: "the collector stops".to_owned(),
            retry_after: RETRY_AFTER,
        });
        Ok(())
    }

    fn flush(&mut self, now: Now) {
        for (index, effect) in self.effects.drain(..) {
            self.dispatch.run(&self.fleet, index, effect, now);
        }
        self.fleet.set_authority(self.dispatch.backlog());
    }

    fn apply(&mut self, message: ToDriver, now: Now) {
        match message {
            ToDriver::Hello { session, hello, outbound, reply } => {
                let agent = self.attach(session, *hello, outbound, now);
                // The stream may be gone already: its end comes as Lost.
                let (Ok(()) | Err(_)) = reply.send(agent);
            }
            ToDriver::Message { session, agent, message } => {
                if self.dispatch.is_current(agent, session) {
                    self.hear(session, agent, message, now);
                }
            }
            ToDriver::Lost { session, agent } => {
                if self.dispatch.is_current(agent, session) {
                    self.dispatch.close(agent);
                    self.feed(agent, Event::Detached(Detached::Lost), now);
                }
            }
            ToDriver::List { after, only, reply } => {
                let (Ok(()) | Err(_)) = reply.send(self.list(after.as_ref(), only.as_ref(), now));
            }
            ToDriver::Explain { agent, reply } => {
                let explanation = self
                    .find(&agent)
                    .map(|index| snapshot::explanation(self.fleet.agent(index), now));
                let (Ok(()) | Err(_)) = reply.send(explanation);
            }
            ToDriver::Act { agent, asked, reply } => {
                let acting = self.find(&agent).map(|index| self.ask(index, asked, now));
                let (Ok(()) | Err(_)) = reply.send(acting);
            }
        }
    }

    fn attach(
        &mut self,
        session: u64,
        hello: Hello,
        outbound: mpsc::Sender<ToSidecar>,
        now: Now,
    ) -> Option<AgentIndex> {
        let policy = self.policies.of(&hello.agent, &hello.labels);
        let name = hello.agent.clone();
        let resolved = (*policy).clone();
        let attached = self.fleet.attach(hello, policy, session, now, &mut self.effects);
        let Attached::As { agent } = attached else {
            info!(agent = %name, session, "refused: another sidecar instance is heard");
            return None;
        };
        info!(agent = %name, session, "attached");
        let welcome = ToSidecar::Welcome(Box::new(Welcome {
            session,
            store: self.identity.store,
            epoch: self.identity.epoch,
            interval: self.identity.interval,
            policy: resolved,
            // What was applied here may not be on disk yet: the sidecar sends what was not acked
            // again, and it is applied and written once.
            acked: 0,
            degraded: self.fleet.degraded(now.mono).unwrap_or_default(),
        }));
        self.dispatch.open(agent, session, outbound, welcome);
        Some(agent)
    }

    fn hear(&mut self, session: u64, agent: AgentIndex, message: FromSidecar, now: Now) {
        match message {
            // The session refuses a second one.
            FromSidecar::Hello(_) => {}
            FromSidecar::Report(report) => self.feed(agent, Event::Report(report), now),
            FromSidecar::Events { spool, events } => {
                for event in &events {
                    self.feed(agent, Event::Happened(Box::new(event.clone())), now);
                }
                // Effects first: what the events led to is written before they are acked.
                self.flush(now);
                let id = self.fleet.agent(agent).id.clone();
                self.dispatch.write(Op::Events { agent: id, session, spool, events });
            }
            FromSidecar::Goodbye { reason, back_within } => {
                self.dispatch.close(agent);
                let how = Detached::Goodbye { reason, back_within };
                self.feed(agent, Event::Detached(how), now);
            }
        }
    }

    fn feed(&mut self, agent: AgentIndex, event: Event, now: Now) {
        self.fleet.handle(agent, event, now, &mut self.effects);
    }

    fn ask(&mut self, index: AgentIndex, asked: Asked, now: Now) -> Acting {
        let command = CommandId::ordered(now.wall, &mut self.rng);
        let progress = self.dispatch.wait_for(command);
        let Asked { kind, reason, requested_by } = asked;
        let request = Request { command, kind, reason, requested_by };
        self.feed(index, Event::Asked(request), now);
        Acting { command, progress }
    }

    fn list(&self, after: Option<&AgentId>, only: Option<&AgentId>, now: Now) -> Listed {
        let view = |index| snapshot::agent_view(self.fleet.agent(index), now);
        let (agents, more) = match only {
            Some(agent) => (self.find(agent).map(|index| vec![view(index)]), false),
            None => {
                let mut ids = self.fleet.ids_after(after);
                let page = ids.by_ref().take(lubdub_shared::view::PAGE_LEN_MAX);
                (Ok(page.map(|(_, index)| view(index)).collect()), ids.next().is_some())
            }
        };
        let collector = CollectorView {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.started.wall,
            degraded: self.fleet.degraded(now.mono).unwrap_or_default(),
        };
        Listed { collector, agents, more }
    }

    fn find(&self, agent: &AgentId) -> Result<AgentIndex, Unknown> {
        self.fleet.find(agent).ok_or_else(|| {
            let known = self.fleet.ids_after(None).map(|(id, _)| id.as_str());
            let near = lubdub_shared::names::nearest(agent.as_str(), known);
            Unknown {
                agent: agent.to_string(),
                near: near.into_iter().map(str::to_owned).collect(),
            }
        })
    }
}
