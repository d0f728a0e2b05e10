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
//! | a failed exit, not yet proven healed | Crashed, KilledByOther, OomKilled, CrashLoop | Critical |
//! | no report | Unreachable, Missing | Unknown, Critical |
//! | two instances that report one agent for 10 s | Duplicate | Critical |
//! | a state directory that cannot be written | SickDisk | Warning |
//! | killed, and not gone after 5 s | Unkillable | Critical |
//! | the sidecar cannot do its own work | SickSidecar | Unknown, Warning at unreachable_after |
//! | the local door is shut | Unheard | Unknown |
//! | an open task past task_timeout, then twice that | TaskOverdue | Warning, Critical |
//! | a check that did not come, then the next one | Missed | Warning, Critical |
//! | waiting_human for human_after | WaitingHuman | Warning |
//! | steps that repeat without progress | Looping | Warning |
//! | energy low, or gone soon | EnergyLow | Warning |
//! | energy gone | EnergyGone | Warning, Critical under a hard budget |
//! | spending without progress | BurnWithoutProgress | Warning |
//! | memory near its limit | MemoryHigh | Warning, Critical |
//! | memory that grows towards it in three windows | MemoryLeak | Warning, Critical near it |
//! | slow tasks | SlowResponse | Warning |
//! | failed tasks | TaskFailures | Warning |
//! | a status that comes and goes | Flapping | Warning |
//!
//! Which of these lead to an act is decided in `policy::fusion`.

use lubdub_shared::beat::{Ages, Report};
use lubdub_shared::cause::Cause;
use lubdub_shared::command::Precondition;
use lubdub_shared::late::Late;
use lubdub_shared::policy::{Act, Policy};
use lubdub_shared::status::Status;
use lubdub_shared::time::{Mono, Wall};

use crate::agent::Agent;
use crate::finding::Finding;
use setting::Setting;

mod disk;
mod duplicate;
mod ended_early;
mod energy;
pub(crate) mod flapping;
mod human;
mod lease;
mod link;
mod looping;
mod memory;
mod missed;
mod paused;
mod progress;
mod reported;
mod response;
pub(crate) mod setting;
mod sidecar;
mod silence;
mod task;
mod unkillable;

/// What is known of some causes besides what their rows say: how they are found in a report, what
/// must still be true when one is acted on, and what decides them. A list of these is all that the
/// engine knows of detectors.
struct Detector {
    causes: &'static [Cause],
    find: fn(&Look<'_>) -> Option<Finding>,
    /// For causes that a policy may let restart a living agent.
    guard: fn(Cause, &Ages, &Policy) -> Option<Precondition>,
    settings: &'static [Setting],
}

/// A report as it is held against a policy.
struct Look<'a> {
    report: &'a Report,
    late: Late,
    policy: &'a Policy,
    /// When the report came.
    reported: Wall,
}

/// Nothing of this kind is ever acted on by itself.
fn never_acted_on(_: Cause, _: &Ages, _: &Policy) -> Option<Precondition> {
    None
}

/// Every detector that needs no more than a report.
static DETECTORS: [Detector; 15] = [
    silence::DETECTOR,
    progress::DETECTOR,
    lease::DETECTOR,
    paused::DETECTOR,
    looping::DETECTOR,
    human::DETECTOR,
    reported::DETECTOR,
    task::OVERDUE,
    task::FAILURES,
    missed::DETECTOR,
    energy::LEFT,
    energy::BURNT,
    memory::HIGH,
    memory::LEAK,
    response::DETECTOR,
];

/// Those that look beside it.
static BESIDE: [fn(&Agent, View) -> Option<Finding>; 7] = [
    flapping::find,
    duplicate::find,
    disk::find,
    unkillable::find,
    sidecar::sick,
    sidecar::unheard,
    ended_early::find,
];

/// What must still be true when the agent is acted on for this cause.
pub(crate) fn guard(cause: Cause, ages: &Ages, policy: &Policy) -> Option<Precondition> {
    let detector = DETECTORS.iter().find(|detector| detector.causes.contains(&cause))?;
    (detector.guard)(cause, ages, policy)
}

/// The settings that decide a cause.
pub(crate) fn settings(cause: Cause) -> impl Iterator<Item = &'static Setting> {
    all_settings().filter(move |setting| setting.causes.contains(&cause))
}

/// The settings of every cause.
pub(crate) fn all_settings() -> impl Iterator<Item = &'static Setting> {
    DETECTORS.iter().flat_map(|detector| detector.settings)
}

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
    let living = agent.living();
    let mut found =
        living.map_or_else(Vec::new, |r| of_report(r, &agent.policy, agent.seen.reported));
    for find in &BESIDE {
        if let Some(finding) = find(agent, view) {
            found.push(finding);
        }
    }
    found
}

/// What a report alone says under a policy.
///
/// `reported` is when it came.
pub(crate) fn of_report(report: &Report, policy: &Policy, reported: Wall) -> Vec<Finding> {
    let look = Look { report, late: Late::of(&report.ages, policy), policy, reported };
    let mut found = Vec::new();
    // Not collected: that moves each finding that is none, which costs more than to look for it.
    for detector in &DETECTORS {
        if let Some(finding) = (detector.find)(&look) {
            found.push(finding);
        }
    }
    found
}

/// A cause that is a Warning, unless the policy wants it acted on.
fn level_asked(policy: &Policy, cause: Cause) -> Status {
    if policy.act(cause) >= Act::Restart { Status::Critical } else { Status::Warning }
}
