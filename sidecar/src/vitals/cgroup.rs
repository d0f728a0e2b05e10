//! PURE: where processes stand in the cgroup hierarchies, v1 and v2, and what the files there say.
//!
//! Formats: proc(5) for `/proc/PID/cgroup`, `/proc/PID/mountinfo`; cgroups(7), and the kernel's
//! `cgroup-v1/` and `cgroup-v2.rst` for the files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where a process stands, from `/proc/PID/cgroup`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Membership {
    /// Path in the v2 hierarchy (the line `0::PATH`).
    unified: Option<String>,
    /// Path in the v1 hierarchy of each controller.
    v1: BTreeMap<String, String>,
}

impl Membership {
    /// Reads `/proc/PID/cgroup`.
    pub fn parse(text: &str) -> Self {
        let mut membership = Self::default();
        for line in text.lines() {
            let mut parts = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) =
                (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            if controllers.is_empty() {
                membership.unified = Some(path.to_owned());
            }
            for name in controllers.split(',').filter(|name| !name.is_empty()) {
                membership.v1.insert(name.to_owned(), path.to_owned());
            }
        }
        membership
    }
}

/// A mounted hierarchy, or the part of one that this mount shows.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    /// The group that is seen at `point`.
    root: String,
    point: PathBuf,
}

/// The mounted hierarchies, from `/proc/self/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mounts {
    unified: Option<Mount>,
    v1: BTreeMap<String, Mount>,
}

/// A group's directory, and the highest directory of its hierarchy that is seen from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The mount point.
    pub top: PathBuf,
    /// The group.
    pub directory: PathBuf,
}

impl Place {
    /// The group and those above it.
    pub fn upwards(&self) -> impl Iterator<Item = &Path> {
        self.directory.ancestors().take_while(|directory| directory.starts_with(&self.top))
    }
}

impl Mounts {
    /// Reads `/proc/self/mountinfo`.
    pub fn parse(text: &str) -> Self {
        let mut mounts = Self::default();
        for line in text.lines() {
            let Some((mount, filesystem)) = line.split_once(" - ") else { continue };
            let mount: Vec<&str> = mount.split(' ').collect();
            let filesystem: Vec<&str> = filesystem.split(' ').collect();
            let ([_, _, _, root, point, ..], [kind, _, options, ..]) =
                (mount.as_slice(), filesystem.as_slice())
            else {
                continue;
            };
            let mount = Mount { root: unescaped(root), point: unescaped(point).into() };
            match *kind {
                "cgroup2" => mounts.unified = Some(mount),
                "cgroup" => {
                    let named = options.split(',').map(|name| (name.to_owned(), mount.clone()));
                    mounts.v1.extend(named);
                }
                _ => {}
            }
        }
        mounts
    }

    /// The process's group in the v2 hierarchy.
    pub fn unified(&self, of: &Membership) -> Option<Place> {
        place(self.unified.as_ref()?, of.unified.as_ref()?)
    }

    /// The process's group in the v1 hierarchy of a controller.
    pub fn v1(&self, controller: &str, of: &Membership) -> Option<Place> {
        place(self.v1.get(controller)?, of.v1.get(controller)?)
    }
}

/// In a container the mount shows the hierarchy from some group on.
fn place(mount: &Mount, path: &str) -> Option<Place> {
    let below = Path::new(path).strip_prefix(&mount.root).ok()?;
    let directory = mount.point.join(below);
    // A group outside of our cgroup namespace shows as `/../…`.
    let outside = directory.components().any(|part| part.as_os_str() == "..");
    (!outside).then(|| Place { top: mount.point.clone(), directory })
}

/// Blanks in paths are written as octal numbers.
fn unescaped(path: &str) -> String {
    path.replace(r"\040", " ").replace(r"\011", "\t").replace(r"\134", "\\")
}

/// A flag of `cgroup.events` (v2): `populated` or `frozen`.
pub fn event_flag(text: &str, key: &str) -> bool {
    count(text, key) == Some(1)
}

/// A count in a file of lines `KEY NUMBER`: `memory.events`, `memory.oom_control`, `pids.events`.
pub fn count(text: &str, key: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(name, _)| *name == key)?.1.trim().parse().ok()
}

/// Whether `freezer.state` (v1) says that nothing runs. A v1-frozen process shows as state D.
pub fn is_frozen_v1(text: &str) -> bool {
    text.trim() == "FROZEN"
}

/// `memory.max` (v2) or `memory.limit_in_bytes` (v1); `None` is no limit.
pub fn parse_limit(text: &str) -> Option<u64> {
    // v1 says "no limit" with a number just below 2^63.
    text.trim().parse().ok().filter(|bytes| *bytes < 1 << 62)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
        37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer\n\
        35 31 0:32 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        36 31 0:33 /docker/c0ffee /sys/fs/cgroup/me\\040mory ro shared:9 - cgroup c rw,memory\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
        42 31 0:39 / /proc rw - proc proc rw\n";

    fn at(place: Option<Place>) -> Option<String> {
        place.map(|place| place.directory.display().to_string())
    }

    #[test]
    fn both_hierarchies() {
        let membership = Membership::parse(
            "6:freezer:/box\n4:cpu,cpuacct:/\n3:memory:/docker/c0ffee/in\n0::/user.slice\n",
        );
        let mounts = Mounts::parse(MOUNTINFO);
        let unified = at(mounts.unified(&membership));
        assert_eq!(unified.as_deref(), Some("/sys/fs/cgroup/unified/user.slice"));
        let freezer = at(mounts.v1("freezer", &membership));
        assert_eq!(freezer.as_deref(), Some("/sys/fs/cgroup/freezer/box"));
        let memory = at(mounts.v1("memory", &membership));
        assert_eq!(memory.as_deref(), Some("/sys/fs/cgroup/me mory/in"), "below the mount's root");
        assert_eq!(mounts.v1("cpuacct", &membership).map(|place| place.upwards().count()), Some(1));
        assert_eq!(mounts.v1("pids", &membership), None);
    }

    #[test]
    fn groups_that_cannot_be_seen_have_no_place() {
        let mounts = Mounts::parse(MOUNTINFO);
        let outside = Membership::parse("6:freezer:/../other\n3:memory:/elsewhere\n");
        assert_eq!(mounts.v1("freezer", &outside), None);
        assert_eq!(mounts.v1("memory", &outside), None);
        assert_eq!(Membership::parse("nonsense"), Membership::default());
        assert_eq!(Mounts::parse("nonsense"), Mounts::default());
    }

    #[test]
    fn limits_flags_and_counts() {
        assert_eq!(parse_limit("536870912\n"), Some(536_870_912));
        assert_eq!(parse_limit("max\n"), None);
        assert_eq!(parse_limit("9223372036854771712\n"), None);
        assert!(event_flag("populated 1\nfrozen 0\n", "populated"));
        assert!(!event_flag("populated 1\nfrozen 0\n", "frozen"));
        assert_eq!(count("oom 3\noom_kill 2\n", "oom_kill"), Some(2));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\n", "oom_kill"), None);
        assert!(is_frozen_v1("FROZEN\n"));
        assert!(!is_frozen_v1("FREEZING\n"));
    }
}
