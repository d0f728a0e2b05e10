//! Control groups of one life, where we may make them. They end everything in them at once,
//! whatever forks meanwhile: by `cgroup.kill` (v2), or frozen, killed and thawed (v1). They hold
//! the limits of the sidecar's file too. Elsewhere the walk over /proc does the work alone.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use lubdub_shared::id::{AgentId, LifeId};
use tracing::debug;

use super::signal;
use super::tree::is_detached;
use crate::vitals::cgroup::{event_flag, is_frozen_v1};
use crate::vitals::{self, Groups};

mod limits;

pub use limits::Limits;

/// Reads of `freezer.state` until a v1 freezer has taken hold: each makes the kernel look again.
const FREEZE_TRIES: usize = 100;

#[derive(Debug)]
pub(super) struct Leaf {
    /// The group that ends its members: v2's, else the v1 freezer's.
    end: Option<End>,
    /// All groups of this life.
    directories: Vec<PathBuf>,
    /// `cgroup.procs` of each.
    procs: Vec<OwnedFd>,
    /// Where somebody is put who is let go.
    outside: Vec<PathBuf>,
}

#[derive(Debug)]
enum End {
    /// `cgroup.kill`, Linux 5.14.
    Kill(PathBuf),
    Freezer(PathBuf),
}

impl Leaf {
    /// No groups: those of a process that somebody else started are theirs.
    pub(super) fn none() -> Self {
        Self { end: None, directories: Vec::new(), procs: Vec::new(), outside: Vec::new() }
    }

    /// Makes the groups of a life below our own, with these limits. What could not be had is told.
    pub(super) fn create(agent: &AgentId, life: LifeId, limits: &Limits) -> (Self, Vec<String>) {
        let mut leaf = Self::none();
        let Some(own) = Groups::of(std::process::id()) else {
            return (leaf, limits.refused("/proc/self/cgroup cannot be read"));
        };
        let name = name_of(agent, life);
        let unified = own.unified().map(limits::home);
        if let Some(made) = unified.and_then(|below| leaf.make(&below, &name)) {
            leaf.end = made.join("cgroup.kill").exists().then_some(End::Kill(made));
        }
        let freezer = own.v1("freezer").filter(|_| leaf.end.is_none());
        if let Some(made) = freezer.and_then(|place| leaf.make(&place.directory, &name)) {
            leaf.end = Some(End::Freezer(made));
        }
        let complaints = limits.apply(&mut leaf, &own, &name);
        (leaf, complaints)
    }

    /// The groups of a life that an earlier sidecar made.
    pub(super) fn reopen(agent: &AgentId, life: LifeId) -> Self {
        let mut leaf = Self::none();
        let name = name_of(agent, life);
        for below in hierarchies() {
            let directory = below.join(&name);
            if !directory.is_dir() {
                continue;
            }
            if directory.join("cgroup.kill").exists() {
                leaf.end = Some(End::Kill(directory.clone()));
            } else if directory.join("freezer.state").exists() && leaf.end.is_none() {
                leaf.end = Some(End::Freezer(directory.clone()));
            }
            leaf.directories.push(directory);
            leaf.outside.push(below.clone());
        }
        leaf
    }

    /// Makes one group; `None` where that is not allowed.
    fn make(&mut self, below: &Path, name: &str) -> Option<PathBuf> {
        let directory = below.join(name);
        if self.directories.contains(&directory) {
            return Some(directory);
        }
        let made = fs::create_dir(&directory)
            .and_then(|()| fs::File::options().write(true).open(directory.join("cgroup.procs")));
        match made {
            Ok(procs) => {
                self.procs.push(procs.into());
                self.directories.push(directory.clone());
                self.outside.push(below.to_owned());
                Some(directory)
            }
            Err(error) => {
                debug!(%error, directory = %directory.display(), "no group of our own here");
                drop(fs::remove_dir(&directory));
                None
            }
        }
    }

    /// `cgroup.procs` of each group, for the child to write itself into.
    pub(super) fn procs(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.procs.iter().map(OwnedFd::as_fd)
    }

    /// Somebody is in it. What cannot be asked counts as empty.
    pub(super) fn is_populated(&self) -> bool {
        match &self.end {
            Some(End::Kill(group)) => fs::read_to_string(group.join("cgroup.events"))
                .is_ok_and(|text| event_flag(&text, "populated")),
            Some(End::Freezer(group)) => !pids_in(group).is_empty(),
            None => false,
        }
    }

    /// Lets those go who are kept on purpose: the groups end everybody else.
    pub(super) fn let_go(&self) {
        let Some(End::Kill(group) | End::Freezer(group)) = &self.end else { return };
        for pid in pids_in(group).into_iter().filter(|pid| is_detached(*pid)) {
            for outside in &self.outside {
                if let Err(error) = put_outside(outside, pid) {
                    debug!(%error, pid, "stays in the group");
                }
            }
        }
    }

    /// Kills everything in it.
    pub(super) fn kill(&self) {
        self.let_go();
        let killed = match &self.end {
            Some(End::Kill(group)) => write(&group.join("cgroup.kill"), "1"),
            Some(End::Freezer(group)) => kill_frozen(group),
            None => Ok(()),
        };
        if let Err(error) = killed {
            debug!(%error, "the group does not kill; the tree is walked instead");
        }
    }
}

/// Nobody in a frozen group forks while its members are killed one by one; a kill is delivered at
/// the thaw.
fn kill_frozen(group: &Path) -> io::Result<()> {
    let state = group.join("freezer.state");
    write(&state, "FROZEN")?;
    for _ in 0..FREEZE_TRIES {
        if fs::read_to_string(&state).is_ok_and(|text| is_frozen_v1(&text)) {
            break;
        }
    }
    for member in pids_in(group).into_iter().filter_map(vitals::stat) {
        // Who may not be killed is found by the sweep, and told there.
        drop(signal::send_to(&member, signal::KILL));
    }
    write(&state, "THAWED")
}

/// A v2 group with controllers for those below it holds no process itself: then beside the sidecar.
fn put_outside(group: &Path, pid: u32) -> io::Result<()> {
    let pid = pid.to_string();
    write(&group.join("cgroup.procs"), &pid)
        .or_else(|_| write(&group.join(limits::OURS).join("cgroup.procs"), &pid))
}

fn pids_in(group: &Path) -> Vec<u32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|pid| pid.parse().ok()).collect()
}

/// Writes to a file of a group, in one call: the kernel takes each as a whole.
fn write(file: &Path, text: &str) -> io::Result<()> {
    let file = fs::File::options().write(true).open(file)?;
    rustix::io::write(file, text.as_bytes())?;
    Ok(())
}

fn name_of(agent: &AgentId, life: LifeId) -> String {
    format!("lubdub-{agent}-{}", &life.to_string()[..8])
}

/// Our own group in every hierarchy in which we make some.
fn hierarchies() -> impl Iterator<Item = PathBuf> {
    let own = Groups::of(std::process::id());
    let places = own.map(|own| {
        let v1 = limits::CONTROLLERS.into_iter().chain(["freezer"]).filter_map(|c| own.v1(c));
        own.unified().into_iter().chain(v1).collect::<Vec<_>>()
    });
    let mut directories: Vec<_> =
        places.unwrap_or_default().into_iter().map(limits::home).collect();
    directories.dedup();
    directories.into_iter()
}

/// Kills what is left in the groups of an earlier life whose sidecar was killed, and removes them.
pub(super) fn sweep_leftover(agent: &AgentId, life: LifeId) {
    Leaf::reopen(agent, life).kill();
}

/// Removes empty groups that earlier lives of the agent left behind.
pub(super) fn remove_leftovers(agent: &AgentId) {
    let ours = format!("lubdub-{agent}-");
    for hierarchy in hierarchies() {
        let entries = fs::read_dir(hierarchy).into_iter().flatten().flatten();
        let named = entries.filter(|entry| {
            let name = entry.file_name();
            let life = name.to_str().and_then(|name| name.strip_prefix(&ours));
            life.is_some_and(|life| life.len() == 8 && !life.contains('-'))
        });
        named.for_each(|entry| remove(&entry.path()));
    }
}

/// Removes a group and those that the agent made in it. Who lives in one keeps it.
fn remove(group: &Path) {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    below.for_each(|entry| remove(&entry.path()));
    if let Err(error) = fs::remove_dir(group) {
        debug!(%error, group = %group.display(), "the group stays");
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        self.directories.iter().for_each(|group| remove(group));
    }
}

#[cfg(test)]
mod tests;
