//! A link that is cut for a minute, without a reset: what happened is told afterwards, once and in
//! order, and what was asked meanwhile is too old to be done.

use std::time::{Duration, Instant};

use harness::{Proxy, World, eventually, never_within, pass};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);
const CUT: Duration = Duration::from_secs(60);

#[test]
fn after_sixty_seconds_events_come_once_and_commands_come_too_late() {
    let policy = "[policy.load.restart]\non = \"always\"\nattempts = 1000\nper_day_max = 1000\n\
                  [[assign]]\nagents = [\"busy\"]\npolicy = \"load\"\n";
    let world = World::new(policy);
    let proxy = Proxy::before(world.grpc());
    let toy = harness::binary("toy_agent");
    let toy = toy.to_str().expect("UTF-8");
    let lives = world.path().join("lives");
    let note = format!("sh:echo $LUBDUB_INCARNATION >> {}", lives.display());
    let busy = [toy, &note, "beat:100ms:1s", "exit:1"];
    let _busy = world.sidecar_via(proxy.address(), "busy", &busy);
    let _calm = world.sidecar_via(proxy.address(), "calm", &[toy, "beat:200ms:10m"]);
    let before = world.until("calm", "lifecycle", "running", SOON);
    world.until("busy", "link", "connected", SOON);

    proxy.partition();
    let cut = Instant::now();
    // The collector still believes in the link: the command goes into it, and waits there.
    let sent = world.json(&["restart", "calm", "--reason", "asked into the cut"]);
    assert_eq!(sent["outcome"], "accepted", "{sent:#}");
    eventually("something is held", SOON, || (proxy.held_bytes() > 0).then_some(()));
    let lost = world.until("calm", "status", "unknown", Duration::from_secs(40));
    assert_eq!(lost["findings"][0]["cause"], "unreachable", "{lost:#}");
    // Now it knows better: a restart does not wait, a stop does, but not for ever.
    let refused = world.lubdub(&["restart", "calm", "--reason", "nobody is there"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let waits = ["stop", "calm", "--reason", "it may wait", "--expires", "5s"];
    let waiting = world.json(&waits);
    assert_eq!(waiting["outcome"], "pending", "{waiting:#}");
    pass(CUT.saturating_sub(cut.elapsed()));
    let during = std::fs::read_to_string(&lives).expect("lives").lines().count();
    assert!(during > 10, "the schedule went on without a collector: {during} lives");

    proxy.release();
    let back = world.until("calm", "link", "connected", Duration::from_secs(60));
    assert_eq!((&back["life"], &back["pid"]), (&before["life"], &before["pid"]));
    never_within("a command of the cut is carried out", Duration::from_secs(5), || {
        let agent = world.agent("calm");
        (agent["life"] != before["life"] || agent["lifecycle"] != "running").then_some(agent)
    });
    let answers = || -> Vec<String> {
        let events = world.events(Some("calm"));
        let answers = events.iter().filter(|event| event["kind"] == "answer");
        answers.filter_map(|event| Some(event["detail"]["outcome"].as_str()?.to_owned())).collect()
    };
    eventually("both are answered", Duration::from_secs(60), || {
        (answers().len() == 3).then_some(())
    });
    let mut ended = answers();
    ended.sort();
    assert_eq!(ended, ["expired", "expired", "refused"], "what waited is expired, not done");

    let started = |world: &World| -> Vec<u64> {
        let events = world.events(Some("busy"));
        let own = events.iter().filter(|event| event["kind"] == "started");
        own.filter_map(|event| event["incarnation"].as_u64()).collect()
    };
    eventually("what happened meanwhile", SOON, || (started(&world).len() > during).then_some(()));
    let started = started(&world);
    let expected: Vec<u64> = (1..=started.len() as u64).collect();
    assert_eq!(started, expected, "each life once, in order");
    let calm: Vec<Value> = world.events(Some("calm"));
    let restarted = calm.iter().filter(|event| event["kind"] == "started").count();
    assert_eq!(restarted, 1);
}
