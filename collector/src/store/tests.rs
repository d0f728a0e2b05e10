use lubdub_shared::id::{IncidentId, LifeId};
use lubdub_shared::incident::{Action, Cause};
use lubdub_shared::session::Happening;
use lubdub_shared::status::{Lifecycle, Status};

use super::*;

fn record(id: &str) -> AgentRecord {
    let rng = &mut fastrand::Rng::with_seed(1);
    AgentRecord {
        id: id.parse().expect("an id"),
        host: "h".to_owned(),
        labels: std::collections::BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        life: Some(lubdub_shared::id::Life {
            id: LifeId::random(rng),
            ordinal: std::num::NonZeroU32::MIN,
        }),
        started: Some(Wall(5_000_000)),
        lifecycle: Lifecycle::Running,
        shown: lubdub_shared::beat::Evidence { beats: true, ..Default::default() },
        left: false,
        applied: Some((SpoolId::random(rng), 3)),
        held: Some("stopped by p: r".to_owned()),
    }
}

fn incident() -> Incident {
    let rng = &mut fastrand::Rng::with_seed(2);
    Incident {
        id: IncidentId::random(rng),
        cause: Cause::Silent,
        level: Status::Critical,
        opened: Wall(7),
        resolved: None,
        incarnation: 1,
        summary: "no beat".to_owned(),
        actions: vec![Action {
            command: CommandId::random(rng),
            kind: lubdub_shared::command::CommandKind::Restart,
            outcome: ActionOutcome::Done,
            detail: "x".to_owned(),
            at: Wall(8_000_000),
        }],
    }
}

#[test]
fn what_was_written_is_found_again_with_a_higher_epoch() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, contents, committed) = Store::open(directory.path()).expect("opens");
    assert_eq!((contents.epoch, contents.agents.len()), (1, 0));
    store.queue(Op::Agent(Box::new(record("a1")))).expect("room");
    let agent: AgentId = "a1".parse().expect("an id");
    store.queue(Op::Incident(agent.clone(), Box::new(incident()))).expect("room");
    drop((store, committed));
    let (store, again, _committed) = Store::open(directory.path()).expect("opens");
    assert_eq!((again.id, again.epoch), (contents.id, 2));
    assert_eq!(again.agents, [record("a1")]);
    assert_eq!(again.incidents, [(agent.clone(), incident())]);
    let open = store.reader().incidents(false, Some(&agent)).expect("reads");
    assert_eq!(open.len(), 1);
}

#[test]
fn events_are_acked_after_the_commit_and_written_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _, mut committed) = Store::open(directory.path()).expect("opens");
    let spool = SpoolId::random(&mut fastrand::Rng::with_seed(3));
    let event = |number| Event {
        number,
        at: Wall(1),
        life: None,
        what: Happening::Note { text: "n".to_owned() },
    };
    for events in [vec![event(1), event(2)], vec![event(2), event(3)]] {
        let newest = events.last().expect("not empty").number;
        let agent = "a1".parse().expect("an id");
        store.queue(Op::Events { agent, session: 9, spool, events }).expect("room");
        let durable = committed.blocking_recv();
        assert!(
            matches!(durable, Some(Durable::Events { session: 9, number, .. }) if number == newest)
        );
    }
    drop((store, committed));
    let connection =
        rusqlite::Connection::open(directory.path().join("lubdub.sqlite3")).expect("opens");
    let count: i64 =
        connection.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).expect("counts");
    assert_eq!(count, 3);
}

#[test]
fn a_store_of_a_newer_version_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    drop(Store::open(directory.path()).expect("opens"));
    let path = directory.path().join("lubdub.sqlite3");
    let connection = rusqlite::Connection::open(&path).expect("opens");
    connection.pragma_update(None, "user_version", 99).expect("writes");
    drop(connection);
    let refused = Store::open(directory.path()).expect_err("too new");
    assert!(matches!(refused, OpenError::Newer { found: 99, .. }));
}

#[test]
fn a_broken_store_says_so_and_acks_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _, mut committed) = Store::open(directory.path()).expect("opens");
    let path = directory.path().join("lubdub.sqlite3");
    let connection = rusqlite::Connection::open(&path).expect("opens");
    connection.execute_batch("DROP TABLE events").expect("drops");
    drop(connection);
    let spool = SpoolId::random(&mut fastrand::Rng::with_seed(3));
    let what = Happening::Note { text: "n".to_owned() };
    let events = vec![Event { number: 1, at: Wall(1), life: None, what }];
    let agent = "a1".parse().expect("an id");
    store.queue(Op::Events { agent, session: 9, spool, events }).expect("room");
    let durable = committed.blocking_recv();
    assert!(
        matches!(&durable, Some(Durable::Broken(why)) if why.contains("events")),
        "{durable:?}"
    );
}
