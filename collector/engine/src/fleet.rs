//! All agents, and the one place that applies an event to one of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lubdub_shared::id::{AgentId, CommandId, StoreId};
use lubdub_shared::incident::Incident;
use lubdub_shared::policy::Policy;
use lubdub_shared::session::Hello;
use lubdub_shared::status::Lifecycle;
use lubdub_shared::time::{Mono, Now};

use crate::agent::{Agent, AgentRecord, InFlight, Link, Standing, left};
use crate::deadlines::Deadlines;
use crate::detect::View;
use crate::{Effect, Event};

mod judge;
mod outcome;

use judge::Judge;

/// The engine looks at its own clock at least this often, so that it knows when it was away.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A longer absence of the engine itself makes it doubt what it did not hear (Cassandra's local
/// pause guard).
const AWAY_MAX: Duration = Duration::from_secs(5);

/// How long it doubts then, and after a start on a store that knows agents.
const WARM_UP: Duration = Duration::from_secs(60);

/// Dense number of an agent, given when it first attaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentIndex(u32);

/// Whose commands these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The store that decides.
    pub store: StoreId,
    /// Of this start of the collector.
    pub epoch: u64,
    /// Between reports of a healthy sidecar.
    pub interval: Duration,
}

/// The answer to a Hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attached {
    /// Welcome.
    As {
        /// Whose stream it is.
        agent: AgentIndex,
    },
    /// Another sidecar instance is heard for this agent.
    OtherInstance,
}

/// The one automatic act that may be under way. It is over when the tree has ended, when the
/// command was answered, or when neither was heard in time.
#[derive(Debug, Clone, Copy)]
struct Slot {
    agent: AgentIndex,
    command: CommandId,
    due: Mono,
}

/// All agents.
#[derive(Debug)]
pub struct Fleet {
    identity: Identity,
    agents: Vec<Agent>,
    index: BTreeMap<AgentId, AgentIndex>,
    deadlines: Deadlines,
    rng: fastrand::Rng,
    /// The automatic act under way: one at a time.
    slot: Option<Slot>,
    looked: Mono,
    warm_at: Mono,
    /// Why it may not act, said from outside (the store is behind).
    no_authority: Option<String>,
}

impl Fleet {
    /// An empty fleet. `seed` feeds the ids of commands and incidents.
    pub fn new(identity: Identity, seed: u64, now: Mono) -> Self {
        Self {
            identity,
            agents: Vec::new(),
            index: BTreeMap::new(),
            deadlines: Deadlines::default(),
            rng: fastrand::Rng::with_seed(seed),
            slot: None,
            looked: now,
            warm_at: now,
            no_authority: None,
        }
    }

    /// Takes up an agent that the store knows. The engine is warming up then: whoever does not
    /// come back is not missed before.
    pub fn restore(
        &mut self,
        record: AgentRecord,
        policy: Arc<Policy>,
        incidents: Vec<Incident>,
        now: Now,
    ) {
        self.warm_at = self.looked.after(WARM_UP);
        let index = self.intern(record, policy, now.mono);
        let agent = self.agent_mut(index);
        agent.incidents = incidents;
        agent.treating = outcome::treating_of(agent, now);
        self.arm(index, now.mono);
    }

    /// A stream begins.
    pub fn attach(
        &mut self,
        hello: Hello,
        policy: Arc<Policy>,
        session: u64,
        now: Now,
        out: &mut Vec<(AgentIndex, Effect)>,
    ) -> Attached {
        self.look(now.mono);
        let index = self.index.get(&hello.agent).copied().unwrap_or_else(|| {
            let record = AgentRecord {
                id: hello.agent.clone(),
                host: String::new(),
                labels: BTreeMap::new(),
                life: None,
                started: None,
                lifecycle: Lifecycle::Starting,
                shown: hello.shown,
                left: false,
                applied: None,
                held: None,
            };
            self.intern(record, Arc::clone(&policy), now.mono)
        });
        let patience = 3 * self.identity.interval;
        let agent = self.agent_mut(index);
        if let Link::Up { instance, .. } = agent.link
            && instance != hello.instance
            && now.mono.since(agent.heard) < patience
        {
            return Attached::OtherInstance;
        }
        agent.link = Link::Up { session, instance: hello.instance };
        agent.policy = policy;
        agent.host = hello.host;
        agent.labels = hello.labels;
        agent.shown = agent.shown.union(hello.shown);
        let applied = match agent.applied {
            Some((spool, number)) if spool == hello.spool => number,
            Some(_) | None => 0,
        };
        agent.applied = Some((hello.spool, applied));
        out.push((index, Effect::Remember(Box::new(agent.record()))));
        self.judge(index, now, out).report(hello.report);
        self.arm(index, now.mono);
        Attached::As { agent: index }
    }

    /// Applies an event to an agent.
    pub fn handle(
        &mut self,
        index: AgentIndex,
        event: Event,
        now: Now,
        out: &mut Vec<(AgentIndex, Effect)>,
    ) {
        self.look(now.mono);
        let mut judge = self.judge(index, now, out);
        match event {
            Event::Report(report) => judge.report(*report),
            Event::Happened(event) => judge.happened(*event),
            Event::Detached(how) => judge.detached(how),
            Event::Asked(request) => judge.asked(request),
        }
        self.arm(index, now.mono);
    }

    /// Looks at whoever is due. Must be called at [`Fleet::next_deadline`].
    pub fn tick(&mut self, now: Now, out: &mut Vec<(AgentIndex, Effect)>) {
        self.look(now.mono);
        while let Some((due, index)) = self.deadlines.pop_due(now.mono) {
            let agent = self.agent_mut(index);
            if agent.wake == Some(due) {
                agent.wake = None;
                self.judge(index, now, out).look();
                self.arm(index, now.mono);
            }
        }
    }

    /// When [`Fleet::tick`] must next be called.
    pub fn next_deadline(&self) -> Mono {
        let look = self.looked.after(LOOK_EVERY);
        self.deadlines.next().map_or(look, |due| due.min(look))
    }

    /// Why the fleet does not act by itself now, or concludes nothing from silence.
    pub fn degraded(&self, now: Mono) -> Option<String> {
        if let Some(why) = &self.no_authority {
            return Some(why.clone());
        }
        let left = self.warm_at.since(now);
        (!left.is_zero()).then(|| {
            let left = lubdub_shared::time::words(left);
            format!("warming up: nothing is concluded from silent links for {left}")
        })
    }

    /// Takes away, or gives back, the right to act by itself.
    pub fn set_authority(&mut self, withheld: Option<String>) {
        self.no_authority = withheld;
    }

    /// One agent.
    pub fn agent(&self, index: AgentIndex) -> &Agent {
        &self.agents[index.0 as usize]
    }

    /// An agent by its id.
    pub fn find(&self, id: &AgentId) -> Option<AgentIndex> {
        self.index.get(id).copied()
    }

    /// Ids in order, behind one of them.
    pub fn ids_after<'a>(
        &'a self,
        after: Option<&AgentId>,
    ) -> impl Iterator<Item = (&'a AgentId, AgentIndex)> + use<'a> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, |id| Excluded(id.clone()));
        self.index.range((from, Unbounded)).map(|(id, index)| (id, *index))
    }

    /// Number of agents.
    pub fn len(&self) -> usize {
        self.agents.len()
    }

    /// No agent was ever seen.
    pub fn is_empty(&self) -> bool {
        self.agents.is_empty()
    }

    fn intern(&mut self, record: AgentRecord, policy: Arc<Policy>, now: Mono) -> AgentIndex {
        let index = AgentIndex(u32::try_from(self.agents.len()).expect("agents fit in 32 bits"));
        self.index.insert(record.id.clone(), index);
        self.agents.push(Agent::new(record, policy, now));
        index
    }

    fn agent_mut(&mut self, index: AgentIndex) -> &mut Agent {
        &mut self.agents[index.0 as usize]
    }

    /// Notes that it looks, and doubts itself when it was away.
    fn look(&mut self, now: Mono) {
        if now.since(self.looked) > AWAY_MAX {
            self.warm_at = now.after(WARM_UP);
        }
        self.looked = now;
    }

    fn judge<'f>(
        &'f mut self,
        index: AgentIndex,
        now: Now,
        out: &'f mut Vec<(AgentIndex, Effect)>,
    ) -> Judge<'f> {
        let view = View {
            now: now.mono,
            interval: self.identity.interval,
            warming: now.mono < self.warm_at,
        };
        Judge {
            index,
            agent: &mut self.agents[index.0 as usize],
            identity: &self.identity,
            rng: &mut self.rng,
            slot: &mut self.slot,
            authority: self.no_authority.is_none(),
            view,
            now,
            out,
        }
    }

    fn arm(&mut self, index: AgentIndex, now: Mono) {
        let agent = &mut self.agents[index.0 as usize];
        let due = agent.next_due(now, self.identity.interval, self.warm_at);
        self.deadlines.arm(index, due, &mut agent.wake);
    }
}

#[cfg(test)]
mod tests;
