//! Bits that flip, files that are cut, old copies that come back: after each either everything that
//! was acked is there, or what is missing is named, and the rest is served.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::*;
use crate::store::head;
use crate::store::maintain::{backup, restore, verify};

/// The files of a store, by name.
type Files = BTreeMap<&'static str, Vec<u8>>;

const LOG: &str = "lubdub.sqlite3-wal";

fn scratch() -> tempfile::TempDir {
    // Thousands of syncs: in memory, where there is some.
    let memory = Path::new("/dev/shm");
    let within = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::tempdir_in(within).expect("a directory")
}

fn files_of(directory: &Path) -> Files {
    let read = |name| Some((name, std::fs::read(directory.join(name)).ok()?));
    [FILE, LOG, head::FILE_NAME].into_iter().filter_map(read).collect()
}

fn put(directory: &Path, files: &Files) {
    for (name, bytes) in files {
        let mut file = File::create(directory.join(name)).expect("made");
        file.write_all(bytes).expect("written");
    }
}

/// Rows of the log that people and sidecars were told are safe.
type Log = BTreeMap<u64, (String, String)>;

fn log_of(directory: &Path) -> Log {
    let connection = Connection::open(directory.join(FILE)).expect("opens");
    let mut query = connection.prepare("SELECT seq, agent, detail FROM events").expect("reads");
    let row = |row: &rusqlite::Row<'_>| {
        Ok((row.get::<_, i64>(0)?.unsigned_abs(), (row.get(1)?, row.get(2)?)))
    };
    query.query_map([], row).expect("reads").collect::<rusqlite::Result<_>>().expect("reads")
}

/// Ids of the rows of a table.
fn ids_of(directory: &Path, table: &str) -> Vec<Vec<u8>> {
    let connection = Connection::open(directory.join(FILE)).expect("opens");
    let sql = format!("SELECT CAST(id AS BLOB) FROM {table} ORDER BY id");
    let mut query = connection.prepare(&sql).expect("reads");
    query.query_map([], |row| row.get(0)).expect("reads").map(|id| id.expect("reads")).collect()
}

fn spool() -> SpoolId {
    SpoolId::random(&mut fastrand::Rng::with_seed(5))
}

fn told(numbers: std::ops::RangeInclusive<u64>) -> Vec<Event> {
    let event = |number: u64| Event {
        number,
        at: Wall(i64::try_from(number).expect("small") * 1_000_000_000),
        life: None,
        what: Happening::Note { text: format!("{number} {}", "words ".repeat(20)) },
    };
    numbers.map(event).collect()
}

/// Writes a store's fill, and waits until all of it is acked.
fn fill(store: &Store, durable: &mut async_mpsc::Receiver<FromStore>, round: u64) {
    let rng = &mut fastrand::Rng::with_seed(round);
    for agent in ["a1", "a2", "a3"] {
        let mut record = record(agent);
        record.applied = vec![(spool(), 40 * (round + 1))];
        queue(store, Op::Agent(Box::new(record)), None);
        for _ in 0..8 {
            let mut incident = incident();
            incident.id = IncidentId::random(rng);
            let agent = Some(agent.parse().expect("an id"));
            queue(store, Op::Incident(agent, Box::new(incident)), None);
        }
        let events = told(40 * round + 1..=40 * (round + 1));
        let agent = agent.parse().expect("an id");
        let ack = ack(&events);
        queue(store, Op::Events { agent, spool: spool(), events }, Some(ack));
        let acked = durable.blocking_recv();
        assert!(matches!(acked, Some(FromStore::Durable(_))), "{acked:?}");
    }
}

/// An older copy of a store, and the store as a kill left it later: half of it in the log.
fn images() -> (Files, Files) {
    let directory = scratch();
    let (store, _, mut durable) = Store::open(directory.path()).expect("opens");
    fill(&store, &mut durable, 0);
    let old = files_of(directory.path());
    drop((store, durable));
    let (store, _, mut durable) = Store::open(directory.path()).expect("opens");
    fill(&store, &mut durable, 1);
    drop((store, durable));
    let (store, _, mut durable) = Store::open(directory.path()).expect("opens");
    fill(&store, &mut durable, 2);
    let new = files_of(directory.path());
    assert!(new[LOG].len() > 20_000 && new[FILE].len() > 60_000, "both hold something");
    drop((store, durable));
    (old, new)
}

/// What became of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Became {
    Whole,
    /// Made anew, without a loss.
    Mended,
    /// Something is missing, and named.
    Named,
    /// The files do not belong together.
    Refused,
}

/// Opens a store with these files, and holds what it serves against what was acked.
fn judge(files: &Files, acked: &Log, incidents: &[Vec<u8>], what: &str) -> Became {
    let directory = scratch();
    put(directory.path(), files);
    let (store, contents, mut durable) = match Store::open(directory.path()) {
        Ok(opened) => opened,
        Err(OpenError::Torn { .. }) => return Became::Refused,
        Err(error) => panic!("{what}: {}", lubdub_shared::telemetry::chain(&error)),
    };
    // It takes what comes.
    let events = told(1..=1);
    let agent = "late".parse().expect("an id");
    let ack = ack(&events);
    queue(&store, Op::Events { agent, spool: spool(), events }, Some(ack));
    let told = durable.blocking_recv();
    let Some(FromStore::Durable(then)) = told else { panic!("{what}: {told:?}") };
    assert!(matches!(then[..], [Then::Ack { number: 1, .. }]), "{what}: it acks");
    drop((store, durable));
    let served = log_of(directory.path());
    let after = verify(directory.path()).expect("verifies");
    assert!(after.is_sound(), "{what}: {after:?}");
    let notes: Vec<&String> =
        served.values().map(|(_, detail)| detail).filter(|d| d.contains("the store")).collect();
    let mut became = if notes.is_empty() { Became::Whole } else { Became::Mended };
    for (seq, row) in acked {
        match served.get(seq) {
            Some(found) => assert_eq!(found, row, "{what}: event {seq}"),
            None => {
                let named = after.known.iter().any(|h| h.first <= *seq && *seq <= h.last);
                assert!(named, "{what}: event {seq} is gone, and not named: {after:?}");
                became = Became::Named;
            }
        }
    }
    let there = ids_of(directory.path(), "incidents");
    if incidents.iter().any(|id| !there.contains(id)) {
        assert!(!notes.is_empty(), "{what}: an incident is gone, and nothing is said");
        became = Became::Named;
    }
    if contents.agents.len() < 3 {
        assert!(!notes.is_empty(), "{what}: an agent is gone, and nothing is said");
        became = Became::Named;
    }
    became
}

struct Acked {
    log: Log,
    incidents: Vec<Vec<u8>>,
}

fn acked_in(files: &Files) -> Acked {
    let directory = scratch();
    put(directory.path(), files);
    Acked { log: log_of(directory.path()), incidents: ids_of(directory.path(), "incidents") }
}

fn count(counts: &mut BTreeMap<(String, Became), u32>, what: &str, became: Became) {
    *counts.entry((what.to_owned(), became)).or_default() += 1;
}

#[test]
fn whatever_bit_flips_all_that_was_acked_is_there_or_named() {
    let (_, files) = images();
    let acked = acked_in(&files);
    assert_eq!(judge(&files, &acked.log, &acked.incidents, "as it was"), Became::Whole);
    let rng = &mut fastrand::Rng::with_seed(17);
    let mut counts = BTreeMap::new();
    for (name, places) in [(FILE, 420), (LOG, 160), (head::FILE_NAME, 20)] {
        for _ in 0..places {
            let (at, bit) = (rng.usize(..files[name].len()), rng.u8(..8));
            let mut damaged = files.clone();
            damaged.get_mut(name).expect("there")[at] ^= 1 << bit;
            let what = format!("{name} byte {at} bit {bit}");
            count(&mut counts, name, judge(&damaged, &acked.log, &acked.incidents, &what));
        }
    }
    // The headers, which little else would hit.
    for (name, upto) in [(FILE, 100), (LOG, 56)] {
        for at in 0..upto {
            let bit = rng.u8(..8);
            let mut damaged = files.clone();
            damaged.get_mut(name).expect("there")[at] ^= 1 << bit;
            let what = format!("the header of {name}, byte {at} bit {bit}");
            count(
                &mut counts,
                &format!("header of {name}"),
                judge(&damaged, &acked.log, &acked.incidents, &what),
            );
        }
    }
    eprintln!("{counts:#?}");
    assert!(!counts.keys().any(|(_, became)| *became == Became::Refused), "{counts:?}");
    assert!(counts[&(FILE.to_owned(), Became::Named)] > 50, "flips did hit rows");
}

#[test]
fn whatever_is_cut_emptied_or_put_back_old_nothing_is_lost_in_silence() {
    let (old, files) = images();
    let acked = acked_in(&files);
    let judged = |files: &Files, what: &str| judge(files, &acked.log, &acked.incidents, what);
    let mut counts = BTreeMap::new();
    let rng = &mut fastrand::Rng::with_seed(23);
    for (name, times) in [(FILE, 40), (LOG, 30), (head::FILE_NAME, 5)] {
        for _ in 0..times {
            let mut damaged = files.clone();
            let cut = damaged.get_mut(name).expect("there");
            cut.truncate(rng.usize(..cut.len()));
            let what = format!("{name} cut to {}", cut.len());
            count(&mut counts, name, judged(&damaged, &what));
        }
        let zeroed = |range: std::ops::Range<usize>| {
            let mut damaged = files.clone();
            damaged.get_mut(name).expect("there")[range].fill(0);
            damaged
        };
        let len = files[name].len();
        for _ in 0..times / 5 {
            let page = rng.usize(..len.div_ceil(4096)) * 4096;
            let damaged = zeroed(page..(page + 4096).min(len));
            count(&mut counts, name, judged(&damaged, &format!("{name} zeros from {page}")));
        }
        count(&mut counts, name, judged(&zeroed(0..len), &format!("{name} all zeros")));
    }
    let without = |gone: &[&str]| {
        let mut left = files.clone();
        left.retain(|name, _| !gone.contains(name));
        left
    };
    let with_old = |back: &[&'static str]| {
        let mut mixed = files.clone();
        mixed.extend(back.iter().map(|name| (*name, old[name].clone())));
        mixed
    };
    let table = [
        ("no log", without(&[LOG]), Became::Named),
        ("no database", without(&[FILE]), Became::Named),
        ("no database and no log", without(&[FILE, LOG]), Became::Named),
        ("no head", without(&[head::FILE_NAME]), Became::Mended),
        ("an old database beside a newer log", with_old(&[FILE]), Became::Refused),
        ("an old log beside a newer database", with_old(&[LOG]), Became::Refused),
        ("an old head", with_old(&[head::FILE_NAME]), Became::Mended),
        ("an old database and its log", with_old(&[FILE, LOG]), Became::Refused),
    ];
    for (what, files, expected) in table {
        assert_eq!(judged(&files, what), expected, "{what}");
    }
    // All of an old state is whole in itself: only the sidecars know better.
    let before = acked_in(&old);
    assert_eq!(judge(&old, &before.log, &before.incidents, "all of it old"), Became::Whole);
    let mut alone = with_old(&[FILE, LOG]);
    alone.remove(LOG);
    assert_eq!(judged(&alone, "an old database alone"), Became::Named);
    eprintln!("{counts:#?}");
}

#[test]
fn a_backup_is_whole_and_goes_on_behind_what_was_acked_since() {
    let (directory, kept) = (scratch(), scratch());
    let (store, contents, mut durable) = Store::open(directory.path()).expect("opens");
    fill(&store, &mut durable, 0);
    let file = kept.path().join("backup");
    let made = backup(directory.path(), &file).expect("made while it is used");
    assert_eq!(made.newest, 120);
    assert!(verify(&file).expect("reads").is_sound());
    assert!(
        backup(directory.path(), &file)
            .expect_err("replaces nothing")
            .to_string()
            .contains("is there already")
    );
    let refused = restore(directory.path(), &file, "p").expect_err("it is used");
    let why = lubdub_shared::telemetry::chain(&refused);
    assert!(why.contains("in use by the collector"), "{why}");
    fill(&store, &mut durable, 1);
    drop((store, durable));
    let all = log_of(directory.path());
    let restored = restore(directory.path(), &file, "p").expect("restored");
    assert_eq!((restored.newest, restored.missing), (120, Some((121, 240))));
    let old = restored.kept.expect("kept");
    assert_eq!(log_of(&old), all, "what was there is kept");
    let (store, again, durable) = Store::open(directory.path()).expect("opens");
    assert_eq!((again.id, again.epoch), (contents.id, 2), "the epoch goes on");
    let numbers: Vec<_> = again.lost.iter().map(|lost| (lost.first, lost.last)).collect();
    assert_eq!(numbers, [], "the records are as old as the log");
    drop((store, durable));
    let log = log_of(directory.path());
    assert_eq!(log.keys().copied().collect::<Vec<_>>(), (1..=120).chain([241]).collect::<Vec<_>>());
    assert!(log[&241].1.contains("restored from"), "{:?}", log[&241]);
    let after = verify(directory.path()).expect("reads");
    assert!(after.is_sound() && after.known.len() == 1, "{after:?}");
}

#[test]
fn what_is_no_backup_is_refused_and_touches_nothing() {
    let (directory, other) = (scratch(), scratch());
    for at in [directory.path(), other.path()] {
        let (store, _, mut durable) = Store::open(at).expect("opens");
        fill(&store, &mut durable, 0);
    }
    let before = log_of(directory.path());
    let file = other.path().join("backup");
    backup(other.path(), &file).expect("made");
    let text = other.path().join("text");
    File::create(&text).and_then(|mut file| file.write_all(b"no database")).expect("made");
    let empty = other.path().join("empty");
    Connection::open(&empty).expect("opens").execute("CREATE TABLE t (a)", []).expect("made");
    let damaged = other.path().join("damaged");
    let mut bytes = std::fs::read(&file).expect("read");
    let at = bytes.windows(6).rposition(|window| window == b"words ").expect("some words");
    bytes[at] ^= 1;
    File::create(&damaged).and_then(|mut file| file.write_all(&bytes)).expect("made");
    let nothing = other.path().join("nothing");
    let table = [
        (&file, "is a backup of store"),
        (&text, "no store of a collector"),
        (&empty, "no store of a collector"),
        (&damaged, "damaged"),
        (&nothing, "No such file"),
    ];
    for (from, why) in table {
        let refused = restore(directory.path(), from, "p").expect_err(why);
        let said = lubdub_shared::telemetry::chain(&refused);
        assert!(said.contains(why), "{said}");
        assert!(said.contains(&*from.to_string_lossy()), "{said} names the file");
    }
    assert_eq!(log_of(directory.path()), before);
    let said = lubdub_shared::telemetry::chain(&verify(&text).map(drop).expect_err("no store"));
    assert!(said.contains("no store of a collector"), "{said}");
}

#[test]
fn a_row_that_means_nothing_is_put_aside_and_the_rest_is_served() {
    let directory = scratch();
    let (store, _, mut durable) = Store::open(directory.path()).expect("opens");
    fill(&store, &mut durable, 0);
    drop((store, durable));
    let connection = Connection::open(directory.path().join(FILE)).expect("opens");
    let text = rusqlite::types::Value::Text;
    let record = [("record", text("{}".to_owned()))];
    assert!(tables::AGENTS.amend(&connection, &"a2", &record).expect("written"));
    let id: Vec<u8> = connection
        .query_row("SELECT id FROM incidents WHERE agent = 'a1'", [], |row| row.get(0))
        .expect("some");
    let level = [("level", text("dreadful".to_owned()))];
    assert!(tables::INCIDENTS.amend(&connection, &id, &level).expect("written"));
    drop(connection);
    let (store, contents, durable) = Store::open(directory.path()).expect("opens");
    let agents: Vec<&str> = contents.agents.iter().map(|agent| agent.id.as_str()).collect();
    assert_eq!((agents, contents.incidents.len()), (vec!["a1", "a3"], 23));
    drop((store, durable));
    let notes: Vec<String> = log_of(directory.path()).into_values().map(|row| row.1).collect();
    let told = |text: &str| notes.iter().any(|note| note.contains(text));
    assert!(told("agents (a2): its record cannot be understood"), "{notes:?}");
    assert!(told("incidents (a1): its level cannot be understood"), "{notes:?}");
    let connection = Connection::open(directory.path().join(FILE)).expect("opens");
    let kept: i64 =
        connection.query_row("SELECT count(*) FROM aside", [], |row| row.get(0)).expect("counts");
    assert_eq!(kept, 2, "nothing is thrown away");
}

#[test]
fn what_only_goes_by_the_name_of_a_file_is_neither_followed_nor_waited_for() {
    let directory = scratch();
    let (store, _, mut durable) = Store::open(directory.path()).expect("opens");
    fill(&store, &mut durable, 0);
    drop((store, durable));
    let before = log_of(directory.path());
    let outside = scratch();
    let victim = outside.path().join("victim");
    File::create(&victim).and_then(|mut file| file.write_all(b"precious")).expect("written");
    let database = directory.path().join(FILE);
    let [log, index] = beside(&database);
    let names = [directory.path().join(LOCK), directory.path().join(head::FILE_NAME), database];
    for path in names.into_iter().chain([log, index]) {
        let (aside, was_there) = (outside.path().join("aside"), path.exists());
        if was_there {
            std::fs::rename(&path, &aside).expect("moved");
        }
        let makes: [&dyn Fn() -> io::Result<()>; 3] = [
            &|| std::os::unix::fs::symlink(&victim, &path),
            &|| std::fs::create_dir(&path),
            &|| Ok(rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR)?),
        ];
        for make in makes {
            make().expect("made");
            let opened = Store::open(directory.path()).map(drop).expect_err("refused");
            let examined = verify(directory.path()).map(drop).expect_err("refused");
            let said = [
                lubdub_shared::telemetry::chain(&opened),
                lubdub_shared::telemetry::chain(&examined),
            ];
            for said in said {
                let named = format!("{} is no regular file", path.display());
                assert!(said.contains(&named), "{said}");
            }
            std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path)).expect("gone");
        }
        if was_there {
            std::fs::rename(&aside, &path).expect("back");
        }
    }
    assert_eq!(std::fs::read(&victim).expect("read"), b"precious");
    drop(Store::open(directory.path()).expect("opens again"));
    assert_eq!(log_of(directory.path()), before);
}

#[test]
fn a_store_that_is_used_is_restored_with_its_log_and_what_fails_leaves_nothing() {
    let (used, fresh) = (scratch(), scratch());
    let (store, _, mut durable) = Store::open(used.path()).expect("opens");
    fill(&store, &mut durable, 0);
    let text = used.path().join("text");
    File::create(&text).and_then(|mut file| file.write_all(b"no database")).expect("written");
    restore(fresh.path(), &text, "p").expect_err("refused");
    let left: Vec<_> = std::fs::read_dir(fresh.path())
        .expect("listed")
        .map(|entry| entry.expect("read").file_name())
        .collect();
    assert_eq!(left, [LOCK], "nothing that a start would take for a store");
    let restored = restore(fresh.path(), &used.path().join(FILE), "p").expect("restored");
    assert_eq!(restored.newest, 120);
    drop((store, durable));
}
