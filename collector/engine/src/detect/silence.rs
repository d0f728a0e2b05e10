//! Silent, BusySilent, NeverSeen and Inactive: what the absence of beats means, given activity.

use std::time::Duration;

use lubdub_shared::beat::{Ages, Report};
use lubdub_shared::command::Precondition;
use lubdub_shared::incident::{Cause, Finding};
use lubdub_shared::late::{Late, Past, Silence};
use lubdub_shared::policy::Policy;
use lubdub_shared::status::Status;
use lubdub_shared::time::{scaled, words};

use super::setting::{Setting, clock, count};
use super::{Detector, Draft, age};

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

fn turn_deadline(_: &mut Policy, report: &mut Report, by: f64) -> Option<String> {
    let deadline = report.ages.deadline.as_mut()?;
    deadline.after = scaled(deadline.after, by).max(Duration::from_millis(1));
    Some(words(deadline.after))
}

/// The age of the beat; where part of it was leased or paused, also what counts of it.
fn without_beat(ages: &Ages) -> String {
    let age = ages.beat.unwrap_or(ages.up);
    let uncounted = age.saturating_sub(ages.silence) >= Duration::from_secs(1);
    let counts = uncounted.then(|| format!(" ({} of it count)", words(ages.silence)));
    words(age) + &counts.unwrap_or_default()
}

/// Since the last activity, as it was; what was leased or paused of it does not count.
fn without_activity(ages: &Ages) -> Duration {
    ages.activity.map_or(ages.up, |last| last.age)
}

fn silent(ages: &Ages, policy: &Policy, misses: u32, critical: bool) -> Finding {
    let deadline = ages.deadline.map(|deadline| deadline.after);
    let enough = match ages.deadline {
        Some(deadline) if deadline.explicit => 1,
        Some(_) | None => policy.failures_before_critical.get(),
    };
    Draft {
        cause: Cause::Silent,
        level: if critical { Status::Critical } else { Status::Warning },
        detail: format!(
            "no beat for {}, no activity for {} (deadline {}, missed {misses}, \
             critical at {enough}){}",
            without_beat(ages),
            words(without_activity(ages)),
            age(deadline),
            if ages.unheard {
                "; not heard since its sidecar was restarted: no restart"
            } else {
                ""
            }
        ),
        evidence: [
            ("beat_age", age(ages.beat)),
            ("silence", words(ages.silence)),
            ("activity_age", age(ages.activity.map(|last| last.age))),
            ("deadline", age(deadline)),
            ("misses", misses.to_string()),
            ("beats", ages.beats.to_string()),
        ],
        rule: "neither beat nor activity for failures_before_critical x heartbeat_deadline \
               (or the phase's deadline, or the agent's own contract at the first miss)",
        cancelled_by: "a beat, or activity of the tree",
    }
    .into()
}

fn busy(ages: &Ages, policy: &Policy, capped: bool) -> Finding {
    let activity = ages.activity.map_or("activity", |last| last.kind.as_str());
    Draft {
        cause: Cause::BusySilent,
        level: if capped { Status::Critical } else { Status::Warning },
        detail: format!(
            "no beat for {}, but {activity} {} ago",
            without_beat(ages),
            words(without_activity(ages))
        ),
        evidence: [
            ("beat_age", age(ages.beat)),
            ("silence", words(ages.silence)),
            ("activity", activity.to_owned()),
            ("activity_age", words(without_activity(ages))),
            ("busy_cap", words(policy.busy_cap)),
        ],
        rule: "no beat for the deadline while the tree is active; Critical at busy_cap",
        cancelled_by: "a beat",
    }
    .into()
}

fn never_seen(ages: &Ages, policy: &Policy, level: Status) -> Finding {
    Draft {
        cause: Cause::NeverSeen,
        level,
        detail: format!("beats are expected, and none came in {}", words(ages.up)),
        evidence: [
            ("up", words(ages.up)),
            ("activity_age", age(ages.activity.map(|last| last.age))),
            ("startup_grace", words(policy.startup_grace)),
        ],
        rule: "expect_beats, and no beat within startup_grace; Critical without activity",
        cancelled_by: "a beat",
    }
    .into()
}

fn inactive(ages: &Ages, policy: &Policy) -> Finding {
    Draft {
        cause: Cause::Inactive,
        level: super::level_asked(policy, Cause::Inactive),
        detail: format!(
            "{}, and shows no activity for {}",
            if ages.beats == 0 { "never beats" } else { "has not beaten on purpose" },
            words(without_activity(ages))
        ),
        evidence: [
            ("activity_age", age(ages.activity.map(|last| last.age))),
            ("inactive_after", words(policy.inactive_after)),
        ],
        rule: "not armed by beats in this life, and no activity for inactive_after",
        cancelled_by: "a beat, or activity of the tree",
    }
    .into()
}
