//! The fleet as the driver holds it: one door in, which a recording and the readers' views stand
//! beside, and the effects that have not gone out yet.

use std::collections::BTreeMap;

use lubdub_engine::{
    Admitted, AgentIndex, AgentInput, Effect, Fleet, Identity, Input, Refused, StoredAgent,
};
use lubdub_shared::id::AgentId;
use lubdub_shared::incident::Incident;
use lubdub_shared::time::Now;
use tracing::error;

use crate::config::Policies;
use crate::record::Recorder;
use crate::route::Route;
use crate::store::Contents;
use crate::views::{Fares, Publisher, Views};

/// The fleet and what stands beside it.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) fleet: Fleet,
    effects: Vec<(AgentIndex, Effect)>,
    recorder: Option<Recorder>,
    /// What readers see.
    published: Publisher,
}

impl Engine {
    /// With everything that a store knows, which is taken out of it.
    pub(super) fn new(
        identity: Identity,
        contents: &mut Contents,
        policies: &Policies,
        mut recorder: Option<Recorder>,
        (seed, now): (u64, Now),
    ) -> Self {
        let mut fleet = Fleet::new(identity, seed, now.mono);
        let mut effects = Vec::new();
        let mut incidents = by_agent(std::mem::take(&mut contents.incidents));
        let mut unanswered = by_agent(std::mem::take(&mut contents.unanswered));
        for record in std::mem::take(&mut contents.agents) {
            let policy = policies.of(&record.id, &record.labels);
            let incidents = incidents.remove(&record.id).unwrap_or_default();
            let unanswered = unanswered.remove(&record.id).unwrap_or_default();
            let stored = StoredAgent { record, policy, incidents, unanswered };
            let input = Input::Restored(Box::new(stored));
            drop(fleet.apply(input, now, &mut effects).expect("only a Hello is refused"));
        }
        if let Some(recorder) = &mut recorder {
            recorder.begin(&fleet, now);
        }
        let published = Publisher::new(&fleet, now.wall);
        Self { fleet, effects, recorder, published }
    }

    /// The one door to the fleet; what goes through it is what a recording holds.
    pub(super) fn apply(&mut self, input: Input, now: Now) -> Result<Option<Admitted>, Refused> {
        if let Some(recorder) = &mut self.recorder {
            recorder.note(&self.fleet, &input, now);
        }
        if let Input::Agent(index, _) = &input {
            self.published.touch(*index);
        }
        self.fleet.apply(input, now, &mut self.effects)
    }

    /// The same, of an input that is never refused.
    pub(super) fn applied(&mut self, input: Input, now: Now) {
        if let Err(why) = self.apply(input, now) {
            error!(?why, "an input was refused");
        }
    }

    /// The same, of what happens to one agent.
    pub(super) fn feed(&mut self, agent: AgentIndex, input: AgentInput, now: Now) {
        self.applied(Input::Agent(agent, input), now);
    }

    /// What must be known of some agents behind one is written once more; where to go on.
    pub(super) fn remember_after(
        &mut self,
        after: Option<&AgentId>,
        at_most: usize,
    ) -> Option<AgentId> {
        self.fleet.remember_after(after, at_most, &mut self.effects)
    }

    /// What was decided goes out.
    pub(super) fn run_effects(&mut self, route: &mut Route, now: Now) {
        for (index, effect) in self.effects.drain(..) {
            self.published.touch(index);
            route.run(&self.fleet, index, effect, now);
        }
    }

    /// Readers see what became of it.
    pub(super) fn publish(&mut self, route: &Route, incident: Option<&Incident>) {
        self.published.publish(&self.fleet);
        self.published.tell(Fares {
            surroundings: self.fleet.surroundings(),
            store: route.journal.behind(),
            incident,
            streams: route.streams.len(),
            writes_waiting: route.journal.waiting(),
        });
    }

    pub(super) fn views(&self) -> Views {
        self.published.views()
    }
}

fn by_agent<T>(list: Vec<(AgentId, T)>) -> BTreeMap<AgentId, Vec<T>> {
    let mut by_agent: BTreeMap<AgentId, Vec<T>> = BTreeMap::new();
    for (agent, one) in list {
        by_agent.entry(agent).or_default().push(one);
    }
    by_agent
}
