//! One look at a tree: what the kernel tells of its processes. Parsing is in the pure files below;
//! this one only reads.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::reserve::try_with_room;

pub mod activity;
pub mod cgroup;
pub mod groups;
pub mod network;
pub mod procfs;

use activity::Counters;
pub use groups::Groups;
use procfs::Stat;

/// Most files of the kernel are shorter. They tell no size, and a reader that knows none starts
/// with a few bytes and comes again and again.
const KERNEL_FILE: usize = 4096;

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
        if io.is_none() {
            // Another user's, or not dumpable: whether it runs can be seen, and no more.
            sample.counters.unreadable += runs(member.pid);
        }
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

/// Open file descriptors of a process. From Linux 6.2 on the directory's size is their number.
pub fn count_fds(pid: u32) -> Option<u32> {
    let directory = format!("/proc/{pid}/fd");
    let told = fs::metadata(&directory).ok()?.len();
    let count = if told > 0 { told } else { fs::read_dir(&directory).ok()?.count() as u64 };
    u32::try_from(count).ok()
}

/// How often the threads of a process were given a processor: `task/TID/schedstat`, which everybody
/// may read, else the context switches in `status`.
fn runs(pid: u32) -> u64 {
    let of = |thread: PathBuf| -> Option<u64> {
        let told = slurp_text(thread.join("schedstat")).ok();
        let counted = told.and_then(|text| text.split_ascii_whitespace().nth(2)?.parse().ok());
        counted.or_else(|| {
            let status = slurp_text(thread.join("status")).ok()?;
            let switches = status.lines().filter(|line| line.contains("ctxt_switches:"));
            Some(switches.filter_map(|line| line.rsplit('\t').next()?.parse::<u64>().ok()).sum())
        })
    };
    list(Path::new(&format!("/proc/{pid}/task"))).into_iter().filter_map(of).sum()
}

/// All pids.
pub fn pids() -> impl Iterator<Item = u32> {
    let entries = list(Path::new("/proc")).into_iter();
    entries.filter_map(|path| path.file_name()?.to_str()?.parse().ok())
}

/// What is in a directory of the kernel's.
pub fn list(directory: &Path) -> Vec<PathBuf> {
    let read = || {
        let entries = fs::read_dir(directory)?;
        Ok(entries.flatten().map(|entry| entry.path()).collect())
    };
    noted(directory, try_with_room(read)).unwrap_or_default()
}

thread_local! {
    /// What could not be read since that was last asked, and why. Of the thread that looks.
    static UNREAD: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What is gone is gone, and what is another's is no secret of ours: neither is a failure to look.
fn noted<T>(path: &Path, read: io::Result<T>) -> io::Result<T> {
    if let Err(error) = &read {
        let known = [Errno::NOENT, Errno::SRCH, Errno::ACCESS, Errno::PERM];
        if !known.iter().any(|known| error.raw_os_error() == Some(known.raw_os_error())) {
            UNREAD.set(Some(format!("{}: {error}", path.display())));
        }
    }
    read
}

/// What could not be read since this was last asked, though it may be there.
pub fn take_unread() -> Option<String> {
    UNREAD.take()
}

/// A process that `/proc` does not show, now or ever, is gone only by the kernel's word.
pub fn unseen_but_there(pid: u32) -> bool {
    stat(pid).is_none() && exists(pid)
}

/// The kernel knows a process with this pid, whether or not it shows it.
pub fn exists(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

/// Those above a process: its parent, that one's parent, and so on.
pub fn above(pid: u32) -> impl Iterator<Item = u32> {
    let parent = |pid: &u32| stat(*pid).map(|stat| stat.parent).filter(|parent| *parent > 0);
    std::iter::successors(Some(pid), parent).skip(1)
}

/// `/proc/PID/{environ,cmdline}`. They lie in the process's own memory, which one that hangs in the
/// kernel may hold locked: nobody waits for that.
pub fn read_own(pid: u32, file: &str) -> Option<Vec<u8>> {
    stat(pid).filter(|stat| stat.state != 'D')?;
    slurp(format!("/proc/{pid}/{file}")).ok()
}

/// `/proc` is there, and shows this process under its own pid.
pub fn sees_itself() -> bool {
    let own = std::process::id();
    let link = fs::read_link("/proc/self").ok();
    link.and_then(|link| link.to_str()?.parse().ok()) == Some(own) && stat(own).is_some()
}

/// `/proc/PID/stat`, parsed; `None` when it is gone.
pub fn stat(pid: u32) -> Option<Stat> {
    read(pid, "stat").and_then(|text| procfs::parse_stat(&text))
}

/// A file of `/proc/PID`. Names of processes need not be UTF-8.
pub fn read(pid: u32, file: &str) -> Option<String> {
    slurp_text(format!("/proc/{pid}/{file}")).ok()
}

/// A whole file of the kernel's, of any length, mostly in one read.
pub fn slurp(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let path = path.as_ref();
    let read = || {
        let mut bytes = Vec::with_capacity(KERNEL_FILE);
        // Not the file's own `read_to_end`: that asks for its size first.
        File::open(path)?.take(u64::MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    noted(path, try_with_room(read))
}

/// The same as text; what is not UTF-8 shows as U+FFFD.
pub fn slurp_text(path: impl AsRef<Path>) -> io::Result<String> {
    let text = String::from_utf8(slurp(path)?);
    Ok(text.unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Why a process that was killed does not end: where it hangs, for a person.
pub fn plight(pid: u32) -> String {
    let Some(stat) = stat(pid) else { return format!("{pid} is gone") };
    let state = match stat.state {
        'D' => "D (uninterruptible sleep)".to_owned(),
        'Z' => "Z (ended; a thread or a tracer holds it)".to_owned(),
        't' => "t (stopped by a tracer)".to_owned(),
        other => other.to_string(),
    };
    let frozen = Groups::of(pid).is_some_and(|groups| groups.is_frozen());
    let frozen = if frozen { ", frozen" } else { "" };
    let place = read(pid, "wchan").filter(|place| !matches!(place.as_str(), "" | "0"));
    let place = place.map(|place| format!(", in {place}")).unwrap_or_default();
    format!("{pid} ({}) in state {state}{frozen}{place}", stat.comm)
}

/// `/proc/sys/kernel/random/boot_id`; empty when it cannot be read.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

/// How long ago a process was started, by field 22 of its stat.
pub fn age(start_time: u64) -> Option<Duration> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split(' ').next()?.parse().ok()?;
    Some(Duration::try_from_secs_f64(uptime).ok()?.saturating_sub(cpu_time(start_time)))
}

fn cpu_time(ticks: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_micros(ticks.saturating_mul(1_000_000) / per_second)
}
