//! Which running process is meant, where somebody else starts it: exactly one, or nobody.

use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use lubdub_shared::id::ProcessId;

use crate::vitals::procfs::Stat;
use crate::vitals::{self, Groups};

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
        let alive: Vec<Stat> =
            found.into_iter().filter(|stat| !matches!(stat.state, 'Z' | 'X')).collect();
        let one = |stat: &Stat| {
            Some(ProcessId { pid: NonZeroU32::new(stat.pid)?, start_time: stat.start_time })
        };
        match alive.as_slice() {
            [stat] => one(stat).ok_or_else(|| NotOne::Nobody(self.words())),
            [] => Err(NotOne::Nobody(self.words())),
            several => {
                let line = |stat: &Stat| format!("{} {}", stat.pid, command_line(stat.pid));
                let list = several.iter().take(LISTED_MAX).map(line).collect();
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
    let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let pid: u32 = text.trim().parse().map_err(|_| failed("it holds no pid".to_owned()))?;
    vitals::stat(pid).ok_or_else(|| failed(format!("its pid {pid} is gone")))
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
    topmost(pids().filter_map(stands).filter_map(vitals::stat).collect())
}

/// Processes with these words in their command line, but for this one and those above it.
fn by_command_line(words: &str) -> Vec<Stat> {
    let ours: Vec<u32> = std::iter::successors(Some(std::process::id()), |pid| {
        vitals::stat(*pid).map(|stat| stat.parent).filter(|parent| *parent > 0)
    })
    .collect();
    let fits = pids().filter(|pid| !ours.contains(pid) && command_line(*pid).contains(words));
    topmost(fits.filter_map(vitals::stat).collect())
}

fn topmost(found: Vec<Stat>) -> Vec<Stat> {
    let pids: Vec<u32> = found.iter().map(|stat| stat.pid).collect();
    found.into_iter().filter(|stat| !pids.contains(&stat.parent)).collect()
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn command_line(pid: u32) -> String {
    vitals::read(pid, "cmdline").unwrap_or_default().replace('\0', " ").trim().to_owned()
}
