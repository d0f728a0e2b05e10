//! Policies of a fleet that runs, and recordings of it.

use std::fs;
use std::time::Duration;

use harness::{World, eventually};
use rustix::process::Signal;

const SOON: Duration = Duration::from_secs(20);

/// The beat deadline in force, as `explain` has it.
fn deadline(world: &World, id: &str) -> String {
    let explained = world.json(&["explain", id]);
    explained["deadlines"]["heartbeat_deadline"].as_str().unwrap_or_default().to_owned()
}

fn until_deadline(world: &World, id: &str, value: &str) {
    eventually(value, SOON, || (deadline(world, id) == value).then_some(()));
}

#[test]
fn a_policy_is_pushed_survives_a_restart_and_sighup_returns_to_the_file() {
    let mut world = World::new("");
    let _sidecar = world.toy("p", &["beat:200ms:10m"]);
    world.until("p", "status", "ok", SOON);
    until_deadline(&world, "p", "3.0 s");
    let longer = world.path().join("longer.toml");
    fs::write(&longer, "[policy.default]\nheartbeat_deadline = \"42s\"\n").expect("a file");
    let longer = longer.to_str().expect("UTF-8");

    let dry = world.lubdub(&["policy", "push", longer, "--dry-run"]);
    assert!(String::from_utf8_lossy(&dry.stdout).starts_with("1 agents would"), "{dry:?}");
    assert_eq!(deadline(&world, "p"), "3.0 s", "a dry run changes nothing");
    let pushed = world.lubdub(&["policy", "push", longer]);
    assert_eq!(pushed.status.code(), Some(0), "{pushed:?}");
    until_deadline(&world, "p", "42.0 s");

    world.restart_collector();
    world.until("p", "link", "connected", SOON);
    until_deadline(&world, "p", "42.0 s");

    let file = world.path().join("policy.toml");
    let text = fs::read_to_string(&file).expect("the file");
    fs::write(&file, text.replace("3s", "9s")).expect("a file");
    world.collector.signal(Signal::HUP);
    until_deadline(&world, "p", "9.0 s");

    // A mistake is told with its line, and changes nothing.
    fs::write(&file, "[policy.default]\nhartbeat = 1\n").expect("a file");
    world.collector.signal(Signal::HUP);
    eventually("the mistake in the log", SOON, || {
        world.collector.log().contains("policy.toml:2: unknown key `hartbeat`").then_some(())
    });
    assert_eq!(deadline(&world, "p"), "9.0 s");
    let refused = world.lubdub(&["policy", "push", file.to_str().expect("UTF-8")]);
    assert_eq!(refused.status.code(), Some(64), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("policy.toml:2:"), "{refused:?}");
    let events = world.events(None);
    let said = events.iter().filter(|event| event.to_string().contains("another policy by"));
    assert_eq!(said.count(), 2, "who changed it is on record: {events:#?}");
}

#[test]
fn who_would_be_late_under_another_policy_is_listed_before_it_is_pushed() {
    let world = World::under("heartbeat_deadline = \"60s\"\n");
    let _late = world.toy("late", &["beat:200ms:1s", "hang"]);
    let _well = world.toy("well", &["beat:200ms:10m"]);
    let tighter = world.path().join("tighter.toml");
    let text = "[policy.default]\nheartbeat_deadline = \"2s\"\n";
    fs::write(&tighter, text).expect("a file");
    let against = format!("http://{}", world.grpc());
    let args = ["policy", "check", tighter.to_str().expect("UTF-8"), "--against", &against];
    let found = eventually("a late agent", SOON, || {
        let checked = world.json(&args);
        (checked["late"].as_array()?.len() == 1).then_some(checked)
    });
    assert_eq!(found["late"][0]["agent"], "late", "{found:#}");
    assert!(found["late"][0]["then"].as_str().expect("words").contains("silent"), "{found:#}");
    let schedule = &found["policies"][0]["restarts_at_s"];
    assert_eq!(schedule.to_string(), "[10.0,30.0,70.0]", "{found:#}");
    assert_eq!(world.agent("late")["status"], "ok", "nothing was changed");
}

#[test]
fn a_recording_is_judged_again_with_the_same_result_and_with_other_policies() {
    let mut world = World::new("");
    let _sidecar = world.toy("r", &["1/beat:250ms:2s", "1/sleep:6s", "beat:250ms:10m"]);
    let healed = eventually("a second life", SOON, || {
        let agent = world.agent("r");
        (agent["incarnation"] == 2).then_some(agent)
    });
    assert_eq!(healed["incarnation"], 2);
    world.until("r", "status", "ok", SOON);
    let incident = world.incidents("r").remove(0);
    assert_eq!(incident["cause"], "silent");
    // Ending it writes what was still in memory.
    world.collector.signal(Signal::TERM);
    world.collector.wait(SOON);
    let trace = world.path().join("trace.ndjson");
    let trace = trace.to_str().expect("UTF-8");
    let replayed = world.json(&["replay", trace]);
    let changes = replayed["changes"].as_array().expect("changes").clone();
    let acts: Vec<_> = changes.iter().filter(|change| change["kind"] == "act").collect();
    assert_eq!(acts.len(), 1, "{replayed:#}");
    assert_eq!((&acts[0]["act"], &acts[0]["cause"]), (&"restart".into(), &"silent".into()));
    let found = changes.iter().find(|change| change["to"] == "critical").expect("a Critical");
    assert_eq!(found["at"], incident["opened"], "at the same moment as live");
    assert_eq!(replayed["would_have_ended"], 1);

    let softer = world.path().join("softer.toml");
    fs::write(&softer, "[policy.default]\nheartbeat_deadline = \"60s\"\n").expect("a file");
    let softer = softer.to_str().expect("UTF-8");
    let soft = world.json(&["replay", trace, "--policy", softer]);
    assert_eq!(soft["would_have_ended"], 0, "{soft:#}");
    let compared = world.lubdub(&["replay", trace, "--compare", softer]);
    let text = String::from_utf8_lossy(&compared.stdout).into_owned();
    assert!(text.contains("would restart: silent"), "{text}");
    assert!(text.contains("would have ended 0, 0 of them healthy"), "{text}");

    // A torn line and a foreign one are named, or counted.
    let whole = fs::read_to_string(trace).expect("a trace");
    let lines = whole.lines().count();
    let broken = world.path().join("broken.ndjson");
    fs::write(&broken, format!("{whole}not a line\n{{\"m\":1")).expect("a file");
    let broken = broken.to_str().expect("UTF-8");
    let refused = world.lubdub(&["replay", broken]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains(&format!("broken.ndjson:{}: not a line", lines + 1)), "{why}");
    let nothing = world.path().join("nothing.ndjson");
    fs::write(&nothing, "").expect("a file");
    let nothing = nothing.to_str().expect("UTF-8");
    for (args, why) in [
        (vec!["replay", nothing], "nothing was judged"),
        (vec!["replay", nothing, "--lenient"], "nothing was judged"),
        (vec!["replay", softer], "not a line of a trace"),
        (vec!["replay", trace, trace], "the files are given twice"),
    ] {
        let refused = world.lubdub(&args);
        assert_eq!(refused.status.code(), Some(1), "{args:?}: {refused:?}");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains(why), "{args:?}: {said}");
    }
    let lenient = world.json(&["replay", broken, "--lenient"]);
    assert_eq!((&lenient["skipped"], &lenient["would_have_ended"]), (&2.into(), &1.into()));
}
