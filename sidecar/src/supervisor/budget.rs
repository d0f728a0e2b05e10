//! PURE: what an agent may spend, and what of it is left.
//!
//! The window slides in [`STEPS`] steps, so what was spent is forgotten between one window and one
//! step more after it. Ages rather than times, as in the restart ledger: while the sidecar is away
//! nothing is forgotten.

use std::time::Duration;

use lubdub_shared::line::Spent;
use serde::{Deserialize, Serialize};

/// Parts of the window in which spending is summed.
const STEPS: u32 = 60;
/// A sum stays a number, whatever an agent says.
const COST_MAX: f64 = 1e15;

/// Limits over a sliding window, from the sidecar's file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Tokens in and out, in sum; `None` is no limit.
    pub tokens: Option<u64>,
    /// Money; `None` is no limit.
    pub cost_usd: Option<f64>,
    /// Over this time.
    pub window: Duration,
}

/// What was spent lately, by step, oldest first. It belongs to the agent, not to a life.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Spending(Vec<Step>);

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Step {
    age: Duration,
    tokens: u64,
    cost_usd: f64,
}

impl Spending {
    /// The agent said what it spent.
    pub(super) fn add(&mut self, spent: Spent, budget: &Budget) {
        let step = budget.window / STEPS;
        if self.0.last().is_none_or(|newest| newest.age >= step) {
            self.0.push(Step { age: Duration::ZERO, tokens: 0, cost_usd: 0.0 });
        }
        let newest = self.0.last_mut().expect("one was pushed");
        let tokens = spent.tokens_in.saturating_add(spent.tokens_out);
        newest.tokens = newest.tokens.saturating_add(tokens);
        newest.cost_usd = (newest.cost_usd + spent.cost_usd).min(COST_MAX);
    }

    /// Time passed, in the sidecar's ticks.
    pub(super) fn age(&mut self, by: Duration, budget: &Budget) {
        for step in &mut self.0 {
            step.age += by;
        }
        self.0.retain(|step| step.age < budget.window);
    }

    /// What is left, 0..1: one less the largest share spent. `None` without a limit.
    #[expect(clippy::cast_precision_loss, reason = "exact up to 9e15 tokens")]
    pub(super) fn energy(&self, budget: &Budget) -> Option<f64> {
        let tokens = self.0.iter().fold(0_u64, |sum, step| sum.saturating_add(step.tokens));
        let cost: f64 = self.0.iter().map(|step| step.cost_usd).sum();
        let shares = [
            budget.tokens.map(|limit| tokens as f64 / limit as f64),
            budget.cost_usd.map(|limit| cost / limit),
        ];
        let largest = shares.into_iter().flatten().reduce(f64::max)?;
        Some((1.0 - largest).clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(tokens: u64, cost_usd: f64) -> Spent {
        Spent { tokens_in: tokens, tokens_out: 0, cost_usd }
    }

    #[test]
    fn energy_is_what_the_largest_share_leaves_and_comes_back_with_the_window() {
        let hour = Duration::from_secs(3600);
        let budget = Budget { tokens: Some(1000), cost_usd: Some(2.0), window: hour };
        let mut spending = Spending::default();
        assert_eq!(spending.energy(&budget), Some(1.0));
        spending.add(spent(100, 1.0), &budget);
        assert_eq!(spending.energy(&budget), Some(0.5), "money is the larger share");
        spending.age(hour / 2, &budget);
        spending.add(spent(900, 0.0), &budget);
        assert_eq!(spending.energy(&budget), Some(0.0));
        spending.age(hour / 2, &budget);
        let left = spending.energy(&budget).expect("a budget");
        assert!((left - 0.1).abs() < 1e-9, "the first half is forgotten: {left}");
        spending.add(spent(u64::from(u32::MAX), 0.0), &budget);
        assert_eq!(spending.energy(&budget), Some(0.0), "never below nothing");
    }

    #[test]
    fn its_memory_is_bounded() {
        let hour = Duration::from_secs(3600);
        let budget = Budget { tokens: Some(1000), cost_usd: None, window: hour };
        let mut spending = Spending::default();
        for _ in 0..100_000 {
            spending.add(spent(1, 0.0), &budget);
            spending.age(Duration::from_secs(1), &budget);
        }
        assert!(spending.0.len() <= usize::try_from(STEPS).expect("small") + 1);
    }
}
