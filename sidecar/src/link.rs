//! The stream to the collector: connects, says who it is, passes messages on, and comes back.
//!
//! One task. It owns the connection and nothing else: what waits to be sent is the driver's
//! ([`outbox`]), which gets a bounded sender for as long as a stream stands.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use lubdub_shared::pb::sidecar_service_client::SidecarServiceClient;
use lubdub_shared::session::{DOWN_LEN_MAX, FromSidecar, ToSidecar};
use lubdub_shared::telemetry::chain;
use lubdub_shared::time;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::Stream;
use tonic::transport::{Channel, Endpoint, Uri};
use tracing::{debug, info, warn};

mod dial;
pub(crate) mod outbox;
mod pace;
pub(crate) mod spool;

/// Messages that may wait in one stream. More would only age: reports are coalesced behind it.
const STREAM_DEPTH: usize = 8;
/// Messages that may wait for the driver.
const INBOUND_DEPTH: usize = 64;
const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A collector that does not answer Hello for so long is left for the next address.
const WELCOME_PATIENCE: Duration = Duration::from_secs(10);
/// A collector that does not end a stream which the driver has left.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// A stream that stood for so long was a good one: the next attempt comes at once.
const STOOD: Duration = Duration::from_secs(5);
/// A half-open connection is noticed after both.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Flow-control windows; they cost no memory until they are used.
const WINDOW: u32 = 1 << 20;

/// What the link tells the driver.
#[derive(Debug)]
pub(crate) enum FromLink {
    /// A connection to this address stands; the driver sends Hello into it first.
    Up(mpsc::Sender<FromSidecar>, String),
    /// The collector says something.
    Message(ToSidecar),
    /// The stream is over.
    Down,
    /// Every address was tried in vain since the last one that answered.
    Unreachable,
}

/// The task.
#[derive(Debug)]
pub(crate) struct Link {
    /// Each with the address that it was made from.
    endpoints: Vec<(String, Endpoint)>,
    to_driver: mpsc::Sender<FromLink>,
    rng: fastrand::Rng,
}

/// A collector's address that is none.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not the address of a collector, like http://127.0.0.1:7411 (there is no TLS)")]
pub struct BadAddress(String);

/// Without TLS, and with a port that is one: what stands behind the host is nothing else.
fn is_http(uri: &Uri) -> bool {
    let port = uri.authority().and_then(|at| Some(at.as_str().rsplit_once(at.host())?.1));
    let port = port.is_some_and(|text| text.is_empty() || uri.port_u16().is_some());
    port && uri.scheme_str() == Some("http")
}

impl Link {
    /// A link to the first of these collectors that answers.
    ///
    /// # Errors
    /// An address is none.
    pub(crate) fn new(
        addresses: &[String],
        seed: u64,
    ) -> Result<(Self, mpsc::Receiver<FromLink>), BadAddress> {
        let endpoint = |address: &String| {
            let endpoint = Endpoint::from_shared(address.clone()).ok();
            let endpoint = endpoint.filter(|endpoint| is_http(endpoint.uri()));
            let endpoint = endpoint.ok_or_else(|| BadAddress(address.clone()))?;
            let endpoint = endpoint
                .connect_timeout(CONNECT_TIMEOUT)
                .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
                .keep_alive_timeout(KEEPALIVE_TIMEOUT)
                .keep_alive_while_idle(true)
                .initial_stream_window_size(WINDOW)
                .initial_connection_window_size(WINDOW);
            Ok((address.clone(), endpoint))
        };
        let endpoints = addresses.iter().map(endpoint).collect::<Result<_, _>>()?;
        let (to_driver, from_link) = mpsc::channel(INBOUND_DEPTH);
        Ok((Self { endpoints, to_driver, rng: fastrand::Rng::with_seed(seed) }, from_link))
    }

    /// Connects again and again until the driver is gone.
    pub(crate) async fn run(mut self) {
        if self.endpoints.is_empty() {
            // Nobody is to hear of this agent.
            return self.to_driver.closed().await;
        }
        let mut backoff = Backoff::default();
        let mut told: Option<String> = None;
        for turn in 0_usize.. {
            let (uri, endpoint) = self.endpoints[turn % self.endpoints.len()].clone();
            let began = time::now().mono;
            let mut ended = Ended { welcomed: false, retry_after: None };
            match dial::connect(&endpoint).await {
                Ok(channel) => {
                    if let Err(status) = self.attach(channel, &uri, &mut ended).await {
                        let why = status.message().to_owned();
                        // The same reason again and again is told once.
                        match told.replace(why.clone()) {
                            Some(before) if before == why => debug!(%uri, why, "the stream ended"),
                            Some(_) | None => warn!(%uri, why, "the stream ended"),
                        }
                    }
                }
                // Told once for each absence; the attempts go on.
                Err(error) if backoff.attempts == 0 => {
                    let error = chain(&error);
                    warn!(%uri, error, "cannot reach the collector; going on without");
                }
                Err(error) => debug!(%uri, error = chain(&error), "cannot reach the collector"),
            }
            if self.to_driver.is_closed() {
                return;
            }
            backoff.note(&ended, time::now().mono.since(began));
            told.take_if(|_| backoff.attempts == 0);
            if backoff.attempts as usize == self.endpoints.len()
                && self.to_driver.send(FromLink::Unreachable).await.is_err()
            {
                return;
            }
            let wait = time::scaled(backoff.ceiling(), self.rng.f64());
            tokio::time::sleep(wait + ended.retry_after.unwrap_or_default()).await;
        }
    }

    /// One stream, from Hello to its end.
    async fn attach(
        &mut self,
        channel: Channel,
        uri: &str,
        ended: &mut Ended,
    ) -> Result<(), tonic::Status> {
        let mut client = SidecarServiceClient::new(channel).max_decoding_message_size(DOWN_LEN_MAX);
        let (sender, outbound) = mpsc::channel(STREAM_DEPTH);
        if self.to_driver.send(FromLink::Up(sender, uri.to_owned())).await.is_err() {
            return Ok(());
        }
        let (over, is_over) = oneshot::channel();
        let outbound = Outbound { messages: outbound, over: Some(over) };
        let result = tokio::select! {
            result = self.pump(&mut client, outbound, ended) => result,
            () = left(is_over) => Ok(()),
        };
        // The driver may be gone already: then nobody needs to know.
        if self.to_driver.send(FromLink::Down).await.is_err() {
            debug!("the driver is gone");
        }
        result
    }

    async fn pump(
        &self,
        client: &mut SidecarServiceClient<Channel>,
        outbound: Outbound,
        ended: &mut Ended,
    ) -> Result<(), tonic::Status> {
        let silent = || tonic::Status::deadline_exceeded("no Welcome within 10 s");
        let patience = tokio::time::sleep(WELCOME_PATIENCE);
        tokio::pin!(patience);
        let attached = timeout(WELCOME_PATIENCE, client.attach(outbound)).await;
        let mut inbound = attached.map_err(|_| silent())??.into_inner();
        loop {
            let message = tokio::select! {
                message = inbound.message() => message?,
                () = &mut patience, if !ended.welcomed => return Err(silent()),
            };
            let Some(message) = message else { break };
            let message = ToSidecar::try_from(message)?;
            match &message {
                ToSidecar::Welcome(welcome) => {
                    ended.welcomed = true;
                    info!(session = welcome.session, epoch = welcome.epoch, "welcome");
                }
                ToSidecar::GoAway { reason, retry_after } => {
                    info!(reason, "the collector leaves");
                    ended.retry_after = Some(*retry_after);
                }
                ToSidecar::Ack { .. }
                | ToSidecar::Command(_)
                | ToSidecar::Policy { .. }
                | ToSidecar::Other => {}
            }
            if self.to_driver.send(FromLink::Message(message)).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// The driver has left the stream; the other side had a moment to end it as well.
async fn left(is_over: oneshot::Receiver<()>) {
    // Nothing is ever sent: its end is the news.
    let (Ok(()) | Err(_)) = is_over.await;
    tokio::time::sleep(END_PATIENCE).await;
}

/// What the driver sends into one stream. When it sends no more, whoever holds the other end of
/// `over` hears of it.
struct Outbound {
    messages: mpsc::Receiver<FromSidecar>,
    over: Option<oneshot::Sender<()>>,
}

impl Stream for Outbound {
    type Item = lubdub_shared::pb::FromSidecar;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(self.messages.poll_recv(context));
        if next.is_none() {
            self.over = None;
        }
        Poll::Ready(next.map(Into::into))
    }
}

struct Ended {
    welcomed: bool,
    retry_after: Option<Duration>,
}

/// How long until the next attempt, at most (full jitter).
#[derive(Debug, Default)]
struct Backoff {
    /// Attempts since a stream last stood.
    attempts: u32,
}

impl Backoff {
    /// What stood was a good one, however it ended: somebody on the way may cut it again and again.
    /// A welcome that the driver refuses ends at once.
    fn note(&mut self, ended: &Ended, lasted: Duration) {
        let stood = ended.welcomed && lasted >= STOOD;
        self.attempts = if stood { 0 } else { self.attempts.saturating_add(1) };
    }

    fn ceiling(&self) -> Duration {
        BACKOFF_MIN.saturating_mul(1 << self.attempts.min(6)).min(BACKOFF_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_knows_what_stood_and_not_how_it_ended() {
        let seconds = Duration::from_secs;
        let mut backoff = Backoff::default();
        let ceilings = [(false, 0, 1), (false, 0, 2), (true, 1, 4), (true, 12, 0), (true, 12, 0)];
        for (welcomed, lasted, ceiling) in ceilings {
            backoff.note(&Ended { welcomed, retry_after: None }, seconds(lasted));
            let expected = if ceiling == 0 { BACKOFF_MIN } else { seconds(ceiling) };
            assert_eq!(backoff.ceiling(), expected, "{welcomed} {lasted}");
        }
        for _ in 0..40 {
            backoff.note(&Ended { welcomed: false, retry_after: None }, seconds(60));
        }
        assert_eq!(backoff.ceiling(), BACKOFF_MAX);
    }

    #[test]
    fn addresses_of_collectors() {
        let table = [
            ("http://127.0.0.1:7411", true),
            ("http://[::1]:7411", true),
            ("http://collector", true),
            ("http://127.0.0.1:99999", false),
            ("http://127.0.0.1:", false),
            ("http://[::1]:x", false),
            ("https://127.0.0.1:7411", false),
            ("127.0.0.1:7411", false),
            ("", false),
        ];
        for (address, fits) in table {
            assert_eq!(Link::new(&[address.to_owned()], 1).is_ok(), fits, "{address}");
        }
    }
}
