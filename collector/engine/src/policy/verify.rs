//! Verification: a restart has helped when the new life shows the kinds of evidence that earlier
//! lives showed; where they showed none, when it is up and READY, or active for 30 s.
//!
//! Progress is asked for only where it is owed: an agent that comes back to an empty queue is
//! well. A life of an agent that never showed anything cannot fail: it is taken for well at the
//! end of the grace, because nothing but silence speaks against it.

use std::time::Duration;

use lubdub_shared::beat::Ages;
use lubdub_shared::command::Precondition;
use lubdub_shared::late::{Late, Silence};
use lubdub_shared::time::Mono;

use crate::agent::Agent;

/// How long an agent that shows nothing else must be active.
const ACTIVE_FOR: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Proof {
    /// No verification is under way, or its time is not over.
    Pending,
    /// It has helped; what was shown.
    Proven(String),
    /// It has not; what must still be true for the next attempt.
    Failed { missing: String, precondition: Precondition },
}

pub(crate) fn proof(agent: &Agent, now: Mono) -> Proof {
    let Some(verify) = &agent.verify else {
        return Proof::Pending;
    };
    let Some(report) = agent.living().filter(|report| report.life == Some(verify.life)) else {
        return Proof::Pending;
    };
    let ages = &report.ages;
    let over = now >= verify.due;
    let well = Late::of(ages, &agent.policy).silence == Silence::InTime && ages.failed.is_empty();
    match missing(agent, ages) {
        None if well => Proof::Proven(format!("showed {}", ages.evidence())),
        None => Proof::Pending,
        Some(_) if over && agent.shown.is_empty() => {
            Proof::Proven("is up; earlier lives showed nothing to compare with".to_owned())
        }
        // An act that its own report contradicts is none: the agent is active, and stays watched.
        Some((missing, precondition)) if over && precondition.check(ages).is_ok() => {
            Proof::Failed { missing, precondition }
        }
        Some(_) => Proof::Pending,
    }
}

fn missing(agent: &Agent, ages: &Ages) -> Option<(String, Precondition)> {
    let (shown, now) = (agent.shown, ages.evidence());
    let quiet = agent.policy.startup_grace;
    let silent = Precondition::Silent { beats: ages.beats, quiet };
    if shown.is_empty() {
        let active = ages.up >= ACTIVE_FOR && ages.inactive() < ACTIVE_FOR;
        return (!ages.ready && !active).then(|| ("READY or activity".to_owned(), silent));
    }
    if shown.beats && !now.beats {
        return Some(("beats".to_owned(), silent));
    }
    if shown.progress && !now.progress && ages.progress.owed {
        let frozen = Precondition::Frozen { progress: ages.progress.counter };
        return Some(("progress".to_owned(), frozen));
    }
    // An agent that beats again needs no other word.
    (shown.ready && !now.ready && !now.beats).then(|| ("READY".to_owned(), silent))
}
