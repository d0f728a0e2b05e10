//! PURE: how fast an agent's energy drains. It belongs to the agent, not to a life.

use std::collections::VecDeque;
use std::time::Duration;

use lubdub_shared::time::Mono;

/// Between looks.
const EVERY: Duration = Duration::from_secs(60);
/// Looks that are kept: an hour.
const LOOKS_MAX: usize = 61;
/// Looks of the short window: ten minutes.
const SHORT: usize = 10;

/// Energy at each minute of the last hour, oldest first.
#[derive(Debug, Default)]
pub(super) struct Drain(VecDeque<(Mono, f64)>);

impl Drain {
    /// The energy now. At most one look in a minute is kept.
    pub(super) fn note(&mut self, energy: f64, now: Mono) {
        if self.0.back().is_some_and(|(at, _)| now.since(*at) < EVERY) {
            return;
        }
        if self.0.len() == LOOKS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now, energy));
    }

    /// For the energy now: energy per hour over as much of the last hour as was seen, and how long
    /// it lasts at the slower of that rate and the one of the last ten minutes. One burst empties
    /// nothing, nor does a burst that is over (the two windows of burn-rate alerts, Google's SRE
    /// workbook).
    pub(super) fn rate(&self, energy: f64, now: Mono) -> (Option<f64>, Option<Duration>) {
        let newest = self.0.len().checked_sub(1);
        let Some(short_from) = newest.and_then(|newest| newest.checked_sub(SHORT)) else {
            return (None, None);
        };
        let per_second = |(from, before): (Mono, f64)| {
            (before - energy) / now.since(from).as_secs_f64().max(1.0)
        };
        let (long, short) = (per_second(self.0[0]), per_second(self.0[short_from]));
        let slower = long.min(short);
        let left = (slower > 0.0).then(|| Duration::try_from_secs_f64(energy / slower).ok());
        (Some(long * 3600.0), left.flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(looks: impl Iterator<Item = f64>) -> (Option<i64>, Option<u64>) {
        let mut drain = Drain::default();
        let mut last = (0.0, Mono(0));
        for (minute, energy) in (0..).zip(looks) {
            last = (energy, Mono(minute * 60_000_000_000));
            drain.note(last.0, last.1);
        }
        let (per_hour, left) = drain.rate(last.0, last.1);
        #[expect(clippy::cast_possible_truncation, reason = "percent")]
        let percent = per_hour.map(|rate| (rate * 100.0).round() as i64);
        (percent, left.map(|left| (left.as_secs() + 30) / 60))
    }

    #[test]
    fn time_to_empty_needs_both_windows() {
        assert_eq!(rate((0..9).map(|_| 0.5)), (None, None), "too short");
        let steady = (0..=60).map(|minute| 1.0 - f64::from(minute) * 0.01);
        assert_eq!(rate(steady), (Some(60), Some(40)));
        let burst_over = (0..=60).map(|minute| if minute < 30 { 1.0 } else { 0.4 });
        assert_eq!(rate(burst_over), (Some(60), None));
        let burst_now = (0..=60).map(|minute| if minute < 55 { 1.0 } else { 0.5 });
        assert_eq!(rate(burst_now), (Some(50), Some(60)), "at the rate of the hour");
        let refilled = (0..=60).map(|minute| f64::from(minute) / 60.0);
        assert_eq!(rate(refilled), (Some(-100), None));
    }
}
