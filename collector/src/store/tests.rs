use lubdub_shared::command::{Command, CommandKind};
use lubdub_shared::id::{CommandId, IncidentId, LifeId};
use lubdub_shared::incident::{Action, ActionOutcome, Cause};
use lubdub_shared::session::{Event, Happening};
use lubdub_shared::status::{Lifecycle, Status};

use lubdub_engine::{AgentIndex, Treated};

use super::*;

mod damage;

/// Queues one operation.
fn queue(store: &Store, op: Op, then: Option<Then>) {
    let write = Write { ops: vec![op], then: then.into_iter().collect() };
    store.queue(write).expect("room");
}

/// What acks these events.
fn ack(events: &[Event]) -> Then {
    let number = events.last().expect("not empty").number;
    let spool = SpoolId::random(&mut fastrand::Rng::with_seed(3));
    Then::Ack { agent: AgentIndex::default(), session: 9, spool, number }
}

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
        applied: vec![(SpoolId::random(rng), 3)],
        held: Some("stopped by p: r".to_owned()),
        treating: Some(Treated {
            cause: Cause::Silent,
            level: Status::Critical,
            detail: "d".to_owned(),
            since: Wall(6_000_000),
        }),
        verifying: true,
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
            kind: CommandKind::Restart,
            outcome: ActionOutcome::Done,
            detail: "x".to_owned(),
            at: Wall(8_000_000),
            evidence: Some("a-1-7".to_owned()),
        }],
    }
}

#[test]
fn what_was_written_is_found_again_with_a_higher_epoch() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, contents, committed) = Store::open(directory.path()).expect("opens");
    assert_eq!((contents.epoch, contents.agents.len()), (1, 0));
    queue(&store, Op::Agent(Box::new(record("a1"))), None);
    let agent: AgentId = "a1".parse().expect("an id");
    queue(&store, Op::Incident(Some(agent.clone()), Box::new(incident())), None);
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
    let event = |number, at| Event {
        number,
        at: Wall(at),
        life: None,
        what: Happening::Note { text: "n".to_owned() },
    };
    // A sidecar that was killed reads its spool, which keeps milliseconds.
    let again = event(2, 7_000_000);
    for events in [vec![event(1, 1), event(2, 7_654_321)], vec![again, event(3, 8_000_000)]] {
        let newest = events.last().expect("not empty").number;
        let agent = "a1".parse().expect("an id");
        let ack = ack(&events);
        queue(&store, Op::Events { agent, spool, events }, Some(ack));
        let durable = committed.blocking_recv();
        let Some(FromStore::Durable(then)) = durable else { panic!("{durable:?}") };
        assert!(
            matches!(then[..], [Then::Ack { session: 9, number, .. }] if number == newest),
            "{then:?}"
        );
    }
    drop((store, committed));
    let connection =
        rusqlite::Connection::open(directory.path().join("lubdub.sqlite3")).expect("opens");
    let count: i64 =
        connection.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).expect("counts");
    assert_eq!(count, 3);
}

/// What an older collector stored and did not ack comes again, with what it knew nothing of.
#[test]
fn a_fact_that_an_older_collector_stored_is_not_written_twice() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _, mut committed) = Store::open(directory.path()).expect("opens");
    let command = CommandId::random(&mut fastrand::Rng::with_seed(4));
    let outcome = |evidence| {
        Happening::Outcome(lubdub_shared::command::Outcome {
            command,
            ending: lubdub_shared::command::Ending::Done,
            detail: "d".to_owned(),
            previous: Lifecycle::Running,
            task_cancelled: false,
            survivors: Vec::new(),
            to: None,
            evidence,
        })
    };
    let spool = SpoolId::random(&mut fastrand::Rng::with_seed(3));
    for what in [outcome(None), outcome(Some("e".to_owned()))] {
        let events = vec![Event { number: 1, at: Wall(1), life: None, what }];
        let (agent, ack) = ("a1".parse().expect("an id"), ack(&events));
        queue(&store, Op::Events { agent, spool, events }, Some(ack));
        assert!(matches!(committed.blocking_recv(), Some(FromStore::Durable(_))));
    }
    let (rows, _) = store.reader().events(None, 0, 0).expect("reads");
    assert_eq!(rows.len(), 1);
}

#[test]
fn a_store_of_a_newer_version_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    drop(Store::open(directory.path()).expect("opens"));
    let path = directory.path().join("lubdub.sqlite3");
    let connection = rusqlite::Connection::open(&path).expect("opens");
    connection.pragma_update(None, "user_version", 99).expect("writes");
    drop(connection);
    // Where the file beside it says 4 still, the version is damaged.
    std::fs::remove_file(directory.path().join("head")).expect("there");
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
    queue(&store, Op::Events { agent, spool, events }, None);
    let durable = committed.blocking_recv();
    assert!(
        matches!(&durable, Some(FromStore::Broken(why)) if why.contains("events")),
        "{durable:?}"
    );
}

/// A store as an older version left it: the tables of its first step, with rows that a later step
/// must carry over.
fn older_store(directory: &Path, spoil: &str) {
    let connection = rusqlite::Connection::open(directory.join("lubdub.sqlite3")).expect("opens");
    connection.execute_batch(schema::MIGRATIONS[0]).expect("the first step");
    connection.pragma_update(None, "user_version", 1).expect("writes");
    let spool = SpoolId::random(&mut fastrand::Rng::with_seed(4));
    let agent = |id: &str, applied: &str| {
        let record = format!(
            r#"{{"host":"h","labels":{{}},"life":null,"started":null,"lifecycle":"running",
                "shown":{{"beats":true,"progress":false,"ready":false}},"left":false,
                "applied":{applied},"held":null}}"#
        );
        let insert = "INSERT INTO agents (id, record) VALUES (?1, ?2)";
        connection.execute(insert, (id, record)).expect("writes");
    };
    agent("old", &format!("[\"{spool}\", 17]"));
    agent("new", "null");
    let command = "INSERT INTO commands (id, agent, kind, requested_by, reason, asked, outcome,
                   detail) VALUES (x'00', 'old', 'restart', 'p', 'r', 1, 'accepted', '')";
    connection.execute(command, []).expect("writes");
    connection.execute_batch(spoil).expect("spoils");
}

#[test]
fn an_older_store_is_brought_up_step_by_step() {
    let directory = tempfile::tempdir().expect("a directory");
    older_store(directory.path(), "");
    let (store, contents, _durable) = Store::open(directory.path()).expect("opens");
    let applied: Vec<_> = contents.agents.iter().map(|agent| &agent.applied).collect();
    let spool = SpoolId::random(&mut fastrand::Rng::with_seed(4));
    assert_eq!(applied, [&vec![], &vec![(spool, 17)]]);
    assert_eq!(contents.unanswered, [], "what was asked long ago is asked no more");
    drop(store);
    let connection =
        rusqlite::Connection::open(directory.path().join("lubdub.sqlite3")).expect("opens");
    let version: i64 =
        connection.query_row("PRAGMA user_version", [], |row| row.get(0)).expect("reads");
    assert_eq!(version, schema::VERSION);
    let outcome: String =
        connection.query_row("SELECT outcome FROM commands", [], |row| row.get(0)).expect("reads");
    assert_eq!(outcome, "expired");
}

#[test]
fn an_older_store_with_damaged_rows_is_brought_up_without_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let steps = schema::MIGRATIONS[1..3].concat();
    let spoil = "INSERT INTO events (at, agent, kind, detail) VALUES
             (1, 'old', 'note', '{\"note\":{\"text\":\"a\"}}'),
             (2, 'old', 'note', '{\"note\":{\"text\":\"b\"}}'),
             (3, 'old', 'note', '{\"note\":{\"text\":\"c\"}}');
         PRAGMA user_version = 3;
         PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(sql, ') STRICT', ')');";
    older_store(directory.path(), &(steps + spoil));
    let open = || rusqlite::Connection::open(directory.path().join("lubdub.sqlite3"));
    let spoil = "UPDATE events SET at = 'yesterday' WHERE seq = 2;
                 INSERT INTO commands
                     (id, agent, kind, requested_by, reason, asked, outcome, detail)
                     VALUES (x'01', 'old', x'ff', 'p', 'r', 1, 'done', '');
                 PRAGMA writable_schema = ON;
                 UPDATE sqlite_schema SET sql = sql || ' STRICT' WHERE type = 'table';";
    open().and_then(|connection| connection.execute_batch(spoil)).expect("spoilt");
    let (store, contents, durable) = Store::open(directory.path()).expect("opens");
    assert_eq!(contents.agents.len(), 2);
    drop((store, durable));
    let connection = open().expect("opens");
    let read = |sql| {
        let read = connection.query_row(sql, [], |row| row.get::<_, String>(0));
        read.expect("reads")
    };
    assert_eq!(read("SELECT group_concat(seq) FROM events WHERE agent = 'old'"), "1,3");
    assert_eq!(read("SELECT group_concat(first) FROM holes"), "2");
    let aside = read("SELECT content FROM aside WHERE source = 'events'");
    assert!(aside.contains("yesterday"), "{aside}");
    let aside = read("SELECT content FROM aside WHERE source = 'commands'");
    assert!(aside.contains("X'FF'"), "{aside}");
    assert_eq!(read("SELECT group_concat(outcome) FROM commands"), "expired");
}

#[test]
fn a_step_that_cannot_be_made_leaves_the_store_as_it_was() {
    let directory = tempfile::tempdir().expect("a directory");
    older_store(directory.path(), "UPDATE agents SET record = 'torn' WHERE id = 'new'");
    let refused = Store::open(directory.path()).expect_err("a record that is no JSON");
    assert!(matches!(refused, OpenError::Migration { from: 1, .. }), "{refused}");
    let connection =
        rusqlite::Connection::open(directory.path().join("lubdub.sqlite3")).expect("opens");
    let version: i64 =
        connection.query_row("PRAGMA user_version", [], |row| row.get(0)).expect("reads");
    assert_eq!(version, 1);
    let columns = connection.prepare("SELECT * FROM commands").expect("reads").column_count();
    assert_eq!(columns, 10, "no column of the step stayed");
}

#[test]
fn one_collector_a_store() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_store, _, _durable) = Store::open(directory.path()).expect("opens");
    let refused = Store::open(directory.path()).expect_err("it is taken");
    assert!(matches!(&refused, OpenError::Owned { owner, .. }
        if *owner == std::process::id().to_string()));
}

fn restart(seed: u64) -> Box<Command> {
    let rng = &mut fastrand::Rng::with_seed(seed);
    Box::new(Command {
        id: CommandId::random(rng),
        kind: CommandKind::Restart,
        life: Some(LifeId::random(rng)),
        store: StoreId::random(rng),
        epoch: 3,
        precondition: lubdub_shared::command::Precondition::NoBeat { beats: 4 },
        report: 7,
        ttl: std::time::Duration::from_secs(30),
        age: std::time::Duration::ZERO,
        requested_by: lubdub_shared::command::Requester::Engine(Cause::Silent),
        reason: "r".to_owned(),
        dry_run: false,
        agent: "a1".parse().expect("an id"),
    })
}

#[test]
fn commands_without_an_answer_are_found_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _, mut durable) = Store::open(directory.path()).expect("opens");
    let agent: AgentId = "a1".parse().expect("an id");
    let op = |seed, expires| Op::Command {
        agent: agent.clone(),
        command: restart(seed),
        at: Wall(i64::try_from(seed).expect("small")),
        expires,
    };
    for (seed, expires) in [(1, None), (2, Some(Wall(99))), (3, None)] {
        let then = Then::Waiting(restart(seed).id);
        queue(&store, op(seed, expires), expires.map(|_| then));
    }
    let told = durable.blocking_recv();
    let Some(FromStore::Durable(then)) = told else { panic!("{told:?}") };
    assert!(matches!(then[..], [Then::Waiting(_)]), "{then:?}");
    let answered = restart(3).id;
    let (outcome, detail) = (ActionOutcome::Done, "d".to_owned());
    let at = Wall(5);
    let answer = Op::Answer { command: answered, agent: agent.clone(), outcome, detail, at };
    queue(&store, answer, None);
    let reader = store.reader();
    drop((store, durable));
    let recorded = reader.command(answered).expect("reads").expect("it is there");
    assert_eq!(recorded.outcome, ActionOutcome::Done);
    assert_eq!(reader.command(restart(9).id).expect("reads"), None);
    let (_store, contents, _durable) = Store::open(directory.path()).expect("opens");
    let left = |seed, expires| {
        let decided = Wall(i64::try_from(seed).expect("small"));
        (agent.clone(), Unanswered { command: *restart(seed), decided, expires })
    };
    assert_eq!(contents.unanswered, [left(1, None), left(2, Some(Wall(99)))]);
}

#[test]
fn events_are_read_in_pages_and_from_the_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _, durable) = Store::open(directory.path()).expect("opens");
    let reader = store.reader();
    for number in 0..2500 {
        let agent = if number % 2 == 0 { Some("a1".parse().expect("an id")) } else { None };
        queue(&store, Op::Note(agent, number.to_string(), Wall(number)), None);
    }
    drop((store, durable));
    let (page, last) = reader.events(None, 0, 0).expect("reads");
    assert_eq!((page.len(), last.next), (1000, 1000));
    let (page, last) = reader.events(None, 2000, 0).expect("reads");
    assert_eq!((page.len(), last.next), (500, 2500));
    let a1: AgentId = "a1".parse().expect("an id");
    let (page, last) = reader.events(Some(&a1), 2498, 0).expect("reads");
    assert_eq!((page.len(), last.next), (1, 2500));
    let (newest, last) = reader.events(None, 0, 3).expect("reads");
    let seqs: Vec<u64> = newest.iter().map(|event| event.seq).collect();
    assert_eq!((seqs, last.next), (vec![2498, 2499, 2500], 2500));
    assert_eq!(newest[0].agent, None, "the collector's own");
}

#[test]
fn a_disk_without_space_may_be_well_again_and_a_broken_one_is_not() {
    let connection = rusqlite::Connection::open_in_memory().expect("opens");
    connection.execute_batch("CREATE TABLE t (b BLOB); PRAGMA max_page_count = 8").expect("made");
    let full = connection.execute("INSERT INTO t VALUES (zeroblob(1000000))", []);
    assert!(write::took_nothing(&full.expect_err("full")));
    let gone = connection.execute("INSERT INTO nothing VALUES (1)", []);
    assert!(!write::took_nothing(&gone.expect_err("no such table")));
}
