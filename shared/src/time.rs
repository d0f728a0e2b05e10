//! Clocks. [`Mono`] decides, [`Wall`] is only written down, [`TickClock`] makes a watcher's own
//! sleep harmless.

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// One tick of a sidecar: how often it looks.
pub const TICK: Duration = Duration::from_millis(250);

/// Longest duration that anything from outside may have, a hundred years: so many times a 32-bit
/// count still is a [`Duration`].
pub const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// Monotonic time: nanoseconds since this process first asked. Our own type, so that a recorded
/// trace, a golden transcript and a benchmark can feed the same code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Mono(pub u64);

impl Mono {
    /// Time since an earlier moment; zero when it is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Later by a duration; stays at the far end rather than wrap.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Earlier by a duration; stays at zero rather than wrap.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Wall-clock time: nanoseconds since 1970 in UTC. It steps; for people and records only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Wall(pub i64);

impl Wall {
    /// Milliseconds since 1970; zero before.
    pub fn unix_ms(self) -> u64 {
        u64::try_from(self.0 / 1_000_000).unwrap_or(0)
    }

    /// From milliseconds since 1970.
    pub fn from_unix_ms(ms: i64) -> Self {
        Self(ms.saturating_mul(1_000_000))
    }

    /// Parses RFC 3339. A moment before the year 1678 or beyond 2262 is the first or the last one
    /// that this clock knows.
    pub fn parse(text: &str) -> Option<Self> {
        const LAST: u16 = 2261;
        if text.get(..4).and_then(|year| year.parse().ok()).is_some_and(|year: u16| year > LAST) {
            // Of what is that far away only the form matters.
            let _: jiff::Timestamp = format!("{LAST}{}", &text[4..]).parse().ok()?;
            return Some(Self(i64::MAX));
        }
        let stamp: jiff::Timestamp = text.parse().ok()?;
        let nanos = i64::try_from(stamp.as_nanosecond());
        Some(Self(nanos.unwrap_or(if stamp.as_second() < 0 { i64::MIN } else { i64::MAX })))
    }

    /// Time until a later moment; zero when it is not later.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_nanos(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }

    /// Later by a duration.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// Earlier by a duration.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
    }
}

/// RFC 3339 in UTC with milliseconds.
impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stamp = jiff::Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or_default();
        write!(f, "{stamp:.3}")
    }
}

impl Serialize for Wall {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Wall {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 time"))
    }
}

/// One moment on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Decides.
    pub mono: Mono,
    /// Is written down.
    pub wall: Wall,
}

impl Now {
    /// The wall clock's reading at a monotonic moment, as far as it can be told now.
    pub fn wall_at(self, moment: Mono) -> Wall {
        self.wall.before(self.mono.since(moment))
    }
}

/// Reads both clocks of the system.
#[expect(clippy::disallowed_methods, reason = "the one place that reads clocks")]
pub fn now() -> Now {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let origin = *ORIGIN.get_or_init(Instant::now);
    let mono = Instant::now().saturating_duration_since(origin);
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now {
        mono: Mono::default().after(mono),
        wall: Wall(i64::try_from(wall.as_nanos()).unwrap_or(i64::MAX)),
    }
}

/// The instant at which tokio's timers reach a moment of this process's monotonic clock.
#[expect(clippy::disallowed_methods, reason = "the one place that reads clocks")]
pub fn instant_at(moment: Mono) -> Instant {
    Instant::now() + moment.since(now().mono)
}

/// A clock that cannot run further than two ticks while nobody looks.
///
/// A watcher that was stopped, suspended, frozen or starved finds at most two ticks more on it
/// when it wakes, so its own absence ages nobody (`elapsed += min(gap, 2 · tick)`).
#[derive(Debug, Clone, Copy)]
pub struct TickClock {
    looked: Mono,
    elapsed: Mono,
    overslept: bool,
}

impl TickClock {
    /// Starts at zero.
    pub fn new(now: Mono) -> Self {
        Self { looked: now, elapsed: Mono(0), overslept: false }
    }

    /// Looks at the system's clock and tells the tick clock's own time.
    pub fn advance(&mut self, now: Mono) -> Mono {
        let gap = now.since(self.looked);
        self.overslept = gap > 8 * TICK;
        self.looked = self.looked.max(now);
        self.elapsed = self.elapsed.after(gap.min(2 * TICK));
        self.elapsed
    }

    /// Nobody had looked for two seconds before the last look.
    pub fn overslept(&self) -> bool {
        self.overslept
    }
}

/// A duration as people write it: `250ms`, `3.0 s`, `12 min`, `2.5 h`.
pub fn words(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        1..120 => format!("{seconds:.1} s"),
        120..7200 => format!("{:.1} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

/// Whole milliseconds, the wire's unit.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// So many times a duration; the longest there is rather than overflow, and none for what is no
/// number.
#[must_use]
pub fn scaled(duration: Duration, by: f64) -> Duration {
    let seconds = duration.as_secs_f64() * by;
    if seconds.is_nan() || seconds <= 0.0 {
        return Duration::ZERO;
    }
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// Waits, on a thread that has nothing else to do.
#[expect(clippy::disallowed_methods, reason = "the one place; never on a runtime's thread")]
pub fn pause(span: Duration) {
    std::thread::sleep(span);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_of_the_watcher_adds_two_ticks_at_most() {
        let at = |ms: u64| Mono(ms * 1_000_000);
        let mut clock = TickClock::new(at(0));
        assert_eq!(clock.advance(at(250)), at(250));
        assert_eq!(clock.advance(at(300)), at(300));
        // Suspended for eight hours.
        assert_eq!(clock.advance(at(28_800_300)), at(800));
        // The clock never runs backwards, whatever it is told.
        assert_eq!(clock.advance(at(100)), at(800));
        assert_eq!(clock.advance(at(28_800_400)), at(900));
    }

    #[test]
    fn rfc_3339() {
        let wall = Wall::parse("2026-11-22T00:00:01.500Z").expect("valid");
        assert_eq!(wall.unix_ms(), 1_795_305_601_500);
        assert_eq!(wall.to_string(), "2026-11-22T00:00:01.500Z");
        assert_eq!(Wall::parse("2026-11-22T02:00:01.5+02:00"), Some(wall));
        assert_eq!(Wall::parse("yesterday"), None);
        assert_eq!(Wall::parse("9999-12-31T23:59:59Z"), Some(Wall(i64::MAX)));
        // What is written is read again, to the ends of the clock.
        for ends in [Wall(i64::MIN), Wall(i64::MAX), Wall(0)] {
            assert!(Wall::parse(&ends.to_string()).is_some(), "{ends}");
        }
    }

    #[test]
    fn durations_in_words() {
        let table = [(0, "0 ms"), (250, "250 ms"), (3_000, "3.0 s"), (119_900, "119.9 s")];
        for (ms, text) in table {
            assert_eq!(words(Duration::from_millis(ms)), text);
        }
        assert_eq!(words(Duration::from_secs(180)), "3.0 min");
        assert_eq!(words(Duration::from_secs(9000)), "2.5 h");
    }
}
