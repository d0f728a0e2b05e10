//! Stores and states that vanish, come back old, or are claimed by two; commands that a good
//! collector never sends.

use std::time::Duration;

use harness::{Daemon, Impostor, Stream, World, eventually, never_within};
use lubdub_shared::command::Requester;
use lubdub_shared::command::{Command, CommandKind, Ending, Outcome, Precondition, Refusal};
use lubdub_shared::id::{CommandId, LifeId, StoreId};
use lubdub_shared::policy::Policy;
use lubdub_shared::session::{FromSidecar, Happening, Hello, ToSidecar, Welcome};
use rustix::process::Signal;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);

fn notes(world: &World, agent: Option<&str>) -> Vec<String> {
    let events = world.events(agent);
    let notes = events.iter().filter(|event| event["kind"] == "note");
    notes.map(|note| note["detail"].to_string()).collect()
}

#[test]
fn a_store_that_is_wiped_costs_what_it_knew_and_nothing_else() {
    let mut world = World::new("");
    let _sidecar = world.toy("w", &["beat:200ms:1h"]);
    let before = world.until("w", "lifecycle", "running", SOON);
    let _ended = world.toy("e", &["beat:200ms:1h"]);
    world.until("e", "lifecycle", "running", SOON);
    let done = world.lubdub(&["apoptosis", "e", "--reason", "done", "--wait"]);
    assert!(done.status.success(), "{done:?}");
    world.kill_collector();
    std::fs::remove_dir_all(world.data()).expect("there");
    world.start_collector();
    let after = world.until("w", "link", "connected", SOON);
    assert_eq!((&after["life"], &after["pid"]), (&before["life"], &before["pid"]));
    eventually("the change of stores is told", SOON, || {
        notes(&world, Some("w")).iter().any(|n| n.contains("has another store")).then_some(())
    });
    let status = world.json(&["status"]);
    assert_eq!(status["collector"]["degraded"], Value::Null, "an empty store misses nobody");
    world.until("e", "lifecycle", "terminated", SOON);
    let done = world.lubdub(&["restart", "w", "--reason", "by the new one", "--wait"]);
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn a_store_from_an_old_backup_is_believed_again() {
    let mut world = World::new("");
    let sidecar = world.toy("b", &["beat:200ms:1h"]);
    let before = world.until("b", "lifecycle", "running", SOON);
    world.kill_collector();
    let backup = world.path().join("backup");
    let copy = std::process::Command::new("cp").arg("-r").arg(world.data()).arg(&backup).status();
    assert!(copy.expect("cp runs").success());
    for _ in 0..3 {
        world.start_collector();
        // Streams that were cut at once are tried again later and later.
        world.until("b", "link", "connected", 2 * SOON);
        world.kill_collector();
    }
    std::fs::remove_dir_all(world.data()).expect("there");
    std::fs::rename(&backup, world.data()).expect("restored");
    world.start_collector();
    let after = world.until("b", "link", "connected", 2 * SOON);
    assert_eq!((&after["life"], &after["pid"]), (&before["life"], &before["pid"]));
    assert!(notes(&world, None).iter().any(|n| n.contains("was it restored from a backup?")));
    let done = world.lubdub(&["restart", "b", "--reason", "believed", "--wait"]);
    assert!(done.status.success(), "{done:?}: {}", sidecar.log());
}

#[test]
fn a_state_directory_that_is_wiped_under_its_sidecar_costs_nothing_but_memory() {
    let world = World::new("");
    let sidecar = world.toy("s", &["beat:200ms:1h"]);
    let before = world.until("s", "lifecycle", "running", SOON);
    std::fs::remove_dir_all(world.state("s")).expect("there");
    eventually("it is made anew", SOON, || world.socket("s").exists().then_some(()));
    eventually("its lock too", SOON, || world.state("s").join("lock").exists().then_some(()));
    // The agent speaks to a path: its beats arrive again, and nobody takes it for hung.
    never_within("accused", Duration::from_secs(5), || {
        let agent = world.agent("s");
        (agent["status"] != "ok" || agent["life"] != before["life"]).then_some(agent)
    });
    let state = world.state("s").join("state.json");
    eventually("what it knows is there again", SOON, || {
        let state: Value = serde_json::from_slice(&std::fs::read(&state).ok()?).ok()?;
        (state["life"]["id"] == before["life"]).then_some(())
    });
    assert!(notes(&world, Some("s")).iter().any(|n| n.contains("was taken away")));
    let mut second = world.toy_named("s", "second", &["hang"]);
    assert_eq!(second.wait(SOON).code(), Some(75), "the lock holds: {}", second.log());
    drop(sidecar);
}

/// A directory that is locked itself is nobody else's when the file in it goes.
#[test]
fn what_lies_in_a_state_directory_is_made_anew_without_it() {
    let world = World::new("");
    let sidecar = world.toy("w", &["beat:200ms:1h"]);
    let before = world.until("w", "lifecycle", "running", SOON);
    for entry in std::fs::read_dir(world.state("w")).expect("there") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            std::fs::remove_file(path).expect("removed");
        }
    }
    let lock = world.state("w").join("lock");
    eventually("its lock is there again", SOON, || lock.exists().then_some(()));
    eventually("it can write", SOON, || world.state("w").join("state.json").exists().then_some(()));
    let done = world.lubdub(&["restart", "w", "--reason", "believed", "--wait"]);
    assert!(done.status.success(), "{done:?}: {}", sidecar.log());
    assert_ne!(world.agent("w")["life"], before["life"]);
}

#[test]
fn a_state_directory_that_is_lost_between_two_sidecars_is_an_event() {
    let world = World::new("");
    let mut sidecar = world.toy("l", &["beat:200ms:1h"]);
    let before = world.until("l", "lifecycle", "running", SOON);
    sidecar.signal(Signal::TERM);
    sidecar.wait(SOON);
    std::fs::remove_dir_all(world.state("l")).expect("there");
    let _again = world.toy_named("l", "again", &["beat:200ms:1h"]);
    eventually("a new life", SOON, || {
        let agent = world.agent("l");
        (agent["life"] != before["life"] && agent["status"] == "ok").then_some(())
    });
    assert!(notes(&world, Some("l")).iter().any(|n| n.contains("was lost or emptied")));
    eventually("its events are not taken for old ones", SOON, || {
        let events = world.events(Some("l"));
        let starts = events.iter().filter(|event| event["kind"] == "started");
        (starts.count() == 2).then_some(())
    });
}

#[test]
fn two_sidecars_for_one_id_are_a_duplicate_and_nobody_is_restarted() {
    let world = World::new("");
    let first = world.toy("d", &["1/beat:200ms:25s", "1/hang"]);
    let before = world.until("d", "lifecycle", "running", SOON);
    let elsewhere = world.path().join("elsewhere");
    let command = std::process::Command::new(harness::binary("lubdub-sidecar"));
    let mut command = world.sidecar_in(command, world.grpc(), "d", &elsewhere);
    command.arg("--").arg(harness::binary("toy_agent")).arg("beat:200ms:1h");
    let second = Daemon::start(world.path(), "second", &mut command);
    let cause = |agent: &Value, cause: &str| {
        let findings = agent["findings"].as_array().cloned().unwrap_or_default();
        findings.iter().any(|finding| finding["cause"] == cause)
    };
    eventually("a duplicate", Duration::from_secs(60), || {
        let agent = world.agent("d");
        (cause(&agent, "duplicate") && agent["status"] == "critical").then_some(())
    });
    // Its hang is found as well, and nobody acts on either.
    eventually("a hang", SOON, || cause(&world.agent("d"), "silent").then_some(()));
    never_within("somebody is restarted", Duration::from_secs(5), || {
        let agent = world.agent("d");
        (agent["life"] != before["life"]).then_some(agent)
    });
    let beats = elsewhere.join("agents/d/heartbeat.json");
    let other: Value =
        serde_json::from_slice(&std::fs::read(beats).expect("it beats")).expect("JSON");
    assert_eq!(other["incarnation"], 1, "nor is the other one");
    assert!(second.log().contains("another sidecar is heard for agent d"), "{}", second.log());
    drop((first, second));
}

/// Welcomes a sidecar as a store does.
fn welcome(stream: &Stream, store: StoreId, epoch: u64) -> Hello {
    let hello = stream.hello();
    stream.say(ToSidecar::Welcome(Box::new(Welcome {
        session: 1,
        store,
        epoch,
        interval: Duration::from_millis(300),
        policy: Policy::default(),
        acked: 0,
        degraded: String::new(),
        policy_mark: 1,
        spool: None,
        pending: Vec::new(),
    })));
    hello
}

fn outcome(stream: &Stream, of: CommandId) -> Outcome {
    stream.hear("an outcome", |message| {
        let FromSidecar::Events { events, .. } = message else { return None };
        events.into_iter().find_map(|event| {
            let Happening::Outcome(outcome) = event.what else { return None };
            (outcome.command == of).then_some(outcome)
        })
    })
}

/// The life that runs, and the newest report.
fn running(stream: &Stream) -> (LifeId, u64) {
    stream.hear("a living agent", |message| match message {
        FromSidecar::Report(report) => {
            let life = report.life?;
            report.pid.map(|_| (life.id, report.number))
        }
        FromSidecar::Hello(_)
        | FromSidecar::Events { .. }
        | FromSidecar::Goodbye { .. }
        | FromSidecar::Other => None,
    })
}

#[test]
fn commands_that_a_good_collector_never_sends_are_refused_each_with_its_reason() {
    let rng = &mut fastrand::Rng::with_seed(5);
    let store = StoreId::random(rng);
    let world = World::new("");
    let impostor = Impostor::new();
    let toy = harness::binary("toy_agent");
    let toy = toy.to_str().expect("UTF-8");
    let _sidecar = world.sidecar_via(impostor.address(), "i", &[toy, "beat:100ms:1h"]);
    let stream = impostor.stream();
    welcome(&stream, store, 7);
    let (life, report) = running(&stream);
    let good = Command {
        id: CommandId::random(rng),
        kind: CommandKind::Restart,
        life: Some(life),
        store,
        epoch: 7,
        precondition: Precondition::LifeOnly,
        report,
        ttl: Duration::from_secs(30),
        age: Duration::ZERO,
        requested_by: Requester::Person("p".to_owned()),
        reason: "r".to_owned(),
        dry_run: false,
        agent: "i".parse().expect("an id"),
    };
    let refused = Ending::Refused;
    let bad: [(&str, Command, Ending); 6] = [
        ("an old epoch", Command { epoch: 6, ..good.clone() }, refused(Refusal::Fenced)),
        (
            "another store",
            Command { store: StoreId::random(rng), ..good.clone() },
            refused(Refusal::Fenced),
        ),
        (
            "another life",
            Command { life: Some(LifeId::random(rng)), ..good.clone() },
            refused(Refusal::WrongLife),
        ),
        ("too old", Command { age: Duration::from_secs(31), ..good.clone() }, Ending::Expired),
        ("a report that never was", Command { report: 9_999_999, ..good.clone() }, Ending::Expired),
        (
            "a precondition that does not hold",
            Command { precondition: Precondition::StillPaused, ..good.clone() },
            refused(Refusal::PreconditionFailed),
        ),
    ];
    for (what, command, ending) in bad {
        let id = CommandId::random(rng);
        stream.say(ToSidecar::Command(Box::new(Command { id, ..command })));
        assert_eq!(outcome(&stream, id).ending, ending, "{what}");
    }
    assert_eq!(running(&stream).0, life, "after all that the same life");

    // Done once; replayed and duplicated it is answered, and not done again.
    stream.say(ToSidecar::Command(Box::new(good.clone())));
    stream.say(ToSidecar::Command(Box::new(good.clone())));
    let first = outcome(&stream, good.id);
    assert_eq!(first.ending, Ending::Done);
    let second = first.to.expect("a new life").id;
    assert_ne!(second, life);
    stream.say(ToSidecar::Command(Box::new(good.clone())));
    assert_eq!(outcome(&stream, good.id), first);
    assert_eq!(running(&stream).0, second, "it was not restarted twice");

    // Reordered: the later one was for the life that the earlier one ended.
    let late = Command { id: CommandId::random(rng), kind: CommandKind::Stop, ..good.clone() };
    stream.say(ToSidecar::Command(Box::new(late.clone())));
    assert_eq!(outcome(&stream, late.id).ending, Ending::Refused(Refusal::WrongLife));
    assert_eq!(running(&stream).0, second);
}

#[test]
fn a_collector_of_an_old_epoch_and_a_second_store_are_not_accepted() {
    let rng = &mut fastrand::Rng::with_seed(6);
    let (store, other) = (StoreId::random(rng), StoreId::random(rng));
    let world = World::new("");
    let (own, foreign) = (Impostor::new(), Impostor::new());
    let toy = harness::binary("toy_agent");
    let mut command = world.sidecar_command(own.address(), "t");
    command.args(["--collector", &format!("http://{}", foreign.address())]);
    command.arg("--").arg(toy).arg("beat:100ms:1h");
    let sidecar = Daemon::start(world.path(), "t", &mut command);
    let stream = own.stream();
    welcome(&stream, store, 7);
    let (life, _) = running(&stream);
    drop(stream);
    // Its next address has another store, while the one it knows is still among its addresses.
    let stream = foreign.stream();
    let hello = welcome(&stream, other, 1);
    assert_eq!(hello.epochs.get(&store), Some(&7), "it tells what it has seen");
    eventually("refused", SOON, || stream.is_over().then_some(()));
    assert!(sidecar.log().contains("the addresses lead to different stores"), "{}", sidecar.log());
    drop((stream, foreign));
    // Its own comes back with an epoch of long ago.
    let stream = own.stream();
    welcome(&stream, store, 6);
    eventually("refused", SOON, || stream.is_over().then_some(()));
    assert!(sidecar.log().contains("refused a collector of an old epoch"), "{}", sidecar.log());
    let stream = loop {
        let stream = own.stream();
        if welcome(&stream, store, 8).epochs.get(&store) == Some(&7) {
            break stream;
        }
    };
    assert_eq!(running(&stream).0, life, "the agent has noticed nothing");
}

fn flip_a_byte(path: &std::path::Path) {
    let mut bytes = std::fs::read(path).expect("there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x80;
    std::fs::write(path, bytes).expect("written");
}

#[test]
fn a_hold_outlives_a_state_file_that_was_damaged() {
    let world = World::new("");
    let mut sidecar = world.toy("h", &["beat:200ms:1h"]);
    world.until("h", "lifecycle", "running", SOON);
    let done = world.lubdub(&["stop", "h", "--reason", "stay down", "--wait"]);
    assert!(done.status.success(), "{done:?}");
    sidecar.signal(Signal::TERM);
    sidecar.wait(SOON);
    flip_a_byte(&world.state("h").join("state.json"));
    let again = world.toy_named("h", "again", &["beat:200ms:1h"]);
    eventually("it says so", SOON, || again.log().contains("cannot be read").then_some(()));
    world.until("h", "lifecycle", "stopped", SOON);
    never_within("it is started", Duration::from_secs(3), || {
        again.log().contains("starting life=").then(|| again.log())
    });
}

#[test]
fn an_agent_that_outlived_its_sidecar_is_found_without_a_memory() {
    let world = World::new("");
    let mut sidecar = world.toy("o", &["beat:200ms:1h"]);
    let agent = world.until("o", "lifecycle", "running", SOON);
    sidecar.signal(Signal::KILL);
    sidecar.wait(SOON);
    flip_a_byte(&world.state("o").join("state.json"));
    let second = world.toy_named("o", "second", &["hang"]);
    eventually("it is taken over", SOON, || second.log().contains("took over").then_some(()));
    let again = world.until("o", "link", "connected", SOON);
    assert_eq!((&again["pid"], &again["life"]), (&agent["pid"], &agent["life"]), "{again:#}");
    assert_eq!(again["incarnation"], agent["incarnation"], "by what its environment says");
}

#[test]
fn a_store_that_is_deleted_under_its_collector_acks_nothing_more() {
    let mut world = World::new("");
    let _sidecar = world.toy("g", &["2/beat:200ms:1h", "1/beat:100ms:3s", "1/exit:1"]);
    world.until("g", "lifecycle", "running", SOON);
    std::fs::remove_dir_all(world.data()).expect("there");
    assert_eq!(world.collector.wait(SOON).code(), Some(1), "{}", world.collector.log());
    assert!(world.collector.log().contains("its file was taken away"));
    world.start_collector();
    world.until("g", "link", "connected", SOON);
    let lives = |kind: &str| -> Vec<u64> {
        let events = world.events(Some("g"));
        let own = events.iter().filter(|event| event["kind"] == kind);
        own.filter_map(|event| event["incarnation"].as_u64()).collect()
    };
    eventually("what was not acked is told", SOON, || {
        (lives("exited") == [1] && lives("started").contains(&2)).then_some(())
    });
}
