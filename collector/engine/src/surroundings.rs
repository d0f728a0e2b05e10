//! What around an agent decides what the engine may do with it: the same for all agents, and small.

use std::time::Duration;

use lubdub_shared::id::StoreId;
use lubdub_shared::time::{Mono, words};

use crate::slots::Slots;

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

    /// Why the fleet does not act by itself now, or concludes nothing from silence.
    pub fn degraded(&self, now: Mono) -> Option<String> {
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
