//! Which of an agent's clocks have run out.
//!
//! The one place that holds ages against a policy. The sidecar asks it at each tick, and reports
//! at once when the answer changes; the engine asks it for each report, and words the findings.
//! So both sides cannot disagree on the moment.

use std::time::Duration;

use crate::beat::{Ages, Deadline};
use crate::policy::{ExpectBeats, Policy};

/// Silence of an agent that beats on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Silence {
    /// Not armed, no clock, or in time.
    #[default]
    InTime,
    /// Neither beat nor activity for this many deadlines.
    Silent {
        /// Deadlines missed, at least one.
        misses: u32,
        /// Enough of them.
        critical: bool,
    },
    /// No beat for a deadline, but activity.
    Busy {
        /// The cap on this has passed too.
        capped: bool,
    },
}

/// How far past its window a clock is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Past {
    /// Not yet.
    #[default]
    Not,
    /// Past the first bound.
    Warning,
    /// Past the second.
    Critical,
}

/// All clocks of one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Late {
    /// Beats.
    pub silence: Silence,
    /// Beats were expected and none came in the startup grace: a Warning while the agent is
    /// active, else Critical.
    pub never_seen: Past,
    /// Frozen progress under fresh beats.
    pub progress: Past,
    /// Progress is frozen, and no activity either: it may be acted on.
    pub inert: bool,
    /// The lease and its slack have passed.
    pub lease_over: bool,
    /// An agent that never beats shows no activity.
    pub inactive: bool,
    /// Stopped or frozen: a Warning at once.
    pub paused: Past,
}

impl Late {
    /// Holds ages against a policy.
    pub fn of(ages: &Ages, policy: &Policy) -> Self {
        let paused = match ages.paused {
            None => Past::Not,
            Some(age) if age >= policy.paused_max => Past::Critical,
            Some(_) => Past::Warning,
        };
        if ages.stands_still() {
            // Nothing is owed now, whatever the clocks showed before.
            return Self { paused, ..Self::default() };
        }
        let silence = silence(ages, policy);
        let progress = match silence {
            Silence::InTime => progress(ages, policy),
            Silence::Silent { .. } | Silence::Busy { .. } => Past::Not,
        };
        Self {
            silence,
            never_seen: never_seen(ages, policy),
            progress,
            inert: progress != Past::Not && ages.quiet >= policy.progress_deadline(ages.phase),
            lease_over: ages.lease.is_some_and(|lease| lease.over.is_some()),
            // Also who beat once or twice and then no more: its silence does not count.
            inactive: !ages.armed
                && !beats_expected(ages, policy)
                && ages.deadline.is_some()
                && ages.quiet >= policy.inactive_after,
            paused,
        }
    }
}

fn beats_expected(ages: &Ages, policy: &Policy) -> bool {
    policy.expect_beats == ExpectBeats::Always
        || ages.deadline.is_some_and(|deadline| deadline.explicit)
}

fn silence(ages: &Ages, policy: &Policy) -> Silence {
    let (true, 1.., Some(deadline)) = (ages.armed, ages.beats, ages.deadline) else {
        return Silence::InTime;
    };
    if ages.silence < deadline.after {
        return Silence::InTime;
    }
    // Misses count only while both clocks ran: an agent that was busy for ten deadlines and then
    // falls quiet has missed none of them yet.
    let misses = whole(ages.silence.min(ages.quiet), deadline.after);
    match misses {
        0 => Silence::Busy { capped: ages.silence >= policy.busy_cap },
        misses => Silence::Silent { misses, critical: misses >= enough(deadline, policy) },
    }
}

fn enough(deadline: Deadline, policy: &Policy) -> u32 {
    if deadline.explicit { 1 } else { policy.failures_before_critical.get() }
}

fn never_seen(ages: &Ages, policy: &Policy) -> Past {
    if ages.beats > 0 || !beats_expected(ages, policy) || ages.silence < policy.startup_grace {
        Past::Not
    } else if ages.quiet < policy.startup_grace {
        Past::Warning
    } else {
        Past::Critical
    }
}

fn progress(ages: &Ages, policy: &Policy) -> Past {
    let window = policy.progress_deadline(ages.phase);
    match ages.progress.frozen {
        Some(frozen) if ages.progress.owed && frozen >= 2 * window => Past::Critical,
        Some(frozen) if ages.progress.owed && frozen >= window => Past::Warning,
        Some(_) | None => Past::Not,
    }
}

fn whole(age: Duration, deadline: Duration) -> u32 {
    let misses = age.as_nanos() / deadline.as_nanos().max(1);
    u32::try_from(misses).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::beat::{ActivityKind, LastActivity, Lease, Progress};

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// An armed agent with a deadline of 10 s that beat and was active this long ago.
    fn quiet(silence: u64, inactive: u64) -> Ages {
        Ages {
            up: seconds(100_000),
            beats: 3,
            beat: Some(seconds(silence)),
            silence: seconds(silence),
            armed: true,
            deadline: Some(Deadline { after: seconds(10), explicit: false }),
            activity: Some(LastActivity { age: seconds(inactive), kind: ActivityKind::Cpu }),
            quiet: seconds(inactive),
            ..Ages::default()
        }
    }

    #[test]
    fn silence_needs_both_clocks() {
        let late =
            |silence, inactive| Late::of(&quiet(silence, inactive), &Policy::default()).silence;
        assert_eq!(late(9, 99), Silence::InTime);
        assert_eq!(late(10, 9), Silence::Busy { capped: false });
        assert_eq!(late(10, 10), Silence::Silent { misses: 1, critical: false });
        assert_eq!(late(29, 29), Silence::Silent { misses: 2, critical: false });
        assert_eq!(late(30, 30), Silence::Silent { misses: 3, critical: true });
        assert_eq!(late(300, 12), Silence::Silent { misses: 1, critical: false });
        assert_eq!(late(3600, 0), Silence::Busy { capped: true });
    }

    #[test]
    fn an_explicit_contract_is_critical_at_the_first_miss() {
        let mut ages = quiet(10, 10);
        ages.deadline = Some(Deadline { after: seconds(10), explicit: true });
        let late = Late::of(&ages, &Policy::default());
        assert_eq!(late.silence, Silence::Silent { misses: 1, critical: true });
    }

    #[test]
    fn what_is_unarmed_or_has_no_clock_is_never_silent() {
        let unarmed = Ages { armed: false, ..quiet(9999, 9999) };
        let clockless = Ages { deadline: None, ..quiet(9999, 9999) };
        for ages in [unarmed, clockless] {
            assert_eq!(Late::of(&ages, &Policy::default()).silence, Silence::InTime);
        }
    }

    #[test]
    fn progress_is_judged_only_where_it_is_owed_and_beats_are_fresh() {
        let policy = Policy::default();
        let with = |silence, frozen, owed| {
            let progress = Progress { counter: 5, frozen: Some(seconds(frozen)), owed };
            Late::of(&Ages { progress, ..quiet(silence, 9999) }, &policy)
        };
        assert_eq!(with(1, 599, true).progress, Past::Not);
        assert_eq!(with(1, 600, true).progress, Past::Warning);
        assert!(with(1, 600, true).inert);
        assert_eq!(with(1, 1200, true).progress, Past::Critical);
        assert_eq!(with(1, 1200, false).progress, Past::Not);
        assert_eq!(with(10, 1200, true).progress, Past::Not, "silence says it already");
        let never = Ages { progress: Progress::default(), ..quiet(1, 9999) };
        assert_eq!(Late::of(&never, &policy).progress, Past::Not);
    }

    #[test]
    fn never_seen_is_a_warning_while_active() {
        let policy = Policy { expect_beats: ExpectBeats::Always, ..Policy::default() };
        let at = |up, inactive| {
            let ages = Ages { beats: 0, up: seconds(up), ..quiet(up, inactive) };
            Late::of(&ages, &policy).never_seen
        };
        assert_eq!(at(299, 299), Past::Not);
        assert_eq!(at(300, 10), Past::Warning);
        assert_eq!(at(300, 300), Past::Critical);
        let ages = Ages { beats: 2, armed: false, ..quiet(9999, 9999) };
        let unexpected = Late::of(&ages, &Policy::default());
        assert_eq!(unexpected.never_seen, Past::Not);
        assert!(unexpected.inactive, "judged by activity instead");
    }

    #[test]
    fn who_is_paused_or_leased_owes_nothing() {
        let policy = Policy::default();
        let progress = Progress { counter: 5, frozen: Some(seconds(9999)), owed: true };
        let late = Ages { progress, ..quiet(9999, 9999) };
        let lease = Lease { number: 1, left: seconds(60), over: None };
        let paused = Ages { paused: Some(seconds(1)), ..late.clone() };
        assert_eq!(Late::of(&paused, &policy), Late { paused: Past::Warning, ..Late::default() });
        let leased = Ages { lease: Some(lease), ..late };
        assert_eq!(Late::of(&leased, &policy), Late::default());
    }

    #[test]
    fn paused_warns_at_once() {
        let at = |age| {
            let ages = Ages { paused: Some(seconds(age)), ..Ages::default() };
            Late::of(&ages, &Policy::default()).paused
        };
        assert_eq!((at(0), at(1800)), (Past::Warning, Past::Critical));
    }
}
