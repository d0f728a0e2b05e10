//! The seeds of the fuzz targets, as plain tests, and what they cannot show: that every text of the
//! wire goes through the door that cleans it.
#![expect(clippy::disallowed_methods, reason = "seeds are files")]

use std::sync::Arc;

use std::path::{Path, PathBuf};

use harness::{fuzz, sample};
use lubdub_shared::id::{Life, ProcessId};
use lubdub_shared::pb;
use lubdub_shared::session::{Event, FromSidecar, Happening, ToSidecar};
use lubdub_shared::text::{LEN_MAX, is_clean};
use lubdub_shared::time::Wall;
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};

fn seeds(door: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(door)
}

/// A life from Hello to its end.
fn a_life() -> Vec<u8> {
    let rng = &mut fastrand::Rng::with_seed(1);
    let (hello, life) = sample::hello(1, rng);
    let spool = hello.spool;
    let event = |number, what| Event { number, at: Wall(number as i64), life: Some(life), what };
    let process = ProcessId { pid: std::num::NonZeroU32::MIN, start_time: 1 };
    let events = vec![
        event(1, Happening::Started { process, used: 0 }),
        event(2, Happening::Note { text: "n".to_owned() }),
        event(3, exited(life)),
    ];
    let messages = [
        FromSidecar::Hello(Box::new(hello)),
        FromSidecar::Report(Arc::new(sample::report(life, 2))),
        FromSidecar::Events { spool, events },
        FromSidecar::Report(Arc::new(sample::report(life, 3))),
    ];
    let mut bytes = Vec::new();
    for message in messages {
        pb::FromSidecar::from(message).encode_length_delimited(&mut bytes).expect("memory");
    }
    bytes
}

fn exited(_: Life) -> Happening {
    use lubdub_shared::beat::{Exit, ExitHow};
    Happening::Exited {
        exit: Exit { how: ExitHow::Code(3), core: false, by_us: false, oom: false },
        clean: false,
        next: lubdub_shared::status::Lifecycle::Restarting,
        survivors: Vec::new(),
        left: Vec::new(),
    }
}

#[test]
fn seeds_of_every_door_are_taken() {
    let made = seeds("stream").join("life");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&made, a_life()).expect("written");
    }
    assert_eq!(std::fs::read(&made).ok(), Some(a_life()), "UPDATE=1 writes it anew");
    for (door, feed) in fuzz::DOORS {
        let mut fed = 0;
        for entry in std::fs::read_dir(seeds(door)).expect("seeds") {
            let seed = std::fs::read(entry.expect("an entry").path()).expect("a seed");
            feed(&seed);
            // And cut, and with bits flipped: what fuzzing begins with.
            let rng = &mut fastrand::Rng::with_seed(7);
            for _ in 0..40 {
                let mut other = seed.clone();
                let at = rng.usize(..other.len().max(1));
                match other.get_mut(at) {
                    Some(byte) if rng.bool() => *byte ^= 1 << rng.u8(..8),
                    Some(_) | None => other.truncate(at),
                }
                feed(&other);
            }
            fed += 1;
        }
        assert!(fed > 0, "{door}");
    }
}

const HOSTILE: &str = "\x1b[31m\u{202e}\u{200b}\u{feff}a\r\nb";

/// A message in which every field is set: texts to what misleads.
fn full(descriptor: &MessageDescriptor, number: u64, depth: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields().filter(|field| field.containing_oneof().is_none()) {
        set(&mut message, &field, number, depth);
    }
    for choice in descriptor.oneofs() {
        // Optional fields are choices of one.
        let fields: Vec<FieldDescriptor> = choice.fields().collect();
        let at = usize::try_from(number).unwrap_or(0) % fields.len();
        set(&mut message, &fields[at], number, depth);
    }
    message
}

fn set(message: &mut DynamicMessage, field: &FieldDescriptor, number: u64, depth: usize) {
    if depth == 0 {
        return;
    }
    if field.is_map() {
        let key = MapKey::String(HOSTILE.to_owned());
        let entry = field.kind();
        let entry = entry.as_message().expect("a map").map_entry_value_field();
        let value = one(&entry, number, depth);
        message.set_field(field, Value::Map([(key, value)].into()));
    } else if field.is_list() {
        // Slopes come in threes, or not at all.
        let count = if matches!(field.kind(), Kind::Double) { 3 } else { 1 };
        message.set_field(field, Value::List(vec![one(field, number, depth); count]));
    } else {
        message.set_field(field, one(field, number, depth));
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "any number will do"
)]
fn one(field: &FieldDescriptor, number: u64, depth: usize) -> Value {
    match field.kind() {
        Kind::String if field.name() == "agent" => Value::String("a1".to_owned()),
        Kind::String if field.name() == "quiet_hours" => Value::String("22:00-06:00".to_owned()),
        Kind::String => Value::String(HOSTILE.repeat(1 + usize::from(number == 1) * 4000)),
        Kind::Bytes => Value::Bytes(vec![7; 16].into()),
        Kind::Message(inner) if inner.full_name() == "google.protobuf.Timestamp" => {
            let mut stamp = DynamicMessage::new(inner);
            stamp.set_field_by_name("seconds", Value::I64(-62_135_596_800));
            Value::Message(stamp)
        }
        Kind::Message(inner) => Value::Message(full(&inner, number, depth - 1)),
        Kind::Enum(_) => Value::EnumNumber(1),
        Kind::Bool => Value::Bool(true),
        Kind::Double => Value::F64(0.5),
        Kind::Float => Value::F32(0.5),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(number),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(number as u32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(number as i64),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(number as i32),
    }
}

/// Every text of a message, with its path.
fn texts(message: &DynamicMessage, path: &str, found: &mut Vec<(String, String)>) {
    for (field, value) in message.fields() {
        let path = format!("{path}.{}", field.name());
        collect(value, &path, found);
    }
}

fn collect(value: &Value, path: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) => found.push((path.to_owned(), text.clone())),
        Value::Message(inner) => texts(inner, path, found),
        Value::List(list) => list.iter().for_each(|value| collect(value, path, found)),
        Value::Map(map) => {
            for (key, value) in map {
                if let MapKey::String(key) = key {
                    found.push((path.to_owned(), key.clone()));
                }
                collect(value, path, found);
            }
        }
        Value::Bool(_)
        | Value::I32(_)
        | Value::I64(_)
        | Value::U32(_)
        | Value::U64(_)
        | Value::F32(_)
        | Value::F64(_)
        | Value::Bytes(_)
        | Value::EnumNumber(_) => {}
    }
}

fn protocol() -> DescriptorPool {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
    let mut compiler = protox::Compiler::new([own]).expect("a compiler");
    compiler.include_imports(true).open_files(["lubdub/v1/session.proto"]).expect("it parses");
    compiler.descriptor_pool()
}

/// What a message becomes behind the door, as it would travel on; `None` where it is refused.
fn through(name: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    if name.ends_with("FromSidecar") {
        let message = pb::FromSidecar::decode(bytes).expect("of this protocol");
        let message = FromSidecar::try_from(message).ok()?;
        Some(pb::FromSidecar::from(message).encode_to_vec())
    } else {
        let message = pb::ToSidecar::decode(bytes).expect("of this protocol");
        let message = ToSidecar::try_from(message).ok()?;
        Some(pb::ToSidecar::from(message).encode_to_vec())
    }
}

#[test]
fn every_text_of_the_wire_goes_through_the_door() {
    let pool = protocol();
    let mut seen = std::collections::BTreeSet::new();
    for name in ["lubdub.v1.FromSidecar", "lubdub.v1.ToSidecar"] {
        let descriptor = pool.get_message_by_name(name).expect("it is there");
        for number in [0, 1, 2, 3, 4, 5, 6, 7, 8, u64::MAX] {
            for kind in descriptor.fields() {
                let mut message = DynamicMessage::new(descriptor.clone());
                set(&mut message, &kind, number, 8);
                let bytes = message.encode_to_vec();
                let Some(bytes) = through(name, &bytes) else { continue };
                let after = DynamicMessage::decode(descriptor.clone(), &bytes[..]).expect("ours");
                let mut found = Vec::new();
                texts(&after, kind.name(), &mut found);
                for (path, text) in found {
                    let shown: String = text.chars().take(20).collect();
                    assert!(is_clean(&text), "{path}: {shown:?}");
                    assert!(text.len() <= LEN_MAX, "{path}: {} bytes", text.len());
                    seen.insert(path);
                }
            }
        }
    }
    for text in ["hello.hello.host", "events.events.events.note.text"] {
        assert!(seen.contains(text), "{text} was looked at: {seen:#?}");
    }
    assert!(seen.len() > 25, "{seen:#?}");
}
