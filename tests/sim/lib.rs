//! Agents' lives in virtual time: a generator that knows nothing of the detectors, and the real
//! code that judges them.
//!
//! ```text
//!  stuck, healthy ─▶ Script ─▶ world ─▶ Supervisor (sidecar, PURE) ─▶ Fleet (engine, PURE)
//!  (seeded)                      │                                        │ status, commands
//!                                ├─▶ baselines (rules of other watchers)  ▼
//!                                └──────────────▶ score ◀──────────── invariants
//! ```
//!
//! A life is a list of stretches with the truth of each: at work, waiting, or stuck. The
//! generator writes down when a stuck one must be found, from the policy's own numbers; the score
//! compares. Everything follows from one seed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub mod baselines;
mod healthy;
mod invariants;
mod script;
mod stuck;
pub mod table;
mod world;

pub use script::Kind;
use table::{Score, Scores};

/// Hours of life to simulate, and the seed that they follow from.
#[derive(Debug, Clone, Copy)]
pub struct Campaign {
    /// Everything follows from it.
    pub seed: u64,
    /// Agent-hours, at least.
    pub hours: u64,
    /// Only the kind with this name, for a closer look.
    pub only: Option<&'static str>,
}

/// All kinds of lives, stuck ones first.
pub fn kinds() -> impl Iterator<Item = &'static Kind> {
    stuck::KINDS.iter().chain(healthy::KINDS)
}

/// Lives one life again, by its own seed.
pub fn live_again(kind: &'static Kind, seed: u64) -> Scores {
    let mut scores = Scores::default();
    scores.add(kind, &world::live(kind, seed));
    scores
}

impl Campaign {
    /// Lives one life of each kind, again and again, until the hours are over. Two threads share
    /// the rounds; the sum does not depend on which takes which.
    pub fn run(self) -> Scores {
        let round = AtomicU64::new(0);
        let lived = AtomicU64::new(0);
        let work = || {
            let mut scores = Scores::default();
            // Whole rounds only, so that a second run with the seed ends at the same life.
            while lived.load(Ordering::Relaxed) < self.hours * 3600 {
                let round = round.fetch_add(1, Ordering::Relaxed);
                let seconds = self.round(round, &mut scores);
                lived.fetch_add(seconds.as_secs(), Ordering::Relaxed);
            }
            scores
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(work);
            let mut scores = work();
            scores.merge(other.join().expect("an invariant was broken; see above"));
            scores
        })
    }

    /// One life of each kind.
    fn round(self, round: u64, scores: &mut Scores) -> Duration {
        let mut lived = Duration::ZERO;
        for (number, kind) in (0..).zip(kinds()) {
            if self.only.is_some_and(|only| only != kind.name) {
                continue;
            }
            // Lives differ in their seeds only; any of them can be lived again alone.
            let seed = self.seed ^ (round << 16 | number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let score: Score = world::live(kind, seed);
            lived += score.lived;
            scores.add(kind, &score);
        }
        lived
    }
}
