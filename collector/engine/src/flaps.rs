//! How a status came and went: what flapping is found by.
//!
//! Nagios' rule: of the last 21 samples the 20 changes are weighted from 0.75 (oldest) to 1.25
//! (newest), and held against two bounds, so that it neither starts nor ends on one change.

use std::time::Duration;

use lubdub_shared::policy::FlappingLimits;
use lubdub_shared::status::Status;
use lubdub_shared::time::Mono;

/// Samples that are kept.
const SAMPLES: u32 = 21;

/// The history of one agent's status, a bit for each change, the newest lowest.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Flaps {
    changes: u32,
    last: Option<Status>,
    sampled: Mono,
    /// Since when it flaps.
    since: Option<Mono>,
}

impl Flaps {
    /// The status at this moment. It counts only once in an interval.
    pub(crate) fn note(&mut self, status: Status, now: Mono, limits: &FlappingLimits) {
        if self.last.is_some() && now.since(self.sampled) < limits.every {
            return;
        }
        let passed = now.since(self.sampled).as_nanos() / limits.every.as_nanos().max(1);
        if self.last.is_some() && passed >= u128::from(SAMPLES) {
            // Nothing was seen of it for so long: what is known is too old.
            *self = Self::default();
        }
        let changed = self.last.is_some_and(|last| last != status);
        // Where samples are missing it is taken for unchanged between them.
        let steps = u32::try_from(passed.max(1)).unwrap_or(SAMPLES).min(SAMPLES);
        self.changes = (self.changes << steps | u32::from(changed)) & ((1 << (SAMPLES - 1)) - 1);
        // On a grid: what is a little late makes no later sample late.
        let late = now.since(self.sampled).as_nanos() % limits.every.as_nanos().max(1);
        let late = Duration::from_nanos(u64::try_from(late).unwrap_or(u64::MAX));
        let on_grid = self.last.map(|_| now.before(late));
        (self.last, self.sampled) = (Some(status), on_grid.unwrap_or(now));
        let share = self.share();
        match self.since {
            None if share >= limits.on => self.since = Some(now),
            Some(_) if share <= limits.off => self.since = None,
            None | Some(_) => {}
        }
    }

    /// Since when it flaps.
    pub(crate) fn since(&self) -> Option<Mono> {
        self.since
    }

    /// When time alone may begin or end it: at each sample that is still to come, until nothing of
    /// today is among them, and when restarts are held no more.
    pub(crate) fn moments(&self, limits: &FlappingLimits) -> impl Iterator<Item = Mono> {
        let samples = if self.changes == 0 { 0 } else { SAMPLES };
        let (sampled, every) = (self.sampled, limits.every);
        let held = self.since.map(|since| since.after(limits.hold_max));
        (1..=samples).map(move |n| sampled.after(every.saturating_mul(n))).chain(held)
    }

    /// Weighted share of changes, 0..1.
    pub(crate) fn share(&self) -> f64 {
        let newest = f64::from(SAMPLES - 2);
        let weight = |age: u32| 1.25 - 0.5 * f64::from(age) / newest;
        let changed = (0..SAMPLES - 1).filter(|age| self.changes >> age & 1 == 1);
        changed.map(weight).sum::<f64>() / f64::from(SAMPLES - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shares after a minute each of `.` (Ok) and `!` (Critical), and whether it flaps.
    fn after(minutes: &str) -> (u32, bool) {
        let mut flaps = Flaps::default();
        for (minute, sample) in (0..).zip(minutes.chars()) {
            let status = if sample == '!' { Status::Critical } else { Status::Ok };
            flaps.note(status, Mono(minute * 60_000_000_000), &FlappingLimits::default());
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "permille")]
        let permille = (flaps.share() * 1000.0).round() as u32;
        (permille, flaps.since().is_some())
    }

    #[test]
    fn the_numbers_of_nagios() {
        assert_eq!(after(".....................!."), (124, false), "the two newest changed");
        assert_eq!(after("....................!.!"), (184, false), "the three newest");
        assert_eq!(after("...................!.!."), (242, true), "the four newest");
        assert_eq!(after("!!!!!!!!!!!!!!!!!!!!!!"), (0, false));
    }

    #[test]
    fn what_was_not_seen_is_not_remembered() {
        let mut flaps = Flaps::default();
        let limits = FlappingLimits::default();
        let minute = |n: u64| Mono(n * 60_000_000_000);
        for n in 0..8 {
            let status = if n % 2 == 0 { Status::Critical } else { Status::Ok };
            flaps.note(status, minute(n), &limits);
        }
        assert!(flaps.since().is_some());
        let mut away = flaps;
        away.note(Status::Critical, minute(7 + 21), &limits);
        assert_eq!((away.since(), away.share()), (None, 0.0), "an hour later it begins anew");
        flaps.note(Status::Ok, minute(7 + 19), &limits);
        assert!(flaps.since().is_none(), "most of what changed is too old: {}", flaps.share());
    }

    #[test]
    fn it_ends_at_the_lower_bound_only() {
        let calm = |minutes: usize| after(&("!.!.!.!.".to_owned() + &".".repeat(minutes))).1;
        assert!(calm(10));
        assert!(!calm(20));
    }
}
