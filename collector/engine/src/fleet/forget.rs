//! An agent that is gone for good is taken out of sight.

use std::sync::Arc;

use lubdub_shared::time::Now;

use super::Fleet;
use super::restore::give_up;
use crate::index::AgentIndex;
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
        for incident in
            Arc::make_mut(&mut agent.incidents).iter_mut().filter(|i| i.resolved.is_none())
        {
            incident.resolved = Some(incident::not_before(incident, now.wall));
            out.push((index, Effect::Incident(Box::new(incident.clone()))));
        }
        let act = agent.treatment.act().map(|act| act.command.clone());
        let asked = std::mem::take(&mut agent.asks.sent).into_iter().map(|asked| asked.command);
        let deferred = agent.asks.deferred.take().map(|deferred| deferred.command);
        for command in act.into_iter().chain(asked).chain(deferred) {
            give_up(agent, index, &command, "the agent was forgotten".to_owned(), now, out);
        }
        // An old wake-up finds nobody.
        agent.wake = None;
        let id = agent.who.id.clone();
        self.index.remove(&id);
        self.around.agents = self.index.len();
        self.spools.retain(|_, owner| *owner != index);
        self.around.slots.free_agent(index);
        out.push((index, Effect::Forget));
        Ok(())
    }
}
