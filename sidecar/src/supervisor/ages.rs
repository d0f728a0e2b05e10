//! PURE: the clocks of one life, charged tick by tick.
//!
//! A clock is charged only while it may run: not while the process is stopped or frozen, not
//! inside a lease or a declared wait for a rate limit, not in the policy's quiet hours. What is not
//! charged does not come back: a lease that ends leaves the phase's own clock where it stood.

use std::collections::BTreeMap;
use std::time::Duration;

use super::gaps::Gaps;
use crate::vitals::activity::Activity;
use lubdub_shared::beat::{ARMED_BEATS, Ages, Deadline, Phase, Progress};
use lubdub_shared::heartbeat_file::Kept;
use lubdub_shared::line::Message;
use lubdub_shared::policy::{ExpectBeats, Policy, STRETCH_MAX};
use lubdub_shared::time::{Mono, Now, Wall};

mod checks;
mod lease;
mod steps;
mod work;

use checks::Checks;
use lease::Leases;
pub(super) use steps::Steps;
use work::Work;

/// Shortest explicit deadline: below four ticks a deadline measures the watcher.
const DEADLINE_MIN: Duration = Duration::from_secs(1);

/// The clocks of one life. All moments are in the sidecar's ticks.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not states")]
pub(super) struct LifeClocks {
    began: Mono,
    /// Of a life that another sidecar began: its age then.
    age_before: Duration,
    looked: Mono,
    phase: Option<Phase>,
    phase_since: Mono,
    ready: bool,
    beats: u64,
    /// A new sidecar took the life over, and has heard no beat since.
    unheard: bool,
    beat_at: Option<Mono>,
    silence: Duration,
    /// Charged time since the last activity was seen.
    quiet: Duration,
    /// Nothing was leased or paused since the last beat.
    gap_is_plain: bool,
    explicit: Option<Duration>,
    leases: Leases,
    paused_since: Option<Mono>,
    /// The policy's quiet hours hold.
    resting: bool,
    /// The sidecar cannot hear the agent: what it does not say is nobody's fault.
    deaf: bool,
    /// Time of this life in which it was neither paused nor at rest, and in which clocks ran.
    awake: Duration,
    charged: Duration,
    checks: Checks,
    pub(super) work: Work,
    pub(super) activity: Activity,
    pub(super) energy: Option<f64>,
    pub(super) text: String,
    pub(super) model: String,
    pub(super) vitals: BTreeMap<String, f64>,
}

impl LifeClocks {
    pub(super) fn new(now: Mono) -> Self {
        Self {
            began: now,
            age_before: Duration::ZERO,
            looked: now,
            phase: None,
            phase_since: now,
            ready: false,
            beats: 0,
            unheard: false,
            beat_at: None,
            silence: Duration::ZERO,
            quiet: Duration::ZERO,
            gap_is_plain: true,
            explicit: None,
            leases: Leases::default(),
            paused_since: None,
            resting: false,
            deaf: false,
            awake: Duration::ZERO,
            charged: Duration::ZERO,
            checks: Checks::default(),
            work: Work::default(),
            activity: Activity::default(),
            energy: None,
            text: String::new(),
            model: String::new(),
            vitals: BTreeMap::new(),
        }
    }

    /// Of a life that is `age` old and was another sidecar's. Clocks start anew: what nobody
    /// measured is held against nobody.
    pub(super) fn adopted(kept: Option<Kept>, age: Duration, now: Now, ticks: Mono) -> Self {
        let Some(kept) = kept else { return Self { age_before: age, ..Self::new(ticks) } };
        let mut clocks = Self {
            age_before: age,
            phase: kept.phase,
            beats: kept.seq,
            beat_at: Some(ticks),
            unheard: true,
            gap_is_plain: false,
            energy: kept.energy,
            model: kept.model.unwrap_or_default(),
            work: Work::resumed(kept.progress, kept.cycle, kept.vitals.tasks),
            ..Self::new(ticks)
        };
        let left = kept.lease_until.map(|until| now.wall.until(until));
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            clocks.leases.resume(left, ticks);
        }
        clocks
    }

    /// Charges the time that has passed.
    pub(super) fn advance(&mut self, now: Mono) {
        let passed = now.since(self.looked);
        self.looked = now;
        if self.paused_since.is_some() {
            self.gap_is_plain = false;
            return self.leases.pause(passed);
        }
        if self.deaf {
            // What is seen is seen all the same.
            self.quiet += passed;
            self.gap_is_plain = false;
            // It cannot renew what it has.
            return self.leases.pause(passed);
        }
        if !self.resting {
            self.awake += passed;
        }
        if self.leases.charge(passed, now) || self.resting {
            self.gap_is_plain = false;
            return;
        }
        self.charged += passed;
        self.silence += passed;
        self.quiet += passed;
        if self.work.is_owed(self.phase) {
            self.work.frozen += passed;
        }
    }

    /// Applies what the agent said at `now`.
    pub(super) fn say(
        &mut self,
        mut message: Message,
        now: Mono,
        wall: Wall,
        policy: &Policy,
        gaps: &mut Gaps,
    ) {
        self.advance(now);
        let proves_life = message.beat
            || message.ready
            || message.phase.is_some()
            || message.lease.is_some()
            || message.progress.is_some();
        if proves_life {
            self.end_gap(policy, gaps);
        }
        self.activity.heard(message.beat, message.size);
        if message.beat {
            self.beats += 1;
            self.unheard = false;
            self.beat_at = Some(now);
            if self.phase.is_none() {
                // Without phases only a beat can tell that the leased call is over.
                self.leases.end_if_over(now);
            }
        }
        if message.beat && !self.work.moved && !self.leases.is_some() {
            // Who counts nothing cannot refill its leases by progress.
            self.leases.refill();
        }
        let owed = self.work.is_owed(self.phase);
        let entered = self.enter_phase(&message, now, policy);
        self.leases.grant(&message, (self.phase, entered), now, wall, policy);
        if self.work.take(&mut message, (now, self.charged), self.phase, policy, gaps) {
            self.leases.refill();
            self.leases.end_if_over(now);
        }
        if !owed && self.work.is_owed(self.phase) {
            // What is owed from now on was not owed before.
            self.work.frozen = Duration::ZERO;
        }
        if message.ready {
            self.ready = true;
            self.checks.withdraw_trigger();
        }
        if let Some(deadline) = message.deadline {
            let bounded = deadline.clamp(DEADLINE_MIN, policy.lease_max.max(DEADLINE_MIN));
            self.explicit = Some(bounded).filter(|_| !deadline.is_zero());
        }
        if let Some(check) = message.check.take() {
            self.checks.take(check, (now, self.awake), &policy.limits);
        }
        self.label(message);
    }

    /// It said so itself.
    fn is_stopping(&self) -> bool {
        self.phase == Some(Phase::Stopping)
    }

    /// For how long it has been on its way out, while it runs.
    pub(super) fn stopping_for(&self, now: Mono) -> Option<Duration> {
        let stopping = self.is_stopping() && self.paused_since.is_none();
        stopping.then(|| now.since(self.phase_since))
    }

    /// A wait was asked for that is longer than any may be.
    pub(super) fn take_capped(&mut self) -> bool {
        self.leases.take_capped()
    }

    /// What is only shown.
    fn label(&mut self, message: Message) {
        self.energy = message.energy.or(self.energy);
        self.text = message.text.unwrap_or_else(|| std::mem::take(&mut self.text));
        self.model = message.model.unwrap_or_else(|| std::mem::take(&mut self.model));
        if !message.vitals.is_empty() {
            self.vitals = message.vitals;
        }
    }

    /// The main process was seen stopped or frozen, or running again.
    pub(super) fn set_paused(&mut self, paused: bool, now: Mono) {
        self.advance(now);
        match (paused, self.paused_since) {
            (true, None) => self.paused_since = Some(now),
            (false, Some(_)) => self.paused_since = None,
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// The agent cannot be heard, or can again.
    pub(super) fn set_deaf(&mut self, deaf: bool) {
        self.deaf = deaf;
    }

    /// Quiet hours begin or end.
    pub(super) fn set_resting(&mut self, resting: bool) {
        self.resting = resting;
    }

    /// Activity was looked for: a new one ends the quiet.
    pub(super) fn sampled(&mut self, now: Mono) {
        if let Some(last) = self.activity.last(now) {
            self.quiet = self.quiet.min(last.age);
        }
    }

    /// A new policy: what was charged under the old one is no fault under the new.
    pub(super) fn rebase(&mut self) {
        (self.silence, self.quiet, self.work.frozen) = Default::default();
        self.gap_is_plain = false;
    }

    pub(super) fn beats(&self) -> u64 {
        self.beats
    }

    pub(super) fn cycle(&self) -> Option<u64> {
        self.work.cycle()
    }

    /// It said that it is up, or beat.
    pub(super) fn is_ready(&self) -> bool {
        self.ready || self.beats > 0
    }

    /// Since the start of the life.
    pub(super) fn up(&self, now: Mono) -> Duration {
        now.since(self.began) + self.age_before
    }

    /// Since the last beat.
    pub(super) fn beat_age(&self, now: Mono) -> Option<Duration> {
        self.beat_at.map(|at| now.since(at))
    }

    /// The beat deadline in force.
    pub(super) fn deadline(&self, policy: &Policy, gaps: &Gaps) -> Option<Deadline> {
        let from_policy = policy.beat_deadline(self.phase)?;
        let phase_says = self.phase.is_some_and(|phase| policy.phase.contains_key(&phase));
        match self.explicit.filter(|_| !phase_says) {
            Some(after) => Some(Deadline { after, explicit: true }),
            None if policy.expect_beats == ExpectBeats::Always => {
                Some(Deadline { after: from_policy, explicit: false })
            }
            None => {
                let after = gaps.stretch_beats(self.phase, from_policy);
                Some(Deadline { after, explicit: false })
            }
        }
    }

    pub(super) fn ages(&self, now: Mono, policy: &Policy, gaps: &Gaps) -> Ages {
        let on_purpose = self.beats >= ARMED_BEATS
            || self.explicit.is_some()
            || policy.expect_beats == ExpectBeats::Always;
        // Whoever is on its way out owes nothing more but its end.
        let oldest_task = self.work.tasks.oldest_open().filter(|_| !self.is_stopping());
        Ages {
            up: self.up(now),
            phase: self.phase,
            phase_age: now.since(self.phase_since),
            ready: self.ready,
            beats: self.beats,
            beat: self.beat_at.map(|at| now.since(at)),
            silence: self.silence,
            armed: on_purpose && policy.expect_beats != ExpectBeats::Never,
            deadline: self.deadline(policy, gaps),
            activity: self.activity.last(now),
            quiet: self.quiet,
            progress: self.progress(policy, gaps),
            lease: self.leases.view(now),
            paused: self.paused_since.map(|since| now.since(since)),
            failed: self.checks.failed(),
            repeats: self.work.repeats(),
            waited: self.leases.waited(),
            oldest_task: oldest_task.map(|begun| self.charged.saturating_sub(begun)),
            checks: self.checks.expected(&policy.limits, (now, self.began, self.awake)),
            resting: self.resting,
            unheard: self.unheard,
            beat_gaps: gaps.of_beats(self.phase),
            progress_gaps: gaps.of_progress(self.phase),
            ..Ages::default()
        }
    }

    fn progress(&self, policy: &Policy, gaps: &Gaps) -> Progress {
        Progress {
            counter: self.work.counter(),
            frozen: self.work.moved.then_some(self.work.frozen),
            still: self.work.still(),
            owed: self.work.is_owed(self.phase),
            window: gaps.stretch_progress(self.phase, policy.progress_deadline(self.phase)),
        }
    }

    fn end_gap(&mut self, policy: &Policy, gaps: &mut Gaps) {
        if self.gap_is_plain && self.beats >= ARMED_BEATS && self.explicit.is_none() {
            // A phase without a clock teaches nothing.
            let after = policy.beat_deadline(self.phase).filter(|_| !self.silence.is_zero());
            if let Some(after) = after {
                gaps.between_beats(self.phase, self.silence.min(STRETCH_MAX * after));
            }
        }
        self.silence = Duration::ZERO;
        self.gap_is_plain = true;
    }

    /// True when the message entered another phase.
    fn enter_phase(&mut self, message: &Message, now: Mono, policy: &Policy) -> bool {
        let enters = message.phase.is_some() && message.phase != self.phase;
        if enters {
            let before = self.phase;
            self.work.enter_phase(
                policy.progress_deadline(before),
                policy.progress_deadline(message.phase),
            );
            if before.is_some_and(Phase::waits) {
                self.work.wait_is_over();
            }
            if policy.beat_deadline(self.phase).is_none() {
                // In a phase without a clock it owed no activity either.
                self.quiet = Duration::ZERO;
            }
            self.phase = message.phase;
            self.phase_since = now;
            self.leases.end();
        }
        enters
    }
}

#[cfg(test)]
mod tests;
