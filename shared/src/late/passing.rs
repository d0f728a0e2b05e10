//! What time alone does to a life: its clocks run on, and nothing is said, done or seen.

use std::time::Duration;

use super::{Late, Past, Silence, beats_expected, enough};
use crate::beat::{Ages, Lease, Report};
use crate::policy::{Due, Policy};

/// The shortest slack of a lease; the sidecar's own may be longer by a tenth of the lease, which a
/// report does not tell.
const SLACK: Duration = Duration::from_secs(5);

/// Whoever did something so lately is doing something.
const ACTIVE_WITHIN: Duration = Duration::from_secs(15);

impl Lease {
    /// Until its slack has passed.
    fn remaining(&self) -> Duration {
        if self.over.is_some() { Duration::ZERO } else { self.left.saturating_add(SLACK) }
    }

    fn aged(self, by: Duration) -> Self {
        let over = match self.over {
            Some(over) => Some(over.saturating_add(by)),
            None => (by > self.remaining()).then(|| by.saturating_sub(self.left)),
        };
        Self { left: self.left.saturating_sub(by), over, ..self }
    }
}

impl Report {
    /// What its sidecar would report of the same life later, if what is wrong goes on and nothing
    /// else goes wrong: who beats, works and is active now goes on with it.
    #[must_use]
    pub fn going_on(&self, by: Duration, policy: &Policy) -> Self {
        let mut later = self.clone();
        later.starts_in = self.starts_in.map(|left| left.saturating_sub(by));
        later.health.sick_for = match self.health.sick.as_str() {
            "" => Duration::ZERO,
            _ => self.health.sick_for.saturating_add(by),
        };
        later.ages = match self.health.unheard.as_str() {
            "" => self.ages.going_on(by, policy),
            // The sidecar is deaf to it: what it does not say is nobody's fault.
            _ => self.ages.aged_unheard(by),
        };
        later
    }
}

impl Ages {
    /// After so long in which nothing was said, done or seen. A lease that runs is taken to have
    /// the shortest slack; quiet hours are taken to last.
    #[must_use]
    pub fn aged(&self, by: Duration) -> Self {
        let mut later = self.clone();
        later.pass(by);
        if let Some(paused) = &mut later.paused {
            *paused = paused.saturating_add(by);
            return later;
        }
        let leased = self.lease.map_or(Duration::ZERO, |lease| lease.remaining());
        later.lease = self.lease.map(|lease| lease.aged(by));
        if !self.waited.is_zero() {
            later.waited = self.waited.saturating_add(by.min(leased));
        }
        if self.resting {
            return later;
        }
        for check in &mut later.checks {
            check.age = check.age.saturating_add(by);
        }
        later.charge(by.saturating_sub(leased));
        later
    }

    /// After so long in which what is late now stays late, and all else goes on as it does.
    fn going_on(&self, by: Duration, policy: &Policy) -> Self {
        let late = Late::of(self, policy);
        let mut later = self.aged(by);
        if late.silence == Silence::InTime && late.never_seen == Past::Not {
            (later.silence, later.beat) = (self.silence, self.beat);
        }
        if self.quiet < ACTIVE_WITHIN {
            (later.quiet, later.activity) = (self.quiet, self.activity);
        }
        if late.progress == Past::Not {
            later.progress = self.progress;
        }
        if late.overdue == Past::Not {
            later.oldest_task = self.oldest_task;
        }
        if late.missed == Past::Not {
            later.checks.clone_from(&self.checks);
        }
        if self.is_leased() {
            // It renews what it needs, or ends its call in time.
            (later.lease, later.waited) = (self.lease, self.waited);
            (later.silence, later.quiet) = (self.silence, self.quiet);
        }
        later
    }

    fn aged_unheard(&self, by: Duration) -> Self {
        let mut later = self.clone();
        later.pass(by);
        later.quiet = self.quiet.saturating_add(by);
        later
    }

    /// What runs whatever is leased or paused.
    fn pass(&mut self, by: Duration) {
        self.up = self.up.saturating_add(by);
        self.phase_age = self.phase_age.saturating_add(by);
        self.beat = self.beat.map(|age| age.saturating_add(by));
        if let Some(last) = &mut self.activity {
            last.age = last.age.saturating_add(by);
        }
    }

    /// What runs only while it counts.
    fn charge(&mut self, by: Duration) {
        self.silence = self.silence.saturating_add(by);
        self.quiet = self.quiet.saturating_add(by);
        self.oldest_task = self.oldest_task.map(|age| age.saturating_add(by));
        if self.progress.owed {
            self.progress.frozen = self.progress.frozen.map(|age| age.saturating_add(by));
            self.progress.still = self.progress.still.map(|age| age.saturating_add(by));
        }
    }

    /// Every moment, from now and in order, at which [`Late::of`](super::Late::of) may say
    /// something else if nothing but time passes. How many deadlines were missed is told as it
    /// grows; only the first and the decisive one are here.
    pub fn changes(&self, policy: &Policy) -> Vec<Duration> {
        let mut moments = Vec::new();
        let mut pass = |age: Duration, bound: Duration, first: Duration| {
            let left = bound.checked_sub(age).filter(|left| !left.is_zero());
            moments.extend(left.map(|left| left.saturating_add(first)));
        };
        pass(self.phase_age, policy.human_after, Duration::ZERO);
        if let Some(paused) = self.paused {
            pass(paused, policy.paused_max, Duration::ZERO);
        } else {
            let leased = self.lease.map_or(Duration::ZERO, |lease| lease.remaining());
            // The slack is over behind its last moment.
            pass(Duration::ZERO, leased, Duration::from_nanos(1));
            pass(self.waited, policy.lease_max, Duration::ZERO);
            for (check, expected) in self.expected(policy) {
                if let Due::Every(every) = expected.due {
                    let grace = expected.grace;
                    pass(check, every.saturating_add(grace), Duration::ZERO);
                    pass(check, every.saturating_mul(2).saturating_add(grace), Duration::ZERO);
                }
            }
            for (age, bound) in self.charged_bounds(policy) {
                pass(age, bound, leased);
            }
        }
        moments.sort_unstable();
        moments.dedup();
        moments
    }

    fn expected<'a>(
        &'a self,
        policy: &'a Policy,
    ) -> impl Iterator<Item = (Duration, &'a crate::policy::Expected)> {
        let of = |check: &'a crate::trend::CheckAge| {
            Some((check.age, policy.limits.check.get(&check.name)?))
        };
        self.checks.iter().filter_map(of)
    }

    /// Clocks that run only while they count, and the bounds that they pass.
    fn charged_bounds(&self, policy: &Policy) -> Vec<(Duration, Duration)> {
        let mut bounds = vec![(self.silence, policy.busy_cap)];
        if let Some(deadline) = self.deadline {
            let decisive = deadline.after.saturating_mul(enough(deadline, policy));
            for age in [self.silence, self.quiet] {
                bounds.extend([(age, deadline.after), (age, decisive)]);
            }
        }
        if beats_expected(self, policy) {
            let grace = policy.startup_grace;
            bounds.extend([(self.silence, grace), (self.quiet, grace)]);
        }
        let window = self.progress_window(policy);
        let frozen = self.progress.frozen.or(self.progress.still);
        for age in frozen.filter(|_| self.progress.owed).into_iter().chain([self.quiet]) {
            bounds.extend([(age, window), (age, window.saturating_mul(2))]);
        }
        bounds.push((self.quiet, policy.inactive_after));
        if let (Some(age), Some(timeout)) = (self.oldest_task, policy.task_timeout) {
            bounds.extend([(age, timeout), (age, timeout.saturating_mul(2))]);
        }
        bounds
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::beat::{ActivityKind, Deadline, LastActivity, Phase, Progress};

    fn seconds(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
        range.prop_map(Duration::from_secs)
    }

    fn maybe(range: std::ops::Range<u64>) -> impl Strategy<Value = Option<Duration>> {
        proptest::option::of(seconds(range))
    }

    prop_compose! {
        fn lives()(
            (silence, quiet) in (seconds(0..4000), seconds(0..4000)),
            (frozen, still, owed) in (maybe(0..2000), maybe(0..2000), any::<bool>()),
            (paused, task) in (maybe(0..1000), maybe(0..3000)),
            lease in proptest::option::of((0_u64..600, maybe(0..100))),
            deadline in proptest::option::of((1_u64..100, any::<bool>())),
            (beats, armed, resting, waited) in
                (0_u64..5, any::<bool>(), proptest::bool::weighted(0.1), seconds(0..10)),
        ) -> Ages {
            Ages {
                up: Duration::from_secs(5000),
                phase: Some(Phase::WaitingHuman),
                beats,
                silence,
                quiet,
                armed,
                resting,
                waited,
                paused,
                oldest_task: task,
                progress: Progress { counter: 1, frozen, still, owed, window: Duration::ZERO },
                deadline: deadline.map(|(after, explicit)| {
                    Deadline { after: Duration::from_secs(after), explicit }
                }),
                activity: Some(LastActivity { age: quiet, kind: ActivityKind::Cpu }),
                lease: lease.map(|(left, over)| {
                    let left = Duration::from_secs(left);
                    let left = if over.is_some() { Duration::ZERO } else { left };
                    Lease { number: 1, left, over }
                }),
                ..Ages::default()
            }
        }
    }

    /// How many deadlines were missed changes with each of them.
    fn without_misses(late: Late) -> Late {
        match late.silence {
            Silence::Silent { critical, .. } => {
                Late { silence: Silence::Silent { misses: 1, critical }, ..late }
            }
            Silence::InTime | Silence::Busy { .. } => late,
        }
    }

    /// A healthy agent is not said to fall silent.
    #[test]
    fn who_is_well_goes_on_being_well() {
        let policy = Policy::default();
        let well = Ages {
            up: Duration::from_secs(100),
            phase: Some(Phase::Working),
            beats: 9,
            beat: Some(Duration::from_secs(1)),
            silence: Duration::from_secs(1),
            armed: true,
            deadline: Some(Deadline { after: Duration::from_secs(180), explicit: false }),
            quiet: Duration::from_secs(2),
            progress: Progress {
                counter: 5,
                frozen: Some(Duration::from_secs(3)),
                owed: true,
                ..Progress::default()
            },
            oldest_task: Some(Duration::from_secs(4)),
            ..Ages::default()
        };
        let day = Duration::from_secs(86_400);
        assert_eq!(Late::of(&well.going_on(day, &policy), &policy), Late::default());
        assert_ne!(Late::of(&well.aged(day), &policy), Late::default());
        let stuck = Ages {
            progress: Progress { frozen: Some(policy.progress_window), ..well.progress },
            ..well
        };
        let late = Late::of(&stuck.going_on(day, &policy), &policy);
        assert_eq!((late.progress, late.silence), (Past::Critical, Silence::InTime));
    }

    proptest! {
        /// Between two of the moments nothing changes.
        #[test]
        fn what_time_does_is_foretold(
            ages in lives(),
            part in 1_u32..1000,
            expects in any::<bool>(),
        ) {
            let policy = Policy {
                task_timeout: Some(Duration::from_secs(700)),
                expect_beats: match expects {
                    true => crate::policy::ExpectBeats::Always,
                    false => crate::policy::ExpectBeats::Auto,
                },
                ..Policy::default()
            };
            let late = |by| without_misses(Late::of(&ages.aged(by), &policy));
            let mut moments = vec![Duration::ZERO];
            moments.extend(ages.changes(&policy));
            moments.push(*moments.last().expect("one") + Duration::from_secs(100_000));
            for pair in moments.windows(2) {
                let between = pair[0] + pair[1].saturating_sub(pair[0]) / 1000 * part;
                prop_assert_eq!(late(pair[0]), late(between), "{:?} {:?}", pair, between);
            }
        }

        /// Time that passes in two pieces passes as in one.
        #[test]
        fn time_adds_up(ages in lives(), one in seconds(0..3000), two in seconds(0..3000)) {
            let (pieces, whole) = (ages.aged(one).aged(two), ages.aged(one + two));
            prop_assert_eq!(pieces.silence, whole.silence);
            prop_assert_eq!(pieces.quiet, whole.quiet);
            prop_assert_eq!(pieces.lease, whole.lease);
        }
    }
}
