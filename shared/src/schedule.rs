//! The restart schedule, pure: how often an agent may be restarted, and after which delay.
//!
//! Kubernetes' curve (10 s doubling to 300 s), but spent after `attempts` rather than endless,
//! and refilled only by *proven* stability, never by time that merely passed: a limiter whose
//! window ages out during a slow recovery never holds (REQUIREMENTS pains 9, 10, 11). A cap per
//! day stands above it. Restarts that a person asked for never count.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::policy::RestartPolicy;
use crate::time::words;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Restarts that were carried out. Counted by the sidecar at execution, and persisted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// Since the last refill.
    used: u32,
    /// Ages of the last day's restarts, oldest first. Ages rather than times: a clock that steps,
    /// or a sidecar that was away, keeps them counted for longer, never for less.
    day: Vec<Duration>,
}

/// What the schedule allows next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// A start after this delay.
    After(Duration),
    /// Nothing; why.
    Spent(String),
}

/// The ledger as it travels and is shown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LedgerView {
    /// Restarts since the last refill.
    pub used: u32,
    /// Restarts that the schedule allows.
    pub limit: u32,
    /// Before the next start; `None` when spent.
    pub next_delay: Option<Duration>,
    /// Why it is spent; empty while it is not.
    pub spent: String,
}

impl Ledger {
    /// What the schedule allows now, without jitter.
    pub fn next(&self, policy: &RestartPolicy) -> Next {
        if self.used >= policy.attempts {
            return Next::Spent(format!("{} of {} restarts used", self.used, policy.attempts));
        }
        if self.day.len() >= usize::try_from(policy.per_day_max).unwrap_or(usize::MAX) {
            return Next::Spent(format!("{} restarts in 24 hours", self.day.len()));
        }
        Next::After(nominal_delay(self.used, policy))
    }

    /// Counts one restart at its execution.
    pub fn record(&mut self) {
        self.used = self.used.saturating_add(1);
        self.day.push(Duration::ZERO);
    }

    /// Time passed, in the sidecar's ticks.
    pub fn age(&mut self, by: Duration) {
        for age in &mut self.day {
            *age += by;
        }
        self.day.retain(|age| *age < DAY);
    }

    /// Stability was proven, or a person started the agent anew.
    pub fn refill(&mut self) {
        self.used = 0;
    }

    /// A person revived the agent: also the day's count starts again.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Restarts since the last refill.
    pub fn used(&self) -> u32 {
        self.used
    }

    /// As it travels and is shown.
    pub fn view(&self, policy: &RestartPolicy) -> LedgerView {
        let (next_delay, spent) = match self.next(policy) {
            Next::After(delay) => (Some(delay), String::new()),
            Next::Spent(why) => (None, why),
        };
        LedgerView { used: self.used, limit: policy.attempts, next_delay, spent }
    }
}

impl LedgerView {
    /// No restart is left.
    pub fn is_spent(&self) -> bool {
        !self.spent.is_empty()
    }

    /// For a table's cell: `1/3`.
    pub fn share(&self) -> String {
        if self.limit == 0 && self.spent.is_empty() {
            // Nothing was told yet.
            return "-".to_owned();
        }
        format!("{}/{}", self.used, self.limit)
    }
}

/// Spreads a delay: `unit` is a random number in 0..1.
pub fn jittered(delay: Duration, jitter: f64, unit: f64) -> Duration {
    let spread = 1.0 + jitter * (2.0 * unit - 1.0);
    Duration::try_from_secs_f64(delay.as_secs_f64() * spread.max(0.0)).unwrap_or(delay)
}

/// The schedule in words: `10.0 s, 20.0 s, 40.0 s, then apoptosis`.
pub fn describe(policy: &RestartPolicy) -> String {
    let mut steps: Vec<String> =
        (0..policy.attempts.min(8)).map(|used| words(nominal_delay(used, policy))).collect();
    if policy.attempts > 8 {
        steps.push(format!("… {} in all", policy.attempts));
    }
    steps.push(format!("then {}", policy.exhausted));
    steps.join(", ")
}

/// The delay before a restart, without jitter, when so many are used.
pub fn nominal_delay(used: u32, policy: &RestartPolicy) -> Duration {
    let exponent = i32::try_from(used).unwrap_or(i32::MAX);
    let seconds = policy.delay.initial.as_secs_f64() * policy.delay.factor.powi(exponent);
    Duration::try_from_secs_f64(seconds).unwrap_or(policy.delay.max).min(policy.delay.max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn the_default_schedule_is_10_20_40_then_spent() {
        let policy = RestartPolicy::default();
        let mut ledger = Ledger::default();
        for delay in [10, 20, 40] {
            assert_eq!(ledger.next(&policy), Next::After(seconds(delay)));
            ledger.record();
        }
        assert_eq!(ledger.next(&policy), Next::Spent("3 of 3 restarts used".to_owned()));
        ledger.age(seconds(80_000));
        assert!(matches!(ledger.next(&policy), Next::Spent(_)), "time alone refills nothing");
        ledger.refill();
        assert_eq!(ledger.next(&policy), Next::After(seconds(10)));
        assert_eq!(describe(&policy), "10.0 s, 20.0 s, 40.0 s, then apoptosis");
    }

    #[test]
    fn the_day_stands_above_the_refill() {
        let policy = RestartPolicy { per_day_max: 4, ..RestartPolicy::default() };
        let mut ledger = Ledger::default();
        for _ in 0..4 {
            ledger.record();
            ledger.refill();
        }
        assert_eq!(ledger.next(&policy), Next::Spent("4 restarts in 24 hours".to_owned()));
        ledger.age(DAY);
        assert_eq!(ledger.next(&policy), Next::After(seconds(10)));
    }

    #[test]
    fn delays_are_capped_and_spread() {
        let policy = RestartPolicy { attempts: 40, per_day_max: 100, ..RestartPolicy::default() };
        let mut ledger = Ledger::default();
        for _ in 0..39 {
            ledger.record();
        }
        assert_eq!(ledger.next(&policy), Next::After(seconds(300)));
        assert_eq!(jittered(seconds(100), 0.1, 0.0), seconds(90));
        assert_eq!(jittered(seconds(100), 0.1, 0.5), seconds(100));
        assert_eq!(jittered(seconds(100), 0.0, 0.9), seconds(100));
    }
}
