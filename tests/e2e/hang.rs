//! An agent that hangs is found, restarted, verified; one that always hangs is ended.

use std::time::Duration;

use harness::World;
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(3);
const TICK: Duration = Duration::from_millis(250);

fn at(value: &Value) -> Duration {
    let wall = lubdub_shared::time::Wall::parse(value.as_str().expect("a time")).expect("RFC 3339");
    Duration::from_millis(wall.unix_ms())
}

fn last_beat(world: &World, id: &str) -> Duration {
    let text = std::fs::read_to_string(world.state(id).join("heartbeat.json")).expect("it beat");
    let file: Value = serde_json::from_str(&text).expect("JSON");
    at(&file["timestamp"])
}

#[test]
fn a_hang_is_critical_in_time_restarted_verified_and_resolved() {
    let world = World::new("");
    let _sidecar = world.toy("h", &["1/beat:250ms:2s", "1/hang", "beat:250ms:10m"]);
    let critical = world.until("h", "status", "critical", Duration::from_secs(15));
    let beat = last_beat(&world, "h");
    assert_eq!(critical["findings"][0]["cause"], "silent", "{critical:#}");
    let agent = world.until("h", "status", "ok", Duration::from_secs(15));
    assert_eq!((&agent["incarnation"], &agent["lifecycle"]), (&2.into(), &"running".into()));
    assert_eq!(agent["restarts"]["used"], 1, "{agent:#}");

    let incidents = world.incidents("h");
    assert_eq!(incidents.len(), 1, "{incidents:#?}");
    let incident = &incidents[0];
    assert_eq!((&incident["cause"], &incident["status"]), (&"silent".into(), &"resolved".into()));
    assert_eq!(incident["actions"][0]["kind"], "restart");
    assert_eq!(incident["actions"][0]["outcome"], "done");
    let found_after = at(&incident["opened"]).saturating_sub(beat);
    eprintln!("found {found_after:?} after the last beat");
    assert!(found_after >= DEADLINE, "found before its deadline: {found_after:?}");
    // Two ticks, and what the file's stamp and the wall clock may round away.
    let late = DEADLINE + 2 * TICK + Duration::from_millis(50);
    assert!(found_after <= late, "found {found_after:?} after the last beat");
}

#[test]
fn who_hangs_in_every_life_is_restarted_three_times_and_then_ended() {
    let world = World::new("");
    let sidecar = world.toy("h", &["beat:200ms:1s", "hang"]);
    let agent = world.until("h", "lifecycle", "terminated", Duration::from_secs(60));
    assert_eq!(agent["incarnation"], 4, "three restarts, then the end: {agent:#}");
    assert_eq!(agent["restarts"]["used"], 3);
    assert_eq!(agent["status"], "critical", "it stays in sight: {agent:#}");
    assert_eq!(agent["pid"], Value::Null);

    let path = world.state("h").join("tombstone.json");
    let tombstone = harness::eventually("a tombstone", Duration::from_secs(5), || {
        std::fs::read_to_string(&path).ok()
    });
    let tombstone: Value = serde_json::from_str(&tombstone).expect("JSON");
    assert_eq!(tombstone["hold"]["lifecycle"], "terminated");
    assert!(tombstone["hold"]["reason"].as_str().expect("a reason").contains("silent"));

    let actions: Vec<Value> = world
        .incidents("h")
        .iter()
        .rev()
        .flat_map(|incident| incident["actions"].as_array().cloned().unwrap_or_default())
        .map(|action| action["kind"].clone())
        .collect();
    assert_eq!(actions, ["restart", "restart", "restart", "apoptosis"]);
    assert_eq!(world.read("h.out").matches("toy agent").count(), 4, "never a fourth restart");

    // The end lasts over a restart of the sidecar, and only a person ends it.
    drop(sidecar);
    let _again = world.toy("h", &["beat:200ms:10m"]);
    world.until("h", "link", "connected", Duration::from_secs(10));
    assert_eq!(world.agent("h")["lifecycle"], "terminated");
    let started = world.lubdub(&["start", "h", "--reason", "try", "--wait"]);
    assert_eq!(started.status.code(), Some(1), "start does not end an apoptosis: {started:?}");
    let revived = world.lubdub(&["revive", "h", "--reason", "mended", "--wait"]);
    assert_eq!(revived.status.code(), Some(0), "{revived:?}");
    let agent = world.until("h", "status", "ok", Duration::from_secs(15));
    assert_eq!((&agent["lifecycle"], &agent["incarnation"]), (&"running".into(), &5.into()));
    assert!(!path.exists(), "the tombstone is taken away");
}

#[test]
fn an_agent_that_crashes_again_and_again_is_quarantined_if_the_policy_says_so() {
    let world = World::new("exhausted = \"quarantine\"\nattempts = 2\n");
    let _sidecar = world.toy("c", &["sleep:100ms", "exit:3"]);
    let agent = world.until("c", "lifecycle", "quarantined", Duration::from_secs(30));
    assert_eq!(agent["findings"][0]["cause"], "crash_loop", "{agent:#}");
    assert_eq!(agent["incarnation"], 3);
    let incidents = world.incidents("c");
    assert_eq!(incidents.len(), 1, "one story: {incidents:#?}");
    assert_eq!(incidents[0]["status"], "open");
    let started = world.lubdub(&["start", "c", "--reason", "again", "--wait"]);
    assert_eq!(started.status.code(), Some(0), "{started:?}");
    world.until("c", "lifecycle", "quarantined", Duration::from_secs(30));
    assert_eq!(world.agent("c")["incarnation"], 6, "a person's start refills the schedule");
}

#[test]
fn a_kill_by_somebody_else_is_told_apart_and_healed() {
    let world = World::new("");
    let _sidecar = world.toy("k", &["1/beat:200ms:2s", "1/die:9", "beat:200ms:10m"]);
    let agent = world.until("k", "status", "critical", Duration::from_secs(15));
    assert_eq!(agent["findings"][0]["cause"], "killed_by_other", "{agent:#}");
    let agent = world.until("k", "status", "ok", Duration::from_secs(15));
    assert_eq!(agent["incarnation"], 2);
    let incidents = world.incidents("k");
    assert_eq!(incidents[0]["status"], "resolved", "{incidents:#?}");
}

#[test]
fn a_reported_failure_restarts_and_a_withdrawn_one_does_not() {
    let world = World::new("");
    let _trigger = world.toy("t", &["1/beat:200ms:1s", "1/say:WATCHDOG=trigger", "beat:200ms:10m"]);
    let failing = "say:{\"check\":{\"name\":\"db\",\"ok\":false}}";
    let passing = "say:{\"check\":{\"name\":\"db\",\"ok\":true}}";
    let _check = world
        .toy("w", &["beat:200ms:1s", failing, failing, "beat:200ms:3s", passing, "beat:200ms:10m"]);
    let warned = world.until("w", "status", "warning", Duration::from_secs(10));
    assert_eq!(warned["findings"][0]["cause"], "reported_failure", "{warned:#}");
    world.until("w", "status", "ok", Duration::from_secs(10));
    harness::eventually("a second life", Duration::from_secs(15), || {
        (world.agent("t")["incarnation"] == 2).then_some(())
    });
    let incidents = world.incidents("t");
    assert_eq!(incidents[0]["cause"], "reported_failure", "{incidents:#?}");
    assert_eq!(world.agent("w")["incarnation"], 1);
}

/// A collector that has just started doubts what it did not hear: the restart comes, and not now.
#[test]
fn a_restart_that_waits_is_foretold_with_its_moment_and_its_reason() {
    let mut world = World::new("");
    let _sidecar = world.toy("h", &["beat:250ms:6s", "hang"]);
    world.until("h", "status", "ok", Duration::from_secs(10));
    world.kill_collector();
    world.start_collector();
    world.until("h", "status", "critical", Duration::from_secs(20));
    let next = world.json(&["explain", "h"])["next"].clone();
    assert_eq!(next["rung"], "restart", "{next}");
    assert_eq!(next["why"], "the collector is warming up", "{next}");
    let within = next["in_ms"].as_u64().expect("a moment");
    assert!((1000..=60_000).contains(&within), "{next}");
    let text = String::from_utf8_lossy(&world.lubdub(&["explain", "h"]).stdout).into_owned();
    assert!(text.contains("next: restart in ") && text.contains("warming up"), "{text}");
}

#[test]
fn what_is_held_back_without_end_is_told_with_its_reason() {
    let world = World::under("mode = \"shadow\"\n");
    let _sidecar = world.toy("s", &["beat:250ms:2s", "hang"]);
    world.until("s", "status", "critical", Duration::from_secs(15));
    let next = harness::eventually("it was told", Duration::from_secs(10), || {
        let next = world.json(&["explain", "s"])["next"].clone();
        next["in_ms"].is_null().then_some(next)
    });
    assert_eq!(
        (&next["rung"], &next["why"]),
        (&"restart".into(), &"mode shadow, told already".into())
    );
}
