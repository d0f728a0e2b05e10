//! Files that earlier versions wrote are read (`tests/old/README.md` says what is in them).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::{Daemon, World, binary, eventually};
use lubdub_sidecar::state::{Found, Memory};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);

fn old(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("old").join(name)
}

fn json(name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(old(name)).expect("a file")).expect("JSON")
}

/// A state directory in a world, as an earlier sidecar left it.
fn put(world: &World, from: &str, agent: &str) {
    let to = world.state(agent);
    fs::create_dir_all(&to).expect("a directory");
    for entry in fs::read_dir(old(from)).expect("a fixture") {
        let file = entry.expect("a file").path();
        let copy = to.join(file.file_name().expect("a name"));
        fs::copy(&file, &copy).expect("a copy");
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).expect("ours");
    }
}

#[test]
fn a_store_is_read_whole_and_its_pending_command_is_delivered() {
    // A command that waits has its day, which is over for this file one day.
    let copy = tempfile::tempdir().expect("a directory");
    let database = copy.path().join("lubdub.sqlite3");
    fs::copy(old("store/lubdub.sqlite3"), &database).expect("a copy");
    let store = rusqlite::Connection::open(&database).expect("a database");
    let moved = "UPDATE commands SET expires = ?1 WHERE outcome = 'pending'";
    assert_eq!(store.execute(moved, [i64::MAX]).expect("SQL"), 1);
    drop(store);
    let world = World::on_the_store(&database);
    let mut listed = world.json(&["incidents", "--all"]);
    for incident in listed["incidents"].as_array_mut().expect("a list") {
        for action in incident["actions"].as_array_mut().expect("a list") {
            // The id of its evidence stood in the words alone.
            let evidence = action.as_object_mut().expect("an object").remove("evidence");
            assert_eq!(evidence, Some(Value::Null));
        }
    }
    assert_eq!(listed["incidents"], json("store.incidents.json")["incidents"]);
    let kinds: std::collections::BTreeSet<String> = world
        .events(None)
        .iter()
        .filter_map(|event| event["kind"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(kinds.len(), 9, "{kinds:?}");
    // The policy that was pushed holds, not the file's.
    for (agent, policy) in [("a2", "watch"), ("a8", "shade"), ("a11", "slow")] {
        assert_eq!(world.agent(agent)["policy"], policy, "{agent}");
    }
    put(&world, "store.agents/a6", "a6");
    put(&world, "store.agents/a11", "a11");
    let _sidecars = ["a6", "a11"].map(|agent| world.sidecar(agent, &["sleep", "600"]));
    for agent in ["a6", "a11"] {
        let held = world.until(agent, "lifecycle", "stopped", SOON);
        assert_eq!(held["pid"], Value::Null, "{held}");
        eventually("its stop is answered", SOON, || {
            let events = world.events(Some(agent));
            events.iter().any(|event| event["kind"] == "answer").then_some(())
        });
    }
}

#[test]
fn a_spool_is_told_from_where_it_stood() {
    let world = World::new("");
    put(&world, "spool", "a1");
    let _sidecar = world.sidecar("a1", &["sleep", "600"]);
    let exits = eventually("what was not acked arrives", SOON, || {
        let events = world.events(Some("a1"));
        let exits: Vec<Value> =
            events.into_iter().filter(|event| event["kind"] == "exited").collect();
        (exits.len() >= 3).then_some(exits)
    });
    let how = |exit: &Value| exit["detail"]["exited"]["exit"]["how"].clone();
    assert_eq!(how(&exits[0])["code"], 7, "{exits:?}");
    assert_eq!(how(&exits[1])["signal"], 6, "{exits:?}");
}

#[test]
fn what_was_held_down_stays_down_and_what_was_begun_is_finished() {
    let world = World::new("");
    let cases = [
        ("stopped", "a5", "stopped"),
        ("quarantined", "a6", "quarantined"),
        ("terminated", "a7", "terminated"),
        ("preparing", "a8", "stopped"),
        ("stopping", "a9", "stopped"),
    ];
    let goes_on = [("restarting", "a4"), ("intended", "a12"), ("running", "a3")];
    let all = cases.map(|(name, agent, _)| (name, agent)).into_iter().chain(goes_on);
    let sidecars: Vec<Daemon> = all
        .map(|(name, agent)| {
            put(&world, &format!("state/{name}"), agent);
            world.sidecar(agent, &["sleep", "600"])
        })
        .collect();
    for (_, agent, lifecycle) in cases {
        world.until(agent, "lifecycle", lifecycle, SOON);
    }
    for (_, agent) in goes_on {
        eventually("another life", SOON, || world.agent(agent)["pid"].as_u64());
    }
    drop(sidecars);
}

#[test]
fn a_memory_in_each_lifecycle_is_read() {
    let mut read = 0;
    for entry in fs::read_dir(old("state")).expect("fixtures") {
        let directory = entry.expect("a fixture").path();
        let name = directory.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        let copy = tempfile::tempdir().expect("a directory");
        let file = copy.path().join("state.json");
        fs::copy(directory.join("state.json"), &file).expect("a copy");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("ours");
        let found = Memory::load(copy.path()).expect("it can be read");
        let Found::Whole(memory) = found else { panic!("{name}: {found:?}") };
        let begun = memory.intent.as_ref().map(|intent| (intent.begun, intent.signalled));
        let expected = match name.as_str() {
            "preparing" => Some((true, false)),
            "stopping" | "restarting-by-engine" => Some((true, true)),
            "intended" => Some((false, false)),
            _ => None,
        };
        assert_eq!(begun, expected, "{name}");
        let held = memory.hold.as_ref().map(|hold| hold.lifecycle.as_str());
        let down = ["stopped", "quarantined", "terminated"];
        assert_eq!(held, down.into_iter().find(|word| *word == name), "{name}");
        assert_eq!(memory.policy.is_some(), name != "unborn", "{name}");
        assert_eq!(memory.starting, name == "starting", "{name}");
        assert_eq!(memory.orphans.len(), usize::from(name == "running"), "{name}");
        read += 1;
    }
    assert_eq!(read, 12);
}

#[test]
fn a_recording_replays_as_it_did() {
    for (name, files) in [
        ("hang", &["hang.ndjson"][..]),
        ("crashes", &["crashes.ndjson"]),
        ("again", &["again.ndjson.1", "again.ndjson"]),
    ] {
        let replayed = Command::new(binary("lubdub"))
            .args(["replay", "-o", "json"])
            .args(files)
            .current_dir(old("traces"))
            .output()
            .expect("lubdub runs");
        assert!(replayed.status.success(), "{name}: {replayed:?}");
        let mut replayed: Value = serde_json::from_slice(&replayed.stdout).expect("JSON");
        for change in replayed["changes"].as_array_mut().expect("a list") {
            // A change of status had its cause in words alone.
            if change["kind"] == "status" {
                let change = change.as_object_mut().expect("an object");
                let cause = change.remove("cause").expect("null where there is none");
                let why = change["why"].as_str().expect("words");
                assert_eq!(cause.as_str(), why.split_once(": ").map(|(cause, _)| cause), "{why}");
            }
        }
        assert_eq!(replayed, json(&format!("traces/{name}.replay.json")), "{name}");
    }
}
