//! Agents that somebody else starts, and daemons that leave their launcher.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::{Daemon, World, binary, eventually, stat_state};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(15);

fn attach(world: &World, id: &str, file: &str, flags: &[&str]) -> Daemon {
    let path = world.path().join(format!("{id}.toml"));
    std::fs::write(&path, file).expect("a file");
    let mut command = Command::new(binary("lubdub-sidecar"));
    command
        .args(["attach", "--id", id, "--collector", &format!("http://{}", world.grpc())])
        .arg("--state-dir")
        .arg(world.path().join("state"))
        .arg("--config")
        .arg(path)
        .args(flags)
        .env_remove("XDG_RUNTIME_DIR");
    Daemon::start(world.path(), id, &mut command)
}

fn pid_of(agent: &Value) -> u32 {
    u32::try_from(agent["pid"].as_u64().expect("a pid")).expect("small")
}

/// The report that it runs may come before the event that says as which process.
fn running(world: &World, id: &str) -> u32 {
    world.until(id, "lifecycle", "running", SOON);
    let agent = eventually("a pid", SOON, || {
        let agent = world.agent(id);
        agent["pid"].is_u64().then_some(agent)
    });
    pid_of(&agent)
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("not 0");
    kill_process(pid, signal).expect("it is ours");
}

/// Starts a process anew whenever it has ended, as a platform does. It beats where the sidecar
/// listens.
fn platform(world: &World, id: &str, word: &str) -> Daemon {
    let script = format!(
        "while :; do {} beat:100ms:4s hang {word} & echo $! > {}/{word}.pid; wait $!; \
         sleep 0.2; done",
        binary("toy_agent").display(),
        world.path().display()
    );
    // From a file: its own command line must not hold the agent's.
    let file = world.path().join("platform.sh");
    std::fs::write(&file, script).expect("a file");
    let mut command = Command::new("sh");
    command.arg(file).env("NOTIFY_SOCKET", world.socket(id));
    Daemon::start(world.path(), "platform", &mut command)
}

fn second_life(world: &World, id: &str) -> Value {
    eventually("the next life", Duration::from_secs(30), || {
        let agent = world.agent(id);
        let up = ["running", "verifying"].iter().any(|word| agent["lifecycle"] == *word);
        (agent["incarnation"] == 2 && up).then_some(agent)
    })
}

#[test]
fn a_platform_that_restarts_is_left_to_do_it() {
    let world = World::new("");
    let word = format!("step:7201.{}", std::process::id());
    let mut platform = platform(&world, "p", &word);
    let file = "[restart]\nby = \"platform\"\nwithin = \"10s\"\n";
    eventually("the agent", SOON, || {
        world.path().join(format!("{word}.pid")).exists().then_some(())
    });
    let mut sidecar = attach(&world, "p", file, &["--match", &format!("hang {word}")]);
    let first = running(&world, "p");
    let agent = second_life(&world, "p");
    assert_ne!(pid_of(&agent), first, "the platform's next one");
    assert!(stat_state(first).is_none_or(|state| state == 'Z'), "the first was stopped");
    assert!(platform.is_running(), "who restarts it was not touched");
    assert_eq!(world.incidents("p")[0]["cause"], "silent", "it hung");
    platform.signal(Signal::KILL);
    platform.wait(SOON);
    sidecar.signal(Signal::TERM);
    sidecar.wait(SOON);
    assert!(stat_state(pid_of(&agent)).is_none_or(|state| state == 'Z'));
}

#[test]
fn a_local_command_restarts_it() {
    let world = World::new("");
    let directory = world.path().display();
    let restart = format!(
        "kill $(cat {directory}/w.pid); \
         NOTIFY_SOCKET={} setsid {} beat:100ms:2s hang > /dev/null 2>&1 & \
         echo $! > {directory}/w.pid; echo ran >> {directory}/ran",
        world.socket("w").display(),
        binary("toy_agent").display()
    );
    std::fs::write(world.path().join("restart.sh"), restart).expect("a file");
    let mut first = Command::new(binary("toy_agent"));
    first.args(["beat:100ms:2s", "hang"]).env("NOTIFY_SOCKET", world.socket("w"));
    let mut first = Daemon::start(world.path(), "first", &mut first);
    std::fs::write(world.path().join("w.pid"), format!("{}\n", first.pid())).expect("a file");
    let file = format!(
        "[restart]\nby = \"command\"\ncommand = [\"sh\", \"{directory}/restart.sh\"]\n\
         within = \"10s\"\n"
    );
    let pidfile = world.path().join("w.pid");
    let _sidecar = attach(&world, "w", &file, &["--pidfile", pidfile.to_str().expect("UTF-8")]);
    world.until("w", "lifecycle", "running", SOON);
    let agent = second_life(&world, "w");
    assert_eq!(world.read("ran").lines().count(), 1, "once for one restart");
    assert_eq!(world.read("w.pid").trim(), agent["pid"].to_string());
    first.wait(SOON);
    let ended = world.events(Some("w"));
    let ended = ended.iter().find(|event| event["kind"] == "exited").expect("its end");
    assert_eq!(ended["detail"]["exited"]["exit"]["how"]["signal"], 15, "{ended:#}");
}

/// What restarts it cannot: that is told at once, and not that nobody came in time.
#[test]
fn a_local_command_that_fails_is_the_reason() {
    let world = World::new("");
    let word = format!("7206.{}", std::process::id());
    let _agent = Daemon::start(world.path(), "agent", Command::new("sleep").arg(&word));
    let file = "[restart]\nby = \"command\"\ncommand = [\"/nonexistent\"]\nwithin = \"10m\"\n";
    let _sidecar = attach(&world, "f", file, &["--match", &format!("sleep {word}")]);
    world.until("f", "lifecycle", "running", SOON);
    let stopped = world.lubdub(&["stop", "f", "--reason", "x", "--wait"]);
    assert!(stopped.status.success(), "{stopped:?}");
    let asked = world.lubdub(&["start", "f", "--reason", "x"]);
    assert!(asked.status.success(), "{asked:?}");
    let told = eventually("its end", SOON, || {
        let events = world.events(Some("f"));
        let exits = events.iter().filter(|event| event["kind"] == "exited");
        exits.map(Value::to_string).find(|exit| exit.contains("restart command failed"))
    });
    assert!(told.contains("/nonexistent did not start"), "{told}");
}

fn refused(world: &World, flags: &[&str]) -> (Option<i32>, String) {
    let mut sidecar = attach(world, "x", "", flags);
    let code = sidecar.wait(SOON).code();
    (code, sidecar.log())
}

#[test]
fn exactly_one_process_must_fit() {
    let world = World::new("");
    let word = format!("7203.{}", std::process::id());
    let sleep = |name: &str| Daemon::start(world.path(), name, Command::new("sleep").arg(&word));
    let two = [sleep("one"), sleep("two")];
    let found = format!("sleep {word}");
    let (code, log) = refused(&world, &["--match", &found, "--", "true"]);
    assert_eq!(code, Some(64), "{log}");
    assert!(log.contains("2 processes have"), "{log}");
    for above in ["1".to_owned(), std::process::id().to_string()] {
        let (code, log) = refused(&world, &["--pid", &above, "--", "true"]);
        assert_eq!(code, Some(64), "{log}");
        assert!(log.contains("is no agent: it is the init, this sidecar, or above it"), "{log}");
    }
    for one in &two {
        assert!(log.contains(&format!("{} {found}", one.pid())), "both are listed: {log}");
    }
    let (code, log) = refused(&world, &["--match", "no such words anywhere", "--", "true"]);
    assert_eq!(code, Some(64), "{log}");
    assert!(log.contains("no process has \"no such words anywhere\""), "{log}");
    let (code, log) = refused(&world, &["--unit", "no-such-unit", "--", "true"]);
    assert_eq!(code, Some(64), "{log}");
    assert!(log.contains("no-such-unit"), "{log}");
    assert_eq!(world.agent("x"), Value::Null, "nobody was announced");
    let (code, log) = refused(&world, &["--match", &found]);
    assert_eq!(code, Some(64), "{log}");
    assert!(log.contains("who restarts it?"), "{log}");
}

#[test]
fn an_attached_process_is_ended_with_its_tree_and_restarted_by_its_command() {
    let world = World::new("");
    let word = format!("7204.{}", std::process::id());
    let script = format!("sleep {word} & exec sleep {word}");
    let mut foreign =
        Daemon::start(world.path(), "foreign", Command::new("sh").args(["-c", &script]));
    eventually("both", SOON, || (crate::tree::sleeping(&word).len() == 2).then_some(()));
    let pid = foreign.pid().to_string();
    let _sidecar = attach(&world, "a", "", &["--pid", &pid, "--", "sleep", "1000"]);
    assert_eq!(running(&world, "a"), foreign.pid());
    let asked = world.lubdub(&["restart", "a", "--reason", "x", "--wait"]);
    assert!(asked.status.success(), "{asked:?}");
    assert_eq!(crate::tree::sleeping(&word), Vec::<u32>::new(), "all of it");
    foreign.wait(SOON);
    assert_eq!(world.agent("a")["incarnation"], 2);
}

/// It runs as the process whose pid was written.
fn same(agent: &Value, pid: &str) -> bool {
    pid.parse::<u64>().is_ok_and(|pid| agent["pid"] == pid)
}

fn daemon(pidfile: &Path) -> String {
    format!(
        "setsid {} beat:100ms:1h > /dev/null 2>&1 & echo $! > {}; exit 0",
        binary("toy_agent").display(),
        pidfile.display()
    )
}

#[test]
fn a_daemon_is_followed_when_its_launcher_has_ended() {
    let world = World::new("");
    for (id, file) in [("d", "pidfile = \"PIDFILE\"\n"), ("alone", "")] {
        let pidfile = world.path().join(format!("{id}.pid"));
        let file = format!("type = \"forking\"\n{file}")
            .replace("PIDFILE", pidfile.to_str().expect("UTF-8"));
        let script = daemon(&pidfile);
        let mut sidecar = world.sidecar_with(id, &file, &["sh", "-c", &script]);
        let of_file = || world.read(&format!("{id}.pid")).trim().to_owned();
        let agent = eventually("the daemon is the main process", SOON, || {
            let agent = world.agent(id);
            (same(&agent, &of_file())).then_some(agent)
        });
        assert_eq!(agent["incarnation"], 1, "{agent:#}");
        signal(pid_of(&agent), Signal::KILL);
        let again = second_life(&world, id);
        eventually("its next daemon", SOON, || (same(&world.agent(id), &of_file())).then_some(()));
        assert_ne!(again["pid"], agent["pid"]);
        sidecar.signal(Signal::TERM);
        sidecar.wait(SOON);
        let last: u32 = of_file().parse().expect("a pid");
        assert!(stat_state(last).is_none_or(|state| state == 'Z'), "it ended with its sidecar");
    }
}

#[test]
fn mainpid_moves_the_main_process() {
    let world = World::new("");
    let script = format!(
        "{} beat:100ms:1h & echo $! > {}/m.pid; systemd-notify \"MAINPID=$!\"; exit 0",
        binary("toy_agent").display(),
        world.path().display()
    );
    let _sidecar = world.sidecar("m", &["sh", "-c", &script]);
    let agent = eventually("another main process", SOON, || {
        let agent = world.agent("m");
        let named = world.read("m.pid").trim().to_owned();
        (same(&agent, &named)).then_some(agent)
    });
    // The shell that named it has ended, and that was no end of the agent.
    assert_eq!((&agent["incarnation"], &agent["lifecycle"]), (&1.into(), &"running".into()));
    signal(pid_of(&agent), Signal::KILL);
    second_life(&world, "m");
}

#[test]
fn the_next_life_waits_for_the_port_of_the_one_before() {
    let world = World::new("");
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = port.local_addr().expect("its address");
    drop(port);
    // The first life keeps somebody on purpose, who holds the port until the file is there.
    let done = world.path().join("done");
    let holder = format!(
        "import os, socket, time\ns = socket.create_server(('127.0.0.1', {}))\n\
         while not os.path.exists('{}'): time.sleep(0.05)",
        address.port(),
        done.display()
    );
    let script = format!(
        "[ $LUBDUB_INCARNATION = 1 ] && LUBDUB_DETACH=1 setsid python3 -c \"{holder}\" & \
         exec sleep 1000"
    );
    let file = format!("[stop]\nport = \"{address}\"\n");
    let _sidecar = world.sidecar_with("port", &file, &["sh", "-c", &script]);
    world.until("port", "lifecycle", "running", SOON);
    let is_held = || std::net::TcpStream::connect(address).is_ok();
    eventually("the port is held", SOON, || is_held().then_some(()));
    let asked = world.lubdub(&["restart", "port", "--reason", "x"]);
    assert!(asked.status.success(), "{asked:?}");
    let second = || (world.agent("port")["incarnation"] == 2).then_some(());
    let up = || second().filter(|()| world.agent("port")["pid"].is_u64());
    harness::never_within("a start", Duration::from_secs(3), up);
    assert!(is_held(), "it was held all the time");
    std::fs::write(&done, "").expect("a file");
    eventually("the next life", SOON, up);
}

#[test]
fn a_daemon_that_ends_well_has_ended_well() {
    let world = World::new("");
    let pidfile = world.path().join("e.pid");
    let script = format!(
        "setsid sh -c 'sleep 2; exit 0' > /dev/null 2>&1 & echo $! > {}; exit 0",
        pidfile.display()
    );
    let file = format!("type = \"forking\"\npidfile = {pidfile:?}\n");
    let mut sidecar = world.sidecar_with("e", &file, &["sh", "-c", &script]);
    assert_eq!(sidecar.wait(SOON).code(), Some(0), "{}", sidecar.log());
    let ended = world.events(Some("e"));
    let ended = ended.iter().find(|event| event["kind"] == "exited").expect("its end");
    assert_eq!(ended["detail"]["exited"]["clean"], true, "{ended:#}");
}

#[test]
fn a_tool_in_a_sidecar_of_its_own_is_not_taken_for_the_agent() {
    let world = World::new("");
    let done = world.path().join("tool.done");
    // As the README has it for one-shot calls, and with a name; longer than READY takes.
    let script = format!(
        "{s} run --timeout 60s -- sh -c 'sleep 1'; \
         {s} run --id tool --state-dir {d}/inner --collector http://{c} -- sleep 12; \
         echo done > {done}; while :; do sleep 0.2; done",
        s = binary("lubdub-sidecar").display(),
        d = world.path().display(),
        c = world.grpc(),
        done = done.display(),
    );
    let _sidecar = world.sidecar("outer", &["sh", "-c", &script]);
    let agent = world.until("outer", "lifecycle", "running", SOON);
    eventually("the tools have ended", Duration::from_secs(40), || done.exists().then_some(()));
    harness::never_within("an end", Duration::from_secs(2), || {
        let now = world.agent("outer");
        (now["pid"] != agent["pid"] || now["incarnation"] != 1).then_some(now)
    });
    let beats = world.state("outer").join("heartbeat.json");
    assert!(!beats.exists(), "nobody beat for the agent");
}
