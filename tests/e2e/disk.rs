//! A disk that is full or read-only hurts no agent, is told, acks nothing that is not written, and
//! is forgotten once it takes everything again.

use std::time::Duration;

use harness::{Daemon, SmallDisk, World, eventually, never_within};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);

/// A sidecar whose state lies on a small disk; its agent's beats are noted elsewhere.
fn sidecar_on(disk: &SmallDisk, world: &World, id: &str) -> Daemon {
    let command = disk.command(&harness::binary("lubdub-sidecar"));
    let mut command = world.sidecar_in(command, world.grpc(), id, &disk.directory());
    let log = format!("log:{}", world.path().join("beats").display());
    command.arg("--").arg(harness::binary("toy_agent")).args([&log, "beat:200ms:1h"]);
    Daemon::start(world.path(), id, &mut command)
}

fn pid(agent: &Value) -> Pid {
    let pid = agent["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    pid.and_then(Pid::from_raw).expect("a pid")
}

fn has(world: &World, id: &str, cause: &str) -> bool {
    let agent = world.agent(id);
    let findings = agent["findings"].as_array().cloned().unwrap_or_default();
    findings.iter().any(|finding| finding["cause"] == cause)
}

fn starts(world: &World, id: &str) -> Vec<u64> {
    let events = world.events(Some(id));
    let own = events.iter().filter(|event| event["kind"] == "started");
    own.filter_map(|event| event["incarnation"].as_u64()).collect()
}

fn beats(world: &World) -> usize {
    world.read("beats").lines().count()
}

/// The same story for every way in which a sidecar's disk can be sick.
fn sick_under_a_sidecar(spoil: impl Fn(&SmallDisk), mend: impl Fn(&SmallDisk)) {
    let world = World::new("");
    let disk = SmallDisk::over(&world.path().join("small"), 256);
    let _sidecar = sidecar_on(&disk, &world, "s");
    let before = world.until("s", "lifecycle", "running", SOON);
    spoil(&disk);

    // Remote destruction is refused, with the reason; nobody is hurt.
    let refused = world.lubdub(&["restart", "s", "--reason", "try", "--wait"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("refused: sick_disk"), "{said}");
    eventually("it is told", SOON, || has(&world, "s", "sick_disk").then_some(()));
    let incident = world.incidents("s").remove(0);
    assert_eq!(
        (&incident["cause"], &incident["status"], &incident["level"]),
        (&"sick_disk".into(), &"open".into(), &"warning".into())
    );
    let agent = world.agent("s");
    assert_eq!((&agent["life"], &agent["pid"]), (&before["life"], &before["pid"]));
    let heard = beats(&world);
    eventually("it beats on", SOON, || (beats(&world) > heard + 5).then_some(()));

    // Plain supervision goes on from memory, and what happened is told.
    kill_process(pid(&agent), Signal::KILL).expect("it is ours");
    eventually("a second life", SOON, || {
        (world.agent("s")["incarnation"] == 2 && world.agent("s")["lifecycle"] == "running")
            .then_some(())
    });
    eventually("both are told", SOON, || (starts(&world, "s") == [1, 2]).then_some(()));

    mend(&disk);
    eventually("it is over", SOON, || (!has(&world, "s", "sick_disk")).then_some(()));
    eventually("and resolved", SOON, || {
        let incidents = world.incidents("s");
        let sick = incidents.iter().find(|incident| incident["cause"] == "sick_disk")?;
        (sick["status"] == "resolved").then_some(())
    });
    let done = world.lubdub(&["restart", "s", "--reason", "again", "--wait"]);
    assert!(done.status.success(), "{done:?}");
    eventually("each life once", SOON, || (starts(&world, "s") == [1, 2, 3]).then_some(()));
    let state = disk.seen(&disk.directory()).join("agents/s/state.json");
    let state: Value =
        serde_json::from_slice(&std::fs::read(state).expect("written")).expect("JSON");
    assert_eq!(state["life"]["ordinal"], 3, "what it knows is on disk again");
}

#[test]
fn a_full_disk_under_a_sidecar_hurts_nobody() {
    sick_under_a_sidecar(SmallDisk::fill, SmallDisk::make_room);
}

#[test]
fn a_read_only_disk_under_a_sidecar_hurts_nobody() {
    sick_under_a_sidecar(SmallDisk::make_read_only, SmallDisk::make_writable);
}

fn readiness(world: &World) -> (u16, String) {
    world.get("/readyz")
}

fn sick_store(world: &World) -> Option<Value> {
    let list = world.json(&["incidents"]);
    let incidents = list["incidents"].as_array().cloned().unwrap_or_default();
    incidents.into_iter().find(|i| i["cause"] == "sick_disk" && i["agent"] == Value::Null)
}

#[test]
fn a_full_disk_under_the_collector_acks_nothing_and_hurts_nobody() {
    let mut world = World::on_a_small_disk("");
    let log = format!("log:{}", world.path().join("beats").display());
    let _calm = world.toy("calm", &[&log, "beat:200ms:1h"]);
    let _hangs = world.toy("hangs", &["1/beat:200ms:3s", "1/hang", "beat:200ms:1h"]);
    let before = world.until("calm", "lifecycle", "running", SOON);
    world.until("hangs", "lifecycle", "running", SOON);
    assert_eq!(readiness(&world), (200, "ready\n".to_owned()));

    world.disk().fill();
    kill_process(pid(&before), Signal::KILL).expect("it is ours");
    eventually("it says so", SOON, || (readiness(&world).0 == 503).then_some(()));
    let incident = eventually("a clear incident", SOON, || sick_store(&world));
    assert_eq!((&incident["level"], &incident["status"]), (&"critical".into(), &"open".into()));
    let status = world.json(&["status"]);
    let degraded = status["collector"]["degraded"].as_str().unwrap_or_default().to_owned();
    assert!(degraded.contains("the store takes nothing"), "{status:#}");
    let refused = world.lubdub(&["stop", "calm", "--reason", "try"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("nothing could be recorded, so nothing is done"), "{said}");

    // The agent's own supervision goes on; the hang is found, and nobody acts without a record.
    eventually("a second life", SOON, || {
        let agent = world.agent("calm");
        (agent["incarnation"] == 2 && agent["lifecycle"] == "running").then_some(())
    });
    world.until("hangs", "status", "critical", SOON);
    never_within("an act without a record", Duration::from_secs(3), || {
        (world.agent("hangs")["incarnation"] != 1).then_some(())
    });

    // Nothing was acked that was not written: killed and started on a mended disk, the collector
    // gets everything again.
    world.kill_collector();
    world.disk().make_room();
    world.start_collector();
    eventually("each life once", SOON, || (starts(&world, "calm") == [1, 2]).then_some(()));
    assert_eq!(sick_store(&world), None, "it is over");
    world.until("hangs", "status", "critical", SOON);
    eventually("the hang is treated", Duration::from_secs(100), || {
        (world.agent("hangs")["incarnation"] == 2).then_some(())
    });
}

#[test]
fn a_collector_recovers_by_itself_when_a_full_disk_has_room_again() {
    let world = World::on_a_small_disk("");
    let _calm = world.toy("calm", &["beat:200ms:1h"]);
    let before = world.until("calm", "lifecycle", "running", SOON);
    world.disk().fill();
    kill_process(pid(&before), Signal::KILL).expect("it is ours");
    eventually("it says so", SOON, || (readiness(&world).0 == 503).then_some(()));
    world.disk().make_room();
    eventually("it is well", SOON, || (readiness(&world).0 == 200).then_some(()));
    eventually("each life once", Duration::from_secs(60), || {
        (starts(&world, "calm") == [1, 2]).then_some(())
    });
    let list = world.json(&["incidents", "--all"]);
    let incidents = list["incidents"].as_array().cloned().unwrap_or_default();
    let own = incidents.iter().find(|i| i["agent"] == Value::Null).expect("it is on record");
    assert_eq!((&own["cause"], &own["status"]), (&"sick_disk".into(), &"resolved".into()));
    let done = world.lubdub(&["stop", "calm", "--reason", "now", "--wait"]);
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn a_read_only_disk_under_the_collector_is_refused_at_the_start() {
    let mut world = World::on_a_small_disk("");
    let _calm = world.toy("calm", &["beat:200ms:1h"]);
    let before = world.until("calm", "lifecycle", "running", SOON);
    world.kill_collector();
    world.disk().make_read_only();
    let mut refused = world.try_collector();
    assert_eq!(refused.wait(SOON).code(), Some(1));
    let said = refused.log();
    assert!(said.contains("lock: Read-only file system"), "{said} names the file");
    // Its agent is killed meanwhile, and comes back by the schedule that is remembered.
    kill_process(pid(&before), Signal::KILL).expect("it is ours");
    world.disk().make_writable();
    world.start_collector();
    eventually("each life once", SOON, || (starts(&world, "calm") == [1, 2]).then_some(()));
}
