//! The watcher may be the sick one: its own sleep accuses nobody.

use std::time::{Duration, Instant};

use harness::{World, never_within};
use rustix::process::Signal;
use serde_json::Value;

const FOUR_DEADLINES: Duration = Duration::from_secs(12);

fn accused(world: &World) -> Option<Value> {
    let agent = world.agent("w");
    let fine = agent["status"] == "ok" || agent["status"] == "unknown" || agent == Value::Null;
    (!fine || agent["incarnation"].as_u64() > Some(1)).then_some(agent)
}

fn beats_logged(world: &World) -> usize {
    world.read("beats").lines().count()
}

fn start(world: &World) -> harness::Daemon {
    let log = format!("log:{}", world.path().join("beats").display());
    let sidecar = world.toy("w", &[&log, "beat:200ms:10m"]);
    harness::eventually("an armed agent", Duration::from_secs(15), || {
        (world.agent("w")["status"] == "ok" && beats_logged(world) > 5).then_some(())
    });
    sidecar
}

fn freeze_for_four_deadlines(world: &World, watcher: &harness::Daemon) {
    watcher.freeze();
    let (before, start) = (beats_logged(world), Instant::now());
    harness::eventually("four deadlines", FOUR_DEADLINES * 2, || {
        (start.elapsed() >= FOUR_DEADLINES).then_some(())
    });
    assert_eq!(harness::stat_state(watcher.pid()), Some('T'), "it was stopped all the while");
    let worked = beats_logged(world) - before;
    assert!(worked > 30, "the agent kept working meanwhile: {worked} beats");
    watcher.signal(Signal::CONT);
}

#[test]
fn a_sidecar_that_slept_accuses_nobody() {
    let world = World::new("");
    let sidecar = start(&world);
    freeze_for_four_deadlines(&world, &sidecar);
    never_within("accused", Duration::from_secs(6), || accused(&world));
    world.until("w", "status", "ok", Duration::from_secs(10));
    // The link may have been silent for long enough to be told; the agent is accused of nothing.
    for incident in world.incidents("w") {
        assert_eq!(incident["cause"], "unreachable", "{incident:#}");
        assert_eq!(incident["actions"].as_array().map(Vec::len), Some(0));
    }
}

#[test]
fn a_collector_that_slept_accuses_nobody() {
    let world = World::new("");
    let _sidecar = start(&world);
    freeze_for_four_deadlines(&world, &world.collector);
    never_within("accused", Duration::from_secs(6), || accused(&world));
    let status = world.json(&["status"]);
    let degraded = status["collector"]["degraded"].as_str().unwrap_or_default();
    assert!(degraded.contains("warming up"), "it says that it doubts itself: {status:#}");
    world.until("w", "status", "ok", Duration::from_secs(10));
    assert_eq!(world.incidents("w"), Vec::<Value>::new());
}
