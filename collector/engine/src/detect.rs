//! All detectors on one agent: each turns ages that have run out into a finding with its numbers.
//!
//! Which clock has run out is asked of [`Late`], the same code by which the sidecar decides to
//! report at once. Here it gets its words. The ways to a level, one row each:
//!
//! | evidence | finding | level |
//! |---|---|---|
//! | no beat and no activity for n deadlines | Silent | Warning, Critical at n = failures_before_critical or by contract |
//! | no beat, but activity | BusySilent | Warning, Critical at busy_cap |
//! | beats expected, none in the startup grace | NeverSeen | Warning while active, else Critical |
//! | beats, progress frozen for a window, then two | NoProgress | Warning, Critical |
//! | a lease and its slack passed | LeaseExpired | Warning |
//! | a trigger, or three failures in a row | ReportedFailure | Critical; fewer Warning |
//! | never beats, no activity | Inactive | Warning |
//! | stopped or frozen | Paused | Warning, Critical at paused_max |
//! | a failed exit, not yet proven healed | Crashed, KilledByOther, CrashLoop | Critical |
//! | no report | Unreachable, Missing | Unknown, Critical |
//! | two instances that report one agent for 10 s | Duplicate | Critical |
//! | a state directory that cannot be written | SickDisk | Warning |

use std::collections::BTreeMap;
use std::time::Duration;

use lubdub_shared::incident::{Cause, Finding};
use lubdub_shared::late::Late;
use lubdub_shared::policy::{Act, Policy};
use lubdub_shared::status::Status;
use lubdub_shared::time::{Mono, words};

use crate::agent::Agent;

mod disk;
mod duplicate;
mod lease;
mod link;
mod paused;
mod progress;
mod reported;
mod silence;

/// What the engine itself may conclude now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    pub(crate) now: Mono,
    /// The engine was away itself: it concludes nothing from what it did not hear.
    pub(crate) warming: bool,
}

/// Everything that is wrong with an agent as it is seen now, in no order.
pub(crate) fn findings(agent: &Agent, view: View) -> Vec<Finding> {
    // What rests on a link that is gone says nothing about the agent.
    if let Some(lost) = link::find(agent, view) {
        return vec![lost];
    }
    let mut found: Vec<Finding> = Vec::new();
    if let Some(report) = agent.living() {
        let ages = &report.ages;
        let late = Late::of(ages, &agent.policy);
        if late != Late::default() || !ages.failed.is_empty() {
            found.extend(silence::find(ages, &late, &agent.policy));
            found.extend(progress::find(ages, &late, &agent.policy));
            found.extend(lease::find(ages, &late, &agent.policy));
            found.extend(paused::find(ages, &late, &agent.policy));
            found.extend(reported::find(ages));
        }
    }
    found.extend(duplicate::find(agent, view));
    found.extend(disk::find(agent));
    found
}

/// A finding without the boilerplate.
pub(crate) struct Draft<const N: usize> {
    pub(crate) cause: Cause,
    pub(crate) level: Status,
    pub(crate) detail: String,
    pub(crate) evidence: [(&'static str, String); N],
    pub(crate) rule: &'static str,
    pub(crate) cancelled_by: &'static str,
}

impl<const N: usize> From<Draft<N>> for Finding {
    fn from(draft: Draft<N>) -> Self {
        Self {
            cause: draft.cause,
            level: draft.level,
            detail: draft.detail,
            evidence: BTreeMap::from(draft.evidence),
            rule: draft.rule,
            cancelled_by: draft.cancelled_by,
        }
    }
}

/// A cause that is a Warning, unless the policy wants it acted on.
fn level_asked(policy: &Policy, cause: Cause) -> Status {
    if policy.act(cause) >= Act::Restart { Status::Critical } else { Status::Warning }
}

/// An age in words; "never" when there was none.
fn age(age: Option<Duration>) -> String {
    age.map_or_else(|| "never".to_owned(), words)
}
