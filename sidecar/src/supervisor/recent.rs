//! PURE: what an agent said and how it was of late, for the evidence.

use std::collections::VecDeque;
use std::time::Duration;

use lubdub_shared::beat::Phase;
use lubdub_shared::line::Message;
use lubdub_shared::text::clip;
use lubdub_shared::time::Mono;
use serde::Serialize;

use crate::vitals::TreeSample;

/// Messages that are kept.
const SAID_MAX: usize = 32;
/// A sample is kept each so often, for fifteen minutes.
const EVERY: Duration = Duration::from_secs(5);
const SAMPLES_MAX: usize = 180;

/// The last of one life, in the sidecar's ticks.
#[derive(Debug, Default)]
pub(super) struct Recent {
    said: VecDeque<Kept<Said>>,
    samples: VecDeque<Kept<Sample>>,
}

#[derive(Debug)]
struct Kept<T> {
    at: Mono,
    what: T,
}

/// What of a message tells what the agent was at.
#[derive(Debug, Clone, Serialize)]
struct Said {
    beat: bool,
    phase: Option<Phase>,
    progress: Option<u64>,
    cycle: Option<u64>,
    task: Option<String>,
    text: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
struct Sample {
    memory_bytes: u64,
    cpu_ms: u64,
    written_bytes: u64,
    io_bytes: u64,
    threads: u32,
    children: u32,
    fds: Option<u32>,
    paused: bool,
}

/// The same, dated by its age.
#[derive(Debug, Clone, Serialize)]
struct Aged<T> {
    seconds_ago: f64,
    #[serde(flatten)]
    what: T,
}

/// What goes into a bundle.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct History {
    /// The newest messages, oldest first.
    pub said: serde_json::Value,
    /// Vitals of the last fifteen minutes, oldest first.
    pub vitals: serde_json::Value,
}

impl Recent {
    pub(super) fn hear(&mut self, message: &Message, now: Mono) {
        let said = Said {
            beat: message.beat,
            phase: message.phase,
            progress: message.progress,
            cycle: message.cycle,
            task: message.task.as_ref().map(|task| clip(task.id.as_str().into())),
            text: message.text.clone(),
        };
        keep(&mut self.said, SAID_MAX, Kept { at: now, what: said });
    }

    pub(super) fn sample(&mut self, sample: &TreeSample, now: Mono) {
        if self.samples.back().is_some_and(|last| now.since(last.at) < EVERY) {
            return;
        }
        let counters = &sample.counters;
        let sample = Sample {
            memory_bytes: sample.memory_bytes,
            cpu_ms: lubdub_shared::time::millis(counters.cpu),
            written_bytes: counters.written,
            io_bytes: counters.io,
            threads: sample.threads,
            children: sample.children,
            fds: sample.fds,
            paused: sample.paused,
        };
        keep(&mut self.samples, SAMPLES_MAX, Kept { at: now, what: sample });
    }

    pub(super) fn history(&self, now: Mono) -> History {
        History { said: aged(&self.said, now), vitals: aged(&self.samples, now) }
    }
}

fn keep<T>(kept: &mut VecDeque<T>, at_most: usize, new: T) {
    if kept.len() == at_most {
        kept.pop_front();
    }
    kept.push_back(new);
}

fn aged<T: Clone + Serialize>(kept: &VecDeque<Kept<T>>, now: Mono) -> serde_json::Value {
    let aged = kept.iter().map(|kept| Aged {
        seconds_ago: now.since(kept.at).as_millis() as f64 / 1000.0,
        what: kept.what.clone(),
    });
    serde_json::to_value(aged.collect::<Vec<_>>()).expect("keys are strings, numbers are finite")
}
