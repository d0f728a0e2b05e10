//! What is kept of an agent in trouble, before it is ended and after it has.

use std::time::Duration;

use harness::{World, binary, eventually};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(15);

/// The newest incident of an agent, once it has evidence.
fn shown(world: &World, agent: &str, cause: &str) -> Value {
    eventually("the agent", SOON, || (world.agent(agent) != Value::Null).then_some(()));
    let incident = eventually("an incident", SOON, || {
        world.incidents(agent).into_iter().find(|incident| incident["cause"] == cause)
    });
    let id = incident["id"].as_str().expect("an id").to_owned();
    eventually("its evidence", SOON, || {
        let shown = world.json(&["incident", "show", &id, "--evidence"]);
        shown["evidence"].get(0).is_some().then_some(shown)
    })
}

#[test]
fn a_hang_is_captured_before_it_is_ended_and_its_work_is_saved_first() {
    let world = World::new("");
    let notes = world.path().join("notes");
    let file = format!(
        "[hooks]\n\
         checkpoint = [\"sh\", \"-c\", \"echo saved $LUBDUB_PID >> {notes}\"]\n\
         evidence = [\"sh\", \"-c\", \"echo stacks of $LUBDUB_PID\"]\n",
        notes = notes.display(),
    );
    // The shell notes when it is asked to end; its child hangs in the middle of a model call.
    let script = format!(
        "trap 'echo asked >> {}; exit 1' TERM; \
         {} 'say:{{\"phase\":\"working\",\"progress\":7,\"status\":\"page 7\"}}' beat:100ms:1s \
         hang & wait",
        notes.display(),
        binary("toy_agent").display()
    );
    let _sidecar = world.sidecar_with("h", &file, &["sh", "-c", &script]);
    world.until("h", "lifecycle", "running", SOON);
    let pid = world.agent("h")["pid"].to_string();
    let shown = shown(&world, "h", "silent");
    let piece = &shown["evidence"][0]["content"];
    let said = piece["said"].as_array().expect("messages");
    assert!(said.iter().any(|said| said["text"] == "page 7"), "{said:?}");
    assert!(said.iter().filter(|said| said["beat"] == true).count() > 3, "the last beats");
    assert!(piece["vitals"].as_array().is_some_and(|vitals| !vitals.is_empty()), "{piece:#}");
    let processes = piece["system"]["processes"].as_array().expect("processes");
    let comms: Vec<_> = processes.iter().filter_map(|one| one["comm"].as_str()).collect();
    assert_eq!(comms, ["sh", "toy_agent"], "the whole tree, while it lived");
    let status = processes[1]["files"]["status"].as_str().expect("/proc/PID/status");
    assert!(status.contains("State:\tS"), "{status}");
    let fds = processes[1]["fds"].as_object().expect("descriptors");
    assert!(fds.values().any(|fd| fd.as_str().is_some_and(|fd| fd.starts_with("socket:"))));
    assert_eq!(piece["hook"]["Ok"], format!("stacks of {pid}\n"));
    let text = world.lubdub(&["incident", "show", shown["incident"]["id"].as_str().expect("id")]);
    assert!(String::from_utf8_lossy(&text.stdout).contains(".json.gz"), "{text:?}");
    let order = eventually("a saved agent", SOON, || {
        let notes = world.read("notes");
        notes.contains("asked").then_some(notes)
    });
    assert_eq!(order, format!("saved {pid}\nasked\n"), "first the checkpoint, then the signal");
    eventually("its next life", SOON, || (world.agent("h")["incarnation"] == 2).then_some(()));
}

#[test]
fn a_crash_is_captured_after_it_and_goes_to_the_collector_where_the_policy_says_so() {
    let world = World::under("send_evidence = true\n");
    let _sidecar = world.toy("c", &["1/work:100ms:1s", "1/exit:3", "hang"]);
    let before = shown(&world, "c", "crashed");
    let piece = &before["evidence"][0];
    assert!(piece["reason"].as_str().is_some_and(|why| why.contains("exit code 3")), "{piece:#}");
    // What was sent is there though the agent's host lost it.
    let path = piece["path"].as_str().expect("a path");
    std::fs::remove_file(path).expect("it was kept there too");
    let after = shown(&world, "c", "crashed");
    assert_eq!(after["evidence"][0]["content"], piece["content"], "from the collector");
    let listed = world.lubdub(&["events", "--after", "0", "c", "-o", "json"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.lines().all(|line| line.len() < 2000), "listings carry no bundles");
}

#[test]
fn anybody_may_ask_for_evidence_of_an_agent_that_works() {
    let world = World::new("");
    let _sidecar = world.toy("w", &["beat:100ms:1h"]);
    let agent = world.until("w", "lifecycle", "running", SOON);
    let asked = world.lubdub(&["capture", "w", "--reason", "look", "--wait"]);
    let said = String::from_utf8_lossy(&asked.stdout).into_owned();
    assert!(asked.status.success() && said.contains("evidence w-1-"), "{asked:?}");
    let kept = std::fs::read_dir(world.state("w").join("evidence")).expect("a shelf").count();
    assert_eq!(kept, 1);
    assert_eq!(world.agent("w")["pid"], agent["pid"], "nothing was stopped");
}
