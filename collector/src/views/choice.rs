//! Which agents a reader wants, in which order, and where its page begins.

use std::collections::BTreeMap;
use std::sync::Arc;

use lubdub_engine::Agent;
use lubdub_shared::id::AgentId;
use lubdub_shared::incident::Cause;
use lubdub_shared::status::Status;
use lubdub_shared::view::PAGE_LEN_MAX;

use super::Views;

/// What a reader wants; nothing named is everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Labels that an agent has, all of them.
    pub(crate) labels: BTreeMap<String, String>,
    /// Any of these.
    pub(crate) statuses: Vec<Status>,
    /// A finding of any of these.
    pub(crate) causes: Vec<Cause>,
    /// The worst first, by id among equals; otherwise by id.
    pub(crate) worst_first: bool,
    /// Behind this agent, of the page before.
    pub(crate) after: Option<AgentId>,
    /// And, where the worst come first, behind that of its severity.
    pub(crate) severity: Option<u8>,
}

/// A page of agents.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) agents: Vec<Arc<Agent>>,
    /// More follow.
    pub(crate) more: bool,
}

impl Choice {
    fn takes(&self, agent: &Agent) -> bool {
        let found = |cause: &Cause| agent.seen.findings.iter().any(|s| s.finding.cause == *cause);
        let labelled = |(key, value): (&String, &String)| agent.who.labels.get(key) == Some(value);
        (self.statuses.is_empty() || self.statuses.contains(&agent.seen.status))
            && (self.causes.is_empty() || self.causes.iter().any(found))
            && self.labels.iter().all(labelled)
    }
}

impl Views {
    /// A page of what is wanted.
    pub(crate) fn page(&self, choice: &Choice) -> Page {
        if choice.worst_first { self.worst(choice) } else { self.by_id(choice) }
    }

    fn by_id(&self, choice: &Choice) -> Page {
        let mut wanted = self.each(choice.after.clone()).filter(|agent| choice.takes(agent));
        let agents: Vec<_> = wanted.by_ref().take(PAGE_LEN_MAX).collect();
        Page { agents, more: wanted.next().is_some() }
    }

    /// One pass a severity: nothing is sorted, and nothing is held but the page.
    fn worst(&self, choice: &Choice) -> Page {
        let mut agents = Vec::new();
        let mut after = choice.after.clone();
        let worst = Status::Critical.severity();
        for severity in (0..=choice.severity.unwrap_or(worst).min(worst)).rev() {
            let from = after.take().filter(|_| choice.severity == Some(severity));
            let wanted = self
                .each(from)
                .filter(|agent| agent.seen.status.severity() == severity && choice.takes(agent));
            for agent in wanted {
                if agents.len() == PAGE_LEN_MAX {
                    return Page { agents, more: true };
                }
                agents.push(agent);
            }
        }
        Page { agents, more: false }
    }
}
