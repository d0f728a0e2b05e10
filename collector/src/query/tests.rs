//! How long whoever asked waits, in virtual time.
#![expect(clippy::disallowed_methods, reason = "virtual time is read")]

use tokio::time::Instant;

use super::*;

fn acting() -> (mpsc::Sender<Acted>, Acting) {
    let (sender, progress) = mpsc::channel(2);
    let command = CommandId::random(&mut fastrand::Rng::with_seed(1));
    (sender, Acting { command, progress })
}

fn ended() -> Acted {
    let outcome = ActionOutcome::Done;
    Acted::Ended { outcome, detail: "d".to_owned(), full: None }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_behind_is_waited_for_ten_seconds() {
    let (_sender, acting) = acting();
    let begin = Instant::now();
    let refused = follow(acting, Duration::from_secs(60)).await.expect_err("not on disk");
    assert_eq!(refused.message(), "the store is behind");
    assert_eq!(begin.elapsed(), DURABLE_PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn an_outcome_is_waited_for_as_long_as_was_asked_and_no_longer() {
    let (sender, acting) = acting();
    sender.try_send(Acted::Accepted).expect("room");
    let begin = Instant::now();
    let answer = follow(acting, Duration::from_secs(60)).await.expect("it is on disk");
    assert_eq!(answer.outcome(), pb::ActionOutcome::Accepted);
    assert_eq!(begin.elapsed(), Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn the_outcome_is_the_answer_and_a_command_that_waits_says_so() {
    let (sender, acting_one) = acting();
    sender.try_send(Acted::Accepted).expect("room");
    sender.try_send(ended()).expect("room");
    let begin = Instant::now();
    let answer = follow(acting_one, Duration::from_secs(60)).await.expect("done");
    assert_eq!((answer.outcome(), begin.elapsed()), (pb::ActionOutcome::Done, Duration::ZERO));
    let (sender, waiting) = acting();
    sender.try_send(Acted::Pending).expect("room");
    let answer = follow(waiting, Duration::ZERO).await.expect("it waits");
    assert_eq!((answer.outcome(), begin.elapsed()), (pb::ActionOutcome::Pending, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_stops_leaves_nobody_waiting() {
    let (sender, acting) = acting();
    drop(sender);
    let refused = follow(acting, Duration::from_secs(60)).await.expect_err("it stops");
    assert_eq!(refused.code(), tonic::Code::Unavailable);
}
