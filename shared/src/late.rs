//! Which of an agent's clocks have run out.
//!
//! The one place that holds ages against a policy. The sidecar asks it at each tick, and reports
//! at once when the answer changes; the engine asks it for each report, and words the findings.
//! So both sides cannot disagree on the moment.

use std::time::Duration;

use crate::beat::{Ages, Deadline, Phase};
use crate::policy::{Due, ExpectBeats, Expected, Policy};
use crate::status::words;
use crate::trend::CheckAge;

mod passing;

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

words! {
    /// How the steps of an agent repeat.
    Pattern {
        /// The same action with the same result.
        SameResult = "same_result",
        /// The same action with the same error.
        SameError = "same_error",
        /// Two or three steps that take turns.
        Alternating = "alternating",
        /// The same action without a result.
        Monologue = "monologue",
    }
}

/// All clocks of one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent clocks, not states")]
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
    /// It waits for a rate limit again and again, and nothing comes of it.
    pub waits_on: bool,
    /// An agent that never beats shows no activity.
    pub inactive: bool,
    /// Stopped or frozen: a Warning at once.
    pub paused: Past,
    /// It does the same again and again.
    pub looping: Option<Pattern>,
    /// The oldest open task.
    pub overdue: Past,
    /// The check that is late longest, of those that come at an interval.
    pub missed: Past,
    /// It waits for a person, and has for long.
    pub human: bool,
    /// Nothing is left of what it may spend.
    pub spent: bool,
}

impl Late {
    /// Holds ages against a policy.
    pub fn of(ages: &Ages, policy: &Policy) -> Self {
        let paused = match ages.paused {
            None => Past::Not,
            Some(age) if age >= policy.paused_max => Past::Critical,
            Some(_) => Past::Warning,
        };
        if ages.paused.is_some() {
            // Nothing is owed now, whatever the clocks showed before.
            return Self { paused, ..Self::default() };
        }
        let anyway = Self {
            looping: looped(ages, policy).map(|(pattern, ..)| pattern),
            overdue: overdue(ages, policy),
            missed: missed(ages, policy),
            human: ages.phase == Some(Phase::WaitingHuman) && ages.phase_age >= policy.human_after,
            spent: ages.spent,
            waits_on: ages.waited >= policy.lease_max,
            ..Self::default()
        };
        if ages.is_leased() {
            return anyway;
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
            inert: progress != Past::Not && ages.quiet >= ages.progress_window(policy),
            lease_over: ages.lease.is_some_and(|lease| lease.over.is_some()),
            // Also who beat once or twice and then no more: its silence does not count.
            inactive: !ages.armed
                && !beats_expected(ages, policy)
                && ages.deadline.is_some()
                && ages.quiet >= policy.inactive_after,
            ..anyway
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
        0 => Silence::Busy { capped: ages.silence >= policy.busy_cap && !ages.unheard },
        misses => {
            let critical = misses >= enough(deadline, policy) && !ages.unheard;
            Silence::Silent { misses, critical }
        }
    }
}

fn enough(deadline: Deadline, policy: &Policy) -> u32 {
    if deadline.explicit { 1 } else { policy.failures_before_critical.get() }
}

fn never_seen(ages: &Ages, policy: &Policy) -> Past {
    // In a phase without a clock no beat is owed either.
    let owed = ages.beats == 0 && ages.deadline.is_some() && beats_expected(ages, policy);
    if !owed || ages.silence < policy.startup_grace {
        Past::Not
    } else if ages.quiet < policy.startup_grace {
        Past::Warning
    } else {
        Past::Critical
    }
}

fn progress(ages: &Ages, policy: &Policy) -> Past {
    let window = ages.progress_window(policy);
    match ages.progress.frozen {
        Some(frozen) if ages.progress.owed && frozen >= 2 * window => Past::Critical,
        Some(frozen) if ages.progress.owed && frozen >= window => Past::Warning,
        // What never moved was never seen to work: that is told, and no reason to act.
        None if ages.progress.owed && ages.progress.still.is_some_and(|still| still >= window) => {
            Past::Warning
        }
        Some(_) | None => Past::Not,
    }
}

/// The first pattern that has come often enough, how often, and how often is enough: twice as
/// often while the agent waits.
pub fn looped(ages: &Ages, policy: &Policy) -> Option<(Pattern, u32, u32)> {
    let (repeats, limits) = (&ages.repeats, &policy.limits.looping);
    let times = if ages.waits() { 2 } else { 1 };
    let turns = repeats.period_two.max(repeats.period_three);
    [
        (Pattern::SameError, repeats.same_error, limits.same_error),
        (Pattern::SameResult, repeats.same_result, limits.same_result),
        (Pattern::Alternating, turns, limits.alternating),
        (Pattern::Monologue, repeats.monologue, limits.monologue),
    ]
    .into_iter()
    .map(|(pattern, seen, limit)| (pattern, seen, limit.get().saturating_mul(times)))
    .find(|(_, seen, limit)| seen >= limit)
}

fn overdue(ages: &Ages, policy: &Policy) -> Past {
    match (ages.oldest_task, policy.task_timeout) {
        (Some(age), Some(timeout)) if age >= 2 * timeout => Past::Critical,
        (Some(age), Some(timeout)) if age >= timeout => Past::Warning,
        (Some(_) | None, _) => Past::Not,
    }
}

fn missed(ages: &Ages, policy: &Policy) -> Past {
    let of = |check: &CheckAge| match policy.limits.check.get(&check.name) {
        Some(expected) => interval_missed(expected, check.age),
        None => Past::Not,
    };
    ages.checks.iter().map(of).max().unwrap_or_default()
}

/// Whether a check that comes at an interval is late: a Warning after the grace, Critical when the
/// next one is late too. One that comes at times of the day is judged where the day is known.
pub fn interval_missed(expected: &Expected, age: Duration) -> Past {
    match expected.due {
        Due::Every(every) if age >= 2 * every + expected.grace => Past::Critical,
        Due::Every(every) if age >= every + expected.grace => Past::Warning,
        Due::Every(_) | Due::Cron(_) => Past::Not,
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
    use crate::trend::Repeats;

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
    fn who_was_taken_over_and_not_heard_since_is_never_critical() {
        let unheard = |silence, inactive| Ages { unheard: true, ..quiet(silence, inactive) };
        let late = |ages| Late::of(&ages, &Policy::default()).silence;
        assert_eq!(late(unheard(900, 900)), Silence::Silent { misses: 90, critical: false });
        assert_eq!(late(unheard(3600, 0)), Silence::Busy { capped: false });
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
            let progress =
                Progress { counter: 5, frozen: Some(seconds(frozen)), owed, ..Progress::default() };
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
        let still = |seen: u64| {
            let still = Some(seconds(seen));
            let progress = Progress { still, owed: true, ..Progress::default() };
            Late::of(&Ages { progress, ..quiet(1, 9999) }, &policy).progress
        };
        assert_eq!(
            (still(599), still(600), still(99_999)),
            (Past::Not, Past::Warning, Past::Warning)
        );
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
        let idle = Ages { beats: 0, deadline: None, ..quiet(9999, 9999) };
        assert_eq!(Late::of(&idle, &policy).never_seen, Past::Not, "no beat is owed");
        assert!(unexpected.inactive, "judged by activity instead");
    }

    #[test]
    fn who_is_paused_or_leased_owes_nothing() {
        let policy = Policy::default();
        let progress =
            Progress { counter: 5, frozen: Some(seconds(9999)), owed: true, ..Progress::default() };
        let late = Ages { progress, ..quiet(9999, 9999) };
        let lease = Lease { number: 1, left: seconds(60), over: None };
        let paused = Ages { paused: Some(seconds(1)), ..late.clone() };
        assert_eq!(Late::of(&paused, &policy), Late { paused: Past::Warning, ..Late::default() });
        let leased = Ages { lease: Some(lease), ..late };
        assert_eq!(Late::of(&leased, &policy), Late::default());
    }

    #[test]
    fn loops_are_counted_and_a_wait_doubles_the_counts() {
        let with = |repeats, phase| {
            let ages = Ages { repeats, phase, ..Ages::default() };
            Late::of(&ages, &Policy::default()).looping
        };
        let calm =
            Repeats { same_result: 3, same_error: 2, period_two: 5, period_three: 5, monologue: 2 };
        assert_eq!(with(calm, None), None);
        let waiting = Some(Phase::WaitingRateLimit);
        for (repeats, doubled, pattern) in [
            (Repeats { same_result: 4, ..calm }, 8, Pattern::SameResult),
            (Repeats { same_error: 3, ..calm }, 6, Pattern::SameError),
            (Repeats { period_two: 6, ..calm }, 12, Pattern::Alternating),
            (Repeats { period_three: 6, ..calm }, 12, Pattern::Alternating),
            (Repeats { monologue: 3, ..calm }, 6, Pattern::Monologue),
        ] {
            assert_eq!(with(repeats, None), Some(pattern));
            assert_eq!(with(repeats, waiting), None, "{pattern} while it waits");
            let much = Repeats {
                same_result: doubled * u32::from(pattern == Pattern::SameResult),
                same_error: doubled * u32::from(pattern == Pattern::SameError),
                period_two: doubled * u32::from(pattern == Pattern::Alternating),
                period_three: 0,
                monologue: doubled * u32::from(pattern == Pattern::Monologue),
            };
            assert_eq!(with(much, waiting), Some(pattern));
        }
    }

    #[test]
    fn tasks_and_checks_have_their_own_bounds() {
        let expected = Expected { due: Due::Every(seconds(60)), grace: seconds(10) };
        let mut policy = Policy { task_timeout: Some(seconds(100)), ..Policy::default() };
        policy.limits.check.insert("backup".to_owned(), expected);
        let at = |age| {
            let check = CheckAge { name: "backup".to_owned(), age: seconds(age), came: true };
            let ages =
                Ages { oldest_task: Some(seconds(age)), checks: vec![check], ..Ages::default() };
            let late = Late::of(&ages, &policy);
            (late.missed, late.overdue)
        };
        assert_eq!(at(69), (Past::Not, Past::Not));
        assert_eq!(at(70), (Past::Warning, Past::Not));
        assert_eq!(at(129), (Past::Warning, Past::Warning));
        assert_eq!(at(200), (Past::Critical, Past::Critical));
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
