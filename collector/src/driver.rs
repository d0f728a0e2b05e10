//! The owner task of the fleet: recv | deadline → engine → route.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use lubdub_engine::{
    ActRequest, Admitted, AgentIndex, AgentInput, Detached, Identity, Input, Refused,
};
use lubdub_shared::id::{AgentId, CommandId, SpoolId};
use lubdub_shared::incident::Incident;
use lubdub_shared::session::{FromSidecar, Hello, LOST_MAX, ToSidecar, Welcome};
use lubdub_shared::time::{self, Now};
use lubdub_shared::view::TransitionView;
use tokio::sync::{broadcast, mpsc, watch};
use tracing::{error, info};

use crate::config::{Config, Policies};
use crate::journal::Journal;
use crate::metrics::Counters;
use crate::record::Recorder;
use crate::route::Route;
use crate::store::{Contents, FromStore, Lost, Op, Queue, Then};
use crate::views::{Unknown, Views};
use crate::waiters::Acting;

mod engine;
mod health;
mod message;
mod policy;

use engine::Engine;
pub(crate) use message::{
    Asked, Forgetting, Forgot, NewPolicy, NotAdmitted, NotApplied, NotForgotten, ToDriver,
};
use policy::Coming;

/// Agents that one collector holds; beyond it a new one is refused, and says so.
const AGENTS_MAX: usize = 200_000;
/// How long a collector that ends waits for a store that is behind.
const LAST_WRITES_PATIENCE: Duration = Duration::from_secs(2);
/// Between reports of a healthy sidecar.
const INTERVAL: Duration = Duration::from_secs(5);

/// Owns the fleet.
#[derive(Debug)]
pub(crate) struct Driver {
    engine: Engine,
    policies: Policies,
    identity: Identity,
    rng: fastrand::Rng,
    inbox: mpsc::Receiver<ToDriver>,
    /// Dropped before `route`, whose store waits for its thread, which must not wait for us.
    from_store: mpsc::Receiver<FromStore>,
    route: Route,
    /// What ails the store.
    incident: Option<Incident>,
    /// Policies that wait for the disk, oldest first.
    coming: VecDeque<Coming>,
    /// Why the engine may not act, as it was last told.
    withheld: Option<String>,
    /// Everything that is known is being written again, from behind this agent.
    rewriting: Option<Option<AgentId>>,
    /// Acked events that were found missing at the start: asked for again.
    lost: Vec<Lost>,
}

/// The files that the driver writes through others.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) store: Box<dyn Queue>,
    /// What it tells of its writes.
    pub(crate) from_store: mpsc::Receiver<FromStore>,
    /// What was found in it.
    pub(crate) contents: Contents,
    /// Where the engine's inputs go, where they are wanted.
    pub(crate) recorder: Option<Recorder>,
}

impl Driver {
    pub(crate) fn new(
        config: Config,
        Opened { store, from_store, mut contents, recorder }: Opened,
        inbox: mpsc::Receiver<ToDriver>,
        transitions: broadcast::Sender<Arc<TransitionView>>,
        counters: Arc<Counters>,
    ) -> Self {
        let identity = identity(&contents, &config);
        let policies = Self::take_up_pushed(config.policies, contents.pushed.as_ref());
        let mut rng = fastrand::Rng::new();
        let begin = (rng.u64(..), time::now());
        let engine = Engine::new(identity, &mut contents, &policies, recorder, begin);
        info!(agents = engine.fleet.len(), epoch = identity.epoch, "store opened");
        Self {
            engine,
            policies,
            identity,
            rng,
            inbox,
            from_store,
            route: Route::new(Journal::new(store), transitions, counters),
            incident: None,
            coming: VecDeque::new(),
            withheld: None,
            rewriting: None,
            lost: contents.lost,
        }
    }

    /// What readers see.
    pub(crate) fn views(&self) -> Views {
        self.engine.views()
    }

    /// Runs until it is told to stop, or the store fails.
    pub(crate) async fn run(mut self, shutdown: &mut watch::Receiver<bool>) -> anyhow::Result<()> {
        loop {
            let wake = time::instant_at(self.engine.fleet.next_deadline());
            tokio::select! {
                biased;
                stop = shutdown.wait_for(|stop| *stop) => {
                    drop(stop);
                    break;
                }
                told = self.from_store.recv() => match told {
                    Some(FromStore::Broken(why)) => bail!("the store failed: {why}"),
                    Some(told) => self.hear_store(told, time::now()),
                    None => bail!("the store's thread is gone"),
                },
                message = self.inbox.recv() => match message {
                    Some(message) => self.apply(message, time::now()),
                    None => break,
                },
                () = tokio::time::sleep_until(wake.into()) => {}
            }
            let now = time::now();
            if self.engine.fleet.next_deadline() <= now.mono {
                self.engine.applied(Input::Tick, now);
            }
            self.flush(now);
        }
        self.route.streams.drain("the collector stops");
        self.write_what_waits().await;
        Ok(())
    }

    /// What waits for a full queue is handed over, as far as the store takes it.
    async fn write_what_waits(&mut self) {
        let patience = time::now().mono.after(LAST_WRITES_PATIENCE);
        while self.route.journal.waiting() > 0 && time::now().mono < patience {
            tokio::time::sleep(Duration::from_millis(10)).await;
            self.route.journal.catch_up();
        }
    }

    /// Everything that one event led to goes out, and to the store as one.
    fn flush(&mut self, now: Now) {
        self.engine.run_effects(&mut self.route, now);
        self.route.journal.commit();
        self.set_authority(self.route.journal.behind(), now);
        self.engine.publish(&self.route, self.incident.as_ref());
    }

    fn apply(&mut self, message: ToDriver, now: Now) {
        match message {
            ToDriver::Hello { session, hello, outbound, reply } => {
                let agent = self.attach(session, *hello, outbound, now);
                // The stream may be gone already: its end comes as Lost.
                let (Ok(()) | Err(_)) = reply.send(agent);
            }
            ToDriver::Message { session, agent, message } => {
                if self.route.streams.is_current(agent, session) {
                    self.hear(session, agent, message, now);
                }
            }
            ToDriver::Lost { session, agent } => {
                if self.route.streams.is_current(agent, session) {
                    self.route.streams.close(agent);
                    self.engine.feed(agent, AgentInput::Detached(Detached::Lost), now);
                }
            }
            ToDriver::Forget { agent, asked, reply } => {
                let forgot = self.find(&agent).map(|index| self.forget(index, &asked, now));
                let (Ok(()) | Err(_)) = reply.send(forgot);
            }
            ToDriver::Ping { reply } => {
                let (Ok(()) | Err(())) = reply.send(());
            }
            ToDriver::Policy { new, reply } => self.set_policies(new, reply, now),
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
    ) -> Result<AgentIndex, NotAdmitted> {
        if self.engine.fleet.len() >= AGENTS_MAX && self.engine.fleet.find(&hello.agent).is_none() {
            error!(agent = %hello.agent, "refused: there are {AGENTS_MAX} agents already");
            return Err(NotAdmitted::Full);
        }
        let policy = self.policies.of(&hello.agent, &hello.labels);
        let (name, spool) = (hello.agent.clone(), hello.spool);
        let input = Input::Hello { session, hello: Box::new(hello), policy: policy.clone() };
        let admitted = match self.engine.apply(input, now) {
            Ok(admitted) => admitted.expect("a Hello is answered"),
            Err(Refused::Behind { seen }) => {
                self.catch_up_with(seen, now);
                return Err(NotAdmitted::Behind);
            }
            Err(Refused::OtherInstance | Refused::StillConnected) => {
                info!(agent = %name, session, "refused: another sidecar instance is heard");
                return Err(NotAdmitted::OtherInstance);
            }
        };
        info!(agent = %name, session, "attached");
        let Admitted { agent, interval, pending, spool: mut seen } = admitted;
        seen.lost = self.take_lost(&name, spool);
        let welcome = ToSidecar::Welcome(Box::new(Welcome {
            session,
            store: self.identity.store,
            epoch: self.identity.epoch,
            interval,
            policy_mark: policy.version(),
            policy: (*policy).clone(),
            // What was applied here may not be on disk yet: the sidecar sends what was not acked
            // again, and it is applied and written once.
            acked: 0,
            degraded: self.engine.fleet.surroundings().degraded(now.mono).unwrap_or_default(),
            pending,
            spool: Some(seen),
        }));
        self.route.streams.open(agent, session, outbound, welcome);
        Ok(agent)
    }

    fn hear(&mut self, session: u64, agent: AgentIndex, message: FromSidecar, now: Now) {
        match message {
            // The session refuses a second one.
            FromSidecar::Hello(_) => {}
            FromSidecar::Report(report) => self.engine.feed(agent, AgentInput::Report(report), now),
            FromSidecar::Events { spool, events } => {
                for event in &events {
                    self.engine.feed(agent, AgentInput::Event(spool, Box::new(event.clone())), now);
                }
                // As one with what they led to: a replay after a crash finds all of it, or none.
                self.engine.run_effects(&mut self.route, now);
                let Some(number) = events.last().map(|event| event.number) else { return };
                let id = self.engine.fleet.agent(agent).who.id.clone();
                let ack = Then::Ack { agent, session, spool, number };
                self.route.journal.write_then(Op::Events { agent: id, spool, events }, ack);
            }
            FromSidecar::Goodbye { reason, back_within } => {
                self.route.streams.close(agent);
                let how = Detached::Goodbye { reason, back_within };
                self.engine.feed(agent, AgentInput::Detached(how), now);
            }
            FromSidecar::Other => {}
        }
    }

    /// Acked events of a spool that were found missing at the start.
    /// They are asked for once in a run of the collector: who has them sends them at once.
    fn take_lost(&mut self, agent: &AgentId, spool: SpoolId) -> Vec<RangeInclusive<u64>> {
        let own = |lost: &mut Lost| lost.agent == *agent && lost.spool == spool;
        let taken = self.lost.extract_if(.., own).take(LOST_MAX);
        taken.map(|lost| lost.first..=lost.last).collect()
    }

    /// Takes away, or gives back, the right to act; told when it changes.
    fn set_authority(&mut self, withheld: Option<String>, now: Now) {
        if self.withheld != withheld {
            self.withheld.clone_from(&withheld);
            self.engine.applied(Input::Authority(withheld), now);
        }
    }

    fn ask(&mut self, index: AgentIndex, asked: Asked, now: Now) -> Acting {
        let Asked { kind, reason, requested_by, command, dry_run, expires } = asked;
        let command = command.unwrap_or_else(|| CommandId::ordered(now.wall, &mut self.rng));
        let Some(waiting) = self.route.waiters.wait_for(command) else {
            return Acting::ended(command, "as many people as may wait for outcomes do already");
        };
        if let Some(why) = self.route.journal.behind() {
            let why = format!("{why}; nothing could be recorded, so nothing is done");
            return Acting::ended(command, &why);
        }
        let progress = waiting;
        let request = ActRequest { command, kind, reason, requested_by, dry_run, expires };
        self.engine.feed(index, AgentInput::Asked(request), now);
        Acting { command, progress }
    }

    /// Readers have found the agent before they ask for anything; it may be gone since.
    fn find(&self, agent: &AgentId) -> Result<AgentIndex, Unknown> {
        let gone = || Unknown { agent: agent.to_string(), near: Vec::new() };
        self.engine.fleet.find(agent).ok_or_else(gone)
    }
}

/// Whose commands the engine decides on.
pub(crate) fn identity(contents: &Contents, config: &Config) -> Identity {
    Identity {
        store: contents.id,
        epoch: contents.epoch,
        interval: INTERVAL,
        reports_per_second: config.reports_per_second,
    }
}

#[cfg(test)]
mod tests;
