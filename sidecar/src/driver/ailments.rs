//! What the sidecar cannot do of its own work now. It is told as its own sickness, never as the
//! agent's.

use std::collections::BTreeMap;
use std::time::Duration;

use lubdub_shared::beat::Health;
use lubdub_shared::time::{Mono, Now};
use tracing::{info, warn};

use super::Driver;

/// Work of the sidecar's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Work {
    /// Starting the agent.
    Start,
    /// Looking at the tree.
    Look,
    /// Writing the heartbeat file.
    Heartbeat,
}

impl Work {
    fn words(self) -> &'static str {
        match self {
            Self::Start => "cannot start the agent",
            Self::Look => "cannot see the whole tree",
            Self::Heartbeat => "cannot write the heartbeat file",
        }
    }
}

/// Why, and since when.
#[derive(Debug, Default)]
pub(super) struct Ailments(BTreeMap<Work, (String, Mono)>);

impl Ailments {
    /// It cannot be done, or can again. Logged when that changes.
    pub(super) fn note(&mut self, work: Work, why: Option<String>, now: Mono) {
        match (why, self.0.get_mut(&work)) {
            (Some(why), Some((known, _))) => *known = why,
            (Some(why), None) => {
                warn!("{}: {why}", work.words());
                self.0.insert(work, (why, now));
            }
            (None, Some(_)) => {
                self.0.remove(&work);
                info!("over: it was that it {}", work.words());
            }
            (None, None) => {}
        }
    }

    /// In words, and for how long; nothing while all is well.
    fn told(&self, now: Mono) -> (String, Duration) {
        let words: Vec<String> =
            self.0.iter().map(|(work, (why, _))| format!("{}: {why}", work.words())).collect();
        let since = self.0.values().map(|(_, since)| *since).min();
        (words.join("; "), since.map_or(Duration::ZERO, |since| now.since(since)))
    }
}

impl Driver {
    pub(super) fn note_health(&mut self, now: Now) {
        let progress = self.disk.progress();
        self.ailments.note(Work::Look, self.process.blind(), now.mono);
        self.ailments.note(Work::Heartbeat, progress.heartbeat.clone(), now.mono);
        let (sick, sick_for) = self.ailments.told(now.mono);
        self.supervisor.set_health(Health {
            datagrams_dropped: self.door.dropped(),
            writes_failed: progress.failures,
            events_dropped: self.outbox.dropped(),
            sick_disk: self.disk.sick().unwrap_or_default(),
            sick,
            sick_for,
            unheard: self.unheard().unwrap_or_default(),
            ..Health::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_are_told_as_one_since_the_first() {
        let at = |seconds| Mono(0).after(Duration::from_secs(seconds));
        let mut ailments = Ailments::default();
        assert_eq!(ailments.told(at(1)), (String::new(), Duration::ZERO));
        ailments.note(Work::Look, Some("no descriptors".to_owned()), at(2));
        ailments.note(Work::Start, Some("no processes".to_owned()), at(5));
        ailments.note(Work::Look, Some("no memory".to_owned()), at(6));
        let words = "cannot start the agent: no processes; cannot see the whole tree: no memory";
        assert_eq!(ailments.told(at(7)), (words.to_owned(), Duration::from_secs(5)));
        ailments.note(Work::Look, None, at(8));
        assert_eq!(ailments.told(at(8)).1, Duration::from_secs(3));
    }
}
