//! Copies that are put back, files that are emptied, bits that flip: what was acked is there, is
//! asked for again, or is named.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::{Daemon, World, eventually};
use rustix::process::Signal;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);
/// Agents that end again and again.
const RESTLESS: &str = "on = \"always\"\nattempts = 1000\nper_day_max = 1000\n";

fn notes(world: &World, agent: Option<&str>) -> Vec<String> {
    let events = world.events(agent);
    let notes = events.iter().filter(|event| event["kind"] == "note");
    notes.map(|note| note["detail"].to_string()).collect()
}

#[track_caller]
fn told(world: &World, agent: Option<&str>, text: &str) {
    eventually(text, SOON, || notes(world, agent).iter().any(|n| n.contains(text)).then_some(()));
}

fn lives_of(world: &World, agent: &str, kind: &str) -> Vec<u64> {
    let events = world.events(Some(agent));
    let own = events.iter().filter(|event| event["kind"] == kind);
    own.filter_map(|event| event["incarnation"].as_u64()).collect()
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
    assert!(done.success());
}

fn kill_main(world: &World, id: &str) {
    let pid = world.agent(id)["pid"].as_u64().expect("it runs");
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("not 0");
    rustix::process::kill_process(pid, Signal::KILL).expect("it is there");
}

#[test]
fn a_state_that_is_put_back_from_a_copy_tells_everything_all_the_same() {
    let world = World::new("");
    let run = |name: &str| world.toy_named("c", name, &["beat:200ms:1h"]);
    let end = |mut sidecar: Daemon| {
        sidecar.signal(Signal::TERM);
        sidecar.wait(SOON);
    };
    let first = run("first");
    world.until("c", "lifecycle", "running", SOON);
    end(first);
    let backup = world.path().join("copy");
    copy(&world.state("c"), &backup);
    for name in ["second", "third"] {
        let sidecar = run(name);
        world.until("c", "lifecycle", "running", SOON);
        end(sidecar);
    }
    let before = lives_of(&world, "c", "exited").len();
    fs::remove_dir_all(world.state("c")).expect("there");
    copy(&backup, &world.state("c"));
    let sidecar = run("fourth");
    world.until("c", "lifecycle", "running", SOON);
    told(&world, Some("c"), "its events went back");
    told(&world, Some("c"), "is numbered in a new spool");
    kill_main(&world, "c");
    eventually("its end is stored", SOON, || {
        (lives_of(&world, "c", "exited").len() > before).then_some(())
    });
    eventually("and is an incident", SOON, || {
        world.incidents("c").iter().any(|i| i["cause"] == "killed_by_other").then_some(())
    });
    world.until("c", "lifecycle", "running", SOON);
    let done = world.lubdub(&["restart", "c", "--reason", "by a person", "--wait"]);
    assert!(done.status.success(), "{done:?}: {}", sidecar.log());
}

#[test]
fn a_spool_that_is_another_agents_is_made_anew() {
    let world = World::new("");
    let _owner = world.toy("owner", &["beat:200ms:1h"]);
    world.until("owner", "lifecycle", "running", SOON);
    fs::create_dir_all(world.state("twin")).expect("made");
    fs::copy(world.state("owner").join("spool.log"), world.state("twin").join("spool.log"))
        .expect("copied");
    let _twin = world.toy("twin", &["beat:200ms:1h"]);
    world.until("twin", "lifecycle", "running", SOON);
    told(&world, Some("twin"), "is a copy of owner's");
    kill_main(&world, "twin");
    eventually("its end is stored under its name", SOON, || {
        (lives_of(&world, "twin", "exited") == [1]).then_some(())
    });
    assert_eq!(lives_of(&world, "owner", "started"), [1]);
    assert!(lives_of(&world, "owner", "exited").is_empty());
}

#[test]
fn a_spool_that_is_emptied_is_told() {
    let mut world = World::new("");
    let mut sidecar = world.toy_named("s", "first", &["beat:200ms:1h"]);
    world.until("s", "lifecycle", "running", SOON);
    eventually("its start is acked", SOON, || {
        (lives_of(&world, "s", "started") == [1]).then_some(())
    });
    let pid = world.agent("s")["pid"].clone();
    world.kill_collector();
    let log = world.state("s").join("spool.log");
    let waiting = || fs::read_to_string(&log).unwrap_or_default().matches("\"exited\"").count();
    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill runs");
    assert!(killed.success());
    eventually("its end waits on disk", SOON, || (waiting() == 1).then_some(()));
    let state = world.state("s").join("state.json");
    eventually("the state knows of it", SOON, || {
        let state: Value = serde_json::from_slice(&fs::read(&state).ok()?).ok()?;
        (state["reached"]["last"].as_u64()? > 1).then_some(())
    });
    sidecar.signal(Signal::KILL);
    sidecar.wait(SOON);
    File::create(&log).expect("emptied");
    world.start_collector();
    let _second = world.toy_named("s", "second", &["beat:200ms:1h"]);
    told(&world, Some("s"), "are not in it");
}

/// The collector acked what is in its log; the log is damaged while it is down.
#[test]
fn events_of_a_damaged_log_come_again_from_their_sidecars() {
    let mut world = World::with_restart(RESTLESS);
    let noted = world.path().join("lives");
    let script = format!("echo $LUBDUB_INCARNATION >> {}; sleep 0.3; exit 3", noted.display());
    let sidecar = world.sidecar("r", &["sh", "-c", &script]);
    eventually("some lives", SOON, || (lives_of(&world, "r", "exited").len() >= 4).then_some(()));
    let acked = lives_of(&world, "r", "exited");
    world.kill_collector();
    let log = world.data().join("lubdub.sqlite3-wal");
    let file = File::options().read(true).write(true).open(&log).expect("a log");
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, 200).expect("read");
    file.write_all_at(&bytes.map(|byte| byte ^ 0x55), 200).expect("written");
    drop(file);
    world.start_collector();
    told(&world, None, "the store was damaged");
    told(&world, None, "missing");
    eventually("all of it is there again", SOON, || {
        let (started, exited) = (lives_of(&world, "r", "started"), lives_of(&world, "r", "exited"));
        let all = |lives: &[u64]| acked.iter().all(|life| lives.contains(life));
        (all(&started) && all(&exited)).then_some(())
    });
    let mut exited = lives_of(&world, "r", "exited");
    let told = exited.len();
    exited.sort_unstable();
    exited.dedup();
    assert_eq!(exited.len(), told, "nothing twice: {}", sidecar.log());
    let verified = world.lubdub(&["store", "verify", "--data-dir", &data(&world)]);
    assert!(verified.status.success(), "{verified:?}");
}

fn data(world: &World) -> String {
    world.data().to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_backup_is_put_back_and_what_came_since_is_told_or_comes_again() {
    let mut world = World::new("");
    let sidecar = world.toy("b", &["beat:200ms:1h"]);
    world.until("b", "lifecycle", "running", SOON);
    let (backup, data) = (world.path().join("backup"), data(&world));
    let backup = backup.to_str().expect("UTF-8");
    let made = world.lubdub(&["store", "backup", backup, "--data-dir", &data]);
    assert!(made.status.success(), "{made:?}");
    let done = world.lubdub(&["restart", "b", "--reason", "after the backup", "--wait"]);
    assert!(done.status.success(), "{done:?}");
    let refused = world.lubdub(&["store", "restore", backup, "--data-dir", &data]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(why.contains("in use by the collector"), "{why}");
    world.kill_collector();
    let restored = world.lubdub(&["store", "restore", backup, "--data-dir", &data]);
    assert!(restored.status.success(), "{restored:?}");
    world.start_collector();
    told(&world, None, "was restored from");
    eventually("what the sidecar has is there again", SOON, || {
        let (started, exited) = (lives_of(&world, "b", "started"), lives_of(&world, "b", "exited"));
        (started == [1, 2] && exited == [1]).then_some(())
    });
    let done = world.lubdub(&["restart", "b", "--reason", "believed", "--wait"]);
    assert!(done.status.success(), "{done:?}: {}", sidecar.log());
    let verified = world.json(&["store", "verify", "--data-dir", &data]);
    assert_eq!(
        (&verified["sound"], &verified["missing"][0]["known"]),
        (&true.into(), &true.into())
    );
}

#[test]
fn files_that_do_not_belong_together_and_a_second_collector_are_refused() {
    let mut world = World::new("");
    let database = world.data().join("lubdub.sqlite3");
    let old = world.path().join("old");
    let _sidecar = world.toy("m", &["beat:200ms:1h"]);
    world.until("m", "lifecycle", "running", SOON);
    fs::remove_file(world.data().join("lock")).expect("there");
    let mut second = world.try_collector();
    assert_eq!(second.wait(SOON).code(), Some(1));
    assert!(second.log().contains("in use"), "{}", second.log());
    copy(&database, &old);
    world.restart_collector();
    world.until("m", "link", "connected", SOON);
    world.kill_collector();
    fs::rename(&old, &database).expect("put back");
    let mut torn = world.try_collector();
    assert_eq!(torn.wait(SOON).code(), Some(1));
    assert!(torn.log().contains("is an older copy than"), "{}", torn.log());
    assert!(torn.log().contains("lubdub store restore"), "what to do: {}", torn.log());
}
