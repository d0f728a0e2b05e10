//! What a new user types, and what it answers.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use harness::{World, binary};

const SOON: Duration = Duration::from_secs(15);

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn an_unknown_agent_is_exit_4_with_the_nearest_names() {
    let world = World::new("");
    let _sidecar = world.toy("night-shift", &["beat:200ms:10m"]);
    world.until("night-shift", "lifecycle", "running", SOON);
    for verb in [&["explain", "nigth-shift"][..], &["restart", "nigth-shift", "--reason", "x"]] {
        let output = world.lubdub(verb);
        assert_eq!(output.status.code(), Some(4), "{output:?}");
        let said = text(&output.stderr);
        assert_eq!(said, "lubdub: no agent \"nigth-shift\"; did you mean night-shift?\n");
    }
}

#[test]
fn no_collector_is_exit_3_and_bad_usage_is_64() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let lubdub = |args: &[&str]| {
        let mut command = Command::new(binary("lubdub"));
        command.args(args).env("LUBDUB_COLLECTOR", format!("http://{free}"));
        command.output().expect("runs")
    };
    let output = lubdub(&["status"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(text(&output.stderr).contains("no collector answers"), "{output:?}");
    for usage in [&["statsu"][..], &["explain"], &["explain", "a/b"], &["restart", "a"]] {
        assert_eq!(lubdub(usage).status.code(), Some(64), "{usage:?}");
    }
    assert_eq!(lubdub(&["--help"]).status.code(), Some(0));
}

#[test]
fn a_policy_with_an_unknown_key_is_refused_before_any_port_is_bound() {
    let directory = tempfile::tempdir().expect("a directory");
    let policy = directory.path().join("policy.toml");
    std::fs::write(&policy, "[policy.default]\nhartbeat_deadline = \"3s\"\n").expect("a file");
    // A port that is taken: binding it would be another error, and another exit code.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let collector = binary("lubdub-collector");
    let up = binary("lubdub");
    for (program, verb, rest) in
        [(collector, None, None), (up, Some("up"), Some(["--", "sleep", "1"]))]
    {
        let mut command = Command::new(program);
        command.args(verb).args(["--listen", &address, "--policy"]).arg(&policy);
        command.arg("--data-dir").arg(directory.path().join("data"));
        let output = command.args(rest.into_iter().flatten()).output().expect("runs");
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        let said = text(&output.stderr);
        let why = "policy.toml:2: unknown key `hartbeat_deadline`; did you mean \
                   `heartbeat_deadline`?\n";
        assert!(said.ends_with(why), "{said}");
        assert!(!directory.path().join("data").exists(), "nothing was begun");
    }
}

#[test]
fn the_exit_code_of_run_is_the_agents() {
    let world = World::new("on = \"never\"\n");
    let table: [(&str, &[&str], i32); 4] = [
        ("zero", &["true"], 0),
        ("seven", &["sh", "-c", "exit 7"], 7),
        ("killed", &["sh", "-c", "kill -9 $$"], 137),
        ("nosuch", &["/no/such/program"], 127),
    ];
    for (id, command, code) in table {
        assert_eq!(world.sidecar(id, command).wait(SOON).code(), Some(code), "{id}");
        let agent = world.agent(id);
        let lifecycle = if code == 0 { "stopped" } else { "failed" };
        assert_eq!(agent["lifecycle"], lifecycle, "its events are stored: {agent:#}");
    }
}

#[test]
fn a_second_run_for_an_agent_that_lives_is_refused_with_its_owner() {
    let world = World::new("");
    let first = world.toy("one", &["beat:200ms:10m"]);
    world.until("one", "lifecycle", "running", SOON);
    let mut second = world.toy("one", &["beat:200ms:10m"]);
    assert_eq!(second.wait(SOON).code(), Some(75));
    let owner = format!("already run by the sidecar with pid {}", first.pid());
    assert!(second.log().contains(&owner), "{}", second.log());
    assert_eq!(world.agent("one")["incarnation"], 1);
}

#[test]
fn a_person_restarts_an_agent_and_it_does_not_count() {
    let world = World::new("");
    let _sidecar = world.toy("r", &["beat:200ms:10m"]);
    world.until("r", "lifecycle", "running", SOON);
    let restarted = world.json(&["restart", "r", "--reason", "new model", "--wait"]);
    assert_eq!(restarted["outcome"], "done", "{restarted:#}");
    let agent = world.until("r", "lifecycle", "running", SOON);
    assert_eq!((&agent["incarnation"], &agent["restarts"]["used"]), (&2.into(), &0.into()));
    let wrong = world.lubdub(&["revive", "r", "--reason", "x", "--wait"]);
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    assert!(text(&wrong.stderr).contains("wrong_state"), "{wrong:?}");
}

#[test]
fn agents_strings_cannot_touch_the_terminal() {
    let world = World::new("");
    let _sidecar = world.toy("evil", &["say:STATUS=\u{1b}[31mred\u{7}", "beat:200ms:10m"]);
    world.until("evil", "lifecycle", "running", SOON);
    harness::eventually("its status", SOON, || {
        let shown = text(&world.lubdub(&["status"]).stdout);
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
        shown.contains("[31mred").then_some(())
    });
}

#[test]
fn beats_from_a_shell() {
    let world = World::new("");
    let beat = binary("lubdub-sidecar");
    let script = format!(
        "set -e; '{b}' beat; '{b}' beat --json '{{\"phase\":\"idle\"}}'; \
         '{b}' beat --json '{{\"phase\":\"dancing\"}}' && exit 8; \
         LUBDUB_SOCKET=/no/such '{b}' beat && exit 9; LUBDUB_SOCKET=/no/such '{b}' beat --quiet; \
         exec sleep 1000",
        b = beat.display()
    );
    let sidecar = world.sidecar("shell", &["sh", "-c", &script]);
    let agent = world.until("shell", "phase", "idle", SOON);
    assert_eq!(agent["lifecycle"], "running", "{}", sidecar.log());
    harness::never_within("an end", Duration::from_secs(1), || {
        let agent = world.agent("shell");
        (agent["incarnation"] != 1).then_some(agent)
    });
}

#[test]
fn the_sidecars_file_names_labels_that_choose_its_policy() {
    let world = World::new(
        "[policy.red]\nmode = \"shadow\"\n\
         [[assign]]\nlabels = { team = \"red\" }\npolicy = \"red\"\n",
    );
    let config = world.path().join("sidecar.toml");
    let toy = binary("toy_agent");
    let run = |id: &str, text: &str| {
        std::fs::write(&config, text).expect("a file");
        let mut command = world.sidecar_command(world.grpc(), id);
        command.arg("--config").arg(&config).arg("--").arg(&toy).arg("beat:200ms:10m");
        harness::Daemon::start(world.path(), id, &mut command)
    };
    let _red = run("red", "[labels]\nteam = \"red\"\n");
    let agent = world.until("red", "policy", "red", SOON);
    assert_eq!((&agent["mode"], &agent["labels"]["team"]), (&"shadow".into(), &"red".into()));
    let mut wrong = run("wrong", "labls = 1\n");
    assert_eq!(wrong.wait(SOON).code(), Some(64));
    assert!(wrong.log().contains("sidecar.toml:1: unknown key `labls`"), "{}", wrong.log());
}
