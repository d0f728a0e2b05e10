//! Verification: a restart has helped when the new life shows the kinds of evidence that earlier
//! lives showed; where they showed none, when it is up and READY, or active for 30 s.
//!
//! Nothing can fail while the new life waits, is leased or paused. Beats that come are enough; what
//! fails is a life that owes them and shows neither them nor activity, or one that beats, owes
//! progress, and shows no activity for the whole window of progress. A life of an agent that never
//! showed anything cannot fail: nothing but silence speaks against it.

use std::time::Duration;

use lubdub_shared::beat::{Ages, Report};
use lubdub_shared::command::Precondition;
use lubdub_shared::late::{Late, Silence};
use lubdub_shared::policy::Policy;
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
    let Some(verify) = agent.treatment.proof() else {
        return Proof::Pending;
    };
    let Some(report) = agent.living().filter(|report| report.life == Some(verify.life)) else {
        return Proof::Pending;
    };
    let ages = &report.ages;
    let over = now >= verify.due;
    let well = Late::of(ages, &agent.policy).silence == Silence::InTime && ages.failed.is_empty();
    let shown = ages.evidence();
    if well && is_shown(agent, ages) {
        return Proof::Proven(format!("showed {shown}"));
    }
    let waits = ages.stands_still() || ages.deadline.is_none();
    if !over || waits {
        return Proof::Pending;
    }
    if agent.seen.shown.is_empty() {
        return Proof::Proven("is up; earlier lives showed nothing to compare with".to_owned());
    }
    match failure(agent, ages) {
        // An act that its own report contradicts is none: the agent stays watched.
        Some((missing, precondition)) if precondition.check(ages).is_ok() => {
            Proof::Failed { missing, precondition }
        }
        Some(_) => Proof::Pending,
        None if well && shown.beats => Proof::Proven("beats".to_owned()),
        None => Proof::Pending,
    }
}

/// When time alone may change a proof, beside the moment that it is due and the clocks that every
/// detector knows; from the report on, and in no order.
pub(crate) fn changes(report: &Report, policy: &Policy) -> impl Iterator<Item = Duration> {
    let Ages { up, quiet, silence, .. } = report.ages;
    let (window, grace) = (report.ages.progress_window(policy), policy.startup_grace);
    [(window, up), (ACTIVE_FOR, up), (ACTIVE_FOR, quiet), (grace, silence), (grace, quiet)]
        .into_iter()
        .filter_map(|(bound, age)| bound.checked_sub(age))
}

/// Everything that earlier lives showed, as far as it is owed now.
fn is_shown(agent: &Agent, ages: &Ages) -> bool {
    let (before, now) = (agent.seen.shown, ages.evidence());
    if before.is_empty() {
        let active = ages.up >= ACTIVE_FOR && ages.quiet < ACTIVE_FOR;
        return ages.ready || active;
    }
    let beats = now.beats || !before.beats;
    let progress = now.progress || !before.progress || !ages.progress.owed;
    // An agent that beats again needs no other word.
    let ready = now.ready || !before.ready || now.beats;
    beats && progress && ready
}

/// What is missing though it is owed, and what must still be true for the next attempt.
fn failure(agent: &Agent, ages: &Ages) -> Option<(String, Precondition)> {
    let (before, now) = (agent.seen.shown, ages.evidence());
    let deadline = ages.deadline?.after;
    let spoke = ages.beats > 0;
    if before.beats && !now.beats && (!spoke || ages.silence >= deadline) {
        let quiet = if spoke { deadline } else { agent.policy.startup_grace };
        return Some(("beats".to_owned(), Precondition::Silent { beats: ages.beats, quiet }));
    }
    let window = ages.progress_window(&agent.policy);
    if now.beats && before.progress && !now.progress && ages.progress.owed && ages.up >= window {
        let frozen = Precondition::Frozen { progress: ages.progress.counter, quiet: window };
        return Some(("progress".to_owned(), frozen));
    }
    let silent = Precondition::Silent { beats: ages.beats, quiet: agent.policy.startup_grace };
    (before.ready && !now.ready && !spoke).then(|| ("READY".to_owned(), silent))
}
