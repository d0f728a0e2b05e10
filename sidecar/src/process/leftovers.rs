//! Lives that an earlier sidecar of an agent started, found by their environment: which one goes
//! on, and the end of what the others left behind.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lubdub_shared::id::{AgentId, Life, LifeId, ProcessId};
use lubdub_shared::time;

use super::tree::{HOOK, environ_of, is_detached};
use super::{leaf, signal};
use crate::vitals;
use crate::vitals::procfs::{Stat, environ_holds, environ_value, topmost};

/// Kills of what an earlier life left behind, and the time between them: two seconds in all.
const LEFTOVER_TRIES: usize = 100;
const LEFTOVER_PAUSE: Duration = Duration::from_millis(20);

/// A process that was started as a life of an agent, by its environment.
#[derive(Debug, Clone)]
pub struct Marked {
    /// The process.
    pub stat: Stat,
    /// The life.
    pub life: Life,
    /// Where it was told to speak.
    pub door: PathBuf,
}

impl Marked {
    fn of(pid: u32) -> Option<Self> {
        let environ = environ_of(pid)?;
        if environ_holds(&environ, HOOK.as_bytes()) {
            return None;
        }
        let word = |key: &[u8]| std::str::from_utf8(environ_value(&environ, key)?).ok();
        let life = Life {
            id: word(b"LUBDUB_LIFE")?.parse().ok()?,
            ordinal: word(b"LUBDUB_INCARNATION")?.parse().ok()?,
        };
        let door = PathBuf::from(OsStr::from_bytes(environ_value(&environ, b"LUBDUB_SOCKET")?));
        let stat = vitals::stat(pid).filter(Stat::is_alive)?;
        Some(Self { stat, life, door })
    }
}

/// Where a process was told to speak, by its environment.
pub fn door_of(process: ProcessId) -> Option<PathBuf> {
    let environ = environ_of(process.pid.get())?;
    let value = |name: &[u8]| environ_value(&environ, name);
    // An attached one was told by somebody else.
    let door = value(b"LUBDUB_SOCKET").or_else(|| value(b"NOTIFY_SOCKET"))?;
    Some(PathBuf::from(OsStr::from_bytes(door)))
}

/// Everybody who was started as a life of the agent whose door `owns` says it is, of whatever
/// sidecar of it.
pub fn find_marked(owns: impl Fn(&Path) -> bool) -> Vec<Marked> {
    let own = std::process::id();
    let others = vitals::pids().filter(|pid| *pid != own);
    others.filter_map(Marked::of).filter(|marked| owns(&marked.door)).collect()
}

/// Of those who carry a life's marker, the one whose parent does not.
pub fn main_of(marked: &[Marked], life: LifeId) -> Option<ProcessId> {
    let of = marked.iter().filter(|marked| marked.life.id == life);
    let stats: Vec<Stat> = of.map(|marked| marked.stat.clone()).collect();
    topmost(&stats).find(|stat| !is_detached(stat.pid))?.id()
}

/// Kills what earlier lives left behind when their sidecar was killed, until nobody is left or it
/// takes too long. How many there were, and who does not die. `goes_on` is the life that is none of
/// them; `orphans` belong to the one that is over.
pub fn sweep_leftovers(
    agent: &AgentId,
    over: &[LifeId],
    goes_on: Option<LifeId>,
    orphans: &[ProcessId],
    owns: impl Fn(&Path) -> bool,
) -> (usize, Vec<u32>) {
    let mut found = HashSet::new();
    for _ in 0..LEFTOVER_TRIES {
        over.iter().for_each(|life| leaf::sweep_leftover(agent, *life));
        let marked = find_marked(&owns).into_iter();
        let ended = marked.filter(|marked| Some(marked.life.id) != goes_on);
        let mut left: Vec<Stat> = ended.map(|marked| marked.stat).collect();
        let known = orphans.iter().filter_map(|orphan| {
            vitals::stat(orphan.pid.get()).filter(|stat| stat.start_time == orphan.start_time)
        });
        left.extend(known.filter(Stat::is_alive));
        left.retain(|stat| !is_detached(stat.pid));
        if left.is_empty() {
            if goes_on.is_none() {
                leaf::remove_leftovers(agent);
            }
            return (found.len(), Vec::new());
        }
        for stat in &left {
            found.insert(stat.pid);
            drop(signal::send_to(stat, signal::KILL));
        }
        time::pause(LEFTOVER_PAUSE);
    }
    let left = found.iter().copied().filter(|pid| vitals::stat(*pid).is_some_and(|s| s.is_alive()));
    (found.len(), left.collect())
}
