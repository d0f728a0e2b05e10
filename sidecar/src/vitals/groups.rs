//! What the cgroups of one process say: limits, freezers, kills for want of memory, pressure.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::cgroup::{Membership, Mounts, Place, count, event_flag, is_frozen_v1, parse_limit};
use super::{read, slurp_text};

static MOUNTS: LazyLock<Mounts> = LazyLock::new(|| {
    Mounts::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
});

/// Where a process stands.
#[derive(Debug, Clone)]
pub struct Groups {
    membership: Membership,
}

impl Groups {
    /// Asks the kernel; `None` when the process is gone.
    pub fn of(pid: u32) -> Option<Self> {
        Some(Self { membership: Membership::parse(&read(pid, "cgroup")?) })
    }

    /// Its group in the v2 hierarchy.
    pub fn unified(&self) -> Option<Place> {
        MOUNTS.unified(&self.membership)
    }

    /// Its group in the v1 hierarchy of a controller.
    pub fn v1(&self, controller: &str) -> Option<Place> {
        MOUNTS.v1(controller, &self.membership)
    }

    /// The least that its groups, theirs above them, and the machine allow, bytes.
    pub fn memory_limit(&self) -> Option<u64> {
        let least = |place: Option<Place>, file: &str| {
            let limits = |directory: &Path| parse_limit(&text(&directory.join(file))?);
            place?.upwards().filter_map(limits).min()
        };
        let machine = rustix::system::sysinfo();
        let machine = u64::from(machine.mem_unit) * machine.totalram;
        let v2 = least(self.unified(), "memory.max");
        let v1 = least(self.v1("memory"), "memory.limit_in_bytes");
        [Some(machine).filter(|bytes| *bytes > 0), v1, v2].into_iter().flatten().min()
    }

    /// Whether a freezer holds it, v1 or v2.
    pub fn is_frozen(&self) -> bool {
        let file = |place: Option<Place>, name: &str| text(&place?.directory.join(name));
        file(self.v1("freezer"), "freezer.state").is_some_and(|text| is_frozen_v1(&text))
            || file(self.unified(), "cgroup.events").is_some_and(|text| event_flag(&text, "frozen"))
    }

    /// The file that counts the processes of its group that were killed for want of memory.
    pub fn oom_file(&self) -> Option<PathBuf> {
        let v2 = self.unified().map(|place| place.directory);
        let v1 = self.v1("memory").map(|place| place.directory.join("memory.oom_control"));
        // `.local` leaves out the groups below, where others may live.
        let v2 = v2.map(|directory| directory.join("memory.events.local"));
        [v2, v1].into_iter().flatten().find(|file| oom_kills(file).is_some())
    }

    /// What the group says of itself, for a person: each file with its content.
    pub fn words(&self) -> Vec<(String, String)> {
        const V2: [&str; 8] = [
            "memory.events",
            "memory.current",
            "memory.max",
            "memory.pressure",
            "cpu.pressure",
            "io.pressure",
            "pids.current",
            "cgroup.events",
        ];
        const V1: [(&str, &str); 4] = [
            ("memory", "memory.usage_in_bytes"),
            ("memory", "memory.oom_control"),
            ("pids", "pids.current"),
            ("freezer", "freezer.state"),
        ];
        let v2 = V2.into_iter().filter_map(|name| Some(self.unified()?.directory.join(name)));
        let v1 = V1
            .into_iter()
            .filter_map(|(controller, name)| Some(self.v1(controller)?.directory.join(name)));
        v2.chain(v1).filter_map(|file| Some((file.display().to_string(), text(&file)?))).collect()
    }
}

/// Processes killed for want of memory, by a file that counts them.
pub fn oom_kills(file: &Path) -> Option<u64> {
    count(&text(file)?, "oom_kill")
}

fn text(file: &Path) -> Option<String> {
    slurp_text(file).ok()
}
