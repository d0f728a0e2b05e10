//! A hundred thousand hostile datagrams are dropped and counted, and cost other beats nothing.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Daemon, World, binary, eventually, never_within};
use serde_json::Value;

const HOSTILE: u64 = 100_000;
const SOON: Duration = Duration::from_secs(60);

/// A member that says what is none: so many datagrams, one in a hundred a long one (more would only
/// measure copying).
const FLOOD: &str = r#"
import os, socket, sys
door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
door.connect(os.environ["NOTIFY_SOCKET"])
shapes = [b"WATCHDOG_USEC=abc", b"\0\0\0", b'{"phase":"dancing"}', b'{"energy":1e999}',
          b"\xff\xfe\xfd", b"", b'{"v":2}', b"A" * 60000]
for number in range(int(sys.argv[1])):
    shape = shapes[number % 1000 % len(shapes)]
    if len(shape) > 1000 and number % 100 != 7:
        shape = shapes[0]
    door.send(shape)
"#;

fn dropped(world: &World, id: &str) -> u64 {
    let text = String::from_utf8_lossy(&world.lubdub(&["explain", id]).stdout).into_owned();
    let line = text.lines().find(|line| line.contains("datagrams dropped")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|count| count.parse().ok()).unwrap_or(0)
}

#[test]
fn hostile_datagrams_are_dropped_counted_and_cost_other_beats_nothing() {
    let world = World::new("");
    let sidecar = world.toy("d", &["beat:200ms:10m"]);
    world.until("d", "lifecycle", "running", Duration::from_secs(15));
    let pid = world.agent("d")["pid"].clone();

    let start = Instant::now();
    let mut voice = world.as_member("d", "python3");
    let said = voice.arg("-c").arg(FLOOD).arg(HOSTILE.to_string()).status().expect("python3");
    assert!(said.success());
    eprintln!("{HOSTILE} hostile datagrams in {:?}", start.elapsed());
    let counted = eventually("all are counted", SOON, || {
        Some(dropped(&world, "d")).filter(|count| *count >= HOSTILE)
    });
    assert_eq!(counted, HOSTILE);

    never_within("accused", Duration::from_secs(4), || {
        let agent = world.agent("d");
        (agent["status"] != "ok" || agent["pid"] != pid).then_some(agent)
    });
    let told = sidecar.log().matches("dropped datagrams").count();
    assert!((1..=3).contains(&told), "told at most once a minute: {told} times");
}

/// Garbage until nobody listens.
const GARBAGE: &str = r#"
import os, socket
door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
door.connect(os.environ["NOTIFY_SOCKET"])
while True:
    door.send(b"garbage")
"#;

/// What is not a beat of the agent arms nothing and renews nothing.
#[test]
fn a_flood_hides_no_hang() {
    let world = World::new("");
    let _sidecar = world.toy("f", &["1/beat:200ms:2s", "1/hang", "beat:200ms:10m"]);
    // Where the queue is full an agent that must not block loses its beat: those that arm it come
    // before the flood.
    let beats = world.state("f").join("heartbeat.json");
    eventually("three beats, on purpose", SOON, || {
        let beat = serde_json::from_slice::<Value>(&std::fs::read(&beats).ok()?).ok()?;
        (beat["seq"].as_u64()? >= 3).then_some(())
    });
    let mut voice = world.as_member("f", "python3");
    voice.arg("-c").arg(GARBAGE);
    let _flood = Daemon::start(world.path(), "flood", &mut voice);
    eventually("found under the flood", Duration::from_secs(30), || {
        (world.agent("f")["incarnation"] == 2).then_some(())
    });
    assert!(dropped(&world, "f") > 10_000, "no flood");
}

/// A process outside the tree is not heard, whoever's it is, and is counted.
#[test]
fn a_stranger_is_not_heard() {
    let world = World::under("heartbeat_deadline = \"20s\"\n");
    let _sidecar = world.toy("d", &["beat:200ms:10m"]);
    let agent = world.until("d", "lifecycle", "running", SOON);
    let voice = UnixDatagram::unbound().expect("a socket");
    for word in ["WATCHDOG=trigger", "STOPPING=1", "X_LUBDUB_PHASE=llm", "MAINPID=1"] {
        voice.send_to(word.as_bytes(), world.socket("d")).expect("the door takes it");
    }
    eventually("they are counted", SOON, || (dropped(&world, "d") >= 4).then_some(()));
    let refused = Command::new("curl")
        .args(["-sS", "-w", "%{http_code}", "-d", "{}", "--unix-socket"])
        .arg(world.state("d").join("http.sock"))
        .arg("http://agent/v1/beat")
        .output()
        .expect("curl runs");
    let answer = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(answer.ends_with("403") && answer.contains("is no member"), "{answer}");
    let after = world.agent("d");
    assert_eq!((&after["status"], &after["phase"]), (&"ok".into(), &agent["phase"]), "{after:#}");
    // What the agent's own tree says is heard, by the shell's helper too.
    let beat = world
        .as_member("d", binary("lubdub-sidecar"))
        .args(["beat", "--json", r#"{"phase":"llm","fail":{"message":"broken"}}"#])
        .status()
        .expect("it runs");
    assert!(beat.success());
    let told = world.until("d", "phase", "llm", SOON);
    eventually("its own failure", SOON, || {
        let causes = world.agent("d")["findings"].to_string();
        causes.contains("reported_failure").then_some(())
    });
    assert_eq!(told["incarnation"], 1);
}
