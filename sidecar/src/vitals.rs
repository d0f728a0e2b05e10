//! One look at a tree: what the kernel tells of its processes. Parsing is in the pure files below;
//! this one only reads.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

pub mod activity;
pub mod cgroup;
pub mod procfs;

use activity::Counters;
use procfs::Stat;

/// What one look found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TreeSample {
    /// What activity is made of.
    pub counters: Counters,
    /// Resident memory of all members.
    pub memory_bytes: u64,
    /// Threads of all members.
    pub threads: u32,
    /// Members besides the main process.
    pub children: u32,
    /// Open file descriptors of the main process, when they were counted.
    pub fds: Option<u32>,
    /// The main process is stopped, or frozen.
    pub paused: bool,
    /// The least that its cgroups and the machine allow, bytes, when it was looked for.
    pub memory_limit: Option<u64>,
}

/// Looks at the members of a tree, of which `main` is the main process.
///
/// `churn` counts children born and gone so far; `frozen` is what the cgroups said.
pub fn look(members: &[Stat], main: u32, churn: u64, frozen: bool) -> TreeSample {
    let mut sample = TreeSample { paused: frozen, ..TreeSample::default() };
    let mut cpu_ticks = 0;
    let mut pages = 0;
    for member in members {
        let io = read(member.pid, "io").and_then(|text| procfs::parse_io(&text));
        let io = io.unwrap_or_default();
        cpu_ticks += member.cpu_ticks;
        pages += member.rss_pages;
        sample.threads += member.threads;
        sample.counters.written += io.wchar;
        sample.counters.io += io.rchar + io.wchar;
    }
    sample.counters.cpu = cpu_time(cpu_ticks);
    sample.counters.churn = churn;
    sample.memory_bytes = pages * u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    sample.children = u32::try_from(members.len().saturating_sub(1)).unwrap_or(u32::MAX);
    let main = members.iter().find(|member| member.pid == main);
    sample.paused |= main.is_some_and(|main| matches!(main.state, 'T' | 't'));
    sample
}

/// Open file descriptors of a process.
pub fn count_fds(pid: u32) -> Option<u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    u32::try_from(entries.count()).ok()
}

/// `/proc/PID/stat`, parsed; `None` when it is gone.
pub fn stat(pid: u32) -> Option<Stat> {
    read(pid, "stat").and_then(|text| procfs::parse_stat(&text))
}

/// A file of `/proc/PID`. Names of processes need not be UTF-8.
pub fn read(pid: u32, file: &str) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/{file}")).ok()?;
    Some(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

static MOUNTS: LazyLock<cgroup::Mounts> = LazyLock::new(|| {
    fs::read_to_string("/proc/self/mounts")
        .map(|text| cgroup::parse_mounts(&text))
        .unwrap_or_default()
});

/// The least that the process's cgroups, theirs above them, and the machine allow, bytes.
pub fn memory_limit(pid: u32) -> Option<u64> {
    let membership = cgroup::parse_membership(&read(pid, "cgroup").unwrap_or_default());
    let least = |mount: &Option<String>, path: &Option<String>, file: &str| {
        let (mount, path) = (mount.as_deref()?, path.as_deref()?);
        let leaf = Path::new(mount).join(path.trim_start_matches('/'));
        let within = leaf.ancestors().take_while(|directory| directory.starts_with(mount));
        let limit = |directory: &Path| fs::read_to_string(directory.join(file)).ok();
        within.filter_map(|directory| cgroup::parse_limit(&limit(directory)?)).min()
    };
    let machine = rustix::system::sysinfo();
    let machine = u64::from(machine.mem_unit) * machine.totalram;
    let v2 = least(&MOUNTS.unified, &membership.unified, "memory.max");
    let v1 = least(&MOUNTS.memory, &membership.memory, "memory.limit_in_bytes");
    [Some(machine).filter(|bytes| *bytes > 0), v1, v2].into_iter().flatten().min()
}

/// Whether a freezer holds the process, v1 or v2.
pub fn is_frozen(pid: u32) -> bool {
    let Some(text) = read(pid, "cgroup") else { return false };
    let membership = cgroup::parse_membership(&text);
    let file = |mount: &Option<String>, path: &Option<String>, name: &str| {
        let path = path.as_ref()?.trim_start_matches('/');
        fs::read_to_string(Path::new(mount.as_ref()?).join(path).join(name)).ok()
    };
    let v1 = file(&MOUNTS.freezer, &membership.freezer, "freezer.state");
    let v2 = file(&MOUNTS.unified, &membership.unified, "cgroup.events");
    v1.is_some_and(|text| cgroup::is_frozen_v1(&text))
        || v2.is_some_and(|text| cgroup::event_flag(&text, "frozen"))
}

/// `/proc/sys/kernel/random/boot_id`; empty when it cannot be read.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

fn cpu_time(ticks: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_micros(ticks.saturating_mul(1_000_000) / per_second)
}
