//! What a sidecar inherits from whoever started it (masks, ignored signals, limits, sockets, a log
//! that nobody reads, a filter, no /proc) is neither its end nor its agent's.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use harness::{Daemon, World, binary, eventually, pass, stat_state};
use rustix::process::{Pid, Signal, kill_process};

use crate::tree::children_of;

const SOON: Duration = Duration::from_secs(15);

/// A shell that becomes a sidecar, after these words.
fn behind(words: &str, flags: &str, agent: &str) -> Command {
    let mut command = Command::new("bash");
    let sidecar = binary("lubdub-sidecar");
    let script = format!("{words}; exec {} run {flags} -- {agent}", sidecar.display());
    command.arg("-c").arg(script).stdin(Stdio::null());
    command
}

#[test]
fn an_ignored_hangup_stays_ignored_and_a_blocked_term_does_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut nohup = behind("trap '' HUP", "--timeout 60s", "sleep 30");
    let mut nohup = Daemon::start(directory.path(), "nohup", &mut nohup);
    // What Python blocks stays blocked over exec.
    let script = "import os, signal, sys; signal.pthread_sigmask(0, [15]); \
                  os.execv(sys.argv[1], sys.argv[1:])";
    let mut masked = Command::new("python3");
    masked.args(["-c", script]).arg(binary("lubdub-sidecar"));
    masked.args([
        "run",
        "--timeout",
        "60s",
        "--",
        "sh",
        "-c",
        "trap 'exit 7' TERM; sleep 30 & wait",
    ]);
    let mut masked = Daemon::start(directory.path(), "masked", &mut masked);
    for daemon in [&nohup, &masked] {
        eventually("its agent", SOON, || children_of(daemon.pid()).first().copied());
    }
    nohup.signal(Signal::HUP);
    masked.signal(Signal::TERM);
    // Its agent hears TERM as well, and so may end by itself.
    masked.wait(SOON);
    assert!(nohup.is_running());
    let status = std::fs::read_to_string(format!("/proc/{}/status", nohup.pid())).expect("there");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a mask");
    let ignored = u64::from_str_radix(ignored.trim(), 16).expect("a mask");
    assert_eq!(ignored & 1, 1, "HUP is ignored still");
    nohup.signal(Signal::TERM);
    nohup.wait(SOON);
}

#[test]
fn an_agent_finds_what_the_sidecar_was_given_and_none_of_its_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let agent = "sh -c 'ulimit -n; ulimit -f; grep -E \"Sig(Blk|Ign)\" /proc/self/status'";
    let words = "trap '' USR1 TSTP; ulimit -S -n 77; ulimit -S -f 512";
    let mut command = behind(words, "--timeout 20s", agent);
    let output = command.env("TMPDIR", directory.path()).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = said.lines().collect();
    // bash counts files in kilobytes, and sh in halves of them.
    assert_eq!(&lines[..2], ["77", "1024"], "{output:?}");
    for line in &lines[2..] {
        let mask = line.split_whitespace().nth(1).and_then(|m| u64::from_str_radix(m, 16).ok());
        // Number 32 is the C library's own.
        assert_eq!(mask.expect("a mask") & !(1 << 31), 0, "{said}");
    }
}

#[test]
fn no_limit_on_files_ends_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = behind("ulimit -f 0", "--timeout 9s", "sh -c 'exit 3'");
    let output = command.env("TMPDIR", directory.path()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
}

/// systemd's contract of socket activation, by the agent's own look at it.
#[test]
fn sockets_that_were_given_to_the_sidecar_reach_its_agent() {
    let agent = "import os, socket, sys\n\
                 mine = os.environ['LISTEN_PID'] == str(os.getpid())\n\
                 family = socket.socket(fileno=3).getsockname()[0]\n\
                 sys.exit(0 if mine and os.environ['LISTEN_FDS'] == '1' and family else 1)";
    let script = "import os, socket, sys\n\
                  door = socket.create_server(('127.0.0.1', 0))\n\
                  os.dup2(door.fileno(), 3)\n\
                  os.set_inheritable(3, True)\n\
                  os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n\
                  os.execv(sys.argv[1], sys.argv[1:])";
    let mut command = Command::new("python3");
    command.args(["-c", script]).arg(binary("lubdub-sidecar"));
    command.args(["run", "--timeout", "20s", "--", "python3", "-c", agent]);
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_bounded_run_finds_a_place_whatever_tmpdir_says() {
    let directory = tempfile::tempdir().expect("a directory");
    let long = directory.path().join("x".repeat(110));
    std::fs::create_dir(&long).expect("made");
    let missing = directory.path().join("missing");
    for place in [long.as_path(), &missing, Path::new("/proc"), Path::new("relative")] {
        let mut command = behind(":", "--timeout 9s", "sh -c 'exit 7'");
        let output = command.env("TMPDIR", place).output().expect("it runs");
        assert_eq!(output.status.code(), Some(7), "{}: {output:?}", place.display());
    }
}

#[test]
fn a_beat_never_fails_the_script_it_is_in() {
    use std::os::unix::ffi::OsStrExt as _;
    let word = std::ffi::OsStr::from_bytes(b"{\"status\":\"caf\xe9\"}");
    let world = World::under("heartbeat_deadline = \"20s\"\n");
    let _sidecar = world.toy("b", &["hang"]);
    world.until("b", "lifecycle", "running", SOON);
    let said = world
        .as_member("b", binary("lubdub-sidecar"))
        .args(["beat", "--quiet", "--json"])
        .arg(word)
        .status();
    assert_eq!(said.expect("it runs").code(), Some(0));
    let vitals = || world.json(&["explain", "b"]).to_string();
    eventually("the text, as far as it is one", SOON, || {
        let shown = world.lubdub(&["show", "b"]);
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        (shown.contains("caf\u{fffd}") || vitals().contains("caf\u{fffd}")).then_some(())
    });
    for arguments in [&["beat", "--quiet", "--jsn"][..], &["beat", "--quiet"]] {
        let mut nowhere = Command::new(binary("lubdub-sidecar"));
        nowhere.args(arguments).arg(word).env_remove("LUBDUB_SOCKET").env_remove("NOTIFY_SOCKET");
        let output = nowhere.output().expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
    }
}

/// The reader of a log may stop reading: a pipe is full then, and whoever writes to it waits.
#[test]
fn a_log_that_nobody_reads_holds_up_nothing() {
    let world = World::new("");
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = world.sidecar_command(world.grpc(), "l");
    command.env("LUBDUB_LOG", "trace");
    command.args(["--", binary("toy_agent").to_str().expect("UTF-8"), "beat:100ms:1h"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer.try_clone().expect("a copy"));
    let mut sidecar = Daemon::raw(world.path(), "l", &mut command);
    drop(command);
    let agent = world.until("l", "lifecycle", "running", SOON);
    // Full, whoever filled it: from here on a write to it waits.
    let full = "import fcntl, os, sys\n\
                fcntl.fcntl(1, fcntl.F_SETFL, os.O_NONBLOCK)\n\
                try:\n    while True: os.write(1, b'x' * 4096)\n\
                except BlockingIOError: pass\n\
                try:\n    while True: os.write(1, b'x')\n\
                except BlockingIOError: pass\n\
                fcntl.fcntl(1, fcntl.F_SETFL, 0)";
    let filled = Command::new("python3").args(["-c", full]).stdout(writer).status();
    assert!(filled.expect("python3 runs").success());
    let pid = i32::try_from(agent["pid"].as_u64().expect("a pid")).expect("small");
    kill_process(Pid::from_raw(pid).expect("not 0"), Signal::KILL).expect("it is ours");
    eventually("its next life", SOON, || {
        let agent = world.agent("l");
        (agent["incarnation"] == 2 && agent["lifecycle"] == "running").then_some(())
    });
    sidecar.signal(Signal::TERM);
    sidecar.wait(SOON);
    let mut said = Vec::new();
    reader.read_to_end(&mut said).expect("what was written");
    assert!(said.len() >= 60_000, "the pipe was full: {}", said.len());
}

/// pidfd_open is refused, as some sandboxes have it.
const NO_PIDFD: &str = r#"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
class Filter(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte),
                ("k", ctypes.c_uint)]
class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.POINTER(Filter))]
steps = [Filter(0x20, 0, 0, 0), Filter(0x15, 0, 1, 434), Filter(6, 0, 0, 0x50001),
         Filter(6, 0, 0, 0x7fff0000)]
array = (Filter * len(steps))(*steps)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(steps), array)), 0, 0) == 0
try: os.pidfd_open(os.getpid()); sys.exit("it is not refused")
except PermissionError: pass
os.execv(sys.argv[1], sys.argv[1:])
"#;

#[test]
fn without_pidfds_signals_go_by_pid_and_start_time() {
    let world = World::new("");
    let term = "trap 'echo saved > SAVED; exit 0' TERM; while :; do sleep 0.1; done"
        .replace("SAVED", world.path().join("saved").to_str().expect("UTF-8"));
    let sidecar = |id: &str, name: &str| {
        let mut sidecar = Command::new("python3");
        sidecar.args(["-c", NO_PIDFD]).arg(binary("lubdub-sidecar"));
        let mut sidecar = world.sidecar_in(sidecar, world.grpc(), id, &world.path().join("state"));
        sidecar.args(["--", "sh", "-c", &term]);
        Daemon::start(world.path(), name, &mut sidecar)
    };
    let mut first = sidecar("p", "first");
    let agent = world.until("p", "lifecycle", "running", SOON);
    first.signal(Signal::KILL);
    first.wait(SOON);
    let mut second = sidecar("p", "second");
    eventually("it is taken over", SOON, || second.log().contains("took over").then_some(()));
    assert_eq!(world.until("p", "lifecycle", "running", SOON)["pid"], agent["pid"]);
    second.signal(Signal::TERM);
    second.wait(SOON);
    assert_eq!(world.read("saved"), "saved\n", "it was asked to end");
    let pid = u32::try_from(agent["pid"].as_u64().expect("a pid")).expect("small");
    // Whoever reaps it here may take its time.
    assert!(matches!(stat_state(pid), None | Some('Z')));
    let told = second.log().matches("no pidfd").count();
    assert_eq!(told, 1, "once: {}", second.log());
}

/// A child of the agent holds as many connections as it gets: the sidecar still sees the tree, ends
/// all of it, and starts the next life.
#[test]
fn few_descriptors_make_nobody_blind() {
    let world = World::new("");
    let agent = r#"
import os, socket, sys, time
if os.environ["LUBDUB_INCARNATION"] == "1" and os.fork() == 0:
    held, told = [], open(sys.argv[1], "w")
    while True:
        try:
            door = socket.socket(socket.AF_UNIX)
            door.setblocking(False)
            door.connect(os.environ["LUBDUB_HTTP"])
            door.send(b"POST /v1/beat HTTP/1.1\r\nHost: agent\r\n")
            held.append(door)
        except OSError:
            told.write(str(len(held)))
            told.flush()
            time.sleep(0.2)
time.sleep(1000)
"#;
    let held = world.path().join("held");
    let mut command = Command::new("bash");
    let sidecar = binary("lubdub-sidecar");
    command.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""]).arg(sidecar);
    let mut command = world.sidecar_in(command, world.grpc(), "f", &world.path().join("state"));
    command.args(["--", "python3", "-c", agent]).arg(&held);
    let mut sidecar = Daemon::start(world.path(), "f", &mut command);
    let first = world.until("f", "lifecycle", "running", SOON);
    eventually("all that it gets", SOON, || (!world.read("held").is_empty()).then_some(()));
    pass(Duration::from_secs(1));
    let first = u32::try_from(first["pid"].as_u64().expect("a pid")).expect("small");
    let (child, _) = *children_of(first).first().expect("a child");
    kill_process(Pid::from_raw(i32::try_from(first).expect("small")).expect("not 0"), Signal::KILL)
        .expect("ours");
    let second = eventually("its next life", SOON, || {
        let agent = world.agent("f");
        (agent["incarnation"] == 2 && agent["pid"].is_number()).then_some(agent)
    });
    assert_eq!(stat_state(child), None, "the tree was ended before it: {second:#}");
    assert_eq!(second["restarts"]["used"], 1, "one failure, of the agent's: {second:#}");
    sidecar.signal(Signal::TERM);
    sidecar.wait(SOON);
}

/// Needs another user; as an ordinary one it is left out, in words.
#[test]
fn a_start_that_the_sidecar_cannot_make_spends_no_attempt() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: only root can be another user");
        return;
    }
    let world = World::new("");
    let uid = 61_000 + std::process::id() % 900;
    let user = world.path().join("user");
    std::fs::create_dir(&user).expect("made");
    let own = |path: &Path| std::os::unix::fs::chown(path, Some(uid), Some(uid)).expect("root");
    own(&user);
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(world.path(), open).expect("ours");
    let as_user = |limit: u32| {
        let mut command = Command::new("setpriv");
        let (user, group) = (format!("--reuid={uid}"), format!("--regid={uid}"));
        command.args([&user, &group]).arg("--clear-groups");
        command.args(["prlimit", &format!("--nproc={limit}:{limit}")]);
        command
    };
    // The test's binaries may lie where that user cannot go.
    let copy = user.join("lubdub-sidecar");
    std::fs::copy(binary("lubdub-sidecar"), &copy).expect("a copy");
    let mut command = as_user(40);
    command.arg(&copy);
    let mut command = world.sidecar_in(command, world.grpc(), "n", &user.join("state"));
    command.args(["--", "sh", "-c", "exec sleep 1000"]).env("HOME", &user);
    let mut sidecar = Daemon::start(world.path(), "n", &mut command);
    let first = world.until("n", "lifecycle", "running", SOON);
    // Others of the user take all the processes that it may have.
    let mut hogs = as_user(60);
    let fill = "import os, time\nn = 0\ntry:\n    while True:\n        \
                if os.fork() == 0: time.sleep(60); os._exit(0)\n        n += 1\n\
                except OSError: print(n, flush=True); time.sleep(60)";
    hogs.args(["python3", "-c", fill]);
    let mut hogs = Daemon::start(world.path(), "hogs", &mut hogs);
    eventually("no processes are left", SOON, || {
        world.read("hogs.out").trim().parse::<u32>().ok().filter(|count| *count > 30)
    });
    let pid = i32::try_from(first["pid"].as_u64().expect("a pid")).expect("small");
    kill_process(Pid::from_raw(pid).expect("not 0"), Signal::KILL).expect("root");
    let told = eventually("it is told as the sidecar's own", SOON, || {
        let agent = world.agent("n");
        agent["findings"].to_string().contains("cannot start the agent").then_some(agent)
    });
    assert!(told["findings"].to_string().contains("sick_sidecar"), "{told:#}");
    for (hog, _) in children_of(hogs.pid()) {
        let pid = Pid::from_raw(i32::try_from(hog).expect("small")).expect("not 0");
        kill_process(pid, Signal::KILL).expect("ours");
    }
    hogs.signal(Signal::KILL);
    hogs.wait(SOON);
    let second = eventually("its next life", SOON, || {
        let agent = world.agent("n");
        (agent["incarnation"] == 2 && agent["pid"].is_number()).then_some(agent)
    });
    assert_eq!(second["restarts"]["used"], 1, "one end, and no failed start: {second:#}");
    sidecar.signal(Signal::TERM);
    sidecar.wait(SOON);
}

/// In a container without one, nothing that was started could be found again.
#[test]
fn without_proc_nothing_is_begun() {
    let directory = tempfile::tempdir().expect("a directory");
    let begun = directory.path().join("begun");
    let script = format!(
        "mount -t tmpfs none /proc && exec {} run --timeout 5s -- touch {}",
        binary("lubdub-sidecar").display(),
        begun.display()
    );
    let mut command = Command::new("unshare");
    command.args(["-Urm", "sh", "-c", &script]).env("TMPDIR", directory.path());
    let output = command.stdin(Stdio::null()).output().expect("unshare runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.contains("unshare") || said.contains("mount:") {
        eprintln!("left out: no namespaces here: {said}");
        return;
    }
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    assert!(said.contains("/proc is not mounted") && said.lines().count() == 1, "{said}");
    assert!(!begun.exists());
}

/// Whoever was replaced by the sidecar (exec) had children that nobody else waits for.
#[test]
fn children_from_before_are_reaped() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = behind("true & sleep 0.5 & sleep 0.2", "--timeout 60s", "sleep 1000");
    command.env("TMPDIR", directory.path());
    let mut sidecar = Daemon::start(directory.path(), "r", &mut command);
    eventually("only the agent is left", SOON, || {
        let children = children_of(sidecar.pid());
        let agent = children.len() == 1 && children[0].1 == 'S';
        let name =
            std::fs::read_to_string(format!("/proc/{}/cmdline", children.first()?.0)).ok()?;
        (agent && name.contains("1000")).then_some(())
    });
    sidecar.signal(Signal::TERM);
    sidecar.wait(SOON);
}

/// A second of these is not the end of it: the clocks of a bounded run go on.
#[test]
fn standard_streams_that_are_closed_are_no_reason_to_fail() {
    let began = Instant::now();
    let mut command = behind("exec <&- >&- 2>&-", "--timeout 9s", "sh -c 'exit 4'");
    command.stdin(File::open("/dev/null").expect("there"));
    assert_eq!(command.status().expect("it runs").code(), Some(4));
    assert!(began.elapsed() < SOON);
}
