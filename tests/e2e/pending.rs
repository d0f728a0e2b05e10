//! What people ask for: of sidecars that are not there, twice, only in thought, and of agents that
//! are to be forgotten.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::{World, binary, eventually};
use rustix::process::Signal;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A world with one agent whose sidecar was told to end, and is not connected any more.
fn absent(id: &str) -> World {
    let world = World::new("");
    let mut sidecar = world.toy(id, &["beat:200ms:1h"]);
    world.until(id, "lifecycle", "running", SOON);
    sidecar.signal(Signal::TERM);
    sidecar.wait(SOON);
    world.until(id, "link", "lost", SOON);
    world
}

#[test]
fn a_stop_that_waits_holds_the_agent_down_before_it_starts() {
    let mut world = absent("p");
    let asked = world.json(&["stop", "p", "--reason", "not tonight"]);
    assert_eq!(asked["outcome"], "pending", "{asked:#}");
    let refused = world.lubdub(&["restart", "p", "--reason", "x"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("restart does not wait for it"), "{refused:?}");
    // The collector may die meanwhile.
    world.restart_collector();
    let _sidecar = world.toy_named("p", "again", &["beat:200ms:1h"]);
    let agent = world.until("p", "lifecycle", "stopped", SOON);
    assert_eq!(agent["incarnation"], 1, "no second life began");
    eventually("it is answered", SOON, || {
        let events = world.events(Some("p"));
        let answers = events.iter().filter(|event| event["kind"] == "answer");
        answers.into_iter().any(|answer| answer["detail"]["outcome"] == "done").then_some(())
    });
    let started = world.lubdub(&["start", "p", "--reason", "now", "--wait"]);
    assert!(started.status.success(), "{started:?}");
    world.until("p", "lifecycle", "running", SOON);
}

#[test]
fn what_nobody_comes_back_for_expires() {
    let world = absent("x");
    let asked = world.json(&["start", "x", "--reason", "soon", "--expires", "2s"]);
    assert_eq!(asked["outcome"], "pending");
    eventually("it expires", SOON, || {
        let events = world.events(Some("x"));
        let answer = events.iter().find(|event| event["kind"] == "answer")?.clone();
        (answer["detail"]["outcome"] == "expired").then_some(())
    });
    let bad = world.lubdub(&["start", "x", "--reason", "soon", "--expires", "soon"]);
    assert_eq!(bad.status.code(), Some(64));
    assert!(text(&bad.stderr).contains("is not a duration such as"), "{bad:?}");
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let world = World::new("");
    let _sidecar = world.toy("d", &["beat:200ms:1h"]);
    let before = world.until("d", "lifecycle", "running", SOON);
    let said = world.lubdub(&["restart", "d", "--reason", "what if", "--dry-run"]);
    assert!(said.status.success(), "{said:?}");
    assert!(text(&said.stdout).contains("would send signal 15"), "{said:?}");
    let said = world.lubdub(&["start", "d", "--reason", "what if", "--dry-run"]);
    assert_eq!(said.status.code(), Some(1), "{said:?}");
    assert!(text(&said.stderr).contains("start while the agent is running"), "{said:?}");
    let after = world.agent("d");
    assert_eq!((&after["life"], &after["pid"]), (&before["life"], &before["pid"]));
}

#[test]
fn the_same_question_asked_twice_is_done_once() {
    use lubdub_shared::pb;
    let world = World::new("");
    let _sidecar = world.toy("q", &["beat:200ms:1h"]);
    world.until("q", "lifecycle", "running", SOON);
    let id = lubdub_shared::id::CommandId::random(&mut fastrand::Rng::with_seed(3));
    let request = pb::ActRequest {
        agent: "q".to_owned(),
        kind: pb::CommandKind::Restart.into(),
        reason: "once".to_owned(),
        requested_by: "p".to_owned(),
        wait_ms: 20_000,
        command: id.as_bytes().to_vec(),
        ..pb::ActRequest::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let answers = runtime.expect("a runtime").block_on(async {
        let endpoint = format!("http://{}", world.grpc());
        let client = pb::query_service_client::QueryServiceClient::connect(endpoint).await;
        let mut client = client.expect("a collector");
        let first = client.act(request.clone()).await.expect("asked").into_inner();
        let second = client.act(request).await.expect("asked").into_inner();
        [first, second]
    });
    for answer in answers {
        assert_eq!(answer.outcome(), pb::ActionOutcome::Done);
    }
    assert_eq!(world.agent("q")["incarnation"], 2, "restarted once");
}

#[test]
fn an_agent_that_is_gone_for_good_is_forgotten() {
    let world = World::new("");
    let mut sidecar = world.toy("f", &["beat:200ms:1h"]);
    world.until("f", "lifecycle", "running", SOON);
    let refused = world.lubdub(&["forget", "f", "--reason", "x"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(text(&refused.stderr).contains("is connected"), "{refused:?}");
    sidecar.signal(Signal::TERM);
    sidecar.wait(SOON);
    world.until("f", "link", "lost", SOON);
    let done = world.lubdub(&["forget", "f", "--reason", "decommissioned"]);
    assert!(done.status.success(), "{done:?}");
    assert_eq!(world.agent("f"), Value::Null);
    let unknown = world.lubdub(&["show", "f"]);
    assert_eq!(unknown.status.code(), Some(4), "{unknown:?}");
    let events = world.events(Some("f"));
    assert!(events.iter().any(|e| e["detail"].to_string().contains("decommissioned")));
    let _again = world.toy_named("f", "again", &["beat:200ms:1h"]);
    world.until("f", "lifecycle", "running", SOON);
}

#[test]
fn events_are_followed_as_they_happen() {
    let world = World::new("");
    let mut follow = Command::new(binary("lubdub"))
        .args(["events", "-f", "-o", "json", "--collector", &format!("http://{}", world.grpc())])
        .stdout(Stdio::piped())
        .spawn()
        .expect("lubdub runs");
    let lines = BufReader::new(follow.stdout.take().expect("a pipe")).lines();
    let _sidecar = world.toy("e", &["beat:200ms:1h"]);
    let started = lines.map_while(Result::ok).find_map(|line| {
        let event: Value = serde_json::from_str(&line).expect("one object a line");
        assert_eq!(event["schema"], 1);
        (event["kind"] == "started").then_some(event)
    });
    let started = started.expect("it was told");
    assert_eq!((&started["agent"], &started["incarnation"]), (&"e".into(), &1.into()));
    follow.kill().expect("ours");
    follow.wait().expect("ours");
    let table = text(&world.lubdub(&["events", "e", "--last", "3"]).stdout);
    assert_eq!(table.lines().count(), 3, "{table}");
}

#[test]
fn one_agent_is_shown_in_the_envelope_of_all() {
    let world = World::new("");
    let _sidecar = world.toy("one", &["beat:200ms:1h"]);
    world.until("one", "lifecycle", "running", SOON);
    let shown = world.json(&["show", "one"]);
    let (code, body) = world.get("/api/status/one");
    let http: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((code, &http["agents"][0]["agent"]), (200, &"one".into()));
    assert_eq!(shown["agents"][0]["life"], http["agents"][0]["life"]);
    let table = text(&world.lubdub(&["show", "one"]).stdout);
    assert!(table.starts_with("one: ok, running, link connected\n"), "{table}");
    let (code, body) = world.get("/api/status/onee");
    assert_eq!(code, 404);
    assert!(body.contains("one"), "the nearest name: {body}");
}

#[test]
fn exit_codes_are_those_of_monitoring_plugins() {
    let world = World::new("");
    let code = |world: &World| world.lubdub(&["status", "--exit-code"]).status.code();
    assert_eq!(code(&world), Some(3), "no agents");
    let _good = world.toy("good", &["beat:200ms:1h"]);
    world.until("good", "status", "ok", SOON);
    assert_eq!(code(&world), Some(0));
    let _busy = world.toy("busy", &["beat:200ms:1s", "spin:10m"]);
    world.until("busy", "status", "warning", SOON);
    assert_eq!(code(&world), Some(1));
    let _bad = world.toy("bad", &["say:WATCHDOG=trigger", "hang"]);
    eventually("critical", SOON, || (code(&world) == Some(2)).then_some(()));
    assert_eq!(world.lubdub(&["status", "--exit-code", "--no"]).status.code(), Some(3), "usage");
}

#[test]
fn a_restart_that_a_crash_of_the_sidecar_interrupted_is_finished() {
    let world = World::new("");
    // It takes a second to end, so that there is a middle of the restart.
    let slow = "trap 'sleep 1; exit 0' TERM; while :; do sleep 0.1; done";
    let mut sidecar = world.sidecar("h", &["sh", "-c", slow]);
    world.until("h", "lifecycle", "running", SOON);
    let asked = world.json(&["restart", "h", "--reason", "and then a crash"]);
    let state = world.state("h").join("state.json");
    eventually("it is begun, on disk", SOON, || {
        let state: Value = serde_json::from_slice(&std::fs::read(&state).ok()?).ok()?;
        (state["intent"]["begun"] == true).then_some(())
    });
    sidecar.signal(Signal::KILL);
    sidecar.wait(SOON);
    let _again = eventually("a sidecar that goes on", SOON, || {
        let name = format!("again-{}", harness::unique());
        let mut command = world.sidecar_command(world.grpc(), "h");
        let mut again = harness::Daemon::start(
            world.path(),
            &name,
            command.args(["--", "sh", "-c", "sleep 1000"]),
        );
        eventually("a decision", SOON, || {
            (!again.is_running() || again.log().contains("starting life=2")).then_some(())
        });
        again.is_running().then_some(again)
    });
    let answer = eventually("its answer", SOON, || {
        let events = world.events(Some("h"));
        events.into_iter().find(|event| event["kind"] == "answer")
    });
    assert_eq!(answer["detail"]["command"], asked["command"], "{answer:#}");
    assert_eq!(answer["detail"]["outcome"], "done", "{answer:#}");
    let detail = answer["detail"]["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("finished after a crash of the sidecar"), "{detail}");
    let agent = world.agent("h");
    assert_eq!(agent["incarnation"], 2, "{agent:#}");
}
