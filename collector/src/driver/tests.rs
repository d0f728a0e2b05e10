//! The driver between its channels: streams in, a store's queue out, and nobody in between.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::mpsc as sync_mpsc;

use lubdub_shared::beat::{Ages, Evidence, Health, Report, Vitals};
use lubdub_shared::command::{Command, CommandKind, Ending, Outcome};
use lubdub_shared::id::{InstanceId, Life, LifeId, StoreId};
use lubdub_shared::schedule::LedgerView;
use lubdub_shared::session::{Event, Happening};
use lubdub_shared::status::Lifecycle;
use lubdub_shared::time::Wall;
use tokio::sync::oneshot;

use super::*;
use crate::store::Write;
use crate::waiters::Acted;

/// A driver that runs, and everything that is around it.
struct World {
    to_driver: mpsc::Sender<ToDriver>,
    store: sync_mpsc::Receiver<Write>,
    from_store: mpsc::Sender<FromStore>,
    views: Views,
    rng: fastrand::Rng,
    _shutdown: watch::Sender<bool>,
}

/// A sidecar's stream.
struct Stream {
    session: u64,
    hello: Hello,
    agent: AgentIndex,
    answers: mpsc::Receiver<ToSidecar>,
}

impl World {
    /// Its store takes so many writes before it is full.
    fn new(depth: usize) -> Self {
        let rng = fastrand::Rng::with_seed(1);
        let (to_driver, inbox) = mpsc::channel(64);
        let (queue, store) = sync_mpsc::sync_channel(depth);
        let (from_store, told) = mpsc::channel(64);
        let (shutdown, mut stop) = watch::channel(false);
        let config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            http: ([127, 0, 0, 1], 0).into(),
            data_dir: std::path::PathBuf::new(),
            reports_per_second: 1000,
            http_names: Vec::new(),
            policies: Policies::parse("none", "").expect("the default"),
            record: None,
            source: None,
        };
        let contents = Contents {
            id: StoreId::random(&mut rng.clone()),
            epoch: 1,
            agents: Vec::new(),
            incidents: Vec::new(),
            unanswered: Vec::new(),
            pushed: None,
            lost: Vec::new(),
        };
        let opened = Opened { store: Box::new(queue), from_store: told, contents, recorder: None };
        let (transitions, _) = broadcast::channel(16);
        let driver = Driver::new(config, opened, inbox, transitions, Arc::new(Counters::new()));
        let views = driver.views();
        tokio::spawn(async move { driver.run(&mut stop).await });
        Self { to_driver, store, from_store, views, rng, _shutdown: shutdown }
    }

    async fn tell(&self, message: ToDriver) {
        self.to_driver.send(message).await.expect("it runs");
    }

    /// A stream of agent `a`, of which so much may wait.
    async fn attach(&mut self, session: u64, depth: usize) -> Stream {
        let rng = &mut self.rng;
        let life = Life { id: LifeId::random(rng), ordinal: NonZeroU32::MIN };
        let hello = Hello {
            agent: "a".parse().expect("an id"),
            instance: InstanceId::random(&mut fastrand::Rng::with_seed(2)),
            version: String::new(),
            host: String::new(),
            labels: BTreeMap::new(),
            spool: SpoolId::random(&mut fastrand::Rng::with_seed(3)),
            last_event: 0,
            at: None,
            report: report(life, session),
            epochs: BTreeMap::new(),
            shown: Evidence::default(),
            held: None,
        };
        let (outbound, answers) = mpsc::channel(depth);
        let (reply, answer) = oneshot::channel();
        let knock = hello.clone();
        self.tell(ToDriver::Hello { session, hello: Box::new(knock), outbound, reply }).await;
        let agent = answer.await.expect("it answers").expect("admitted");
        Stream { session, hello, agent, answers }
    }

    async fn say(&self, stream: &Stream, message: FromSidecar) {
        let (session, agent) = (stream.session, stream.agent);
        self.tell(ToDriver::Message { session, agent, message }).await;
    }

    async fn events(&self, stream: &Stream, numbers: RangeInclusive<u64>, what: Happening) {
        let event = |number| Event {
            number,
            at: Wall(1),
            life: stream.hello.report.life,
            what: what.clone(),
        };
        let events = numbers.map(event).collect();
        self.say(stream, FromSidecar::Events { spool: stream.hello.spool, events }).await;
    }

    /// The next thing that waits for the store, of all that it is given until then.
    async fn wait_for_then(&self, wanted: impl Fn(&Then) -> bool) -> Then {
        loop {
            match self.store.try_recv() {
                Ok(write) => {
                    if let Some(then) = write.then.into_iter().find(&wanted) {
                        return then;
                    }
                }
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    async fn act(&self, kind: CommandKind) -> Acting {
        let (reply, answer) = oneshot::channel();
        let asked = Asked {
            kind,
            reason: "a test".to_owned(),
            requested_by: "p".to_owned(),
            command: None,
            dry_run: false,
            expires: Duration::from_secs(60),
        };
        self.tell(ToDriver::Act { agent: "a".parse().expect("an id"), asked, reply }).await;
        answer.await.expect("it answers").expect("it is known")
    }

    /// What the driver has heard by now it has dealt with.
    async fn settle(&self) {
        let (reply, answer) = oneshot::channel();
        self.tell(ToDriver::Ping { reply }).await;
        answer.await.expect("it answers");
    }

    fn agent(&self) -> Arc<lubdub_engine::Agent> {
        self.views.find(&"a".parse().expect("an id")).expect("it is known")
    }
}

fn report(life: Life, number: u64) -> Report {
    Report {
        number,
        life: Some(life),
        lifecycle: Lifecycle::Running,
        pid: Some(1),
        ages: Ages::default(),
        vitals: Vitals::default(),
        ledger: LedgerView { limit: 3, ..LedgerView::default() },
        health: Health::default(),
        starts_in: None,
        policy: 0,
    }
}

fn note() -> Happening {
    Happening::Note { text: "n".to_owned() }
}

impl Stream {
    async fn next(&mut self) -> ToSidecar {
        self.answers.recv().await.expect("the stream stands")
    }

    async fn command(&mut self) -> Box<Command> {
        let next = self.next().await;
        let ToSidecar::Command(command) = next else { panic!("no command: {next:?}") };
        command
    }
}

#[tokio::test]
async fn events_are_acked_once_they_are_on_disk_and_not_before() {
    let mut world = World::new(64);
    let mut stream = world.attach(1, 8).await;
    assert!(matches!(stream.next().await, ToSidecar::Welcome(_)));
    world.events(&stream, 1..=3, note()).await;
    let ack = world.wait_for_then(|then| matches!(then, Then::Ack { .. })).await;
    world.settle().await;
    assert!(stream.answers.try_recv().is_err(), "it is not on disk yet");
    world.from_store.send(FromStore::Durable(vec![ack])).await.expect("it listens");
    let spool = stream.hello.spool;
    assert_eq!(stream.next().await, ToSidecar::Ack { spool, number: 3 });
}

#[tokio::test]
async fn what_an_older_stream_still_says_does_not_count() {
    let mut world = World::new(64);
    let mut old = world.attach(1, 8).await;
    assert!(matches!(old.next().await, ToSidecar::Welcome(_)));
    let new = world.attach(2, 8).await;
    world.events(&old, 1..=1, note()).await;
    world.tell(ToDriver::Lost { session: 1, agent: old.agent }).await;
    world.settle().await;
    assert!(world.agent().is_connected(), "the newer one stands");
    assert!(old.answers.recv().await.is_none(), "the older one ended by it");
    let written = world.store.try_iter().flat_map(|write| write.ops);
    assert_eq!(written.filter(|op| matches!(op, Op::Events { .. })).count(), 0);
    world.tell(ToDriver::Lost { session: 2, agent: new.agent }).await;
    world.settle().await;
    assert!(!world.agent().is_connected());
}

#[tokio::test]
async fn a_store_that_is_full_stops_acts_and_holds_up_nobody() {
    let mut world = World::new(1);
    let mut stream = world.attach(1, 8).await;
    assert!(matches!(stream.next().await, ToSidecar::Welcome(_)));
    for number in 1..=5 {
        world.events(&stream, number..=number, note()).await;
    }
    let mut acting = world.act(CommandKind::Restart).await;
    let told = acting.progress.recv().await;
    let Some(Acted::Ended { detail, .. }) = told else { panic!("{told:?}") };
    assert!(detail.starts_with("the store is behind by"), "{detail}");
    // Reports are heard all the same.
    let number = 77;
    let life = stream.hello.report.life.expect("a life");
    world.say(&stream, FromSidecar::Report(Arc::new(report(life, number)))).await;
    world.settle().await;
    let newest = world.agent().seen.report.as_ref().map(|report| report.number);
    assert_eq!(newest, Some(number));
    // And all of it is written, in order, once there is room.
    let mut acked = Vec::new();
    while acked.len() < 5 {
        let then = world.wait_for_then(|then| matches!(then, Then::Ack { .. })).await;
        if let Then::Ack { number, .. } = then {
            acked.push(number);
        }
        world.from_store.send(FromStore::Durable(Vec::new())).await.expect("it listens");
        world.settle().await;
    }
    assert_eq!(acked, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_command_goes_down_once_it_is_on_disk_and_needs_nobody_who_waits() {
    let mut world = World::new(64);
    let mut stream = world.attach(1, 8).await;
    assert!(matches!(stream.next().await, ToSidecar::Welcome(_)));
    let mut acting = world.act(CommandKind::Restart).await;
    let send = world.wait_for_then(|then| matches!(then, Then::Send(..))).await;
    world.settle().await;
    assert!(stream.answers.try_recv().is_err() && acting.progress.try_recv().is_err());
    world.from_store.send(FromStore::Durable(vec![send])).await.expect("it listens");
    let command = stream.command().await;
    assert_eq!((command.id, command.kind), (acting.command, CommandKind::Restart));
    assert!(matches!(acting.progress.recv().await, Some(Acted::Accepted)));
    // Whoever asked has gone; the outcome is written all the same.
    drop(acting);
    let outcome = Outcome {
        command: command.id,
        ending: Ending::Done,
        detail: "d".to_owned(),
        previous: Lifecycle::Running,
        task_cancelled: false,
        survivors: Vec::new(),
        to: None,
        evidence: None,
    };
    world.events(&stream, 1..=1, Happening::Outcome(outcome)).await;
    let ack = world.wait_for_then(|then| matches!(then, Then::Ack { .. })).await;
    world.from_store.send(FromStore::Durable(vec![ack])).await.expect("it listens");
    assert!(matches!(stream.next().await, ToSidecar::Ack { number: 1, .. }));
}

#[tokio::test]
async fn a_stream_that_reads_nothing_costs_its_own_acks_and_nobody_elses() {
    let mut world = World::new(64);
    // Its welcome fills it.
    let mut stream = world.attach(1, 1).await;
    for number in 1..=3 {
        world.events(&stream, number..=number, note()).await;
        let ack = world.wait_for_then(|then| matches!(then, Then::Ack { .. })).await;
        world.from_store.send(FromStore::Durable(vec![ack])).await.expect("it listens");
        world.settle().await;
    }
    assert!(matches!(stream.next().await, ToSidecar::Welcome(_)));
    assert!(stream.answers.try_recv().is_err(), "what found no room is not kept");
    world.events(&stream, 4..=4, note()).await;
    let ack = world.wait_for_then(|then| matches!(then, Then::Ack { .. })).await;
    world.from_store.send(FromStore::Durable(vec![ack])).await.expect("it listens");
    assert!(matches!(stream.next().await, ToSidecar::Ack { number: 4, .. }));
}
