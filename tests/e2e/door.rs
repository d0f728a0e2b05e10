//! A hundred thousand hostile datagrams are dropped and counted, and cost other beats nothing.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use harness::{World, eventually, never_within};

const HOSTILE: u64 = 100_000;
const SOON: Duration = Duration::from_secs(60);

fn dropped(world: &World) -> u64 {
    let text = String::from_utf8_lossy(&world.lubdub(&["explain", "d"]).stdout).into_owned();
    let line = text.lines().find(|line| line.contains("datagrams dropped")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|count| count.parse().ok()).unwrap_or(0)
}

#[test]
fn hostile_datagrams_are_dropped_counted_and_cost_other_beats_nothing() {
    let world = World::new("");
    let sidecar = world.toy("d", &["beat:200ms:10m"]);
    world.until("d", "lifecycle", "running", Duration::from_secs(15));
    let pid = world.agent("d")["pid"].clone();

    let voice = UnixDatagram::unbound().expect("a socket");
    let door = world.socket("d");
    let long = vec![b'A'; 60_000];
    let shapes: [&[u8]; 8] = [
        b"WATCHDOG_USEC=abc",
        b"\0\0\0",
        b"{\"phase\":\"dancing\"}",
        b"{\"energy\":1e999}",
        b"\xff\xfe\xfd",
        b"",
        b"{\"v\":2}",
        &long,
    ];
    let start = Instant::now();
    for number in 0..HOSTILE {
        let shape = shapes[usize::try_from(number % 1000).expect("small") % shapes.len()];
        // One in a hundred long ones: the others would only measure copying.
        let shape = if shape.len() > 1000 && number % 100 != 7 { shapes[0] } else { shape };
        voice.send_to(shape, &door).expect("the door takes them");
    }
    eprintln!("{HOSTILE} hostile datagrams in {:?}", start.elapsed());
    let counted = eventually("all are counted", SOON, || {
        Some(dropped(&world)).filter(|count| *count >= HOSTILE)
    });
    assert_eq!(counted, HOSTILE);

    never_within("accused", Duration::from_secs(4), || {
        let agent = world.agent("d");
        (agent["status"] != "ok" || agent["pid"] != pid).then_some(agent)
    });
    let told = sidecar.log().matches("dropped datagrams").count();
    assert!((1..=3).contains(&told), "told at most once a minute: {told} times");
}

/// What is not a beat of the agent arms nothing and renews nothing.
#[test]
fn a_flood_hides_no_hang() {
    let world = World::new("");
    let _sidecar = world.toy("f", &["1/beat:200ms:1s", "1/hang", "beat:200ms:10m"]);
    world.until("f", "lifecycle", "running", Duration::from_secs(15));
    let voice = UnixDatagram::unbound().expect("a socket");
    let door = world.socket("f");
    eventually("found under the flood", Duration::from_secs(30), || {
        for _ in 0..100 {
            drop(voice.send_to(b"garbage", &door));
        }
        (world.agent("f")["incarnation"] == 2).then_some(())
    });
}
