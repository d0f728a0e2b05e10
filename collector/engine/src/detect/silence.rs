//! Silent, BusySilent, NeverSeen and Inactive: what the absence of beats means, given activity.

use std::time::Duration;

use lubdub_shared::beat::{Ages, Report};
use lubdub_shared::cause::Cause;
use lubdub_shared::command::Precondition;
use lubdub_shared::facts::Fact;
use lubdub_shared::late::{Late, Past, Silence};
use lubdub_shared::policy::Policy;
use lubdub_shared::status::Status;
use lubdub_shared::time::scaled;

use super::Detector;
use super::setting::{Setting, clock, count};
use crate::finding::Finding;

pub(super) const DETECTOR: Detector = Detector {
    causes: &[Cause::Silent, Cause::BusySilent, Cause::NeverSeen, Cause::Inactive],
    find: |look| find(&look.report.ages, &look.late, look.policy),
    guard,
    settings: &[
        Setting {
            key: deadline_key,
            causes: &[Cause::Silent, Cause::BusySilent],
            turn: turn_deadline,
        },
        count!("failures_before_critical", [Silent], failures_before_critical),
        clock!("busy_cap", [BusySilent], busy_cap),
        clock!("startup_grace", [NeverSeen], startup_grace),
        clock!("inactive_after", [Inactive], inactive_after),
    ],
};

pub(super) fn find(ages: &Ages, late: &Late, policy: &Policy) -> Option<Finding> {
    match late.silence {
        Silence::Silent { misses, critical } => Some(silent(ages, policy, misses, critical)),
        Silence::Busy { capped } => Some(busy(ages, policy, capped)),
        Silence::InTime => match late.never_seen {
            Past::Warning => Some(never_seen(ages, policy, Status::Warning)),
            Past::Critical => Some(never_seen(ages, policy, Status::Critical)),
            Past::Not => late.inactive.then(|| inactive(ages, policy)),
        },
    }
}

fn guard(cause: Cause, ages: &Ages, policy: &Policy) -> Option<Precondition> {
    let silent = |quiet| Precondition::Silent { beats: ages.beats, quiet };
    let guards = [
        (Cause::Silent, ages.deadline.map(|deadline| silent(deadline.after))),
        (Cause::NeverSeen, Some(silent(policy.startup_grace))),
        (Cause::BusySilent, Some(Precondition::NoBeat { beats: ages.beats })),
        (Cause::Inactive, Some(Precondition::StillInactive { quiet: policy.inactive_after })),
    ];
    guards.into_iter().find(|(of, _)| *of == cause)?.1
}

/// The agent's own contract is no setting of the policy.
fn deadline_key(ages: &Ages, policy: &Policy) -> String {
    match ages.phase {
        _ if ages.deadline.is_some_and(|deadline| deadline.explicit) => {
            "WATCHDOG_USEC (the agent's own)".to_owned()
        }
        Some(phase) if policy.phase.contains_key(&phase) => format!("phase.{phase}"),
        Some(_) | None => "heartbeat_deadline".to_owned(),
    }
}

fn turn_deadline(_: &mut Policy, report: &mut Report, by: f64) -> Option<Fact> {
    let deadline = report.ages.deadline.as_mut()?;
    deadline.after = scaled(deadline.after, by).max(Duration::from_millis(1));
    Some(deadline.after.into())
}

/// Since the last activity, as it was; what was leased or paused of it does not count.
fn without_activity(ages: &Ages) -> Duration {
    ages.activity.map_or(ages.up, |last| last.age)
}

fn silent(ages: &Ages, policy: &Policy, misses: u32, critical: bool) -> Finding {
    let critical_at = match ages.deadline {
        Some(deadline) if deadline.explicit => 1,
        Some(_) | None => policy.failures_before_critical.get(),
    };
    let facts = [
        ("beat_age", ages.beat.unwrap_or(ages.up).into()),
        ("silence", ages.silence.into()),
        ("inactive", without_activity(ages).into()),
        ("activity_age", ages.activity.map(|last| last.age).into()),
        ("deadline", ages.deadline.map(|deadline| deadline.after).into()),
        ("misses", misses.into()),
        ("critical_at", critical_at.into()),
        ("beats", ages.beats.into()),
        ("unheard", ages.unheard.into()),
    ];
    let level = if critical { Status::Critical } else { Status::Warning };
    Finding::new(Cause::Silent, level, facts)
}

fn busy(ages: &Ages, policy: &Policy, capped: bool) -> Finding {
    let activity = ages.activity.map_or("activity", |last| last.kind.as_str());
    let facts = [
        ("beat_age", ages.beat.unwrap_or(ages.up).into()),
        ("silence", ages.silence.into()),
        ("activity", activity.into()),
        ("activity_age", without_activity(ages).into()),
        ("busy_cap", policy.busy_cap.into()),
    ];
    let level = if capped { Status::Critical } else { Status::Warning };
    Finding::new(Cause::BusySilent, level, facts)
}

fn never_seen(ages: &Ages, policy: &Policy, level: Status) -> Finding {
    let facts = [
        ("up", ages.up.into()),
        ("activity_age", ages.activity.map(|last| last.age).into()),
        ("startup_grace", policy.startup_grace.into()),
    ];
    Finding::new(Cause::NeverSeen, level, facts)
}

fn inactive(ages: &Ages, policy: &Policy) -> Finding {
    let facts = [
        ("beats", ages.beats.into()),
        ("inactive", without_activity(ages).into()),
        ("activity_age", ages.activity.map(|last| last.age).into()),
        ("inactive_after", policy.inactive_after.into()),
    ];
    Finding::new(Cause::Inactive, super::level_asked(policy, Cause::Inactive), facts)
}
