//! All agents, and the one place that applies an event to one of them.

use std::collections::BTreeMap;
use std::time::Duration;

use lubdub_shared::id::{AgentId, SpoolId};
use lubdub_shared::policy::VersionedPolicy;
use lubdub_shared::time::{Mono, Now};

use crate::agent::{Agent, AgentRecord};
use crate::deadlines::Deadlines;
use crate::index::AgentIndex;
use crate::surroundings::{AWAY_MAX, Identity, LOOK_EVERY, Surroundings};
use crate::{Admitted, AgentInput, Effect, Input, Refused};

mod attach;
mod forget;
mod judge;
mod outcome;
mod request;
mod restore;
mod trouble;

pub(crate) use judge::Judge;

/// How long it doubts then, and after a start on a store that knows agents.
const WARM_UP: Duration = Duration::from_secs(60);

/// Agents that one tick looks at: when all links are lost at once, what comes in meanwhile waits
/// for these and not for all. A look that finds something costs a microsecond.
const LOOKS_MAX: usize = 256;

/// All agents.
#[derive(Debug)]
pub struct Fleet {
    agents: Vec<Agent>,
    /// Numbers of agents that were forgotten, to be given again.
    free: Vec<AgentIndex>,
    index: BTreeMap<AgentId, AgentIndex>,
    /// Whose spool each is: one an agent.
    spools: BTreeMap<SpoolId, AgentIndex>,
    deadlines: Deadlines,
    rng: fastrand::Rng,
    around: Surroundings,
}

impl Fleet {
    /// An empty fleet. `seed` feeds the ids of commands and incidents.
    pub fn new(identity: Identity, seed: u64, now: Mono) -> Self {
        Self {
            agents: Vec::new(),
            free: Vec::new(),
            index: BTreeMap::new(),
            spools: BTreeMap::new(),
            deadlines: Deadlines::default(),
            rng: fastrand::Rng::with_seed(seed),
            around: Surroundings::new(identity, now),
        }
    }

    /// Applies what happens; what follows from it goes out in order. A Hello is answered at once,
    /// by what its stream begins with; nothing else is.
    ///
    /// # Errors
    /// It is refused: nothing came of it, but that a second instance was noted where that is why.
    pub fn apply(
        &mut self,
        input: Input,
        now: Now,
        out: &mut Vec<(AgentIndex, Effect)>,
    ) -> Result<Option<Admitted>, Refused> {
        self.look(now.mono);
        match input {
            Input::Hello { session, hello, policy } => {
                return self.attach(session, *hello, policy, now, out).map(Some);
            }
            Input::Agent(index, AgentInput::Forgotten) => self.forget(index, now, out)?,
            Input::Agent(index, input) => self.judged(index, now, out, |judge| match input {
                AgentInput::Report(report) => judge.report(report),
                AgentInput::Event(spool, event) => judge.happened(spool, *event),
                AgentInput::Detached(how) => judge.detached(how),
                AgentInput::Asked(request) => judge.asked(request),
                AgentInput::Policy(policy) => judge.set_policy(policy),
                AgentInput::Forgotten => {}
            }),
            Input::Restored(stored) => self.restore(*stored, now, out),
            Input::Authority(withheld) => self.around.withheld = withheld,
            Input::Epoch(epoch) => self.raise_epoch(epoch),
            Input::Released(index) => self.free.push(index),
            Input::Tick => self.tick(now, out),
        }
        Ok(None)
    }

    /// Lets an agent be judged. What must be remembered of it goes out last: what was applied has
    /// left its mark by then.
    fn judged(
        &mut self,
        index: AgentIndex,
        now: Now,
        out: &mut Vec<(AgentIndex, Effect)>,
        act: impl FnOnce(&mut Judge<'_>),
    ) {
        let before = self.agent(index).mark();
        act(&mut self.judge(index, now, out));
        let agent = self.agent(index);
        if agent.mark() != before {
            out.push((index, Effect::Remember(Box::new(agent.record()))));
        }
        self.arm(index, now.mono);
    }

    /// Looks at those who are due; where there are too many at once the rest stays due.
    fn tick(&mut self, now: Now, out: &mut Vec<(AgentIndex, Effect)>) {
        for _ in 0..LOOKS_MAX {
            let Some((due, index)) = self.deadlines.pop_due(now.mono) else { return };
            let agent = self.agent_mut(index);
            if agent.wake == Some(due) {
                agent.wake = None;
                self.judged(index, now, out, |judge| judge.look());
            }
        }
    }

    /// When [`Input::Tick`] must come next.
    pub fn next_deadline(&self) -> Mono {
        let look = self.around.looked.after(LOOK_EVERY);
        self.deadlines.next().map_or(look, |due| due.min(look))
    }

    /// What decides what may be done with any agent now.
    pub fn surroundings(&self) -> &Surroundings {
        &self.around
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
        self.index.len()
    }

    /// No agent is known.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// What must be known of some agents behind one after a restart of the collector, for a store
    /// that lost some of it. Where to go on.
    pub fn remember_after(
        &self,
        after: Option<&AgentId>,
        at_most: usize,
        out: &mut Vec<(AgentIndex, Effect)>,
    ) -> Option<AgentId> {
        let mut last = None;
        for (id, index) in self.ids_after(after).take(at_most) {
            last = Some(id.clone());
            let agent = self.agent(index);
            for incident in &*agent.incidents {
                out.push((index, Effect::Incident(Box::new(incident.clone()))));
            }
            out.push((index, Effect::Remember(Box::new(agent.record()))));
        }
        last
    }

    fn raise_epoch(&mut self, epoch: u64) {
        let own = &mut self.around.identity.epoch;
        *own = epoch.max(*own);
    }

    fn intern(&mut self, record: AgentRecord, policy: VersionedPolicy, now: Mono) -> AgentIndex {
        let mut agent = Agent::new(record, policy, now);
        agent.link.interval = self.around.interval();
        let (id, spool) = (agent.who.id.clone(), agent.link.spool);
        let newest = AgentIndex(u32::try_from(self.agents.len()).expect("they fit in 32 bits"));
        let index = self.free.pop().unwrap_or(newest);
        agent.index = index;
        if index == newest {
            self.agents.push(agent);
        } else {
            *self.agent_mut(index) = agent;
        }
        self.index.insert(id, index);
        self.around.agents = self.index.len();
        self.spools.extend(spool.map(|spool| (spool, index)));
        index
    }

    fn agent_mut(&mut self, index: AgentIndex) -> &mut Agent {
        &mut self.agents[index.0 as usize]
    }

    /// Notes that it looks, and doubts itself when it was away.
    fn look(&mut self, now: Mono) {
        if now.since(self.around.looked) > AWAY_MAX {
            self.around.warm_at = now.after(WARM_UP);
        }
        self.around.looked = now;
    }

    fn judge<'f>(
        &'f mut self,
        index: AgentIndex,
        now: Now,
        out: &'f mut Vec<(AgentIndex, Effect)>,
    ) -> Judge<'f> {
        Judge {
            agent: &mut self.agents[index.0 as usize],
            around: &mut self.around,
            rng: &mut self.rng,
            held: Vec::new(),
            now,
            out,
        }
    }

    fn arm(&mut self, index: AgentIndex, now: Mono) {
        let agent = &mut self.agents[index.0 as usize];
        let due = agent.next_due(now, self.around.warm_at);
        self.deadlines.arm(index, due, &mut agent.wake);
    }
}

#[cfg(test)]
mod tests;
