//! Limits of a life, in the files of its groups: v2's where the controller is there, else v1's.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Leaf, write};
use crate::vitals::Groups;
use crate::vitals::cgroup::Place;

/// Controllers that a limit may need.
pub(super) const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];
/// The group that the sidecar moves to: a v2 group with controllers for those below it may hold no
/// process itself.
pub(super) const OURS: &str = "lubdub-sidecar";
/// `cpu.max` counts in periods of this length, microseconds.
const CPU_PERIOD: u64 = 100_000;

/// What the agent's tree may use in sum; `None` is no limit of ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes; beyond them the kernel kills.
    pub memory_max: Option<u64>,
    /// Bytes; beyond them the kernel slows it down and reclaims. Needs cgroup v2.
    pub memory_high: Option<u64>,
    /// Processes and threads.
    pub pids_max: Option<u64>,
    /// Percent of one core.
    pub cpu_max: Option<u64>,
}

/// One limit: controller, file and content in v2, the same in v1.
struct Limit {
    controller: &'static str,
    v2: (&'static str, String),
    v1: Vec<(&'static str, String)>,
}

impl Limits {
    fn each(&self) -> Vec<Limit> {
        let limit = |controller, v2, value: Option<u64>, v1: &[&'static str]| {
            let value = value?.to_string();
            let v1 = v1.iter().map(|file| (*file, value.clone())).collect();
            Some(Limit { controller, v2: (v2, value), v1 })
        };
        let cpu = self.cpu_max.map(|percent| {
            let quota = percent.saturating_mul(CPU_PERIOD) / 100;
            Limit {
                controller: "cpu",
                v2: ("cpu.max", format!("{quota} {CPU_PERIOD}")),
                v1: vec![
                    ("cpu.cfs_period_us", CPU_PERIOD.to_string()),
                    ("cpu.cfs_quota_us", quota.to_string()),
                ],
            }
        });
        [
            limit("memory", "memory.high", self.memory_high, &[]),
            limit("memory", "memory.max", self.memory_max, &["memory.limit_in_bytes"]),
            limit("pids", "pids.max", self.pids_max, &["pids.max"]),
            cpu,
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Puts the limits in force; those that are not are named, with the reason.
    pub(super) fn apply(&self, leaf: &mut Leaf, own: &Groups, name: &str) -> Vec<String> {
        let put = |limit: Limit| {
            let failed = put(leaf, own, name, &limit).err()?;
            Some(format!("the limit {} is not in force: {failed}", limit.v2.0))
        };
        self.each().into_iter().filter_map(put).collect()
    }

    /// None of them can be.
    pub(super) fn refused(&self, why: &str) -> Vec<String> {
        let words = |limit: Limit| format!("the limit {} is not in force: {why}", limit.v2.0);
        self.each().into_iter().map(words).collect()
    }
}

fn put(leaf: &mut Leaf, own: &Groups, name: &str, limit: &Limit) -> Result<(), String> {
    let words = |file: &Path, error: std::io::Error| format!("{}: {error}", file.display());
    let unified = own.unified().map(home);
    if let Some(below) = unified.filter(|below| has_controller(below, limit.controller)) {
        enable(&below, limit.controller)?;
        let group = leaf.make(&below, name).ok_or("no cgroup of our own")?;
        let file = group.join(limit.v2.0);
        return write(&file, &limit.v2.1).map_err(|error| words(&file, error));
    }
    let Some(place) = own.v1(limit.controller) else {
        return Err(format!("there is no cgroup controller {}", limit.controller));
    };
    if limit.v1.is_empty() {
        return Err(format!("the controller {} is cgroup v1's", limit.controller));
    }
    let group = leaf.make(&place.directory, name);
    let group =
        group.ok_or_else(|| format!("no group of ours below {}", place.directory.display()))?;
    limit.v1.iter().try_for_each(|(file, value)| {
        let file = group.join(file);
        write(&file, value).map_err(|error| words(&file, error))
    })
}

/// Where groups of ours are made: where the sidecar was started.
pub(super) fn home(place: Place) -> PathBuf {
    match place.directory.parent() {
        Some(parent) if place.directory.ends_with(OURS) => parent.to_owned(),
        Some(_) | None => place.directory,
    }
}

fn has_controller(group: &Path, controller: &str) -> bool {
    let text = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    text.split_whitespace().any(|name| name == controller)
}

/// Lets groups below have the controller. Where that needs an empty group, the sidecar moves into
/// one of its own; where others stand in it too, that is theirs to settle.
fn enable(group: &Path, controller: &str) -> Result<(), String> {
    let file = group.join("cgroup.subtree_control");
    let order = format!("+{controller}");
    if write(&file, &order).is_ok() {
        return Ok(());
    }
    let ours = group.join(OURS);
    let (Ok(()) | Err(_)) = fs::create_dir(&ours);
    write(&ours.join("cgroup.procs"), "0")
        .and_then(|()| write(&file, &order))
        .map_err(|error| format!("{}: {error}", file.display()))
}
