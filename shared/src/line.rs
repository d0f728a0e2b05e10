//! The local protocol, pure: one datagram in, one [`Message`] out.
//!
//! Two shapes on one socket. A datagram that begins with `{` is JSON; any other is sd_notify's
//! newline-separated `KEY=value` (systemd's `sd_notify(3)`). Unknown keys are ignored in both, so
//! that newer agents can talk to older sidecars; a known key with a wrong value drops the whole
//! datagram, so that nothing is half applied. Texts that are not UTF-8 are kept with replacement
//! characters. A plain `WATCHDOG=1` allocates nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::beat::Phase;
use crate::text::{clip, is_clean};
use crate::time::Wall;

mod json;

/// Largest datagram, bytes.
pub const DATAGRAM_LEN_MAX: usize = 64 * 1024;
/// Longest name (of a check, a task, a source), bytes; longer ones are a wrong value.
pub const NAME_LEN_MAX: usize = 64;
/// Custom vitals that one datagram may carry.
pub const CUSTOM_VITALS_MAX: usize = 32;
/// Longest time that anything may ask for: beyond it a number is a slip.
const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// Name of the check that a trigger fails.
pub const SELF_CHECK: &str = "self";

/// Why a datagram was dropped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Dropped {
    /// Longer than [`DATAGRAM_LEN_MAX`], or cut by the kernel.
    #[error("longer than {DATAGRAM_LEN_MAX} bytes")]
    TooLong,
    /// Nothing in it.
    #[error("empty")]
    Empty,
    /// A NUL byte.
    #[error("a NUL byte")]
    Nul,
    /// No `KEY=value` in it.
    #[error("neither KEY=value nor JSON")]
    NoAssignment,
    /// Not JSON, or a wrong type.
    #[error("bad JSON: {0}")]
    Json(String),
    /// Another version of the JSON shape.
    #[error("version {0} of the JSON shape is not known here (1 is)")]
    Version(u64),
    /// A known key with a value that does not fit.
    #[error("{key}: {why}")]
    Value {
        /// Which key.
        key: &'static str,
        /// What is wrong.
        why: &'static str,
    },
}

/// What happened to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStep {
    /// It was begun.
    Start,
    /// It got on.
    Progress,
    /// It ended well.
    Done,
    /// It ended badly.
    Fail,
}

/// A step of one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The agent's own id of it.
    pub id: String,
    /// What happened.
    pub step: TaskStep,
    /// How long it took, when the agent says so.
    pub took: Option<Duration>,
}

/// A check that the agent ran on itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// It passed.
    pub ok: bool,
    /// Said with a trigger: one failure is enough.
    pub trigger: bool,
    /// The agent's words.
    pub message: String,
}

/// Until when an agent waits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Until {
    /// For this long from now.
    In(Duration),
    /// Until this moment of the wall clock.
    At(Wall),
}

/// What was spent since the last beat.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spent {
    /// Tokens read by a model.
    pub tokens_in: u64,
    /// Tokens written by a model.
    pub tokens_out: u64,
    /// Money, US dollars.
    pub cost_usd: f64,
}

/// What an agent did in one step of its work. Its words are hashed here and stay on the host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Step {
    /// What it did.
    pub action: Option<Deed>,
    /// Hash of what came of it.
    pub result: Option<u64>,
    /// Hash of how it failed.
    pub error: Option<u64>,
}

/// One action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// Hash of all of it.
    pub hash: u64,
    /// Its first word, by which a policy may exempt it.
    pub tool: String,
}

/// What one datagram says. Everything is optional.
#[expect(clippy::struct_excessive_bools, reason = "one flag for each line of the protocol")]
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Message {
    /// `WATCHDOG=1`, or any JSON datagram.
    pub beat: bool,
    /// `READY=1`.
    pub ready: bool,
    /// `RESTART_RESET=1`.
    pub restart_reset: bool,
    /// `BARRIER=1`: the descriptor that came along is closed once this was applied.
    pub barrier: bool,
    /// An explicit deadline; `WATCHDOG_USEC=0` is none.
    pub deadline: Option<Duration>,
    /// A lease on the current phase.
    pub lease: Option<Duration>,
    /// The phase that is entered or goes on.
    pub phase: Option<Phase>,
    /// Until when it waits.
    pub until: Option<Until>,
    /// On whom it waits.
    pub provider: Option<String>,
    /// Turns of the agent's loop.
    pub cycle: Option<u64>,
    /// Work done.
    pub progress: Option<u64>,
    /// What is left to spend, 0..1.
    pub energy: Option<f64>,
    /// What was spent.
    pub spent: Spent,
    /// A step of a task.
    pub task: Option<Task>,
    /// A check of its own, or a trigger.
    pub check: Option<Check>,
    /// Sender inside the tree.
    pub source: Option<String>,
    /// Model or program label.
    pub model: Option<String>,
    /// One-line status.
    pub text: Option<String>,
    /// The agent's main process is this one.
    pub main_pid: Option<u32>,
    /// Custom vitals.
    pub vitals: BTreeMap<String, f64>,
    /// A step of its work.
    pub step: Option<Step>,
    /// Bytes of the datagram: what the beat itself wrote is no activity.
    pub size: usize,
}

/// Reads one datagram.
///
/// # Errors
/// Why it is dropped; nothing of it may be applied then.
pub fn parse(datagram: &[u8]) -> Result<Message, Dropped> {
    if datagram.len() > DATAGRAM_LEN_MAX {
        return Err(Dropped::TooLong);
    }
    if datagram.contains(&0) {
        return Err(Dropped::Nul);
    }
    let text = String::from_utf8_lossy(datagram);
    let message = match text.trim_start().as_bytes().first() {
        None => Err(Dropped::Empty),
        Some(b'{') => json::parse(&text),
        Some(_) => parse_lines(&text),
    };
    message.map(|message| Message { size: datagram.len(), ..message })
}

fn parse_lines(text: &str) -> Result<Message, Dropped> {
    let mut message = Message::default();
    let mut assignments = 0_usize;
    for line in text.lines() {
        if let Some((key, value)) = line.split_once('=') {
            assignments += 1;
            apply_line(&mut message, key, value)?;
        }
    }
    if assignments == 0 { Err(Dropped::NoAssignment) } else { Ok(message) }
}

fn apply_line(message: &mut Message, key: &str, value: &str) -> Result<(), Dropped> {
    match key {
        "READY" => message.ready = value == "1",
        "WATCHDOG" if value == "trigger" => message.check = Some(trigger(String::new())),
        "WATCHDOG" => message.beat = value == "1",
        "STOPPING" if value == "1" => message.phase = Some(Phase::Stopping),
        "RESTART_RESET" => message.restart_reset = value == "1",
        "BARRIER" => message.barrier = value == "1",
        "WATCHDOG_USEC" => message.deadline = Some(micros("WATCHDOG_USEC", value)?),
        "EXTEND_TIMEOUT_USEC" => message.lease = Some(micros("EXTEND_TIMEOUT_USEC", value)?),
        "X_LUBDUB_LEASE_USEC" => message.lease = Some(micros("X_LUBDUB_LEASE_USEC", value)?),
        "X_LUBDUB_PHASE" => message.phase = Some(phase("X_LUBDUB_PHASE", value)?),
        "X_LUBDUB_CYCLE" => message.cycle = Some(count("X_LUBDUB_CYCLE", value)?),
        "X_LUBDUB_PROGRESS" => message.progress = Some(count("X_LUBDUB_PROGRESS", value)?),
        "X_LUBDUB_ENERGY" => {
            let energy = value.parse().map_err(|_| bad("X_LUBDUB_ENERGY", "not a number"))?;
            message.energy = Some(ratio("X_LUBDUB_ENERGY", energy)?);
        }
        "MAINPID" => {
            message.main_pid = Some(value.parse().map_err(|_| bad("MAINPID", "not a pid"))?);
        }
        "STATUS" => message.text = Some(clip(value.into())),
        "ERRNO" => {
            let _: i32 = value.parse().map_err(|_| bad("ERRNO", "not a number"))?;
            message.text.get_or_insert_with(|| clip(format!("errno {value}").into()));
        }
        "EXIT_STATUS" => {
            let _: u8 = value.parse().map_err(|_| bad("EXIT_STATUS", "not 0..255"))?;
            message.text.get_or_insert_with(|| clip(format!("exit status {value}").into()));
        }
        // RELOADING, FDSTORE and whatever comes later: systemd ignores what it does not know.
        _ => {}
    }
    Ok(())
}

fn trigger(message: String) -> Check {
    Check { name: SELF_CHECK.to_owned(), ok: false, trigger: true, message }
}

fn bad(key: &'static str, why: &'static str) -> Dropped {
    Dropped::Value { key, why }
}

fn micros(key: &'static str, value: &str) -> Result<Duration, Dropped> {
    let micros: u64 = value.parse().map_err(|_| bad(key, "not a number of microseconds"))?;
    Some(Duration::from_micros(micros))
        .filter(|d| *d <= DURATION_MAX)
        .ok_or_else(|| bad(key, "too long"))
}

fn seconds(key: &'static str, value: f64) -> Result<Duration, Dropped> {
    let duration = Duration::try_from_secs_f64(value).map_err(|_| bad(key, "not a duration"))?;
    Some(duration).filter(|d| *d <= DURATION_MAX).ok_or_else(|| bad(key, "too long"))
}

fn count(key: &'static str, value: &str) -> Result<u64, Dropped> {
    value.parse().map_err(|_| bad(key, "not a whole number"))
}

fn ratio(key: &'static str, value: f64) -> Result<f64, Dropped> {
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(bad(key, "not within 0..1")) }
}

fn phase(key: &'static str, word: &str) -> Result<Phase, Dropped> {
    Phase::from_word(word).ok_or_else(|| bad(key, "no such phase"))
}

/// A name (of a check, a task, a source): not empty, not too long, nothing that moves a cursor.
///
/// # Errors
/// What is wrong with it.
pub fn name(key: &'static str, text: Cow<'_, str>) -> Result<String, Dropped> {
    match text.len() {
        0 => Err(bad(key, "empty")),
        _ if !is_clean(&text) => Err(bad(key, "a control character")),
        1..=NAME_LEN_MAX => Ok(text.into_owned()),
        _ => Err(bad(key, "longer than 64 bytes")),
    }
}

#[cfg(test)]
mod tests;
