//! Nothing of an agent survives its end, and nothing that is not the agent's is touched.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Daemon, World, binary, eventually};
use rustix::process::Signal;

const SOON: Duration = Duration::from_secs(15);

/// Pids of living processes that are `sleep WORD`.
pub(crate) fn sleeping(word: &str) -> Vec<u32> {
    let pids = fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let line = format!("sleep\0{word}\0");
    let same = |pid: &u32| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|read| read == line.as_bytes())
    };
    pids.filter(same).filter(|pid| harness::stat_state(*pid) != Some('Z')).collect()
}

fn is_gone(pid: u32) -> bool {
    matches!(harness::stat_state(pid), None | Some('Z'))
}

/// A shell that ignores TERM and leaves descendants in every way, all holding its stdout. Each is
/// a `sleep` whose argument is the word.
fn stubborn(word: &str) -> String {
    format!(
        "trap '' TERM; \
         (env -i setsid sleep {word} &) ; \
         setsid sleep {word} & \
         (setsid sh -c 'sleep {word} & exit 0') & \
         nohup sleep {word} & \
         sleep {word} & \
         while :; do sleep 0.1; done"
    )
}

#[test]
fn who_ignores_term_is_gone_with_its_whole_tree_at_grace_and_a_second() {
    let world = World::new("");
    // A process of the same user and session that is none of the agent's.
    let word = format!("7001.{}", std::process::id());
    let mut sleep = Command::new("sleep");
    let mut stranger = Daemon::start(world.path(), "stranger", sleep.arg(format!("{word}9")));
    let _sidecar = world.sidecar("s", &["sh", "-c", &stubborn(&word)]);
    eventually("five descendants", SOON, || (sleeping(&word).len() == 5).then_some(()));
    let agent = world.until("s", "lifecycle", "running", SOON);
    let shell = u32::try_from(agent["pid"].as_u64().expect("a pid")).expect("small");

    let began = Instant::now();
    let asked = world.lubdub(&["stop", "s", "--reason", "test", "--wait"]);
    let took = began.elapsed();
    assert_eq!(asked.status.code(), Some(0), "{asked:?}");
    assert_eq!(sleeping(&word), Vec::<u32>::new(), "survivors");
    assert!(is_gone(shell));
    assert!(took >= Duration::from_secs(2), "it had its grace: {took:?}");
    assert!(took <= Duration::from_secs(3), "grace and a second: {took:?}");
    assert!(stranger.is_running(), "the stranger lives");
    let stopped = world.agent("s");
    assert_eq!((&stopped["lifecycle"], &stopped["status"]), (&"stopped".into(), &"ok".into()));
}

#[test]
fn a_sidecar_that_is_told_to_end_takes_the_tree_along() {
    let world = World::new("");
    let word = format!("7002.{}", std::process::id());
    let script = format!("setsid sleep {word} & sleep {word}");
    let mut sidecar = world.sidecar("e", &["sh", "-c", &script]);
    eventually("both", SOON, || (sleeping(&word).len() == 2).then_some(()));
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.wait(SOON).code(), Some(128 + 15), "the agent's end is passed on");
    assert_eq!(sleeping(&word), Vec::<u32>::new(), "survivors");
}

/// In `up` the process has children of its own: those that it had when it began.
#[test]
fn the_other_children_of_up_survive_a_stop_of_its_agent() {
    let world = World::new("");
    let word = format!("7003.{}", std::process::id());
    let (other, own) = (format!("{word}1"), format!("{word}2"));
    let script = format!(
        "sleep {other} & exec {} up --listen 127.0.0.1:0 --http 127.0.0.1:0 --data-dir {d}/d2 \
         --state-dir {d}/s2 --id u -- sh -c 'setsid sleep {own} & sleep {own}'",
        binary("lubdub").display(),
        d = world.path().display(),
    );
    let mut up = Daemon::start(world.path(), "up", Command::new("sh").args(["-c", &script]));
    eventually("the agent", SOON, || (sleeping(&own).len() == 2).then_some(()));
    let before = sleeping(&other);
    assert_eq!(before.len(), 1, "a child of the process that is up");
    assert_eq!(parent_of(before[0]), Some(up.pid()));
    up.signal(Signal::INT);
    let status = up.wait(SOON);
    let survived = sleeping(&other);
    for pid in &before {
        let pid = rustix::process::Pid::from_raw(i32::try_from(*pid).expect("a pid"));
        rustix::process::kill_process(pid.expect("not 0"), Signal::KILL).expect("ours");
    }
    assert_eq!(status.code(), Some(128 + 2), "{status:?}");
    assert_eq!(sleeping(&own), Vec::<u32>::new(), "survivors of the agent");
    assert_eq!(survived, before, "the other child lives");
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Children of a process: their pids and state letters.
pub(crate) fn children_of(parent: u32) -> Vec<(u32, char)> {
    let pids = fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent))
        .filter_map(|pid| Some((pid, harness::stat_state(pid)?)))
        .collect()
}

#[test]
fn orphans_are_adopted_and_reaped() {
    let world = World::new("");
    let script = "for n in 1 2 3 4 5 6 7 8 9 10; do (sleep 1 &); done; exec sleep 1000";
    let sidecar = world.sidecar("o", &["sh", "-c", script]);
    eventually("ten orphans of the sidecar's and the agent", SOON, || {
        (children_of(sidecar.pid()).len() == 11).then_some(())
    });
    eventually("the agent alone, and no zombie", SOON, || {
        let children = children_of(sidecar.pid());
        (children.len() == 1 && children[0].1 != 'Z').then_some(())
    });
    assert_eq!(world.agent("o")["incarnation"], 1);
}
