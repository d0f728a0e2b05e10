//! What comes from elsewhere: other clocks, other stores, times that are none, words that mislead.

use std::time::Duration;

use harness::{RawStream, World, eventually, sample};
use lubdub_shared::id::{Life, SpoolId};
use lubdub_shared::pb;
use lubdub_shared::session::{Event, FromSidecar, Happening, Hello};
use lubdub_shared::time::{Wall, now};
use prost::Message as _;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);

/// A sidecar of the test's own.
struct Far {
    stream: RawStream,
    life: Life,
    spool: SpoolId,
}

fn attach(world: &World, id: &str, at: Option<Wall>) -> Far {
    let (hello, life) = sample::hello(0, &mut fastrand::Rng::new());
    let spool = hello.spool;
    let hello = Hello { agent: id.parse().expect("an id"), at, ..hello };
    let stream = RawStream::attach(world.grpc());
    let far = Far { stream, life, spool };
    far.say(FromSidecar::Hello(Box::new(hello)));
    far.stream.hear("Welcome", |down: pb::ToSidecar| match down.message {
        Some(pb::to_sidecar::Message::Welcome(_)) => Some(()),
        _ => None,
    });
    far
}

impl Far {
    fn say(&self, message: FromSidecar) {
        self.stream.say(pb::FromSidecar::from(message).encode_to_vec());
    }

    fn tell(&self, events: Vec<pb::Event>) {
        let spool = self.spool.as_bytes().to_vec();
        let last = events.last().expect("some").number;
        let batch = pb::EventBatch { spool, events };
        let message = pb::FromSidecar { message: Some(pb::from_sidecar::Message::Events(batch)) };
        self.stream.say(message.encode_to_vec());
        self.stream.hear("an ack", |down: pb::ToSidecar| match down.message {
            Some(pb::to_sidecar::Message::Ack(ack)) if ack.number == last => Some(()),
            _ => None,
        });
    }
}

fn started(life: Life, number: u64, at: Wall) -> pb::Event {
    let process = lubdub_shared::id::ProcessId { pid: std::num::NonZeroU32::MIN, start_time: 1 };
    let what = Happening::Started { process, used: 0 };
    Event { number, at, life: Some(life), what }.into()
}

#[test]
fn ages_are_told_by_one_clock_and_the_offset_is_shown() {
    let world = World::new("");
    let ten = Duration::from_secs(600);
    let there = now().wall.after(ten);
    let far = attach(&world, "ahead", Some(there));
    far.tell(vec![started(far.life, 1, there)]);
    let agent = world.agent("ahead");
    let ahead = agent["clock_ahead_ms"].as_i64().expect("a number");
    assert!((ahead - 600_000).abs() < 2_000, "{ahead}");
    let began = Wall::parse(agent["started"].as_str().expect("a time")).expect("RFC 3339");
    assert!(began.until(now().wall) < SOON && began <= now().wall, "by our clock: {agent:#}");
    let shown = String::from_utf8_lossy(&world.lubdub(&["show", "ahead"]).stdout).into_owned();
    assert!(shown.contains("its host's is 10.0 min ahead of the collector's"), "{shown}");
    let explained =
        String::from_utf8_lossy(&world.lubdub(&["explain", "ahead"]).stdout).into_owned();
    assert!(explained.contains("10.0 min ahead of"), "{explained}");
}

#[test]
fn a_time_that_is_none_is_acked_and_hurts_nobody() {
    let mut world = World::new("");
    let far = attach(&world, "odd", None);
    let mut first = started(far.life, 1, Wall(0));
    for (seconds, nanos) in [(-62_135_596_800, 0), (i64::MIN, -1), (i64::MAX, i32::MAX)] {
        first.number += 1;
        first.at = Some(prost_types::Timestamp { seconds, nanos });
        far.tell(vec![first.clone()]);
    }
    world.restart_collector();
    let events = world.events(Some("odd"));
    assert_eq!(events.iter().filter(|event| event["kind"] == "started").count(), 3, "{events:#?}");
    world.until("odd", "lifecycle", "running", SOON);
}

#[test]
fn words_that_mislead_are_shown_as_such_everywhere() {
    let world = World::new("");
    let hostile = "\x1b[2J\u{202e}\u{200b}x\r\n2026-01-01T00:00:00Z ERROR forged";
    let far = attach(&world, "words", None);
    let exited = pb::Exited {
        exit: Some(pb::Exit {
            how: Some(pb::exit::How::Unknown(hostile.repeat(1000))),
            ..Default::default()
        }),
        next: pb::Lifecycle::Stopped.into(),
        survivors: vec![pb::Survivor { pid: 1, comm: hostile.repeat(3), start_time: 1 }; 900],
        ..Default::default()
    };
    let mut event = started(far.life, 1, now().wall);
    event.what = Some(pb::event::What::Exited(exited));
    far.tell(vec![event]);
    let stored = world.events(Some("words"));
    let detail = stored.iter().find(|event| event["kind"] == "exited").expect("it is stored");
    assert!(detail.to_string().len() < 100_000, "{} bytes", detail.to_string().len());
    for verb in [
        &["events"][..],
        &["status"],
        &["show", "words"],
        &["explain", "words"],
        &["incidents", "--all"],
    ] {
        let output = world.lubdub(verb);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let line =
            |line: &str| !lubdub_shared::text::is_clean(line) || line.starts_with("2026-01-01");
        assert!(!said.lines().any(line), "{verb:?}: {said:?}");
    }
    let log = world.collector.log();
    assert!(!log.lines().any(|line| line.starts_with("2026-01-01")), "no line was forged");
}

#[test]
fn a_cursor_of_another_store_is_told() {
    let world = World::new("");
    let _far = attach(&world, "cursor", None);
    let newest = eventually("some events", SOON, || world.events(None).pop());
    let store = newest["store"].as_str().expect("whose number it is");
    let seq = newest["seq"].as_u64().expect("a number");
    let own = format!("{store}:{seq}");
    assert!(world.lubdub(&["events", "--after", &own]).status.success());
    let other = format!("00000000-0000-4000-8000-000000000000:{seq}");
    for (after, why) in [("100000", "is not in this store"), (other.as_str(), "is of store")] {
        for follow in [&[][..], &["-f"]] {
            let args = [&["events", "--after", after], follow].concat();
            let output = world.lubdub(&args);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
            assert!(said.contains(why) && said.contains(store), "{said}");
        }
    }
    for bad in ["x", "1:2", "-1"] {
        assert_eq!(world.lubdub(&["events", "--after", bad]).status.code(), Some(64), "{bad}");
    }
    let nobody = world.lubdub(&["events", "--after", "1", "nobody"]);
    assert_eq!(nobody.status.code(), Some(4), "no such agent: {nobody:?}");
}

#[test]
fn a_restart_that_is_asked_before_the_first_life_is_for_that_life() {
    let world = World::new("");
    let _sidecar = world.toy("early", &["beat:200ms:1h"]);
    eventually("it is known", SOON, || (world.agent("early") != Value::Null).then_some(()));
    let done = world.lubdub(&["restart", "early", "--reason", "at once", "--wait"]);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(!said.contains("wrong_life"), "{said}");
}

#[test]
fn an_empty_variable_is_as_good_as_none() {
    let output = std::process::Command::new(harness::binary("lubdub"))
        .arg("status")
        .env("LUBDUB_COLLECTOR", "")
        .output()
        .expect("lubdub runs");
    // Whether a collector is at the default address is this machine's affair.
    assert_ne!(output.status.code(), Some(64), "{output:?}");
}
