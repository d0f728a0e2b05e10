//! An agent that is gone for good is taken out of sight.

use lubdub_shared::time::Now;

use super::restore::give_up;
use super::{AgentIndex, Fleet};
use crate::{Effect, incident};

/// Its sidecar is connected: it would be back with its next report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StillConnected;

impl Fleet {
    /// Forgets an agent. Its open incidents are resolved; the record of what happened stays.
    ///
    /// # Errors
    /// Its sidecar is connected.
    pub fn forget(
        &mut self,
        index: AgentIndex,
        now: Now,
        out: &mut Vec<(AgentIndex, Effect)>,
    ) -> Result<(), StillConnected> {
        let agent = self.agent_mut(index);
        if agent.is_connected() {
            return Err(StillConnected);
        }
        for incident in agent.incidents.iter_mut().filter(|i| i.resolved.is_none()) {
            incident.resolved = Some(incident::not_before(incident, now.wall));
            out.push((index, Effect::Incident(Box::new(incident.clone()))));
        }
        let act = agent.treatment.act().map(|act| act.command.id);
        let asked = std::mem::take(&mut agent.asks.sent);
        let deferred = agent.asks.deferred.take().map(|deferred| deferred.command.id);
        let asked = act.into_iter().chain(asked.iter().map(|asked| asked.command.id));
        for command in asked.chain(deferred).collect::<Vec<_>>() {
            give_up(agent, index, command, "the agent was forgotten".to_owned(), now, out);
        }
        // An old wake-up finds nobody.
        agent.wake = None;
        let id = agent.who.id.clone();
        self.index.remove(&id);
        self.spools.retain(|_, owner| *owner != index);
        self.slots.free_agent(index);
        out.push((index, Effect::Forget));
        Ok(())
    }

    /// That it was forgotten is on disk, and so is whatever still went by its number: that may be
    /// given to another.
    pub fn reuse(&mut self, index: AgentIndex) {
        self.free.push(index);
    }
}
