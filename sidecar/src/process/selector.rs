//! Which running process is meant, where somebody else starts it: exactly one, or nobody.

use std::fs;
use std::io::Read as _;
use std::num::NonZeroU32;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use lubdub_shared::id::ProcessId;
use lubdub_shared::text::clip;

use crate::vitals::procfs::{Stat, topmost};
use crate::vitals::{self, Groups};

const INIT: u32 = 1;
/// Of a pidfile, bytes: its first line is well within.
const PIDFILE_MAX: u64 = 256;
/// Processes that an error lists.
const LISTED_MAX: usize = 20;

/// How a process is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// By its pid.
    Pid(NonZeroU32),
    /// By a file that holds its pid.
    Pidfile(PathBuf),
    /// By the systemd unit whose group it is in: the process that no other one there started.
    Unit(String),
    /// By a part of its command line; children of a match belong to it.
    Match(String),
}

/// Why none was found.
#[derive(Debug, thiserror::Error)]
pub enum NotOne {
    /// Nobody fits.
    #[error("no process has {0}")]
    Nobody(String),
    /// Several do.
    #[error("{count} processes have {what}, and exactly one is wanted:{list}", count = .list.len(),
            list = .list.iter().map(|one| format!("\n  {one}")).collect::<String>())]
    Several {
        /// What they have.
        what: String,
        /// Pid and command line of each.
        list: Vec<String>,
    },
    /// It is one of those that started the sidecar, or the init: a stop could not end it.
    #[error("{0} is no agent: it is the init, this sidecar, or above it")]
    Above(String),
    /// The file cannot be used.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl Selector {
    /// The one process that fits now.
    ///
    /// # Errors
    /// Nobody or several do.
    pub fn resolve(&self) -> Result<ProcessId, NotOne> {
        let found = match self {
            Self::Pid(pid) => vitals::stat(pid.get()).into_iter().collect(),
            Self::Pidfile(path) => vec![by_file(path)?],
            Self::Unit(unit) => in_unit(unit),
            Self::Match(words) => by_command_line(words),
        };
        self.only(found)
    }

    fn only(&self, found: Vec<Stat>) -> Result<ProcessId, NotOne> {
        let alive: Vec<Stat> = found.into_iter().filter(Stat::is_alive).collect();
        match alive.as_slice() {
            [stat] if stat.pid == INIT || ours().any(|pid| pid == stat.pid) => {
                Err(NotOne::Above(shown(stat)))
            }
            [stat] => stat.id().ok_or_else(|| NotOne::Nobody(self.words())),
            [] => Err(NotOne::Nobody(self.words())),
            several => {
                let list = several.iter().take(LISTED_MAX).map(shown).collect();
                Err(NotOne::Several { what: self.words(), list })
            }
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Pid(pid) => format!("the pid {pid}"),
            Self::Pidfile(path) => format!("the pid in {}", path.display()),
            Self::Unit(unit) => format!("started the unit {unit}"),
            Self::Match(words) => format!("{words:?} in its command line"),
        }
    }
}

/// The process whose pid a file holds.
pub(super) fn by_file(path: &Path) -> Result<Stat, NotOne> {
    let failed = |why: String| NotOne::File { path: path.to_owned(), why };
    // The agent writes it: it may be anything, and must not hold us up.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let text = fs::File::options().read(true).custom_flags(flags).open(path).and_then(|file| {
        let mut bytes = Vec::new();
        file.take(PIDFILE_MAX).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    });
    let text = text.map_err(|error| failed(error.to_string()))?;
    let pid = first_pid(&text).ok_or_else(|| failed("its first line is no pid".to_owned()))?;
    vitals::stat(pid).ok_or_else(|| failed(format!("its pid {pid} is gone")))
}

/// The first line that is not empty; what follows it (postmaster.pid has more) is no pid.
fn first_pid(text: &str) -> Option<u32> {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Processes in the unit's groups that nobody else there started.
fn in_unit(unit: &str) -> Vec<Stat> {
    let wanted = if unit.contains('.') { unit.to_owned() } else { format!("{unit}.service") };
    let stands = |pid: u32| {
        let groups = Groups::of(pid)?;
        let places = [groups.unified(), groups.v1("name=systemd")];
        let within = |path: PathBuf| path.iter().any(|part| part == wanted.as_str());
        places.into_iter().flatten().any(|place| within(place.directory)).then_some(pid)
    };
    highest(vitals::pids().filter_map(stands))
}

/// Processes with these words in their command line, but for this one and those above it.
fn by_command_line(words: &str) -> Vec<Stat> {
    let ours: Vec<u32> = ours().collect();
    let fits =
        vitals::pids().filter(|pid| !ours.contains(pid) && command_line(*pid).contains(words));
    highest(fits)
}

/// This process, and those above it.
fn ours() -> impl Iterator<Item = u32> {
    let own = std::process::id();
    [own].into_iter().chain(vitals::above(own))
}

fn highest(pids: impl Iterator<Item = u32>) -> Vec<Stat> {
    let found: Vec<Stat> = pids.filter_map(vitals::stat).collect();
    topmost(&found).cloned().collect()
}

/// A process as people are told of it: anybody may have named it.
fn shown(stat: &Stat) -> String {
    clip(format!("{} {}", stat.pid, command_line(stat.pid)).into())
}

fn command_line(pid: u32) -> String {
    let line = vitals::read_own(pid, "cmdline").unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pidfile_begins_with_the_pid() {
        for (text, pid) in [
            ("42", Some(42)),
            ("42\n", Some(42)),
            ("  42 \r\n", Some(42)),
            ("42\n/var/lib/pg\n1700000000\n5432\n", Some(42)),
            ("\n42\n", Some(42)),
            ("42 postgres", Some(42)),
            ("", None),
            ("postgres\n42\n", None),
            ("-42", None),
        ] {
            assert_eq!(first_pid(text), pid, "{text:?}");
        }
    }
}
