//! PURE: gaps between beats, and between steps of progress, that were survived. They teach
//! patience, never haste: the longest may lengthen a deadline, the quantile is only shown.

use std::collections::BTreeMap;
use std::time::Duration;

use lubdub_shared::beat::Phase;
use lubdub_shared::policy::stretched;
use lubdub_shared::time::millis;
use lubdub_shared::trend::GapStats;
use serde::{Deserialize, Serialize};

use super::histogram::Histogram;

/// Steps of progress from which their usual cost is known.
const COSTS_MIN: u64 = 20;

/// What the lives of one agent have taught.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Gaps {
    beats: BTreeMap<String, Survived>,
    progress: BTreeMap<String, Survived>,
    /// Tokens that a step of progress cost.
    costs: Histogram,
}

/// Gaps in one phase.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Survived {
    longest: Duration,
    /// Milliseconds.
    seen: Histogram,
    /// Of what was seen; kept because it is asked for four times a second.
    p999: Duration,
}

impl Survived {
    fn note(&mut self, gap: Duration) {
        self.longest = self.longest.max(gap);
        self.seen.record(millis(gap));
        self.p999 = Duration::from_millis(self.seen.p999());
    }

    fn stats(&self) -> GapStats {
        GapStats { count: self.seen.count(), longest: self.longest, p999: self.p999 }
    }
}

fn key(phase: Option<Phase>) -> &'static str {
    phase.map_or("undeclared", Phase::as_str)
}

fn note(map: &mut BTreeMap<String, Survived>, phase: Option<Phase>, gap: Duration) {
    match map.get_mut(key(phase)) {
        Some(known) => known.note(gap),
        None => map.entry(key(phase).to_owned()).or_default().note(gap),
    }
}

impl Gaps {
    /// A gap between beats was survived.
    pub(super) fn between_beats(&mut self, phase: Option<Phase>, gap: Duration) {
        note(&mut self.beats, phase, gap);
    }

    /// A gap between two steps of progress was survived, and what it cost.
    pub(super) fn between_steps(&mut self, phase: Option<Phase>, gap: Duration, tokens: u64) {
        note(&mut self.progress, phase, gap);
        self.costs.record(tokens);
    }

    pub(super) fn of_beats(&self, phase: Option<Phase>) -> GapStats {
        self.beats.get(key(phase)).map(Survived::stats).unwrap_or_default()
    }

    pub(super) fn of_progress(&self, phase: Option<Phase>) -> GapStats {
        self.progress.get(key(phase)).map(Survived::stats).unwrap_or_default()
    }

    /// The beat deadline of a phase, stretched.
    pub(super) fn stretch_beats(&self, phase: Option<Phase>, deadline: Duration) -> Duration {
        let known = self.beats.get(key(phase));
        known.map_or(deadline, |known| stretched(deadline, known.longest))
    }

    /// The window of progress in a phase, stretched.
    pub(super) fn stretch_progress(&self, phase: Option<Phase>, window: Duration) -> Duration {
        let known = self.progress.get(key(phase));
        known.map_or(window, |known| stretched(window, known.longest))
    }

    /// What all but one in a thousand steps of progress cost at most, tokens.
    pub(super) fn usual_tokens(&self) -> Option<u64> {
        (self.costs.count() >= COSTS_MIN).then(|| self.costs.p999())
    }
}
