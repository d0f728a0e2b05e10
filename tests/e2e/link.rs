//! A lost link says nothing about the agent.

use std::time::Duration;

use harness::{World, eventually, never_within};
use rustix::process::Signal;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_collector_that_is_killed_comes_back_to_the_same_lives() {
    let mut world = World::new("");
    let _sidecar = world.toy("a", &["beat:200ms:10m"]);
    let before = world.until("a", "lifecycle", "running", SOON);
    world.restart_collector();
    let after = world.until("a", "link", "connected", Duration::from_secs(40));
    assert_eq!((&after["life"], &after["pid"]), (&before["life"], &before["pid"]));
    assert_eq!(after["status"], "ok", "{after:#}");
    assert_eq!(world.incidents("a").len(), 0);
    let status = world.json(&["status"]);
    let degraded = status["collector"]["degraded"].as_str().unwrap_or_default();
    assert!(degraded.contains("warming up"), "{status:#}");
}

#[test]
fn an_agent_that_ended_while_the_collector_was_down_is_told_when_it_is_back() {
    let mut world = World::new("on = \"never\"\n");
    let done = world.path().join("done");
    let script = format!("while [ ! -e {} ]; do sleep 0.1; done; exit 5", done.display());
    let mut sidecar = world.sidecar("b", &["sh", "-c", &script]);
    world.until("b", "lifecycle", "running", SOON);
    world.collector.signal(Signal::STOP);
    std::fs::write(&done, "").expect("a file");
    never_within("an end without its story told", Duration::from_secs(1), || {
        (!sidecar.is_running()).then_some(())
    });
    world.collector.signal(Signal::CONT);
    world.restart_collector();
    let agent = world.until("b", "status", "critical", Duration::from_secs(30));
    assert_eq!(agent["lifecycle"], "failed", "{agent:#}");
    assert_eq!(agent["findings"][0]["cause"], "crashed", "{agent:#}");
    assert_eq!(sidecar.wait(SOON).code(), Some(5));
}

#[test]
fn a_killed_sidecar_makes_its_agent_unreachable_and_hurts_it_not() {
    let world = World::new("");
    let log = format!("log:{}", world.path().join("beats").display());
    let mut sidecar = world.toy("u", &[&log, "beat:100ms:10m"]);
    let agent = world.until("u", "lifecycle", "running", SOON);
    let pid = u32::try_from(agent["pid"].as_u64().expect("a pid")).expect("small");
    sidecar.signal(Signal::KILL);
    sidecar.wait(SOON);
    let lost = world.until("u", "status", "unknown", Duration::from_secs(40));
    assert_eq!(lost["findings"][0]["cause"], "unreachable", "{lost:#}");
    let before = world.read("beats").lines().count();
    eventually("it works on", SOON, || {
        (world.read("beats").lines().count() > before).then_some(())
    });
    let incident = &world.incidents("u")[0];
    assert_eq!((&incident["cause"], &incident["status"]), (&"unreachable".into(), &"open".into()));
    assert_eq!(incident["actions"].as_array().map(Vec::len), Some(0), "nobody acts on silence");

    let mut second = world.toy("u", &["hang"]);
    let again = world.until("u", "status", "ok", SOON);
    assert_eq!((&again["pid"], &again["life"]), (&agent["pid"], &agent["life"]), "{again:#}");
    second.signal(Signal::TERM);
    second.wait(SOON);
    assert!(matches!(harness::stat_state(pid), None | Some('Z')), "it ends with its sidecar");
}

/// Nobody waits for a collector that refuses; what it waits for is said.
#[test]
fn a_first_start_waits_for_no_collector_that_refuses() {
    let directory = tempfile::tempdir().expect("a directory");
    let begun = directory.path().join("begun");
    let mut command = std::process::Command::new(harness::binary("lubdub-sidecar"));
    command.args(["run", "--id", "r", "--collector", "http://127.0.0.1:1", "--state-dir"]);
    command.arg(directory.path()).args(["--", "touch"]).arg(&begun);
    let began = std::time::Instant::now();
    let mut sidecar = harness::Daemon::start(directory.path(), "r", &mut command);
    eventually("a start", SOON, || begun.exists().then_some(()));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    sidecar.wait(SOON);
    let log = sidecar.log();
    assert!(log.contains("cannot reach the collector") && log.contains("waits"), "{log}");
}

/// A proxy on the way cuts what is silent in one direction.
#[test]
fn something_goes_down_a_quiet_stream() {
    let world = World::new("");
    let rng = &mut fastrand::Rng::with_seed(1);
    let (hello, _) = harness::sample::hello(0, rng);
    let spool = hello.spool;
    let stream = harness::RawStream::attach(world.grpc());
    let hello = lubdub_shared::session::FromSidecar::Hello(Box::new(hello));
    stream.say(prost::Message::encode_to_vec(&lubdub_shared::pb::FromSidecar::from(hello)));
    let again =
        stream.hear("an ack of nothing", |down: lubdub_shared::pb::ToSidecar| match down.message {
            Some(lubdub_shared::pb::to_sidecar::Message::Ack(ack)) => Some(ack),
            _ => None,
        });
    assert_eq!((again.spool.as_slice(), again.number), (spool.as_bytes().as_slice(), 0));
}
