//! Ends: announced, asked for twice, asked for while stopped, left to a successor, in the middle of
//! something.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use harness::{Daemon, World, binary, eventually, stat_state};
use rustix::process::Signal;
use serde_json::Value;

use crate::tree::children_of;

const SOON: Duration = Duration::from_secs(15);

/// A shell that takes TERM, works for a while on what it has to save, and says so.
fn saving(world: &World, seconds: &str) -> String {
    let saved = world.path().join("saved");
    format!(
        "trap 'sleep {seconds}; echo saved > {}; exit 0' TERM; echo up; \
         while :; do sleep 0.1; done",
        saved.display()
    )
}

fn up(world: &World, id: &str) {
    eventually("a trap", SOON, || world.read(&format!("{id}.out")).contains("up").then_some(()));
}

#[test]
fn a_second_term_is_the_same_wish_and_grace_holds() {
    let world = World::with_restart("term_grace = \"20s\"\n");
    let mut sidecar = world.sidecar("t", &["sh", "-c", &saving(&world, "1")]);
    world.until("t", "lifecycle", "running", SOON);
    up(&world, "t");
    sidecar.signal(Signal::TERM);
    eventually("it is stopping", SOON, || {
        (world.agent("t")["lifecycle"] == "stopping").then_some(())
    });
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.wait(SOON).code(), Some(0));
    assert_eq!(world.read("saved"), "saved\n");
    // Ctrl-C twice is a person who does not wait.
    let mut sidecar = world.sidecar("i", &["sh", "-c", "trap '' INT TERM; echo up; sleep 1000"]);
    world.until("i", "lifecycle", "running", SOON);
    up(&world, "i");
    let began = Instant::now();
    sidecar.signal(Signal::INT);
    eventually("it is stopping", SOON, || {
        (world.agent("i")["lifecycle"] == "stopping").then_some(())
    });
    sidecar.signal(Signal::INT);
    sidecar.wait(SOON);
    assert!(began.elapsed() < Duration::from_secs(15), "the grace is 20 s");
}

#[test]
fn who_is_stopped_goes_on_to_hear_that_it_is_to_end() {
    let world = World::with_restart("term_grace = \"20s\"\n");
    let mut sidecar = world.sidecar("s", &["sh", "-c", &saving(&world, "0")]);
    let agent = world.until("s", "lifecycle", "running", SOON);
    up(&world, "s");
    let pid = u32::try_from(agent["pid"].as_u64().expect("a pid")).expect("small");
    let id = rustix::process::Pid::from_raw(i32::try_from(pid).expect("small")).expect("not 0");
    rustix::process::kill_process(id, Signal::STOP).expect("ours");
    eventually("a stopped agent", SOON, || (stat_state(pid)? == 'T').then_some(()));
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.wait(SOON).code(), Some(0));
    assert_eq!(world.read("saved"), "saved\n");
}

/// Its contract is one missed beat; its flushing takes three times that.
#[test]
fn an_announced_stop_has_its_own_bound() {
    let world = World::with_restart("stopping_max = \"6s\"\n");
    let flushing =
        ["say:READY=1\nWATCHDOG_USEC=1000000", "beat:200ms:1s", "say:WATCHDOG=1\nSTOPPING=1"];
    let ends = [&flushing[..], &["sleep:3s", "exit:0"]].concat();
    let mut good = world.toy("g", &ends);
    let mut lives = vec!["2/beat:200ms:1h"];
    lives.extend(flushing);
    lives.push("hang");
    let _bad = world.toy("b", &lives);
    assert_eq!(good.wait(SOON).code(), Some(0), "left to end by itself");
    let events = world.events(Some("g"));
    let exit = events.iter().rfind(|event| event["kind"] == "exited").expect("an end");
    assert_eq!(exit["detail"]["exited"]["exit"]["how"]["code"], 0, "{exit:#}");
    assert_eq!(world.incidents("g"), Vec::<Value>::new());
    eventually("its second life", SOON, || (world.agent("b")["incarnation"] == 2).then_some(()));
    let events = world.events(Some("b"));
    let told = events.iter().any(|event| event["detail"].to_string().contains("said STOPPING"));
    assert!(told, "{events:#?}");
    let acts = world.incidents("b").iter().any(|incident| incident["cause"] == "silent");
    assert!(!acts, "it was silent on purpose");
}

#[test]
fn a_successor_is_named_and_a_launcher_that_leaves_nobody_has_failed() {
    let world = World::new("");
    let script = "setsid sleep 7311 & sleep 0.3; exit 0";
    let mut sidecar = world.sidecar("s", &["sh", "-c", script]);
    assert_eq!(sidecar.wait(SOON).code(), Some(0));
    let events = world.events(Some("s"));
    let exit = events.iter().find(|event| event["kind"] == "exited").expect("an end");
    let left = &exit["detail"]["exited"]["left"];
    assert_eq!(left[0]["comm"], "sleep", "{exit:#}");
    let _forking = world.sidecar_with("f", "type = \"forking\"\n", &["true"]);
    let failed = eventually("a failed start", SOON, || {
        let events = world.events(Some("f"));
        events.into_iter().find(|event| event["kind"] == "exited")
    });
    assert_eq!(failed["detail"]["exited"]["clean"], false, "{failed:#}");
}

/// Forty people at once: one restart, and each has an answer.
#[test]
fn the_same_wish_joins_the_one_under_way() {
    let world = World::new("");
    let _sidecar = world.toy("a", &["beat:200ms:1h"]);
    world.until("a", "lifecycle", "running", SOON);
    let mut asked = Vec::new();
    for _ in 0..40 {
        let mut command = Command::new(binary("lubdub"));
        command.args(["restart", "a", "--reason", "all at once", "--wait"]);
        command.env("LUBDUB_COLLECTOR", format!("http://{}", world.grpc()));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        asked.push(command.spawn().expect("lubdub runs"));
    }
    let mut done = 0;
    for one in asked {
        let output = one.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => done += 1,
            Some(1) => assert!(said.contains("refused"), "{said}"),
            other => panic!("{other:?}: {said}"),
        }
        assert!(!said.contains("expired"), "{said}");
    }
    // Whoever came when that life was over is told so: how many, is the machine's doing.
    let starts = world.events(Some("a")).iter().filter(|e| e["kind"] == "started").count();
    assert!((2..=4).contains(&starts), "{starts} lives for {done} answers");
    assert!(done > starts, "{done} answers for {starts} lives: nobody joined");
}

/// Nameservers that do not answer, as far as a resolver can tell: it waits for minutes.
#[test]
fn a_name_that_is_not_found_holds_up_no_end() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: only root may set another resolv.conf here");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let resolver = directory.path().join("resolv.conf");
    std::fs::write(&resolver, "nameserver 127.0.0.77\noptions timeout:30 attempts:5\n")
        .expect("written");
    let script = format!(
        "mount --bind {} /etc/resolv.conf && exec {} run --id e --state-dir {} \
         --collector http://nowhere.example:7411 -- sleep 2",
        resolver.display(),
        binary("lubdub-sidecar").display(),
        directory.path().join("s").display()
    );
    // Bound and never read: a question there is neither answered nor refused.
    let _silent = std::net::UdpSocket::bind("127.0.0.77:53").expect("root may");
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script]);
    let mut sidecar = Daemon::start(directory.path(), "e", &mut command);
    // Before it there is the child that mounts.
    let is_agent = |pid: u32| {
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm"));
        comm.is_ok_and(|comm| comm.trim() == "sleep")
    };
    let agent = eventually("its agent", SOON, || {
        children_of(sidecar.pid()).iter().map(|(pid, _)| *pid).find(|pid| is_agent(*pid))
    });
    eventually("its end", SOON, || (stat_state(agent) != Some('S')).then_some(()));
    let began = Instant::now();
    assert_eq!(sidecar.wait(SOON).code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}
