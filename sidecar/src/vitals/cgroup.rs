//! PURE parsers over cgroup files, v1 and v2.

/// Where a process stands, from `/proc/PID/cgroup`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Membership {
    /// Path in the v2 hierarchy (the line `0::PATH`).
    pub unified: Option<String>,
    /// Path in the v1 freezer hierarchy.
    pub freezer: Option<String>,
    /// Path in the v1 memory hierarchy.
    pub memory: Option<String>,
}

/// Reads `/proc/PID/cgroup`.
pub fn parse_membership(text: &str) -> Membership {
    let mut membership = Membership::default();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        if controllers.is_empty() {
            membership.unified = Some(path.to_owned());
        } else {
            for name in controllers.split(',') {
                match name {
                    "freezer" => membership.freezer = Some(path.to_owned()),
                    "memory" => membership.memory = Some(path.to_owned()),
                    _ => {}
                }
            }
        }
    }
    membership
}

/// Where hierarchies are mounted, from `/proc/self/mounts`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mounts {
    /// The v2 hierarchy.
    pub unified: Option<String>,
    /// The v1 freezer.
    pub freezer: Option<String>,
    /// The v1 memory controller.
    pub memory: Option<String>,
}

/// Reads `/proc/self/mounts`.
pub fn parse_mounts(text: &str) -> Mounts {
    let mut mounts = Mounts::default();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, path, kind, options, ..] = fields.as_slice() else { continue };
        match *kind {
            "cgroup2" => mounts.unified = Some((*path).to_owned()),
            "cgroup" => {
                for option in options.split(',') {
                    match option {
                        "freezer" => mounts.freezer = Some((*path).to_owned()),
                        "memory" => mounts.memory = Some((*path).to_owned()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    mounts
}

/// A flag of `cgroup.events` (v2): `populated` or `frozen`.
pub fn event_flag(text: &str, key: &str) -> bool {
    text.lines().any(|line| line.split_once(' ') == Some((key, "1")))
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

    #[test]
    fn both_hierarchies() {
        let membership = parse_membership("6:freezer:/box\n4:cpu,cpuacct:/\n0::/user.slice\n");
        assert_eq!(membership.unified.as_deref(), Some("/user.slice"));
        assert_eq!(membership.freezer.as_deref(), Some("/box"));
        assert_eq!(parse_membership("nonsense"), Membership::default());
        let mounts = parse_mounts(
            "cgroup /sys/fs/cgroup/freezer cgroup rw,relatime,freezer 0 0\n\
             cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n",
        );
        assert_eq!(mounts.unified.as_deref(), Some("/sys/fs/cgroup/unified"));
        assert_eq!(mounts.freezer.as_deref(), Some("/sys/fs/cgroup/freezer"));
    }

    #[test]
    fn limits() {
        assert_eq!(parse_limit("536870912\n"), Some(536_870_912));
        assert_eq!(parse_limit("max\n"), None);
        assert_eq!(parse_limit("9223372036854771712\n"), None);
    }

    #[test]
    fn flags() {
        assert!(event_flag("populated 1\nfrozen 0\n", "populated"));
        assert!(!event_flag("populated 1\nfrozen 0\n", "frozen"));
        assert!(is_frozen_v1("FROZEN\n"));
        assert!(!is_frozen_v1("FREEZING\n"));
    }
}
