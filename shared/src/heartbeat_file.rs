//! `heartbeat.json`, for other watchdogs and for people: rendered here, and read tolerantly.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::beat::{Phase, TaskCounts};
use crate::id::{AgentId, Life, LifeId, ProcessId};
use crate::time::Wall;

/// Name of the file in the agent's directory.
pub const FILE_NAME: &str = "heartbeat.json";

/// How far in the future a stamp may lie before it is called so: clocks of hosts differ.
const SKEW_MAX: Duration = Duration::from_secs(60);

/// What the file says of one agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Heartbeat {
    /// Whose heartbeat it is.
    pub agent: AgentId,
    /// The life that beats.
    pub life: Life,
    /// Its main process.
    pub process: ProcessId,
    /// `/proc/sys/kernel/random/boot_id`; empty when unreadable.
    pub boot_id: String,
    /// Beats of this life.
    pub seq: u64,
    /// When the last beat came.
    pub timestamp: Wall,
    /// The same on the sidecar's own clock, milliseconds.
    pub mono_ms: u64,
    /// Declared phase.
    pub phase: Option<Phase>,
    /// When the lease in force ends.
    pub lease_until: Option<Wall>,
    /// Turns of the agent's loop.
    pub cycle: Option<u64>,
    /// Sum of its progress counters.
    pub progress: u64,
    /// Model or program label.
    pub model: Option<String>,
    /// The task begun last that is still open.
    pub task: Option<String>,
    /// What is left to spend, 0..1.
    pub energy: Option<f64>,
    /// Tasks of this life.
    pub tasks: TaskCounts,
    /// Numbers the agent gave itself.
    pub vitals: BTreeMap<String, f64>,
}

#[derive(Serialize)]
struct File<'a> {
    v: u8,
    agent: &'a str,
    incarnation: u32,
    life: String,
    pid: u32,
    start_time: u64,
    boot_id: Option<&'a str>,
    seq: u64,
    timestamp: Wall,
    mono_ms: u64,
    phase: Option<Phase>,
    lease_until: Option<Wall>,
    cycle: Option<u64>,
    progress: u64,
    model: Option<&'a str>,
    task: Option<&'a str>,
    energy: Option<f64>,
    vitals: Vitals<'a>,
}

#[derive(Serialize)]
struct Vitals<'a> {
    tasks: TaskCounts,
    #[serde(flatten)]
    custom: &'a BTreeMap<String, f64>,
}

impl Heartbeat {
    /// The file's bytes. Absent values are null.
    pub fn render(&self) -> Vec<u8> {
        let file = File {
            v: 1,
            agent: self.agent.as_str(),
            incarnation: self.life.ordinal.get(),
            life: self.life.id.to_string(),
            pid: self.process.pid.get(),
            start_time: self.process.start_time,
            boot_id: Some(self.boot_id.as_str()).filter(|id| !id.is_empty()),
            seq: self.seq,
            timestamp: self.timestamp,
            mono_ms: self.mono_ms,
            phase: self.phase,
            lease_until: self.lease_until,
            cycle: self.cycle,
            progress: self.progress,
            model: self.model.as_deref(),
            task: self.task.as_deref(),
            energy: self.energy,
            vitals: Vitals { tasks: self.tasks, custom: &self.vitals },
        };
        let mut bytes = serde_json::to_vec(&file).expect("numbers are finite, keys are strings");
        bytes.push(b'\n');
        bytes
    }
}

/// What a new sidecar reads from the file that the one before wrote, to go on with the same life.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Kept {
    /// The life that beat.
    pub life: LifeId,
    /// Its beats.
    pub seq: u64,
    /// Declared phase.
    pub phase: Option<Phase>,
    /// When the lease in force ends.
    pub lease_until: Option<Wall>,
    /// Turns of the agent's loop.
    pub cycle: Option<u64>,
    /// Sum of its progress counters.
    pub progress: u64,
    /// Model or program label.
    pub model: Option<String>,
    /// What is left to spend, 0..1.
    pub energy: Option<f64>,
    /// Tasks, and the numbers it gave itself.
    pub vitals: KeptVitals,
}

/// The last part of [`Kept`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct KeptVitals {
    /// Tasks of the life so far.
    pub tasks: TaskCounts,
}

impl Kept {
    /// Reads a file that [`Heartbeat::render`] made.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// What a reader can tell of a heartbeat file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// There is no file: nobody ever beat, or the life is new.
    NeverSeen,
    /// Younger than the limit.
    Fresh(Duration),
    /// Older than the limit.
    Stale(Duration),
    /// Neither a stamp nor JSON.
    Corrupt(String),
    /// Stamped further in the future than clocks differ.
    Future(Duration),
}

/// Reads any heartbeat file that the field writes: the first of `timestamp`, `ts`, `at`, `time`
/// as epoch seconds, milliseconds or RFC 3339, else the file's modification time.
///
/// `file` is its content and modification time, `None` when it is not there.
pub fn read(file: Option<(&[u8], Wall)>, now: Wall, stale_after: Duration) -> Reading {
    let Some((bytes, modified)) = file else {
        return Reading::NeverSeen;
    };
    let value: serde_json::Value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        Err(error) => return Reading::Corrupt(error.to_string()),
    };
    let Some(object) = value.as_object() else {
        return Reading::Corrupt("not a JSON object".to_owned());
    };
    let stamp = ["timestamp", "ts", "at", "time"].iter().find_map(|key| object.get(*key));
    let at = match stamp.map(parse_stamp) {
        None => modified,
        Some(Some(at)) => at,
        Some(None) => return Reading::Corrupt("a timestamp that is no time".to_owned()),
    };
    let ahead = now.until(at);
    let age = at.until(now);
    if ahead > SKEW_MAX {
        Reading::Future(ahead)
    } else if age > stale_after {
        Reading::Stale(age)
    } else {
        Reading::Fresh(age)
    }
}

fn parse_stamp(value: &serde_json::Value) -> Option<Wall> {
    if let Some(text) = value.as_str() {
        return Wall::parse(text).or_else(|| text.parse().ok().and_then(from_epoch));
    }
    value.as_f64().and_then(from_epoch)
}

/// Seconds or milliseconds since 1970: 1e11 seconds is the year 5138, 1e11 milliseconds 1973.
fn from_epoch(number: f64) -> Option<Wall> {
    let seconds = if number >= 1e11 { number / 1000.0 } else { number };
    let since_1970 = Duration::try_from_secs_f64(seconds).ok()?;
    i64::try_from(since_1970.as_nanos()).ok().map(Wall)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn reads_what_the_field_writes() {
        let now = Wall::parse("2026-11-22T00:00:30Z").expect("valid");
        let modified = now.before(Duration::from_secs(7));
        let reading = |text: &str| read(Some((text.as_bytes(), modified)), now, MINUTE);
        let half = Reading::Fresh(Duration::from_secs(30));
        assert_eq!(reading(r#"{"timestamp":"2026-11-22T00:00:00Z"}"#), half);
        assert_eq!(reading(r#"{"ts":1795305600}"#), half);
        assert_eq!(reading(r#"{"at":1795305600000}"#), half);
        assert_eq!(reading(r#"{"time":"1795305600.0"}"#), half);
        assert_eq!(reading(r#"{"cycle":4}"#), Reading::Fresh(Duration::from_secs(7)));
        assert_eq!(reading(r#"{"ts":1795305500}"#), Reading::Stale(Duration::from_secs(130)));
        let ahead = Reading::Future(Duration::from_secs(70));
        assert_eq!(reading(r#"{"ts":1795305700}"#), ahead);
        assert_eq!(reading(r#"{"ts":1795305640}"#), Reading::Fresh(Duration::ZERO));
        assert!(matches!(reading(r#"{"ts":"#), Reading::Corrupt(_)));
        assert!(matches!(reading(r#"{"ts":[]}"#), Reading::Corrupt(_)));
        assert!(matches!(reading("[]"), Reading::Corrupt(_)));
        assert_eq!(read(None, now, MINUTE), Reading::NeverSeen);
    }
}
