//! What detectors beside the clocks are held against: loops, energy, memory, responses, failures,
//! flapping, checks that must come, and hours in which nothing is owed.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::time::Wall;

/// Steps of an agent that its sidecar remembers, to find loops in them.
pub const STEPS_MAX: u32 = 20;
/// Quiet hours, checks and exempt tools that one policy may name.
pub const NAMED_MAX: usize = 32;

/// Everything of a policy that is no clock of beats, phases or links.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Loops.
    pub looping: LoopLimits,
    /// Energy, and what is spent without progress.
    pub energy: EnergyLimits,
    /// Memory.
    pub memory: MemoryLimits,
    /// Response time of tasks.
    pub response: ResponseLimits,
    /// Failed tasks.
    pub failures: FailureLimits,
    /// A status that comes and goes.
    pub flapping: FlappingLimits,
    /// Checks that must come, by name.
    pub check: BTreeMap<String, Expected>,
    /// Hours in which nothing is owed.
    pub quiet_hours: Vec<QuietHours>,
}

/// Steps that repeat (the rules of OpenHands' stuck detector). All are doubled while the agent
/// waits, idles, or holds a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoopLimits {
    /// The same action with the same result, so many times in a row.
    pub same_result: NonZeroU32,
    /// The same action with the same error.
    pub same_error: NonZeroU32,
    /// Steps of a pattern of two or three that returns.
    pub alternating: NonZeroU32,
    /// The same action without any result.
    pub monologue: NonZeroU32,
    /// Tools whose steps do not count: they poll.
    pub exempt: Vec<String>,
}

/// Energy, 0..1, and spending.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnergyLimits {
    /// At or below it a Warning.
    pub low: f64,
    /// At or below it the energy is gone.
    pub gone: f64,
    /// At today's rate it is gone within this time: a Warning.
    pub empty_within: Duration,
    /// What is gone ends the agent.
    pub hard: bool,
    /// Tokens since the last progress.
    pub burn_tokens: u64,
    /// US dollars since the last progress.
    pub burn_cost_usd: f64,
}

/// Memory of the tree, as shares of its limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemoryLimits {
    /// Bytes, where neither the cgroup nor the machine has less.
    pub limit: Option<u64>,
    /// A Warning.
    pub high: f64,
    /// Critical.
    pub critical: f64,
    /// A leak is told only above it.
    pub leak_above: f64,
    /// A leak is told when it reaches the limit within this time.
    pub leak_within: Duration,
    /// The shortest of three windows over which memory must grow; the others are 6 and 36 times
    /// as long.
    pub window: Duration,
}

/// Response time of tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResponseLimits {
    /// The 95th percentile may not pass it; `None` is no bound.
    pub slow: Option<Duration>,
    /// Robust z of the logarithm of the newest response times against the agent's own.
    pub anomaly: f64,
}

/// Failed tasks among the newest twenty that ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailureLimits {
    /// Share of failed ones.
    pub share: f64,
    /// Fewer failed ones say nothing.
    pub least: NonZeroU32,
}

/// Weighted changes of status over 21 samples, with hysteresis (Nagios).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlappingLimits {
    /// Between samples.
    pub every: Duration,
    /// Share of changes from which it flaps.
    pub on: f64,
    /// Share of changes down to which it still does.
    pub off: f64,
    /// Restarts are held for so long; what still calls for one then is a quarantine.
    pub hold_max: Duration,
}

/// A check that must come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// When.
    pub due: Due,
    /// How late it may be.
    pub grace: Duration,
}

/// When a check must come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Due {
    /// After so long at the latest, again and again.
    Every(Duration),
    /// At the times of a crontab line with a time zone, such as `0 3 * * * Europe/Berlin`.
    Cron(String),
}

impl Default for LoopLimits {
    fn default() -> Self {
        let three = NonZeroU32::MIN.saturating_add(2);
        Self {
            same_result: three.saturating_add(1),
            same_error: three,
            alternating: three.saturating_add(3),
            monologue: three,
            exempt: Vec::new(),
        }
    }
}

impl Default for EnergyLimits {
    fn default() -> Self {
        Self {
            low: 0.2,
            gone: 0.0,
            empty_within: Duration::from_secs(30 * 60),
            hard: false,
            // Some five full windows of a large model: a step of work that costs more is odd.
            burn_tokens: 1_000_000,
            burn_cost_usd: 20.0,
        }
    }
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self {
            limit: None,
            high: 0.85,
            critical: 0.95,
            leak_above: 0.7,
            leak_within: Duration::from_secs(30 * 60),
            window: Duration::from_secs(10 * 60),
        }
    }
}

impl Default for ResponseLimits {
    fn default() -> Self {
        Self { slow: None, anomaly: 6.0 }
    }
}

impl Default for FailureLimits {
    fn default() -> Self {
        Self { share: 0.5, least: NonZeroU32::MIN.saturating_add(4) }
    }
}

impl Default for FlappingLimits {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(60),
            on: 0.2,
            off: 0.05,
            hold_max: Duration::from_secs(60 * 60),
        }
    }
}

impl fmt::Display for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(span) => write!(f, "every {}", crate::time::words(*span)),
            Self::Cron(line) => write!(f, "at {line}"),
        }
    }
}

/// Hours of each day in which nothing is owed: `HH:MM-HH:MM ZONE`. They may pass midnight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QuietHours {
    /// Minutes after midnight.
    from: u16,
    /// The first minute that is not quiet any more.
    to: u16,
    zone: TimeZone,
}

impl QuietHours {
    /// Reads `22:00-06:00 Europe/Berlin`; without a zone it is UTC.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (hours, zone) = text.split_once(' ').unwrap_or((text, "UTC"));
        let (from, to) = hours
            .split_once('-')
            .ok_or_else(|| format!("{text:?} is not like 22:00-06:00 Europe/Berlin"))?;
        let minute = |text: &str| {
            let (hour, minute) = text.split_once(':')?;
            let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
            (hour < 24 && minute < 60).then(|| hour * 60 + minute)
        };
        let parse = |text: &str| {
            minute(text).ok_or_else(|| format!("{text:?} is no time of day such as 22:00"))
        };
        let (from, to) = (parse(from)?, parse(to)?);
        if from == to {
            return Err(format!("{hours:?} begins where it ends"));
        }
        let zone = zone.trim();
        let zone = TimeZone::get(zone).map_err(|_| {
            format!("{zone:?} is not known as a time zone; names are like Europe/Berlin")
        })?;
        Ok(Self { from, to, zone })
    }

    /// A moment lies within them.
    pub fn hold_at(&self, wall: Wall) -> bool {
        let stamp = jiff::Timestamp::from_nanosecond(i128::from(wall.0)).unwrap_or_default();
        let time = stamp.to_zoned(self.zone.clone()).time();
        let minute = i16::from(time.hour()) * 60 + i16::from(time.minute());
        let minute = u16::try_from(minute).expect("a time of day is not negative");
        if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }
}

impl fmt::Display for QuietHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.from, self.to);
        let zone = self.zone.iana_name().unwrap_or("UTC");
        write!(f, "{:02}:{:02}-{:02}:{:02} {zone}", from / 60, from % 60, to / 60, to % 60)
    }
}

impl TryFrom<String> for QuietHours {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<QuietHours> for String {
    fn from(hours: QuietHours) -> Self {
        hours.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_hours_pass_midnight_in_their_zone() {
        let berlin = QuietHours::parse("22:00-06:00 Europe/Berlin").expect("hours");
        let at = |text| berlin.hold_at(Wall::parse(text).expect("a time"));
        assert!(at("2026-11-22T21:00:00Z"), "22:00 in winter");
        assert!(!at("2026-11-22T20:59:59Z"));
        assert!(at("2026-11-23T04:59:59Z"));
        assert!(!at("2026-11-23T05:00:00Z"));
        assert!(at("2026-07-22T20:00:00Z"), "22:00 in summer");
        assert_eq!(berlin.to_string(), "22:00-06:00 Europe/Berlin");
        let day = QuietHours::parse("12:00-13:30").expect("UTC");
        assert!(day.hold_at(Wall::parse("2026-01-01T13:29:00Z").expect("a time")));
        assert!(!day.hold_at(Wall::parse("2026-01-01T13:30:00Z").expect("a time")));
    }

    #[test]
    fn what_is_no_quiet_hours_is_named() {
        for (text, why) in [
            ("22:00", "\"22:00\" is not like 22:00-06:00 Europe/Berlin"),
            ("22:00-25:00", "\"25:00\" is no time of day such as 22:00"),
            ("06:00-06:00 UTC", "\"06:00-06:00\" begins where it ends"),
            (
                "22:00-06:00 Mars/Olympus",
                "\"Mars/Olympus\" is not known as a time zone; names are like Europe/Berlin",
            ),
        ] {
            assert_eq!(QuietHours::parse(text), Err(why.to_owned()));
        }
    }
}
