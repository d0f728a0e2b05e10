//! One stream between a sidecar and the driver, in virtual time.
#![expect(clippy::disallowed_methods, reason = "virtual time is read")]

use lubdub_shared::id::SpoolId;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::*;

struct World {
    sidecar: mpsc::Sender<Result<pb::FromSidecar, Status>>,
    driver: mpsc::Receiver<ToDriver>,
    answers: mpsc::Receiver<Result<pb::ToSidecar, Status>>,
}

impl World {
    fn new() -> Self {
        let (sidecar, inbound) = mpsc::channel(4);
        let (to_driver, driver) = mpsc::channel(4);
        let (outbound, answers) = mpsc::channel(2);
        let session =
            Session { number: 1, inbound: ReceiverStream::new(inbound), to_driver, outbound };
        tokio::spawn(session.run());
        Self { sidecar, driver, answers }
    }

    async fn say(&self, message: FromSidecar) {
        self.sidecar.send(Ok(message.into())).await.expect("the stream stands");
    }

    /// Says Hello, and is admitted; what the driver sends down.
    async fn admitted(&mut self) -> mpsc::Sender<ToSidecar> {
        self.say(FromSidecar::Hello(Box::new(hello()))).await;
        let Some(ToDriver::Hello { outbound, reply, .. }) = self.driver.recv().await else {
            panic!("no Hello")
        };
        reply.send(Ok(AgentIndex::default())).expect("it waits");
        outbound
    }

    async fn refused(&mut self) -> Status {
        self.answers.recv().await.expect("a last word").expect_err("refused")
    }
}

fn hello() -> lubdub_shared::session::Hello {
    lubdub_shared::session::Hello {
        agent: "a".parse().expect("an id"),
        instance: lubdub_shared::id::InstanceId::random(&mut fastrand::Rng::with_seed(1)),
        version: String::new(),
        host: String::new(),
        labels: std::collections::BTreeMap::new(),
        spool: spool(),
        last_event: 0,
        at: None,
        report: lubdub_shared::beat::Report {
            number: 1,
            life: None,
            lifecycle: lubdub_shared::status::Lifecycle::Starting,
            pid: None,
            ages: lubdub_shared::beat::Ages::default(),
            vitals: lubdub_shared::beat::Vitals::default(),
            ledger: lubdub_shared::schedule::LedgerView::default(),
            health: lubdub_shared::beat::Health::default(),
            starts_in: None,
            policy: 0,
        },
        epochs: std::collections::BTreeMap::new(),
        shown: lubdub_shared::beat::Evidence::default(),
        held: None,
    }
}

fn spool() -> SpoolId {
    SpoolId::random(&mut fastrand::Rng::with_seed(3))
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_never_says_hello_ends_after_ten_seconds() {
    let mut world = World::new();
    let begin = Instant::now();
    let refused = world.refused().await;
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::DeadlineExceeded, "no Hello within 10 s")
    );
    assert_eq!(begin.elapsed(), HELLO_PATIENCE);
    assert!(world.driver.recv().await.is_none(), "the driver heard nothing of it");
}

#[tokio::test(start_paused = true)]
async fn what_comes_first_is_hello_and_comes_once() {
    let mut world = World::new();
    let goodbye = FromSidecar::Goodbye {
        reason: lubdub_shared::session::GoodbyeReason::Shutdown,
        back_within: None,
    };
    world.say(goodbye).await;
    assert_eq!(world.refused().await.message(), "the first message is not Hello");
    let mut world = World::new();
    let _down = world.admitted().await;
    world.say(FromSidecar::Hello(Box::new(hello()))).await;
    assert_eq!(world.refused().await.message(), "a second Hello");
    assert!(matches!(world.driver.recv().await, Some(ToDriver::Lost { session: 1, .. })));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_quiet_downwards_gets_its_newest_ack_again() {
    let mut world = World::new();
    let down = world.admitted().await;
    let begin = Instant::now();
    down.send(ToSidecar::Ack { spool: spool(), number: 7 }).await.expect("it stands");
    for times in 0..3 {
        let message = world.answers.recv().await.expect("it stands").expect("no status");
        assert_eq!(message, ToSidecar::Ack { spool: spool(), number: 7 }.into());
        assert_eq!(begin.elapsed(), times * DOWN_EVERY, "nginx would cut it after 60 s");
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_without_a_word_is_told_and_one_after_a_goodbye_is_not() {
    let mut world = World::new();
    let _down = world.admitted().await;
    drop(world.sidecar);
    assert!(matches!(world.driver.recv().await, Some(ToDriver::Lost { session: 1, .. })));
    let mut world = World::new();
    let _down = world.admitted().await;
    let reason = lubdub_shared::session::GoodbyeReason::AgentEnded;
    world.say(FromSidecar::Goodbye { reason, back_within: None }).await;
    drop(world.sidecar);
    let told = world.driver.recv().await;
    let Some(ToDriver::Message { message: FromSidecar::Goodbye { .. }, .. }) = told else {
        panic!("{told:?}")
    };
    assert!(world.driver.recv().await.is_none(), "a Goodbye is the end");
}

/// The driver never waits for it: what finds no room in the driver's channel is not sent.
#[tokio::test(start_paused = true)]
async fn a_reader_that_never_reads_is_given_up_when_the_driver_replaces_it() {
    let mut world = World::new();
    let down = world.admitted().await;
    let mut taken = 0;
    while down.try_send(ToSidecar::Ack { spool: spool(), number: taken }).is_ok() {
        taken += 1;
        tokio::task::yield_now().await;
    }
    assert!(taken >= 32, "{taken}");
    drop(down);
    // It reads at last: all that was taken, and then the end.
    let mut read = 0;
    while world.answers.recv().await.is_some_and(|answer| answer.is_ok()) {
        read += 1;
    }
    assert_eq!(read, taken);
    assert!(matches!(world.driver.recv().await, Some(ToDriver::Lost { .. })));
}
