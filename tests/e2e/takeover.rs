//! What a new sidecar makes of what it finds: orphans, exits that nobody saw, stops half done.

use std::time::Duration;

use harness::{Daemon, World, eventually, never_within, stat_state};
use rustix::process::Signal;
use serde_json::Value;

use crate::tree::sleeping;

const SOON: Duration = Duration::from_secs(20);

fn killed(mut sidecar: Daemon) {
    sidecar.signal(Signal::KILL);
    sidecar.wait(SOON);
}

/// Without cgroups nothing but memory leads to an orphan that cleared its environment.
#[test]
fn orphans_that_were_once_seen_are_ended_by_the_next_sidecar_too() {
    let world = World::new("");
    let word = format!("7401.{}", std::process::id());
    let script = format!("(env -i setsid sleep {word} &); exec sleep {word}");
    let first = world.sidecar("o", &["sh", "-c", &script]);
    eventually("both", SOON, || (sleeping(&word).len() == 2).then_some(()));
    let remembered = || {
        let state = std::fs::read(world.state("o").join("state.json")).expect("a state");
        let state: Value = serde_json::from_slice(&state).expect("replaced as a whole");
        state["orphans"].as_array().map_or(0, Vec::len)
    };
    eventually("it is remembered", SOON, || (remembered() == 1).then_some(()));
    killed(first);
    // From here on it is no child of a sidecar of ours.
    let second = world.toy_named("o", "second", &["exit:9"]);
    eventually("it is taken over", SOON, || second.log().contains("took over").then_some(()));
    let forgotten = || (remembered() != 1).then_some(());
    never_within("forgotten by a close look", Duration::from_secs(3), forgotten);
    killed(second);
    let third = world.toy_named("o", "third", &["exit:9"]);
    eventually("it is taken over again", SOON, || third.log().contains("took over").then_some(()));
    let asked = world.lubdub(&["stop", "o", "--reason", "x", "--wait"]);
    assert!(asked.status.success(), "{asked:?}");
    assert_eq!(sleeping(&word), Vec::<u32>::new(), "survivors");
}

#[test]
fn ends_that_nobody_saw_count_like_others() {
    let world = World::with_restart("attempts = 2\nexhausted = \"quarantine\"\n");
    for round in 1..=3 {
        let sidecar = world.toy_named("u", &format!("u{round}"), &["beat:50ms:1h"]);
        let agent = eventually("a life", SOON, || {
            let agent = world.agent("u");
            let up = ["running", "verifying"].iter().any(|word| agent["lifecycle"] == *word);
            (up && agent["link"] == "connected" && agent["incarnation"] == round).then_some(agent)
        });
        killed(sidecar);
        let pid = i32::try_from(agent["pid"].as_i64().expect("a pid")).expect("small");
        let pid = rustix::process::Pid::from_raw(pid).expect("not 0");
        rustix::process::kill_process(pid, Signal::KILL).expect("ours");
        let gone = || stat_state(u32::try_from(pid.as_raw_pid()).expect("small"));
        eventually("its end", SOON, || matches!(gone(), None | Some('Z')).then_some(()));
    }
    let _last = world.toy_named("u", "last", &["beat:50ms:1h"]);
    let held = world.until("u", "lifecycle", "quarantined", SOON);
    assert_eq!(held["restarts"]["used"], 2, "{held:#}");
    assert_eq!(held["incarnation"], 3, "no fourth life: {held:#}");
}

#[test]
fn a_stop_that_a_crash_interrupted_asks_the_agent_once_and_holds_it_down() {
    let world = World::with_restart("term_grace = \"8s\"\n");
    let asked = world.path().join("asked");
    let script =
        format!("trap 'echo asked >> {}' TERM; while :; do sleep 0.1; done", asked.display());
    let first = world.sidecar("s", &["sh", "-c", &script]);
    world.until("s", "lifecycle", "running", SOON);
    let mut stop = std::process::Command::new(harness::binary("lubdub"));
    stop.args(["stop", "s", "--reason", "x", "--wait"]);
    stop.env("LUBDUB_COLLECTOR", format!("http://{}", world.grpc()));
    let mut stop = Daemon::start(world.path(), "stop", &mut stop);
    eventually("it was asked", SOON, || asked.exists().then_some(()));
    killed(first);
    let second = world.toy_named("s", "second", &["hang"]);
    eventually("it is taken over", SOON, || second.log().contains("took over").then_some(()));
    assert!(stop.wait(SOON).success(), "{}", stop.log());
    assert_eq!(world.read("asked").lines().count(), 1, "once");
    let held = world.agent("s");
    assert_eq!(
        (&held["lifecycle"], &held["status"]),
        (&"stopped".into(), &"ok".into()),
        "{held:#}"
    );
    never_within("another life", Duration::from_secs(2), || {
        (world.agent("s")["incarnation"] != 1).then_some(())
    });
}

#[test]
fn a_slow_reader_of_captured_output_gets_all_of_it() {
    let world = World::new("");
    let config = world.path().join("c.toml");
    std::fs::write(&config, "[output]\ncapture = true\n").expect("a file");
    let script = format!(
        "{} run --timeout 60s --config {} -- seq 1 300000 | (sleep 4; wc -c)",
        harness::binary("lubdub-sidecar").display(),
        config.display()
    );
    let counted = std::process::Command::new("sh").args(["-c", &script]).output().expect("sh");
    let expected: usize = (1..=300_000_u32).map(|n| n.to_string().len() + 1).sum();
    let said = String::from_utf8_lossy(&counted.stderr).into_owned();
    let count: usize = String::from_utf8_lossy(&counted.stdout).trim().parse().expect("a count");
    assert_eq!(count, expected, "whoever takes it in the end gets all: {said}");
}
