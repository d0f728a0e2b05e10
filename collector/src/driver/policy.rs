//! Another policy for a fleet that runs: pushed by a person, or read again from the file.

use std::collections::BTreeMap;

use lubdub_engine::trace::Input;
use lubdub_shared::time::Now;
use tracing::{info, warn};

use super::message::{Applied, NewPolicy, NotApplied};
use super::{Driver, Policies};
use crate::store::{Op, Pushed};

/// Names the pushed text in errors.
const PUSHED: &str = "the pushed policy";

impl Driver {
    /// Policies that a person pushed survive a restart of the collector; SIGHUP returns to the
    /// file.
    pub(super) fn take_up_pushed(config: Policies, pushed: Option<&Pushed>) -> Policies {
        let Some(pushed) = pushed else { return config };
        match Policies::parse(PUSHED, &pushed.text) {
            Ok(policies) => {
                warn!(by = pushed.by, at = %pushed.at,
                    "the policy that was pushed holds, not the file's; SIGHUP returns to that");
                policies
            }
            Err(why) => {
                warn!(by = pushed.by, at = %pushed.at,
                    "the policy that was pushed cannot be read any more, so the file's holds: \
                     {why}");
                config
            }
        }
    }

    pub(super) fn set_policies(&mut self, new: NewPolicy, now: Now) -> Result<Applied, NotApplied> {
        let (policies, pushed, by) = match new {
            NewPolicy::File(policies) => (policies, None, "the file (SIGHUP)".to_owned()),
            NewPolicy::Pushed { text, by, dry_run } => {
                let policies = Policies::parse(PUSHED, &text).map_err(NotApplied::Mistake)?;
                if dry_run {
                    return Ok(Applied { changed: self.changes_under(&policies) });
                }
                let pushed = Pushed { text, by: by.clone(), at: now.wall };
                (policies, Some(pushed), by)
            }
        };
        if let Some(why) = self.dispatch.behind() {
            return Err(NotApplied::Unrecorded(why));
        }
        let changed = self.changes_under(&policies);
        info!(by, changed, "another policy");
        let text = format!("another policy by {by}: it changes that of {changed} agents");
        self.dispatch.write(Op::Policy(pushed));
        self.dispatch.write(Op::Note(None, text, now.wall));
        self.policies = policies;
        // Made once for each policy, not for each agent.
        let mut marks: BTreeMap<String, u64> = BTreeMap::new();
        let ids: Vec<_> = self.fleet.ids_after(None).map(|(_, index)| index).collect();
        for index in ids {
            let agent = self.fleet.agent(index);
            let policy = self.policies.of(&agent.id, &agent.labels);
            let changed = *policy != *agent.policy;
            let mark = *marks.entry(policy.name.clone()).or_insert_with(|| policy.mark());
            if changed {
                self.record(index, now, || Input::Policy(Box::new((*policy).clone())));
            }
            self.fleet.set_policy(index, (&policy, mark), now, &mut self.effects);
        }
        Ok(Applied { changed })
    }

    /// How many agents would get another policy.
    fn changes_under(&self, policies: &Policies) -> usize {
        let agents = self.fleet.ids_after(None).map(|(_, index)| self.fleet.agent(index));
        agents.filter(|agent| *policies.of(&agent.id, &agent.labels) != *agent.policy).count()
    }
}
