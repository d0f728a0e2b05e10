//! An agent that is gone for good is taken out of sight.

use lubdub_shared::time::Now;

use super::restore::give_up;
use super::{AgentIndex, Fleet};
use crate::{Effect, Refused, incident};

impl Fleet {
    /// Forgets an agent. Its open incidents are resolved; the record of what happened stays.
    pub(super) fn forget(
        &mut self,
        index: AgentIndex,
        now: Now,
        out: &mut Vec<(AgentIndex, Effect)>,
    ) -> Result<(), Refused> {
        let agent = self.agent_mut(index);
        if agent.is_connected() {
            return Err(Refused::StillConnected);
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
}
