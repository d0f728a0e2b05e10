//! Faults of processes, each proven to have happened: exits of every kind, signals, freezers,
//! famine, a disk that never answers, pids that come again.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::{Daemon, World, binary, eventually, never_within, pass, stat_state};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);

fn pid_of(agent: &Value) -> u32 {
    u32::try_from(agent["pid"].as_u64().expect("a pid")).expect("small")
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("not 0");
    kill_process(pid, signal).expect("it is ours");
}

/// The exits of an agent, oldest first.
fn exits(world: &World, id: &str) -> Vec<Value> {
    let events = world.events(Some(id)).into_iter();
    events
        .filter(|event| event["kind"] == "exited")
        .map(|mut e| e["detail"]["exited"].take())
        .collect()
}

fn exit(world: &World, id: &str) -> Value {
    eventually("an exit", SOON, || exits(world, id).into_iter().next())
}

fn now_ms() -> u64 {
    lubdub_shared::time::now().wall.unix_ms()
}

#[test]
fn a_killed_agent_is_noticed_at_once_and_started_anew_with_one_incident() {
    let world = World::new("");
    let _sidecar = world.toy("k", &["beat:100ms:1h"]);
    let agent = world.until("k", "lifecycle", "running", SOON);
    let killed = now_ms();
    signal(pid_of(&agent), Signal::KILL);
    let events = eventually("its end", SOON, || {
        let events = world.events(Some("k"));
        events.iter().any(|event| event["kind"] == "exited").then_some(events)
    });
    let ended = events.iter().find(|event| event["kind"] == "exited").expect("there");
    let at = lubdub_shared::time::Wall::parse(ended["at"].as_str().expect("a time"));
    let after = at.expect("RFC 3339").unix_ms().saturating_sub(killed);
    // The tree is swept before the end is told; the kernel's word comes within milliseconds.
    assert!(after <= 100, "noticed after {after} ms");
    let again = eventually("another life", SOON, || {
        let agent = world.agent("k");
        (agent["incarnation"] == 2 && agent["status"] == "ok").then_some(agent)
    });
    assert_eq!(again["restarts"]["used"], 1);
    let incidents = world.incidents("k");
    assert_eq!(incidents.len(), 1, "{incidents:#?}");
    assert_eq!(incidents[0]["cause"], "killed_by_other");
}

#[test]
fn every_kind_of_exit_is_told_apart() {
    let world = World::with_restart("permanent_exit = [42]\nsuccess_exit = [0, 7]\n");
    let steps = [
        ("clean", "exit:0"),
        ("success", "exit:7"),
        ("failed", "exit:3"),
        ("code137", "exit:137"),
        ("signal9", "die:9"),
        ("permanent", "exit:42"),
    ];
    let sidecars: Vec<Daemon> =
        steps.iter().map(|(id, step)| world.toy(id, &["ready", "beat:50ms:300ms", step])).collect();
    let how = |id: &str| exit(&world, id)["exit"]["how"].clone();
    assert_eq!(how("clean")["code"], 0);
    assert_eq!(how("failed")["code"], 3);
    assert_eq!(how("code137")["code"], 137);
    assert_eq!(how("signal9")["signal"], 9);
    for id in ["clean", "success"] {
        assert_eq!(exit(&world, id)["clean"], true, "{id}");
        world.until(id, "lifecycle", "stopped", SOON);
    }
    let causes = |id: &str| {
        let incident = eventually("an incident", SOON, || world.incidents(id).into_iter().last());
        incident["cause"].as_str().expect("a cause").to_owned()
    };
    assert_eq!(
        (causes("code137"), causes("signal9")),
        ("crashed".into(), "killed_by_other".into())
    );
    let permanent = world.until("permanent", "lifecycle", "quarantined", SOON);
    assert_eq!(permanent["incarnation"], 1, "no restart mends it: {permanent:#}");
    assert_eq!(permanent["restarts"]["used"], 0);
    drop(sidecars);
}

#[test]
fn a_core_dump_is_told() {
    let world = World::new("");
    let home = world.path().join("cores");
    std::fs::create_dir(&home).expect("a directory");
    let script = format!("cd {} && ulimit -c unlimited && kill -SEGV $$; exit 99", home.display());
    let _sidecar = world.sidecar("s", &["sh", "-c", &script]);
    let told = exit(&world, "s");
    assert_eq!(told["exit"]["how"]["signal"], 11, "{told:#}");
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").expect("procfs");
    let pattern = pattern.trim();
    // The proof is the file, where the kernel writes it beside the agent.
    let is_there = std::fs::read_dir(&home).expect("there").count() > 0;
    let piped = pattern.starts_with('|') || pattern.contains('/');
    assert_eq!(told["exit"]["core"], is_there || piped, "{pattern}: {told:#}");
}

#[test]
fn who_is_stopped_is_paused_and_never_killed_for_it() {
    let world = World::new("");
    let _sidecar = world.toy("p", &["beat:100ms:1h"]);
    let agent = world.until("p", "lifecycle", "running", SOON);
    let pid = pid_of(&agent);
    signal(pid, Signal::STOP);
    eventually("it is stopped", SOON, || (stat_state(pid) == Some('T')).then_some(()));
    let paused = world.until("p", "status", "warning", SOON);
    assert_eq!(paused["findings"][0]["cause"], "paused", "{paused:#}");
    // Four deadlines.
    never_within("a kill", Duration::from_secs(12), || {
        (stat_state(pid) != Some('T')).then_some(())
    });
    signal(pid, Signal::CONT);
    let again = world.until("p", "status", "ok", SOON);
    assert_eq!((&again["pid"], &again["incarnation"]), (&agent["pid"], &1.into()));
    assert_eq!(again["restarts"]["used"], 0);
}

#[test]
fn a_debugger_makes_it_paused_and_is_not_fought() {
    let world = World::new("");
    let _sidecar = world.toy("g", &["beat:100ms:1h"]);
    let agent = world.until("g", "lifecycle", "running", SOON);
    let pid = pid_of(&agent);
    let script = format!(
        "import ctypes, time\nlibc = ctypes.CDLL(None, use_errno=True)\n\
         assert libc.ptrace(16, {pid}, None, None) == 0, ctypes.get_errno()\n\
         time.sleep(9)\nlibc.ptrace(17, {pid}, None, None)\n"
    );
    let mut debugger =
        Daemon::start(world.path(), "debugger", Command::new("python3").args(["-c", &script]));
    eventually("it is traced", SOON, || (stat_state(pid) == Some('t')).then_some(()));
    world.until("g", "status", "warning", SOON);
    assert_eq!(world.agent("g")["findings"][0]["cause"], "paused");
    assert!(debugger.wait(SOON).success(), "{}", debugger.log());
    let again = world.until("g", "status", "ok", SOON);
    assert_eq!((&again["pid"], &again["incarnation"]), (&agent["pid"], &1.into()));
}

/// A process that hangs in the kernel: it was killed, and does not die.
#[test]
fn who_does_not_die_is_an_incident_and_no_storm() {
    let world = World::new("");
    if std::fs::File::options().read(true).write(true).open("/dev/fuse").is_err() {
        eprintln!("left out: this user may not open /dev/fuse, so nothing can hang in state D");
        return;
    }
    let place = world.path().join("never");
    std::fs::create_dir(&place).expect("a directory");
    let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/never_answers.py");
    let run = world.sidecar_command(world.grpc(), "d");
    let words: Vec<String> = std::iter::once(run.get_program())
        .chain(run.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let script = format!(
        "python3 {server} {p} & echo $! > {p}.pid; until [ -e {p}.ready ]; do sleep 0.05; done; \
         exec {sidecar} -- sh -c 'if [ $LUBDUB_INCARNATION = 1 ]; then exec cat {p}/file; fi; \
         exec sleep 1000'",
        server = server.display(),
        p = place.display(),
        sidecar = words.join(" ")
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]).env_remove("XDG_RUNTIME_DIR");
    let mut sidecar = Daemon::start(world.path(), "d", command.env("LUBDUB_LOG", "debug"));
    let agent = world.until("d", "lifecycle", "running", SOON);
    let pid = pid_of(&agent);
    eventually("it reads", SOON, || world.path().join("never.asked").exists().then_some(()));
    let asked = world.lubdub(&["restart", "d", "--reason", "test", "--wait"]);
    assert_eq!(asked.status.code(), Some(1), "{asked:?}");
    let stuck = eventually("an incident", SOON, || {
        world.incidents("d").into_iter().find(|incident| incident["cause"] == "unkillable")
    });
    assert_eq!(stat_state(pid), Some('D'), "it hangs in the kernel");
    assert!(stuck["summary"].to_string().contains("state D"), "{stuck:#}");
    never_within("a second life beside it", Duration::from_secs(4), || {
        (world.agent("d")["incarnation"] != 1 || stat_state(pid) != Some('D')).then_some(())
    });
    assert_eq!(world.incidents("d").len(), 1, "one story");
    // What it waits for goes away: it dies of the kill that it has had, and the next life begins.
    let server: u32 = world.read("never.pid").trim().parse().expect("a pid");
    signal(server, Signal::KILL);
    eventually("the next life", SOON, || (world.agent("d")["incarnation"] == 2).then_some(()));
    eventually("resolved", SOON, || (world.agent("d")["status"] == "ok").then_some(()));
    sidecar.signal(Signal::TERM);
    sidecar.wait(SOON);
}

#[test]
fn a_crash_loop_backs_off_and_ends_in_quarantine_with_one_incident() {
    let world = World::with_restart(
        "delay = { initial = \"200ms\", factor = 2.0, max = \"2s\", jitter = 0.0 }\n\
         attempts = 4\nexhausted = \"quarantine\"\n",
    );
    let starts = world.path().join("starts");
    let script = format!("date +%s%3N >> {}; exit 1", starts.display());
    let _sidecar = world.sidecar("l", &["sh", "-c", &script]);
    let agent = world.until("l", "lifecycle", "quarantined", SOON);
    assert_eq!(agent["incarnation"], 5, "four restarts: {agent:#}");
    let starts: Vec<i64> = world.read("starts").lines().map(|s| s.parse().expect("ms")).collect();
    let gaps: Vec<i64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (gap, least) in gaps.iter().zip([200, 400, 800, 1600]) {
        assert!((least..least + 700).contains(gap), "{gaps:?}");
    }
    let incidents = world.incidents("l");
    assert_eq!(incidents.len(), 1, "{incidents:#?}");
    assert_eq!(incidents[0]["cause"], "crash_loop");
}

/// `[limits]` where cgroups may be made; elsewhere it is said that they are not in force.
#[test]
fn a_kill_for_want_of_memory_is_told_apart() {
    let world = World::new("");
    let file = "[limits]\nmemory_max = \"48MiB\"\npids_max = 50\n";
    let toy = binary("toy_agent");
    let leak = [toy.to_str().expect("UTF-8"), "1/leak:8:50ms:20s", "beat:100ms:1h"];
    let _sidecar = world.sidecar_with("m", file, &leak);
    world.until("m", "link", "connected", SOON);
    let told = eventually("limits or a note", SOON, || {
        let events = world.events(Some("m"));
        let note = events.iter().find(|e| e["detail"].to_string().contains("not in force"));
        let ended = events.iter().find(|event| event["kind"] == "exited");
        note.or(ended).cloned()
    });
    if told["kind"] == "note" {
        eprintln!("left out: no cgroup may be made here, and the sidecar says so");
        return;
    }
    let exit = &told["detail"]["exited"]["exit"];
    assert_eq!((&exit["how"]["signal"], &exit["oom"]), (&9.into(), &true.into()), "{told:#}");
    let incident = eventually("an incident", SOON, || world.incidents("m").into_iter().next());
    assert_eq!(incident["cause"], "oom_killed");
    world.until("m", "status", "ok", SOON);
}

#[test]
fn a_sidecar_that_is_killed_is_replaced_and_its_agent_goes_on() {
    let world = World::new("");
    let socket = world.socket("a");
    let mut first = world.toy("a", &["1/work:100ms:1h", "beat:100ms:1h"]);
    let agent = world.until("a", "lifecycle", "running", SOON);
    signal(pid_of(&agent), Signal::KILL);
    let agent = eventually("its second life", SOON, || {
        let agent = world.agent("a");
        (agent["incarnation"] == 2 && agent["status"] == "ok").then_some(agent)
    });
    let seq = || {
        let file = std::fs::read(world.state("a").join("heartbeat.json")).ok()?;
        serde_json::from_slice::<Value>(&file).ok()?["seq"].as_u64()
    };
    let before = eventually("beats", SOON, || seq().filter(|seq| *seq > 20));
    first.signal(Signal::KILL);
    first.wait(SOON);
    let second = world.toy_named("a", "second", &["exit:9"]);
    eventually("it is taken over", SOON, || second.log().contains("took over").then_some(()));
    let again =
        eventually("beats on the same path", SOON, || (seq()? > before).then(|| world.agent("a")));
    assert!(socket.exists());
    for key in ["pid", "life", "incarnation"] {
        assert_eq!(again[key], agent[key], "{key}: {again:#}");
    }
    assert_eq!(again["restarts"]["used"], 1, "the ledger goes on");
    never_within("a restart", Duration::from_secs(5), || {
        (world.agent("a")["pid"] != agent["pid"]).then_some(())
    });
    // Its end is seen though it is nobody's child here; its status where the kernel keeps it.
    signal(pid_of(&agent), Signal::TERM);
    let exits = eventually("its end", SOON, || Some(exits(&world, "a")).filter(|e| e.len() == 2));
    let how = &exits[1]["exit"]["how"];
    assert!(how["signal"] == 15 || how["unknown"].is_string(), "{how}");
    eventually("its third life", SOON, || (world.agent("a")["incarnation"] == 3).then_some(()));
}

/// Both stand still for many deadlines, as under a freezer or a stopped virtual machine.
#[test]
fn a_freeze_of_agent_and_sidecar_ages_nobody() {
    let world = World::new("");
    let sidecar = world.toy("f", &["beat:100ms:1h"]);
    let agent = world.until("f", "lifecycle", "running", SOON);
    let pid = pid_of(&agent);
    sidecar.freeze();
    signal(pid, Signal::STOP);
    eventually("both stand", SOON, || (stat_state(pid) == Some('T')).then_some(()));
    pass(Duration::from_secs(15));
    // The sidecar first: it must not take what it missed for the agent's silence.
    sidecar.signal(Signal::CONT);
    pass(Duration::from_secs(1));
    signal(pid, Signal::CONT);
    never_within("a kill", Duration::from_secs(6), || {
        (world.agent("f")["pid"] != agent["pid"]).then_some(())
    });
    let again = world.until("f", "status", "ok", SOON);
    assert_eq!((&again["incarnation"], &again["restarts"]["used"]), (&1.into(), &0.into()));
    let causes: Vec<Value> = world.incidents("f").iter().map(|i| i["cause"].clone()).collect();
    assert!(!causes.contains(&"silent".into()), "{causes:?}");
}

/// A hundredth of a CPU for the sidecar and its agent.
#[test]
fn famine_kills_nobody() {
    let world = World::under("heartbeat_deadline = \"10s\"\n");
    let mut run = world.sidecar_command(world.grpc(), "c");
    run.arg("--").arg(binary("toy_agent")).arg("beat:500ms:1h");
    let mut nice = Command::new("nice");
    nice.args(["-n", "19"]).arg(run.get_program()).args(run.get_args());
    let sidecar = Daemon::start(world.path(), "c", nice.env_remove("XDG_RUNTIME_DIR"));
    let agent = world.until("c", "lifecycle", "running", SOON);
    let spin = |number: usize| {
        let name = format!("spin-{number}");
        Daemon::start(world.path(), &name, Command::new("sh").args(["-c", "while :; do :; done"]))
    };
    let cpus = std::thread::available_parallelism().map_or(2, usize::from);
    let mut hungry: Vec<Daemon> = (0..cpus * 3).map(spin).collect();
    // Nanoseconds on a CPU, and waiting for one: proc(5).
    let scheduled = || -> [u64; 2] {
        let text = std::fs::read_to_string(format!("/proc/{}/schedstat", sidecar.pid()));
        let text = text.expect("the kernel says");
        let mut fields = text.split(' ').map(|field| field.parse().expect("a number"));
        [(); 2].map(|()| fields.next().expect("a field"))
    };
    let before = scheduled();
    never_within("a kill", Duration::from_secs(20), || {
        (world.agent("c")["pid"] != agent["pid"]).then_some(())
    });
    let [ran, waited] = scheduled();
    let (ran, waited) = (ran - before[0], waited - before[1]);
    assert!(waited > 3 * ran, "it starved: {waited} ns waiting, {ran} ns on a CPU");
    hungry.iter_mut().for_each(|one| {
        one.signal(Signal::KILL);
        one.wait(SOON);
    });
    assert_eq!(world.until("c", "status", "ok", SOON)["restarts"]["used"], 0);
    drop(sidecar);
}

/// In a pid namespace of its own the next pid can be chosen.
#[test]
fn a_stranger_with_the_pid_of_the_agent_is_left_alone() {
    let world = World::new("");
    let run = world.sidecar_command(world.grpc(), "r");
    let words: Vec<String> = std::iter::once(run.get_program())
        .chain(run.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let state = world.state("r").join("state.json");
    let script = format!(
        "{sidecar} -- sleep 1000 & first=$!; \
         until grep -q '\"pid\"' {state} 2>/dev/null; do sleep 0.1; done; sleep 0.5; \
         agent=$(pgrep -x sleep | head -1); kill -9 $first; wait $first; kill -9 $agent; \
         while kill -0 $agent 2>/dev/null; do sleep 0.05; done; \
         echo $((agent - 1)) > /proc/sys/kernel/ns_last_pid; sleep 2000 & stranger=$!; \
         echo agent $agent stranger $stranger; {sidecar} -- sleep 1000 & second=$!; sleep 4; \
         kill -TERM $second; wait $second; \
         kill -0 $stranger && echo the stranger lives; kill -9 $stranger",
        sidecar = words.join(" "),
        state = state.display()
    );
    let mut unshare = Command::new("unshare");
    unshare
        .args(["--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"])
        .args(["sh", "-c", &script])
        .env_remove("XDG_RUNTIME_DIR");
    let mut all = Daemon::start(world.path(), "r", &mut unshare);
    all.wait(Duration::from_secs(60));
    let out = world.read("r.out");
    let pids = out.lines().find(|line| line.starts_with("agent ")).expect("both pids");
    let words: Vec<&str> = pids.split(' ').collect();
    assert_eq!(words[1], words[3], "the pid came again: {out}");
    assert!(out.contains("the stranger lives"), "{out}{}", all.log());
    assert_eq!(exits(&world, "r").len(), 2, "the first life, whose end nobody saw, and the second");
}

#[test]
fn a_child_that_is_kept_on_purpose_outlives_its_agent_and_nobody_else_does() {
    let world = World::new("");
    let word = format!("7301.{}", std::process::id());
    let script =
        format!("LUBDUB_DETACH=1 setsid sleep {word}1 & setsid sleep {word}2 & sleep {word}3");
    let _sidecar = world.sidecar("k", &["sh", "-c", &script]);
    let all = |number: u32| crate::tree::sleeping(&format!("{word}{number}"));
    eventually("three", SOON, || (1..=3).all(|n| all(n).len() == 1).then_some(()));
    let kept = all(1);
    let asked = world.lubdub(&["stop", "k", "--reason", "x", "--wait"]);
    assert!(asked.status.success(), "{asked:?}");
    assert_eq!(all(1), kept, "kept");
    assert_eq!((all(2), all(3)), (vec![], vec![]), "nobody else");
    let told = world.events(Some("k"));
    let told = told.iter().find(|event| event["detail"].to_string().contains("kept on purpose"));
    assert!(told.is_some_and(|note| note["detail"].to_string().contains(&kept[0].to_string())));
    signal(kept[0], Signal::KILL);
}

#[test]
fn who_forks_while_being_killed_is_gone_all_the_same() {
    let world = World::new("");
    let chain = world.path().join("chain.sh");
    let text = "[ $1 -gt 400 ] && exit\nsleep 0.03\n\
                env -i PATH=$PATH setsid sh \"$0\" $(($1+1)) &\nexit 0\n";
    std::fs::write(&chain, text).expect("a script");
    let name = chain.display().to_string();
    let script = format!("for n in 1 2 3 4; do sh {name} 1 & done; sleep 1000");
    let _sidecar = world.sidecar("f", &["sh", "-c", &script]);
    let links = || {
        let pids = std::fs::read_dir("/proc").expect("procfs").flatten();
        let lines = pids.filter_map(|pid| std::fs::read(pid.path().join("cmdline")).ok());
        let own = format!("sh\0{name}\0");
        lines.filter(|line| line.starts_with(own.as_bytes())).count()
    };
    eventually("chains that fork on", SOON, || (links() >= 3).then_some(()));
    let asked = world.lubdub(&["stop", "f", "--reason", "x", "--wait"]);
    assert!(asked.status.success(), "{asked:?}");
    never_within("a link", Duration::from_secs(1), || (links() > 0).then(links));
}
