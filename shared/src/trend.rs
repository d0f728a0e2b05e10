//! What a sidecar condenses of the past: numbers and their trends, never verdicts. Held against a
//! policy in `late` and in the engine's detectors.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often the newest steps of an agent repeat. Work that is counted as progress ends them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Repeats {
    /// Steps in a row with the same action and the same result.
    pub same_result: u32,
    /// Steps in a row with the same action and the same error.
    pub same_error: u32,
    /// Steps in which two kinds of step took turns.
    pub period_two: u32,
    /// Steps in which three kinds of step took turns.
    pub period_three: u32,
    /// Steps in a row with the same action and no result, of an agent that tells results.
    pub monologue: u32,
}

/// A check that must come, and when it last did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckAge {
    /// Its name, as the policy has it.
    pub name: String,
    /// Since it last came, ok or not; since the start of the life where it never did.
    pub age: Duration,
    /// It came in this life.
    pub came: bool,
}

/// Gaps between beats, or between steps of progress, that an agent has survived in one phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GapStats {
    /// How many were seen.
    pub count: u64,
    /// The longest.
    pub longest: Duration,
    /// 99.9 % were no longer.
    pub p999: Duration,
}

/// Spending and what is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Burn {
    /// Energy per hour over the last hour, or as much of it as was seen.
    pub per_hour: Option<f64>,
    /// At the slower of the rates of ten minutes and an hour, the energy lasts so long.
    pub empty_in: Option<Duration>,
    /// Tokens since the last progress of this life.
    pub tokens: u64,
    /// US dollars since the last progress of this life.
    pub cost_usd: f64,
    /// What 99.9 % of its steps of progress cost at most, once twenty were seen, in tokens.
    pub usual_tokens: Option<u64>,
}

/// Memory of the tree over three windows.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryTrend {
    /// The least of what the cgroup, the machine and the policy allow, bytes.
    pub limit: Option<u64>,
    /// Theil-Sen slope of the minima, bytes per second: shortest window first. `None` until the
    /// life is four of the shortest windows old.
    pub slopes: Option<[f64; 3]>,
}

/// Response times against the agent's own past.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ResponseTrend {
    /// Of the newest five tasks the one that is least out of line: 0.6745 (x - median) / MAD of
    /// the logarithm. `None` until twenty-five tasks have ended.
    pub z: Option<f64>,
    /// Median of the past, milliseconds.
    pub usual_ms: u64,
}

/// The newest tasks that ended, at most twenty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RecentTasks {
    /// How many.
    pub ended: u32,
    /// Of these, badly.
    pub failed: u32,
}
