//! PURE: when the heartbeat file is written: on beats, at most once a second, and once more after
//! the last one.

use std::time::Duration;

use lubdub_shared::time::Mono;

const EVERY: Duration = Duration::from_secs(1);

/// Paces the writes of one life.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    written: Option<(Mono, u64)>,
}

impl Pace {
    /// Whether to write now; `beats` is the count of the life.
    pub(crate) fn is_due(&mut self, beats: u64, now: Mono) -> bool {
        let due = match self.written {
            None => beats > 0,
            Some((at, written)) => beats != written && now.since(at) >= EVERY,
        };
        if due {
            self.written = Some((now, beats));
        }
        due
    }

    /// A new life: nothing is written before its first beat.
    pub(crate) fn reset(&mut self) {
        self.written = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_once_a_second_with_a_trailing_write() {
        let at = |ms: u64| Mono(ms * 1_000_000);
        let mut pace = Pace::default();
        assert!(!pace.is_due(0, at(0)), "no beat, no file");
        assert!(pace.is_due(1, at(10)));
        assert!(!pace.is_due(2, at(500)));
        assert!(pace.is_due(2, at(1010)), "the trailing write");
        assert!(!pace.is_due(2, at(9000)), "no beat, no write");
        pace.reset();
        assert!(!pace.is_due(0, at(9001)));
        assert!(pace.is_due(1, at(9002)));
    }
}
