//! One task a stream: what a sidecar says goes to the driver, in order; what the driver has for it
//! goes back. Wire types end here.

use std::time::Duration;

use lubdub_engine::AgentIndex;
use lubdub_shared::id::SpoolId;
use lubdub_shared::pb;
use lubdub_shared::session::{FromSidecar, ToSidecar};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;
use tracing::debug;

use crate::driver::{NotAdmitted, ToDriver};

pub(crate) mod service;

/// How long a stream may stand without its Hello.
const HELLO_PATIENCE: Duration = Duration::from_secs(10);

/// A stream on which nothing went down for so long gets the newest ack again, which says nothing
/// new: proxies cut what is silent in one direction (nginx after 60 s).
const DOWN_EVERY: Duration = Duration::from_secs(25);

/// One stream, from Hello to its end.
struct Session<S> {
    number: u64,
    inbound: S,
    to_driver: mpsc::Sender<ToDriver>,
    outbound: mpsc::Sender<Result<pb::ToSidecar, Status>>,
}

impl<S: Stream<Item = Result<pb::FromSidecar, Status>> + Unpin> Session<S> {
    async fn run(mut self) {
        let ended = self.attend().await;
        if let Err(status) = ended {
            debug!(session = self.number, code = %status.code(), why = status.message(), "refused");
            // The sidecar may be gone: then nobody needs the status.
            let (Ok(()) | Err(_)) = self.outbound.send(Err(status)).await;
        }
    }

    async fn attend(&mut self) -> Result<(), Status> {
        let (agent, spool, mut answers) = self.greet().await?;
        let mut acked = ToSidecar::Ack { spool, number: 0 };
        let quiet = tokio::time::sleep(DOWN_EVERY);
        tokio::pin!(quiet);
        let mut said_goodbye = false;
        let result = loop {
            tokio::select! {
                message = self.inbound.next() => match message {
                    Some(Ok(message)) => {
                        let message = match FromSidecar::try_from(message) {
                            Ok(message) => message,
                            Err(invalid) => break Err(invalid.into()),
                        };
                        said_goodbye |= matches!(message, FromSidecar::Goodbye { .. });
                        if matches!(message, FromSidecar::Hello(_)) {
                            break Err(Status::failed_precondition("a second Hello"));
                        }
                        let session = self.number;
                        self.tell(ToDriver::Message { session, agent, message }).await?;
                    }
                    // A keepalive death looks like a clean end: only a Goodbye is one.
                    None => break Ok(()),
                    Some(Err(status)) => break Err(status),
                },
                answer = answers.recv() => match answer {
                    Some(answer) => {
                        if matches!(answer, ToSidecar::Ack { .. }) {
                            acked.clone_from(&answer);
                        }
                        quiet.set(tokio::time::sleep(DOWN_EVERY));
                        if self.outbound.send(Ok(answer.into())).await.is_err() {
                            break Ok(());
                        }
                    }
                    // The driver has replaced this stream, or is gone.
                    None => break Ok(()),
                },
                () = &mut quiet => {
                    quiet.set(tokio::time::sleep(DOWN_EVERY));
                    if self.outbound.send(Ok(acked.clone().into())).await.is_err() {
                        break Ok(());
                    }
                }
            }
        };
        if !said_goodbye {
            self.tell(ToDriver::Lost { session: self.number, agent }).await?;
        }
        result
    }

    /// Hello, and the driver's answer to it. Whatever it says then comes through the receiver.
    async fn greet(&mut self) -> Result<(AgentIndex, SpoolId, mpsc::Receiver<ToSidecar>), Status> {
        let first = timeout(HELLO_PATIENCE, self.inbound.next())
            .await
            .map_err(|_| Status::deadline_exceeded("no Hello within 10 s"))?;
        let first = first.ok_or_else(|| Status::failed_precondition("ended before Hello"))??;
        let FromSidecar::Hello(hello) = FromSidecar::try_from(first)? else {
            return Err(Status::failed_precondition("the first message is not Hello"));
        };
        let (sender, answers) = mpsc::channel(service::STREAM_DEPTH);
        let (reply, answer) = oneshot::channel();
        let (session, name, spool) = (self.number, hello.agent.clone(), hello.spool);
        self.tell(ToDriver::Hello { session, hello, outbound: sender, reply }).await?;
        let gone = |_| Status::unavailable("the collector is stopping");
        let agent = answer.await.map_err(gone)?.map_err(|why| match why {
            NotAdmitted::OtherInstance => Status::already_exists(format!(
                "another sidecar is heard for agent {name}; it is judged by that one"
            )),
            NotAdmitted::Behind => {
                Status::unavailable("the store is behind what this sidecar has seen; come again")
            }
            NotAdmitted::Full => Status::resource_exhausted("there are too many agents"),
        })?;
        Ok((agent, spool, answers))
    }

    async fn tell(&self, message: ToDriver) -> Result<(), Status> {
        let gone = |_| Status::unavailable("the collector is stopping");
        self.to_driver.send(message).await.map_err(gone)
    }
}

#[cfg(test)]
mod tests;
