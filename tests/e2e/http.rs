//! Probes and Prometheus.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::{World, eventually};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn promtool_has_nothing_to_say_about_the_metrics() {
    let world = World::new("");
    let _good = world.toy("good", &["say:{\"energy\":0.75}", "work:200ms:1h"]);
    let _bad = world.toy("bad", &["say:WATCHDOG=trigger", "hang"]);
    world.until("good", "status", "ok", SOON);
    let lines = [
        "lubdub_agent_status{agent=\"bad\",status=\"critical\"} 1",
        "lubdub_agent_status{agent=\"good\",status=\"ok\"} 1",
        "lubdub_agent_status{agent=\"good\",status=\"critical\"} 0",
        "lubdub_agent_energy_ratio{agent=\"good\"} 0.75",
        "lubdub_agents{status=\"critical\"} 1",
        "lubdub_incidents_open{cause=\"reported_failure\"} 1",
        "lubdub_sidecars_connected 2",
        "lubdub_store_sick 0",
    ];
    // What is no reason to report at once comes with the next report.
    let page = eventually("all of it on one page", SOON, || {
        let (code, page) = world.get("/metrics");
        assert_eq!(code, 200);
        lines.iter().all(|line| page.lines().any(|own| own == *line)).then_some(page)
    });
    let said = promtool(&["check", "metrics"], &page);
    assert!(said.is_empty(), "{said}");
}

/// Runs promtool; what it said. It must be content.
fn promtool(args: &[&str], input: &str) -> String {
    let tool = std::env::var("LUBDUB_TEST_PROMTOOL").unwrap_or_else(|_| "promtool".to_owned());
    let mut promtool = Command::new(&tool)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{tool}: {error}; tests/run.sh brings it"));
    let mut stdin = promtool.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let said = promtool.wait_with_output().expect("it ends");
    let words = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    assert!(said.status.success(), "{words}");
    words
}

/// Each alert fires when it is to, and rests on a metric that there is.
#[test]
fn the_alert_rules_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus");
    let file = |name: &str| folder.join(name).display().to_string();
    promtool(&["check", "rules", &file("alerts.yaml")], "");
    promtool(&["test", "rules", &file("alerts_test.yaml")], "");
    let world = World::new("");
    let (_, page) = world.get("/metrics");
    let rules = std::fs::read_to_string(folder.join("alerts.yaml")).expect("there are some");
    let names = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let mut found = 0;
    for name in names.filter(|name| name.starts_with("lubdub_")) {
        let told = page.lines().any(|line| line.starts_with(&format!("# TYPE {name} ")));
        assert!(told, "{name} is no metric:\n{page}");
        found += 1;
    }
    assert!(found >= 6, "{found}");
}

/// What restarts an agent, and who, is counted; of a process that is gone nothing is told.
#[test]
fn restarts_are_counted_by_cause_and_by_whom_and_the_dead_have_no_vitals() {
    let world = World::new("");
    let _crashes = world.toy("c", &["1/work:100ms:1s", "1/exit:3", "work:200ms:1h"]);
    let _hangs = world.toy("h", &["1/beat:250ms:2s", "1/hang", "beat:250ms:1h"]);
    let line = |wanted: &str| {
        let (_, page) = world.get("/metrics");
        page.lines().any(|line| line == wanted).then_some(())
    };
    for wanted in [
        "lubdub_restarts_total{cause=\"crashed\",origin=\"schedule\"} 1",
        "lubdub_restarts_total{cause=\"silent\",origin=\"engine\"} 1",
        "lubdub_commands_total{kind=\"restart\",origin=\"engine\",outcome=\"done\"} 1",
    ] {
        eventually(wanted, SOON, || line(wanted));
    }
    world.until("h", "status", "ok", SOON);
    let asked = world.lubdub(&["restart", "h", "--reason", "x", "--wait"]);
    assert!(asked.status.success(), "{asked:?}");
    let wanted = "lubdub_restarts_total{cause=\"none\",origin=\"person\"} 1";
    eventually(wanted, SOON, || line(wanted));
    world.until("h", "status", "ok", SOON);
    let memory = || world.get("/metrics").1.contains("lubdub_agent_memory_bytes{agent=\"h\"}");
    eventually("its memory", SOON, || memory().then_some(()));
    let asked = world.lubdub(&["stop", "h", "--reason", "x", "--wait"]);
    assert!(asked.status.success(), "{asked:?}");
    let stopped = world.until("h", "lifecycle", "stopped", SOON);
    eventually("no vitals", SOON, || (!memory()).then_some(()));
    let stopped = if stopped["pid"].is_null() { stopped } else { world.agent("h") };
    let vitals = &stopped["vitals"];
    assert!(vitals["memory_bytes"].is_null() && vitals["tasks"].is_null(), "{stopped:#}");
    assert!(stopped["as_of"].is_string(), "{stopped:#}");
}

#[test]
fn healthy_and_ready_are_two_questions() {
    let world = World::new("");
    assert_eq!(world.get("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(world.get("/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(world.get("/nothing").0, 404);
}
