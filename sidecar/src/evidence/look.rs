//! What the kernel tells of a tree in trouble, in its own words.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Value, json};

use crate::vitals::{self, Groups};

/// Processes that are looked at closely.
const PROCESSES_MAX: usize = 64;
/// Descriptors of each.
const FDS_MAX: usize = 256;
/// Threads of each whose stacks are read.
const THREADS_MAX: usize = 64;
/// Of one file.
const FILE_MAX: usize = 16 * 1024;

/// The tree that is looked at: its main process first.
#[derive(Debug, Clone)]
pub(crate) struct Whom {
    pub(crate) pids: Vec<u32>,
    /// Files of the tree's groups, which outlive its processes.
    pub(crate) groups: Vec<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Process {
    pid: u32,
    parent: u32,
    comm: String,
    state: char,
    command_line: String,
    /// `/proc/PID/{status,wchan,syscall,stack,io,limits}`, as far as they may be read.
    files: BTreeMap<&'static str, String>,
    /// What each descriptor is.
    fds: BTreeMap<String, String>,
    /// Where each thread waits: name, state, place in the kernel.
    threads: Vec<String>,
}

impl Whom {
    /// Reads everything. May hang with a process that does.
    pub(crate) fn look(&self) -> Value {
        let first = self.pids.first().copied();
        let groups = first.and_then(Groups::of).map(|groups| groups.words()).unwrap_or_default();
        let kept = self
            .groups
            .iter()
            .filter_map(|file| Some((file.display().to_string(), fs::read_to_string(file).ok()?)));
        let groups: BTreeMap<String, String> = groups.into_iter().chain(kept).collect();
        let pressure = ["cpu", "memory", "io"].into_iter().filter_map(|what| {
            Some((what, fs::read_to_string(format!("/proc/pressure/{what}")).ok()?))
        });
        let pids = self.pids.iter().take(PROCESSES_MAX);
        json!({
            "pressure": pressure.collect::<BTreeMap<_, _>>(),
            "loadavg": fs::read_to_string("/proc/loadavg").ok(),
            "cgroup": groups,
            "processes": pids.filter_map(|pid| process(*pid)).collect::<Vec<_>>(),
            "processes_left_out": self.pids.len().saturating_sub(PROCESSES_MAX),
        })
    }
}

fn process(pid: u32) -> Option<Process> {
    let stat = vitals::stat(pid)?;
    let names = ["status", "wchan", "syscall", "stack", "io", "limits"];
    Some(Process {
        pid,
        parent: stat.parent,
        comm: stat.comm,
        state: stat.state,
        command_line: text(pid, "cmdline").unwrap_or_default().replace('\0', " "),
        files: names.into_iter().filter_map(|name| Some((name, text(pid, name)?))).collect(),
        fds: fds(pid),
        threads: threads(pid),
    })
}

/// The beginning of a file that may be read.
fn text(pid: u32, file: &str) -> Option<String> {
    let mut text = vitals::read(pid, file)?;
    let end = (0..=FILE_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.truncate(end.unwrap_or(0));
    Some(text.trim_end().to_owned()).filter(|text| !text.is_empty())
}

fn fds(pid: u32) -> BTreeMap<String, String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let named = entries.take(FDS_MAX).filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        let number = entry.file_name().to_string_lossy().into_owned();
        Some((number, target.to_string_lossy().into_owned()))
    });
    named.collect()
}

fn threads(pid: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let each = entries.take(THREADS_MAX).filter_map(|entry| {
        let tid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = vitals::stat(tid)?;
        let place = text(tid, "wchan").unwrap_or_default();
        Some(format!("{tid} {} {} {place}", stat.comm, stat.state))
    });
    each.collect()
}
