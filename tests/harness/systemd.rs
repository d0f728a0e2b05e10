//! A real systemd, as the first process of namespaces of its own, with units of the test's.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Daemon, eventually};

const SOON: Duration = Duration::from_secs(20);
/// What it brings up.
const TARGET: &str = "test.target";

/// Its hierarchy of groups begins at its own group. Of the machine it can set and write nothing.
const INSIDE: &str = "set -e
mount --make-rprivate /
mount --bind \"$2\" \"$2\"
mount -o remount,bind,ro /
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /run
cp -r \"$1\" /run/units
hostname lubdub-test
exec env -i container=lubdub PATH=/usr/bin:/bin:/usr/sbin:/sbin SYSTEMD_UNIT_PATH=/run/units \
    /usr/lib/systemd/systemd --system --unit=test.target --log-target=null --show-status=no
";

/// Ends with the test, with everything that it started.
#[derive(Debug)]
pub struct Systemd {
    pid: u32,
    group: PathBuf,
    holder: Option<Daemon>,
}

impl Systemd {
    /// Boots it with units, each a path below the directory of units and its text. `None`, said in
    /// words, where this user may make neither namespaces nor groups.
    pub fn boot(directory: &Path, units: &[(&str, String)]) -> Option<Self> {
        let Some(group) = own_group(directory) else {
            eprintln!("left out: this user may not make cgroups, so systemd cannot be booted");
            return None;
        };
        let sources = directory.join("units");
        let put = |name: &str, text: &str| {
            let path = sources.join(name);
            fs::create_dir_all(path.parent().expect("a directory")).expect("made");
            fs::write(path, text).expect("written");
        };
        let services = units.iter().map(|(name, _)| *name).filter(|name| !name.contains('/'));
        put(TARGET, &format!("[Unit]\nWants={}\n", services.collect::<Vec<_>>().join(" ")));
        units.iter().for_each(|(name, text)| put(name, text));
        let script = directory.join("inside.sh");
        fs::write(&script, INSIDE).expect("written");
        let mut unshare = Command::new("sh");
        unshare
            .args(["-c", "echo $$ > \"$1/cgroup.procs\"; shift; exec \"$@\"", "sh"])
            .arg(&group)
            .args(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--cgroup", "--uts"])
            .args(["--ipc", "sh"])
            .args([&script, &sources])
            .arg(directory);
        let holder = Daemon::start(directory, "systemd", &mut unshare);
        let pid = eventually("its first process", SOON, || child_of(holder.pid()));
        let systemd = Self { pid, group, holder: Some(holder) };
        systemd.leave_its_root();
        eventually("a running systemd", SOON, || {
            let state = systemd.run(&["systemctl", "is-system-running"]);
            (state.stdout == b"running\n").then_some(())
        });
        Some(systemd)
    }

    /// A group with controllers for those below it may hold no process: neither may this one.
    fn leave_its_root(&self) {
        let above = self.group.parent().expect("it was made there").join("cgroup.procs");
        let holder = self.holder.as_ref().expect("it runs").pid();
        fs::write(above, holder.to_string()).expect("it is moved");
    }

    /// Runs a command inside.
    pub fn run(&self, command: &[&str]) -> Output {
        Command::new("nsenter")
            .args(["-t", &self.pid.to_string(), "-m", "-p", "-C", "-u", "-i"])
            .args(command)
            .stdin(Stdio::null())
            .output()
            .expect("nsenter runs")
    }

    /// The same, of which success is expected.
    #[track_caller]
    pub fn must(&self, command: &[&str]) -> String {
        let output = self.run(command);
        assert!(output.status.success(), "{command:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    /// One property of a unit.
    #[track_caller]
    pub fn show(&self, unit: &str, property: &str) -> String {
        self.must(&["systemctl", "show", "--property", property, "--value", unit])
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // The first process of a pid namespace takes all others along; who waits for it cannot be
        // asked to end before.
        let first = i32::try_from(self.pid).ok().and_then(Pid::from_raw).expect("not 0");
        let (Ok(()) | Err(_)) = kill_process(first, Signal::KILL);
        drop(self.holder.take());
        let start = Instant::now();
        while self.group.exists() && start.elapsed() < SOON {
            remove_groups(&self.group);
        }
    }
}

/// A new group in the v2 hierarchy; `None` where there is none, or this user may not make one.
fn own_group(directory: &Path) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("the kernel says");
    let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let unified = mounts.find(|fields| fields.get(2) == Some(&"cgroup2"))?[1].to_owned();
    let name = directory.file_name().expect("a name").to_string_lossy().replace('.', "test-");
    let group = Path::new(&unified).join(name);
    match fs::create_dir(&group) {
        Err(error)
            if [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem]
                .contains(&error.kind()) =>
        {
            None
        }
        made => made.map(|()| Some(group)).expect("a group"),
    }
}

/// From the bottom up; those whose processes are not gone yet stay.
fn remove_groups(group: &Path) {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).for_each(|g| remove_groups(&g));
    drop(fs::remove_dir(group));
}

fn child_of(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_ascii_whitespace().next()?.parse().ok()
}
