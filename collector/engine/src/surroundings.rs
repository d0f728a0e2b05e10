//! What around an agent decides what the engine may do with it: the same for all agents, and small.

use std::time::Duration;

use lubdub_shared::id::StoreId;
use lubdub_shared::time::{Mono, words};

use crate::slots::Slots;

/// The engine looks at its own clock at least this often, so that it knows when it was away.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A longer absence of the engine itself makes it doubt what it did not hear (Cassandra's local
/// pause guard).
pub(crate) const AWAY_MAX: Duration = Duration::from_secs(5);

/// Whose commands these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The store that decides.
    pub store: StoreId,
    /// Of this start of the collector.
    pub epoch: u64,
    /// Between reports of a healthy sidecar, as long as the fleet is small.
    pub interval: Duration,
    /// Reports that the collector takes in a second: a larger fleet reports less often.
    pub reports_per_second: u32,
}

/// What the fleet is in at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Surroundings {
    /// Whose commands these are.
    pub identity: Identity,
    /// The automatic acts under way.
    pub(crate) slots: Slots,
    /// How many agents there are.
    pub(crate) agents: usize,
    /// When the engine last looked at its own clock.
    pub(crate) looked: Mono,
    /// It was away until lately: until when it doubts what it did not hear.
    pub(crate) warm_at: Mono,
    /// Why it may not act, said from outside (the store is behind).
    pub(crate) withheld: Option<String>,
}

impl Surroundings {
    pub(crate) fn new(identity: Identity, now: Mono) -> Self {
        let slots = Slots::default();
        Self { identity, slots, agents: 0, looked: now, warm_at: now, withheld: None }
    }

    /// They are what they were, within a second: nobody need hear of it.
    pub fn are_still(&self, newer: &Self) -> bool {
        let Self { identity, slots, agents, looked, warm_at, withheld } = newer;
        self.identity == *identity
            && self.slots == *slots
            && self.agents == *agents
            && looked.since(self.looked) < LOOK_EVERY
            && self.warm_at == *warm_at
            && self.withheld == *withheld
    }

    /// The engine has not looked for so long: whoever drives it stands still.
    pub fn stands_still(&self, now: Mono) -> Option<Duration> {
        Some(now.since(self.looked)).filter(|span| *span > AWAY_MAX)
    }

    /// Why the fleet does not act by itself now, or concludes nothing from silence.
    pub fn degraded(&self, now: Mono) -> Option<String> {
        if let Some(span) = self.stands_still(now) {
            return Some(format!("standing still: it has heard nobody for {}", words(span)));
        }
        if let Some(why) = &self.withheld {
            return Some(why.clone());
        }
        let left = self.warm_at.since(now);
        (!left.is_zero()).then(|| {
            let left = words(left);
            format!("warming up: nothing is concluded from silent links for {left}")
        })
    }

    /// Between reports of each agent.
    pub(crate) fn interval(&self) -> Duration {
        let count = u32::try_from(self.agents).unwrap_or(u32::MAX);
        let enough = Duration::from_secs(1) * count / self.identity.reports_per_second.max(1);
        self.identity.interval.max(enough)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_stands_still_says_so_and_who_looks_is_no_news_for_a_second() {
        let store = StoreId::random(&mut fastrand::Rng::with_seed(1));
        let interval = Duration::from_secs(5);
        let identity = Identity { store, epoch: 1, interval, reports_per_second: 1000 };
        let at = |ms| Mono(0).after(Duration::from_millis(ms));
        let around = Surroundings::new(identity, at(0));
        assert_eq!((around.stands_still(at(5000)), around.degraded(at(5000))), (None, None));
        let why = around.degraded(at(5001)).expect("it stands still");
        assert!(why.starts_with("standing still"), "{why}");
        let looked = |ms| Surroundings { looked: at(ms), ..around.clone() };
        assert!(around.are_still(&looked(999)) && !around.are_still(&looked(1000)));
        let withheld = Surroundings { withheld: Some("sick".to_owned()), ..around.clone() };
        assert!(!around.are_still(&withheld));
    }
}
