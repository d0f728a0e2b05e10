//! PURE: the clocks of one life, charged tick by tick.
//!
//! A clock is charged only while it may run: not while the process is stopped or frozen, and not
//! inside a lease or a declared wait for a rate limit. What is not charged does not come back: a
//! lease that ends leaves the phase's own clock where it stood.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::gaps::Gaps;
use super::source::Source;
use super::tasks::Tasks;
use crate::vitals::activity::Activity;
use lubdub_shared::beat::{Ages, Deadline, FAILED_CHECKS_MAX, FailedCheck, Lease, Phase, Progress};
use lubdub_shared::line::{Check, Message, SELF_CHECK, Spent, Until};
use lubdub_shared::policy::{ExpectBeats, Policy};
use lubdub_shared::time::{Mono, Wall};

/// Beats in a life from which silence counts.
const ARMED_BEATS: u64 = 3;
/// Senders inside one tree whose counters are kept apart; further ones share the last place.
const SOURCES_MAX: usize = 64;
/// Named checks that are remembered; further names are ignored.
const CHECKS_MAX: usize = 32;
/// Shortest explicit deadline: below four ticks a deadline measures the watcher.
const DEADLINE_MIN: Duration = Duration::from_secs(1);
/// Longest wait for a rate limit that suspends the clock.
const RATE_LIMIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, Clone, Copy)]
struct LeaseClock {
    number: u64,
    ends: Mono,
    slack: Duration,
    /// It counts against the cap; a wait for a rate limit does not.
    counts: bool,
}

/// The clocks of one life. All moments are in the sidecar's ticks.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not states")]
#[derive(Debug)]
pub(super) struct LifeClocks {
    began: Mono,
    looked: Mono,
    phase: Option<Phase>,
    phase_since: Mono,
    ready: bool,
    beats: u64,
    beat_at: Option<Mono>,
    silence: Duration,
    /// Charged time since the last activity was seen.
    quiet: Duration,
    /// Nothing was leased or paused since the last beat.
    gap_is_plain: bool,
    explicit: Option<Duration>,
    lease: Option<LeaseClock>,
    leases: u64,
    leased: Duration,
    paused_since: Option<Mono>,
    sources: HashMap<String, Source>,
    counter: u64,
    cycles: u64,
    counts_work: bool,
    moved: bool,
    frozen: Duration,
    checks: BTreeMap<String, FailedCheck>,
    pub(super) tasks: Tasks,
    pub(super) activity: Activity,
    pub(super) spent: Spent,
    pub(super) energy: Option<f64>,
    pub(super) text: String,
    pub(super) model: String,
    pub(super) vitals: BTreeMap<String, f64>,
}

impl LifeClocks {
    pub(super) fn new(now: Mono) -> Self {
        Self {
            began: now,
            looked: now,
            phase: None,
            phase_since: now,
            ready: false,
            beats: 0,
            beat_at: None,
            silence: Duration::ZERO,
            quiet: Duration::ZERO,
            gap_is_plain: true,
            explicit: None,
            lease: None,
            leases: 0,
            leased: Duration::ZERO,
            paused_since: None,
            sources: HashMap::new(),
            counter: 0,
            cycles: 0,
            counts_work: false,
            moved: false,
            frozen: Duration::ZERO,
            checks: BTreeMap::new(),
            tasks: Tasks::default(),
            activity: Activity::default(),
            spent: Spent::default(),
            energy: None,
            text: String::new(),
            model: String::new(),
            vitals: BTreeMap::new(),
        }
    }

    /// Charges the time that has passed.
    pub(super) fn advance(&mut self, now: Mono) {
        let passed = now.since(self.looked);
        self.looked = now;
        if self.paused_since.is_some() {
            self.gap_is_plain = false;
            if let Some(lease) = &mut self.lease {
                lease.ends = lease.ends.after(passed);
            }
            return;
        }
        if let Some(lease) = self.lease.filter(|lease| now <= lease.ends.after(lease.slack)) {
            self.gap_is_plain = false;
            if lease.counts {
                self.leased += passed;
            }
            return;
        }
        self.silence += passed;
        self.quiet += passed;
        if self.owes_progress() {
            self.frozen += passed;
        }
    }

    /// Applies what the agent said at `now`.
    pub(super) fn say(
        &mut self,
        message: Message,
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
        if message.beat {
            self.beats += 1;
            self.beat_at = Some(now);
            self.activity.beat();
            if self.phase.is_none() {
                // Without phases only a beat can tell that the leased call is over.
                self.lease.take_if(|lease| now > lease.ends);
            }
        }
        if message.beat && !self.moved && self.lease.is_none() {
            // Who counts nothing cannot refill its leases by progress.
            self.leased = Duration::ZERO;
        }
        let owed = self.owes_progress();
        self.enter_phase(&message, now);
        self.grant(&message, now, wall, policy);
        self.count(&message, now);
        if !owed && self.owes_progress() {
            // What is owed from now on was not owed before.
            self.frozen = Duration::ZERO;
        }
        if message.ready {
            self.ready = true;
            self.checks.remove(SELF_CHECK);
        }
        if let Some(deadline) = message.deadline {
            let bounded = deadline.clamp(DEADLINE_MIN, policy.lease_max.max(DEADLINE_MIN));
            self.explicit = Some(bounded).filter(|_| !deadline.is_zero());
        }
        if let Some(check) = message.check {
            self.check(check);
        }
        self.energy = message.energy.or(self.energy);
        self.spent.tokens_in = self.spent.tokens_in.saturating_add(message.spent.tokens_in);
        self.spent.tokens_out = self.spent.tokens_out.saturating_add(message.spent.tokens_out);
        self.spent.cost_usd += message.spent.cost_usd;
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

    /// Activity was looked for: a new one ends the quiet.
    pub(super) fn sampled(&mut self, now: Mono) {
        if let Some(last) = self.activity.last(now) {
            self.quiet = self.quiet.min(last.age);
        }
    }

    /// A new policy: what was charged under the old one is no fault under the new.
    pub(super) fn rebase(&mut self) {
        (self.silence, self.quiet, self.frozen) = Default::default();
        self.gap_is_plain = false;
    }

    pub(super) fn beats(&self) -> u64 {
        self.beats
    }

    pub(super) fn cycle(&self) -> Option<u64> {
        self.sources.values().filter_map(|source| source.cycle).max()
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
                let after = gaps.stretch(self.phase, from_policy);
                Some(Deadline { after, explicit: false })
            }
        }
    }

    pub(super) fn ages(&self, now: Mono, policy: &Policy, gaps: &Gaps) -> Ages {
        let on_purpose = self.beats >= ARMED_BEATS
            || self.explicit.is_some()
            || policy.expect_beats == ExpectBeats::Always;
        let mut failed: Vec<FailedCheck> = self.checks.values().cloned().collect();
        failed.sort_by_key(|check| std::cmp::Reverse((check.trigger, check.count)));
        failed.truncate(FAILED_CHECKS_MAX);
        Ages {
            up: now.since(self.began),
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
            progress: Progress {
                counter: self.progress_counter(),
                frozen: self.moved.then_some(self.frozen),
                owed: self.owes_progress(),
            },
            lease: self.lease.map(|lease| Lease {
                number: lease.number,
                left: lease.ends.since(now),
                over: Some(now.since(lease.ends)).filter(|over| *over > lease.slack),
            }),
            paused: self.paused_since.map(|since| now.since(since)),
            failed,
        }
    }

    fn progress_counter(&self) -> u64 {
        if self.counts_work { self.counter } else { self.cycles }
    }

    fn owes_progress(&self) -> bool {
        // A declared phase says it; an open task only where none is declared.
        self.phase.map_or_else(|| self.tasks.any_open(), Phase::owes_progress)
    }

    fn end_gap(&mut self, policy: &Policy, gaps: &mut Gaps) {
        if self.gap_is_plain && self.beats >= ARMED_BEATS && self.explicit.is_none() {
            let longest = policy.beat_deadline(self.phase).map(|deadline| 4 * deadline);
            gaps.survived(self.phase, self.silence.min(longest.unwrap_or_default()));
        }
        self.silence = Duration::ZERO;
        self.gap_is_plain = true;
    }

    fn enter_phase(&mut self, message: &Message, now: Mono) {
        if message.phase.is_some() && message.phase != self.phase {
            self.phase = message.phase;
            self.phase_since = now;
            self.lease = None;
        }
    }

    fn grant(&mut self, message: &Message, now: Mono, wall: Wall, policy: &Policy) {
        let waits = self.phase == Some(Phase::WaitingRateLimit);
        let entered = waits && self.phase_since == now && self.lease.is_none();
        let rate_limit = match message.until.filter(|_| waits) {
            Some(Until::In(wait)) => Some(wait),
            Some(Until::At(end)) => Some(wall.until(end)),
            // Until when is not known: as long as any lease may be.
            None if entered && message.lease.is_none() => Some(policy.lease_max),
            None => None,
        };
        // What is left of the cap, slack included: an agent that renews for ever is not leased
        // for ever. A renewal beyond it changes nothing.
        let left = policy.lease_max.saturating_sub(self.leased);
        let (granted, counts) = match (rate_limit, message.lease) {
            (Some(wait), _) => (wait.min(RATE_LIMIT_MAX), false),
            (None, Some(Duration::ZERO)) => {
                self.lease = None;
                return;
            }
            (None, Some(asked)) if !left.is_zero() => (asked.min(left), true),
            (None, Some(_) | None) => return,
        };
        self.leases += 1;
        self.lease = Some(LeaseClock {
            number: self.leases,
            ends: now.after(granted),
            slack: (granted / 10).max(Duration::from_secs(5)),
            counts,
        });
    }

    /// Counters: monotone for each sender; a decrease is a new baseline. Finished tasks are
    /// progress; turns of the loop are only where nothing better was ever sent.
    fn count(&mut self, message: &Message, now: Mono) {
        let mut worked = false;
        let mut turned = false;
        if message.progress.is_some() || message.cycle.is_some() {
            let name = message.source.as_deref().unwrap_or_default();
            let full = self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(name);
            let name = if full { "…" } else { name };
            if !self.sources.contains_key(name) {
                self.sources.insert(name.to_owned(), Source::default());
            }
            let source = self.sources.get_mut(name).expect("it was just inserted");
            let (work, turns) = source.count(message.progress, message.cycle);
            self.counts_work |= message.progress.is_some();
            self.counter = self.counter.saturating_add(work);
            self.cycles = self.cycles.saturating_add(turns);
            worked = work > 0;
            turned = turns > 0;
        }
        if let Some(task) = message.task.clone() {
            self.counts_work = true;
            if self.tasks.step(task, now) {
                self.counter = self.counter.saturating_add(1);
                worked = true;
            }
        }
        if worked || (turned && !self.counts_work) {
            self.moved = true;
            self.frozen = Duration::ZERO;
            self.leased = Duration::ZERO;
            self.lease.take_if(|lease| now > lease.ends);
        }
    }

    fn check(&mut self, check: Check) {
        if check.ok {
            self.checks.remove(&check.name);
            return;
        }
        if self.checks.len() >= CHECKS_MAX && !self.checks.contains_key(&check.name) {
            return;
        }
        let failed = self.checks.entry(check.name.clone()).or_insert_with(|| FailedCheck {
            name: check.name,
            count: 0,
            trigger: false,
            message: String::new(),
        });
        failed.count = failed.count.saturating_add(1);
        failed.trigger |= check.trigger;
        failed.message = check.message;
    }
}

#[cfg(test)]
mod tests;
