//! Another policy for a fleet that runs: pushed by a person, or read again from the file. It holds
//! from the moment in which that is on disk.

use lubdub_engine::{Agent, AgentInput};
use lubdub_shared::time::Now;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::message::{Applied, NewPolicy, NotApplied};
use super::{Driver, Policies};
use crate::store::{Op, Pushed, Then};

/// Policies that may wait for the disk.
const COMING_MAX: usize = 16;
/// Names the pushed text in errors.
const PUSHED: &str = "the pushed policy";

type Reply = oneshot::Sender<Result<Applied, NotApplied>>;

/// Policies that wait for the disk.
#[derive(Debug)]
pub(super) struct Coming {
    policies: Policies,
    by: String,
    reply: Reply,
}

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

    /// Writes them down; they hold once that is on disk.
    pub(super) fn set_policies(&mut self, new: NewPolicy, reply: Reply, now: Now) {
        if let Err((answer, reply)) = self.begin_policies(new, reply, now) {
            let (Ok(()) | Err(_)) = reply.send(answer);
        }
    }

    /// What is answered at once comes back with whom to answer.
    fn begin_policies(
        &mut self,
        new: NewPolicy,
        reply: Reply,
        now: Now,
    ) -> Result<(), (Result<Applied, NotApplied>, Reply)> {
        let (policies, pushed, by) = match new {
            NewPolicy::File(policies) => (policies, None, "the file (SIGHUP)".to_owned()),
            NewPolicy::Pushed { text, by, dry_run } => match Policies::parse(PUSHED, &text) {
                Err(why) => return Err((Err(NotApplied::Mistake(why)), reply)),
                Ok(policies) if dry_run => {
                    return Err((Ok(Applied { changed: self.changes_under(&policies) }), reply));
                }
                Ok(policies) => (policies, Some(Pushed { text, by: by.clone(), at: now.wall }), by),
            },
        };
        let full = self.coming.len() >= COMING_MAX;
        let full = full.then(|| "as many policies as may wait for the disk do already".to_owned());
        if let Some(why) = self.route.journal.behind().or(full) {
            return Err((Err(NotApplied::Unrecorded(why)), reply));
        }
        let changed = self.changes_under(&policies);
        let text = format!("another policy by {by}: it changes that of {changed} agents");
        self.route.journal.write(Op::Note(None, text, now.wall));
        self.route.journal.write_then(Op::Policy(pushed), Then::Policy);
        self.coming.push_back(Coming { policies, by, reply });
        Ok(())
    }

    /// The oldest that waited are on disk.
    pub(super) fn policies_are_durable(&mut self, now: Now) {
        let Some(Coming { policies, by, reply }) = self.coming.pop_front() else { return };
        let changed = self.changes_under(&policies);
        info!(by, changed, "another policy");
        self.policies = policies;
        let ids: Vec<_> = self.engine.fleet.ids_after(None).map(|(_, index)| index).collect();
        for index in ids {
            let agent = self.engine.fleet.agent(index);
            let policy = self.policies.of(&agent.who.id, &agent.who.labels);
            if policy != agent.policy {
                self.engine.feed(index, AgentInput::Policy(policy), now);
            }
        }
        let (Ok(()) | Err(_)) = reply.send(Ok(Applied { changed }));
    }

    /// How many agents would get another policy.
    fn changes_under(&self, policies: &Policies) -> usize {
        let agents =
            self.engine.fleet.ids_after(None).map(|(_, index)| self.engine.fleet.agent(index));
        let other =
            |Agent { who, policy, .. }: &&Agent| policies.of(&who.id, &who.labels) != *policy;
        agents.filter(other).count()
    }
}
