//! Whose agent it is, and whose files and folders: two fleets never meet, a second life never
//! begins beside a first, and no stranger can stand where the door was.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::{Daemon, SmallDisk, World, binary, eventually, pass, stat_state};
use rustix::process::Signal;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(15);

fn pid_of(agent: &Value) -> u32 {
    u32::try_from(agent["pid"].as_u64().expect("a pid")).expect("small")
}

/// A sidecar of one of two fleets of one user.
fn in_fleet(world: &World, fleet: &str, id: &str) -> Command {
    let runtime = world.path().join("runtime");
    fs::create_dir_all(&runtime).expect("made");
    let sidecar = Command::new(binary("lubdub-sidecar"));
    let state = world.path().join(fleet);
    let mut sidecar = world.sidecar_in(sidecar, world.grpc(), id, &state);
    sidecar.env("XDG_RUNTIME_DIR", runtime);
    sidecar
}

#[test]
fn two_fleets_of_one_user_have_an_agent_of_the_same_name() {
    let (first, second) = (World::new(""), World::new(""));
    // One runtime directory, as one user has.
    let runtime = first.path().join("runtime");
    let toy = binary("toy_agent");
    let mut command = in_fleet(&first, "state", "agent");
    let mut a =
        Daemon::start(first.path(), "agent", command.arg("--").arg(&toy).arg("beat:100ms:1h"));
    let of_a = first.until("agent", "lifecycle", "running", SOON);
    let mut command = in_fleet(&second, "state", "agent");
    command.env("XDG_RUNTIME_DIR", &runtime);
    let mut b =
        Daemon::start(second.path(), "agent", command.arg("--").arg(&toy).arg("beat:100ms:1h"));
    let of_b = second.until("agent", "lifecycle", "running", SOON);
    assert_ne!((&of_a["pid"], &of_a["life"]), (&of_b["pid"], &of_b["life"]));
    let doors = || fs::read_dir(runtime.join("lubdub")).expect("there").count();
    assert_eq!(doors(), 2, "each has its own");
    b.signal(Signal::TERM);
    b.wait(SOON);
    let after = first.until("agent", "status", "ok", SOON);
    assert_eq!(after["pid"], of_a["pid"], "untouched: {after:#}");
    a.signal(Signal::TERM);
    a.wait(SOON);
}

#[test]
fn a_process_whose_sidecar_lives_is_nobodys_to_attach_to() {
    let world = World::new("");
    let owner = world.toy("a", &["beat:100ms:1h"]);
    let agent = world.until("a", "lifecycle", "running", SOON);
    let attach = |pid: u32, id: &str| {
        let mut command = Command::new(binary("lubdub-sidecar"));
        command.args(["attach", "--id", id, "--pid", &pid.to_string(), "--state-dir"]);
        command.arg(world.path().join("other"));
        command.args(["--collector", &format!("http://{}", world.grpc()), "--", "sleep", "9"]);
        command.env_remove("XDG_RUNTIME_DIR");
        command
    };
    let refused = attach(pid_of(&agent), "b").output().expect("it runs");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(64), "{said}");
    assert!(said.contains(&format!("the sidecar with pid {}", owner.pid())), "{said}");
    // Nor one that was attached to, which says nothing of its sidecar in its environment.
    let mut plain = Command::new("sleep");
    let plain = Daemon::start(world.path(), "plain", plain.arg("7411"));
    let first = Daemon::start(world.path(), "c", &mut attach(plain.pid(), "c"));
    world.until("c", "lifecycle", "running", SOON);
    let refused = attach(plain.pid(), "d").output().expect("it runs");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains(&format!("the sidecar with pid {}", first.pid())), "{said}");
    assert_eq!(world.until("c", "lifecycle", "running", SOON)["incarnation"], 1);
    assert_eq!(world.agent("a")["pid"], agent["pid"]);
}

/// The state file cannot be written while the next life begins; the sidecar is killed. What the
/// state file does not know, the agent's environment says.
#[test]
fn a_life_that_could_not_be_written_down_is_taken_over() {
    let world = World::new("");
    let disk = SmallDisk::over(&world.path().join("small"), 256);
    let beats = world.path().join("beats");
    let file = world.path().join("w.toml");
    fs::write(&file, format!("heartbeat_directory = \"{}\"\n", beats.display())).expect("a file");
    let sidecar = |name: &str| {
        let command = disk.command(&binary("lubdub-sidecar"));
        let mut command = world.sidecar_in(command, world.grpc(), "w", &disk.directory());
        command.arg("--config").arg(&file).arg("--").arg(binary("toy_agent"));
        command.arg("beat:100ms:1h");
        Daemon::start(world.path(), name, &mut command)
    };
    let mut first = sidecar("first");
    let one = world.until("w", "lifecycle", "running", SOON);
    disk.fill();
    let id = i32::try_from(pid_of(&one)).expect("small");
    let id = rustix::process::Pid::from_raw(id).expect("not 0");
    rustix::process::kill_process(id, Signal::KILL).expect("ours");
    let two = eventually("its second life", SOON, || {
        let agent = world.agent("w");
        (agent["incarnation"] == 2 && agent["pid"].is_number()).then_some(agent)
    });
    let state = disk.seen(&disk.directory()).join("agents/w/state.json");
    let known: Value = serde_json::from_slice(&fs::read(state).expect("there")).expect("JSON");
    assert_eq!(known["life"]["ordinal"], 1, "the disk was full");
    first.signal(Signal::KILL);
    first.wait(SOON);
    let second = sidecar("second");
    eventually("it is taken over", SOON, || second.log().contains("took over").then_some(()));
    let after = world.until("w", "status", "warning", SOON);
    assert_eq!((&after["pid"], &after["life"]), (&two["pid"], &two["life"]), "{after:#}");
    disk.make_room();
}

#[test]
fn what_was_open_to_others_is_closed_at_every_start() {
    let world = World::new("");
    let state = world.state("o");
    fs::create_dir_all(&state).expect("made");
    let mode = |path: &Path| fs::symlink_metadata(path).expect("there").mode() & 0o7777;
    for folder in [state.as_path(), state.parent().expect("agents")] {
        fs::set_permissions(folder, Permissions::from_mode(0o777)).expect("ours");
    }
    // A stranger's memory, as far as a test can be one: others may write to it.
    fs::write(state.join("state.json"), "{}").expect("written");
    fs::set_permissions(state.join("state.json"), Permissions::from_mode(0o666)).expect("ours");
    let sidecar = world.toy("o", &["beat:100ms:1h"]);
    world.until("o", "lifecycle", "running", SOON);
    assert_eq!(mode(&state), 0o700);
    assert_eq!(mode(state.parent().expect("agents")) & 0o022, 0);
    assert!(sidecar.log().contains("others may write to it"), "{}", sidecar.log());
    assert_eq!(mode(&state.join("state.json")), 0o600);
    assert_eq!(mode(&world.data()), 0o700);
}

/// Somebody else owns the folder in the temp directory in which our sockets would lie.
#[test]
fn a_folder_that_is_not_ours_is_passed_over() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: only root can be another user");
        return;
    }
    let world = World::new("");
    // A state directory too long for a socket's address leads to the temp folder.
    let state = world.path().join("x".repeat(100));
    let temporary = world.path().join("tmp");
    let theirs = temporary.join("lubdub-0");
    fs::create_dir_all(&theirs).expect("made");
    fs::set_permissions(&temporary, Permissions::from_mode(0o1777)).expect("ours");
    std::os::unix::fs::chown(&theirs, Some(4711), Some(4711)).expect("root");
    let sidecar = Command::new(binary("lubdub-sidecar"));
    let mut command = world.sidecar_in(sidecar, world.grpc(), "p", &state);
    command.env("TMPDIR", &temporary).arg("--").arg(binary("toy_agent")).arg("beat:100ms:1h");
    let mut sidecar = Daemon::start(world.path(), "p", &mut command);
    let agent = eventually("beats", SOON, || {
        let agent = world.agent("p");
        (agent["lifecycle"] == "running").then_some(agent)
    });
    let environ = fs::read(format!("/proc/{}/environ", pid_of(&agent))).expect("there");
    let environ = String::from_utf8_lossy(&environ).into_owned();
    let door = environ.split('\0').find_map(|entry| entry.strip_prefix("LUBDUB_SOCKET="));
    let door = Path::new(door.expect("a door"));
    assert!(!door.starts_with(&temporary), "{}", door.display());
    assert_eq!(fs::read_dir(&theirs).expect("there").count(), 0, "nothing of ours lies there");
    sidecar.signal(Signal::TERM);
    sidecar.wait(SOON);
}

/// logind takes the runtime directory away when its user's last session ends.
#[test]
fn a_door_that_is_gone_is_no_silence() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: only root can take a user's directory away");
        return;
    }
    let world = World::new("");
    let runtime = world.path().join("run/user");
    fs::create_dir_all(&runtime).expect("made");
    let user = world.path().join("home");
    fs::create_dir(&user).expect("made");
    for folder in [&runtime, &user] {
        std::os::unix::fs::chown(folder, Some(4711), Some(4711)).expect("root");
    }
    fs::set_permissions(world.path(), Permissions::from_mode(0o755)).expect("ours");
    let copies = ["lubdub-sidecar", "toy_agent"].map(|name| {
        let copy = user.join(name);
        fs::copy(binary(name), &copy).expect("a copy");
        copy
    });
    let mut command = Command::new("setpriv");
    command.args(["--reuid=4711", "--regid=4711", "--clear-groups"]).arg(&copies[0]);
    let mut command = world.sidecar_in(command, world.grpc(), "u", &user.join("state"));
    command.env("XDG_RUNTIME_DIR", &runtime).env("HOME", &user);
    command.arg("--").arg(&copies[1]).arg("beat:100ms:1h");
    let mut sidecar = Daemon::start(world.path(), "u", &mut command);
    let before = world.until("u", "lifecycle", "running", SOON);
    pass(Duration::from_secs(1));
    fs::remove_dir_all(&runtime).expect("root");
    let told = eventually("the sidecar is deaf", SOON, || {
        let agent = world.agent("u");
        agent["findings"].to_string().contains("unheard").then_some(agent)
    });
    assert_eq!(told["status"], "unknown", "{told:#}");
    // Two deadlines and more.
    pass(Duration::from_secs(7));
    let after = world.agent("u");
    assert_eq!((&after["pid"], &after["status"]), (&before["pid"], &told["status"]), "{after:#}");
    fs::create_dir_all(&runtime).expect("root");
    std::os::unix::fs::chown(&runtime, Some(4711), Some(4711)).expect("root");
    let well = world.until("u", "status", "ok", SOON);
    assert_eq!(well["pid"], before["pid"], "{well:#}");
    sidecar.signal(Signal::TERM);
    sidecar.wait(SOON);
    assert!(!matches!(stat_state(pid_of(&before)), Some('S' | 'R')));
}

/// An agent that may not be looked at (as ssh-agent is none's business) works without a word.
#[test]
fn an_agent_that_cannot_be_read_is_not_called_inactive() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: only root can be another user");
        return;
    }
    let world = World::new("");
    let user = world.path().join("home");
    fs::create_dir(&user).expect("made");
    std::os::unix::fs::chown(&user, Some(4711), Some(4711)).expect("root");
    fs::set_permissions(world.path(), Permissions::from_mode(0o755)).expect("ours");
    let copy = user.join("lubdub-sidecar");
    fs::copy(binary("lubdub-sidecar"), &copy).expect("a copy");
    let agent = "import ctypes, os, socket, time\n\
                 ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\n\
                 door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
                 door.connect(os.environ['NOTIFY_SOCKET'])\n\
                 for _ in range(8): door.send(b'WATCHDOG=1'); time.sleep(.1)\n\
                 while True: print('work', flush=True); time.sleep(.2)\n";
    let mut command = Command::new("setpriv");
    command.args(["--reuid=4711", "--regid=4711", "--clear-groups"]).arg(&copy);
    let mut command = world.sidecar_in(command, world.grpc(), "d", &user.join("state"));
    command.env("HOME", &user).args(["--", "python3", "-c", agent]);
    let mut sidecar = Daemon::start(world.path(), "d", &mut command);
    let told = eventually("it is told", SOON, || {
        let agent = world.agent("d");
        agent["findings"].to_string().contains("busy_silent").then_some(agent)
    });
    assert!(told["findings"].to_string().contains("unreadable"), "{told:#}");
    assert_eq!(told["incarnation"], 1, "{told:#}");
    pass(Duration::from_secs(4));
    let after = world.agent("d");
    assert_eq!((&after["incarnation"], &after["status"]), (&1.into(), &"warning".into()));
    sidecar.signal(Signal::TERM);
    sidecar.wait(SOON);
}
