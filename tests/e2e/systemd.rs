//! Under a real systemd: the unit that is shipped, and processes that its units started.

use std::fs;
use std::path::Path;
use std::time::Duration;

use harness::{Systemd, World, binary, eventually};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);
const UNIT: &str = "lubdub-agent.service";

/// The sidecar's command line in a unit.
fn sidecar(world: &World, verb: &str, id: &str, rest: &str) -> String {
    format!(
        "{} {verb} --id {id} --collector http://{} --state-dir {} {rest}",
        binary("lubdub-sidecar").display(),
        world.grpc(),
        world.path().join("state").display(),
    )
}

/// The unit as it is shipped, and below it what only holds in this test.
fn shipped(world: &World, agent: &str) -> [(&'static str, String); 2] {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd").join(UNIT);
    let here = format!(
        "[Unit]\nDefaultDependencies=no\n\
         [Service]\nUser=\nExecStart=\nExecStart={}\nStateDirectory=\nWatchdogSec=10\n",
        sidecar(world, "run", "s", agent)
    );
    let unit = fs::read_to_string(path).expect("it is shipped");
    [(UNIT, unit), ("lubdub-agent.service.d/here.conf", here)]
}

fn identity(agent: &Value) -> (&Value, &Value) {
    (&agent["pid"], &agent["incarnation"])
}

#[test]
fn a_sidecar_that_dies_or_hangs_is_replaced_and_its_agent_goes_on() {
    let world = World::new("");
    let agent = format!("-- {} beat:500ms:1h", binary("toy_agent").display());
    let units = shipped(&world, &agent);
    let Some(systemd) = Systemd::boot(world.path(), &units) else { return };
    let agent = world.until("s", "lifecycle", "running", SOON);
    let shows = |property: &str, value: &str| {
        let what = format!("{property} is {value}");
        eventually(&what, SOON, || (systemd.show(UNIT, property) == value).then_some(()));
    };
    shows("StatusText", "running");
    shows("ActiveState", "active");
    let pid = agent["pid"].to_string();
    let group = systemd.must(&["cat", &format!("/proc/{pid}/cgroup")]);
    assert!(group.contains("/lubdub-agent.service/lubdub-s-"), "below the unit's own: {group}");

    let calm = Duration::from_secs(12);
    harness::never_within("a restart of who beats", calm, || {
        (systemd.show(UNIT, "NRestarts") != "0").then_some(())
    });
    // What hangs is found by the watchdog, which begins with READY: its process is not gone.
    for (restarts, signal) in [("1", "-KILL"), ("2", "-STOP")] {
        shows("ActiveState", "active");
        let old = systemd.show(UNIT, "MainPID");
        assert_ne!(old, "0");
        systemd.must(&["kill", signal, &old]);
        eventually("a new sidecar", SOON, || {
            let new = systemd.show(UNIT, "MainPID");
            (systemd.show(UNIT, "NRestarts") == restarts && new != "0" && new != old).then_some(())
        });
        let took_over = || {
            let notes = world.events(Some("s"));
            let told = |event: &&Value| event.to_string().contains("took it over");
            (notes.iter().filter(told).count().to_string() == restarts).then_some(())
        };
        eventually("it took the agent over", SOON, took_over);
        let same = world.until("s", "lifecycle", "running", SOON);
        assert_eq!(identity(&same), identity(&agent), "after {signal}");
    }

    let is_gone = || !systemd.run(&["test", "-e", &format!("/proc/{pid}")]).status.success();
    systemd.must(&["systemctl", "stop", UNIT]);
    assert!(is_gone(), "{pid} lives");
    assert_eq!(systemd.show(UNIT, "ActiveState"), "inactive", "143 is no failure");
    assert_eq!(world.until("s", "lifecycle", "stopped", SOON)["status"], "ok");
}

#[test]
fn who_is_held_down_or_ended_for_good_stays_so() {
    let world = World::with_restart("on = \"never\"\n");
    let ends = world.path().join("ends");
    let script =
        format!("until [ -e {e} ]; do sleep 0.1; done; rm {e}; exit 3", e = ends.display());
    let units = shipped(&world, &format!("-- sh -c '{script}'"));
    let Some(systemd) = Systemd::boot(world.path(), &units) else { return };
    world.until("s", "lifecycle", "running", SOON);
    let asked = world.lubdub(&["stop", "s", "--reason", "not today", "--wait"]);
    assert_eq!(asked.status.code(), Some(0), "{asked:?}");
    // It returns when the sidecar is ready, though no agent will be.
    systemd.must(&["timeout", "20", "systemctl", "restart", UNIT]);
    assert_eq!(systemd.show(UNIT, "ActiveState"), "active");
    assert_eq!(systemd.show(UNIT, "StatusText"), "stopped");

    let asked = world.lubdub(&["start", "s", "--reason", "today"]);
    assert_eq!(asked.status.code(), Some(0), "{asked:?}");
    eventually("another life", SOON, || {
        let agent = world.agent("s");
        (agent["incarnation"] == 2 && agent["pid"].is_u64()).then_some(())
    });
    fs::write(&ends, "").expect("written");
    let failed = || (systemd.show(UNIT, "ActiveState") == "failed").then_some(());
    eventually("its end", SOON, failed);
    assert_eq!(systemd.show(UNIT, "ExecMainStatus"), "3", "the agent's own code");
    harness::never_within("a start of who ended for good", Duration::from_secs(3), || {
        (systemd.show(UNIT, "ActiveState") != "failed").then_some(())
    });
}

/// After a restart the unit's own process is another, and the sidecar has found it.
fn is_restarted(systemd: &Systemd, world: &World, id: &str, unit: &str) {
    let main = || systemd.show(unit, "MainPID");
    let agent = world.until(id, "lifecycle", "running", SOON);
    assert_eq!(agent["pid"].to_string(), main(), "found by its unit");
    let asked = world.lubdub(&["restart", id, "--reason", "test", "--wait"]);
    assert_eq!(asked.status.code(), Some(0), "{asked:?}");
    let again = world.agent(id);
    assert_eq!(again["incarnation"], 2, "{again:#}");
    assert_eq!(again["pid"].to_string(), main(), "the new one was found");
    assert_ne!(again["pid"], agent["pid"]);
}

#[test]
fn what_a_unit_started_is_attached_to_and_restarted_by_systemd() {
    let world = World::new("");
    let service = |command: &str, more: &str| {
        format!("[Unit]\nDefaultDependencies=no\n{more}\nExecStart={command}\n")
    };
    let agent = format!("{} sleep:1h", binary("toy_agent").display());
    let file = |name: &str, text: &str| {
        let path = world.path().join(name);
        fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let command = file(
        "a.toml",
        "[restart]\nby = \"command\"\ncommand = [\"systemctl\", \"restart\", \"a.service\"]\n",
    );
    let platform = file("b.toml", "[restart]\nby = \"platform\"\n");
    let watch = |id: &str, config: &str| {
        let rest = format!("--unit {id}.service --config {config}");
        service(
            &sidecar(&world, "attach", id, &rest),
            &format!("After={id}.service\n[Service]\nKillMode=process"),
        )
    };
    let units = [
        ("a.service", service(&agent, "[Service]\nType=exec")),
        ("b.service", service(&agent, "[Service]\nType=exec\nRestart=always")),
        ("watch-a.service", watch("a", &command)),
        ("watch-b.service", watch("b", &platform)),
    ];
    let Some(systemd) = Systemd::boot(world.path(), &units) else { return };
    is_restarted(&systemd, &world, "a", "a.service");
    assert_eq!(systemd.show("a.service", "NRestarts"), "0", "the command did it");
    is_restarted(&systemd, &world, "b", "b.service");
    assert_eq!(systemd.show("b.service", "NRestarts"), "1", "systemd did it");
}
