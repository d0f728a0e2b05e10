//! The two ports: who is let in, how long a connection may say nothing, and what is kept for whom.
//!
//! Every connection costs a descriptor. A few are the collector's own (the store and its readers, a
//! file that is recorded into); of the rest an eighth is kept for HTTP, and of the gRPC port's some
//! for people: sidecars beyond that are refused in words, and come again.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::HOST;
use axum::response::{IntoResponse as _, Response};
use lubdub_shared::guests::{Answer, Guarded, Guests, Patience, Requests};
use lubdub_shared::http1::{self, PIECE_WITHIN};
use lubdub_shared::time::{Mono, now};
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::transport::server::Connected;
use tower::Service;
use tower_http::timeout::TimeoutBody;
use tracing::{error, info, warn};

/// Descriptors of the collector's own.
const OWN: u64 = 48;
/// Connections that HTTP holds at most: it is for probes, scripts and a few people.
const HTTP_MAX: usize = 1024;
/// Places of the gRPC port that no sidecar takes.
const PEOPLE: usize = 64;
/// A connection has so long to ask its first question whole, and may then be idle so long.
const GRPC: Patience =
    Patience { first: Duration::from_secs(10), idle: Duration::from_secs(60), busy: None };
/// Over HTTP no question takes long.
const HTTP: Patience = Patience { busy: Some(Duration::from_secs(120)), ..GRPC };
/// What a sidecar calls: its stream says nothing more where it has nothing to say, and is looked
/// after on its own.
const STREAM: &str = "/lubdub.v1.SidecarService/Attach";
/// A question that is not answered by then never will be: longer than any wait.
const ANSWER_MAX: Duration = Duration::from_secs(11 * 60);
/// After the system gave no connection.
const PAUSE: Duration = Duration::from_millis(200);
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Connections that wait to be served.
const ACCEPTED_DEPTH: usize = 64;

/// How the descriptors are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shares {
    /// Connections of the gRPC port.
    pub(crate) grpc: usize,
    /// Of them, streams of sidecars.
    pub(crate) sidecars: usize,
    /// Connections of the HTTP port.
    pub(crate) http: usize,
}

impl Shares {
    /// Of what this process may open.
    pub(crate) fn of_this_process() -> Self {
        Self::of(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
    }

    fn of(limit: u64) -> Self {
        // What cannot be counted up to is as good as unbounded.
        let limit = limit.min(1 << 24);
        let rest = usize::try_from(limit - OWN.min(limit / 2)).unwrap_or(usize::MAX);
        let http = (rest / 8).clamp(2, HTTP_MAX);
        let grpc = rest.saturating_sub(http).max(2);
        Self { grpc, sidecars: grpc - PEOPLE.min(grpc / 4).max(1), http }
    }

    /// Says so where a fleet that is known will not find room.
    pub(crate) fn check(self, agents: usize) {
        if agents > self.sidecars {
            error!(
                agents,
                room = self.sidecars,
                "the limit on open files has room for fewer sidecars than are known: raise it \
                 (ulimit -n, LimitNOFILE=)"
            );
        }
    }
}

/// A connection's marker in each of its requests.
#[derive(Debug, Clone)]
pub(crate) struct Marked(Requests);

/// A connection of the gRPC port.
#[derive(Debug)]
pub(crate) struct Connection(Guarded<TcpStream>);

impl Connected for Connection {
    type ConnectInfo = Marked;

    fn connect_info(&self) -> Marked {
        Marked(self.0.requests())
    }
}

impl tokio::io::AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl tokio::io::AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// Accepts, and says once a minute what it could not.
#[derive(Debug)]
struct Doorman {
    listener: TcpListener,
    guests: Arc<Guests>,
    name: &'static str,
    told: Option<Mono>,
}

impl Doorman {
    fn new(listener: TcpListener, places: usize, patience: Patience, name: &'static str) -> Self {
        Self { listener, guests: Guests::new(places, patience), name, told: None }
    }

    async fn next(&mut self) -> Guarded<TcpStream> {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    if let Some(guest) = self.guests.enter(now().mono) {
                        // What is small goes at once; without it, it waits for an answer.
                        let (Ok(()) | Err(_)) = stream.set_nodelay(true);
                        return Guarded::new(stream, guest);
                    }
                    drop(stream);
                    self.tell("every place is taken by somebody who is busy", None);
                }
                Err(error) => {
                    self.tell("the system gives no connection", Some(&error));
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn tell(&mut self, why: &str, error: Option<&io::Error>) {
        let now = now().mono;
        if self.told.is_some_and(|told| now.since(told) < TELL_EVERY) {
            return;
        }
        self.told = Some(now);
        let turned_away = self.guests.take_turned_away();
        let (door, here) = (self.name, self.guests.count());
        let error = error.map(tracing::field::display);
        warn!(door, here, turned_away, error, "connections are refused: {why}");
    }
}

/// The connections of the gRPC port.
pub(crate) fn grpc(listener: TcpListener, places: usize) -> ReceiverStream<io::Result<Connection>> {
    let (accepted, connections) = mpsc::channel(ACCEPTED_DEPTH);
    let mut door = Doorman::new(listener, places, GRPC, "gRPC");
    tokio::spawn(async move {
        loop {
            let connection = tokio::select! {
                connection = door.next() => connection,
                () = accepted.closed() => return,
            };
            if accepted.send(Ok(Connection(connection))).await.is_err() {
                return;
            }
        }
    });
    ReceiverStream::new(connections)
}

/// Counts each request from its head to the end of its answer.
#[derive(Debug, Clone)]
pub(crate) struct Counted<S>(pub(crate) S);

impl<S> Service<http::Request<Body>> for Counted<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let flight = request.extensions().get::<Marked>().map(|marked| marked.0.begin());
        let request = match request.uri().path() {
            STREAM => request,
            _ => request.map(|body| Body::new(TimeoutBody::new(PIECE_WITHIN, body))),
        };
        let answer = self.0.call(request);
        Box::pin(async move {
            let Ok(answer) = tokio::time::timeout(ANSWER_MAX, answer).await else {
                let late = tonic::Status::deadline_exceeded("the question was never finished");
                return Ok(late.into_http());
            };
            Ok(answer?.map(|body| Body::new(Answer::new(body, flight))))
        })
    }
}

/// Serves HTTP/1.1 until it is dropped.
pub(crate) async fn http(listener: TcpListener, places: usize, router: axum::Router) {
    let mut door = Doorman::new(listener, places, HTTP, "HTTP");
    loop {
        let connection = door.next().await;
        tokio::spawn(http1::serve(connection, router.clone(), |_| {}));
    }
}

/// Names by which the HTTP port may be called: a browser that was led here by another name (DNS
/// rebinding) gets nothing. Addresses are no names: nobody can point them elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct Names(Arc<Known>);

#[derive(Debug)]
struct Known {
    names: Vec<String>,
    /// Requests for others since that was last told, and when (ns of the steady clock; 0: never).
    refused: AtomicU64,
    told: AtomicU64,
}

impl Names {
    /// This machine's own, and those that the configuration adds.
    pub(crate) fn new(more: &[String]) -> Self {
        let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let names = ["localhost".to_owned(), own].into_iter().chain(more.iter().cloned());
        let names = names.map(|name| name.to_ascii_lowercase()).collect();
        Self(Arc::new(Known { names, refused: AtomicU64::new(0), told: AtomicU64::new(0) }))
    }

    /// Says once a minute that requests are refused, with the newest of them.
    fn tell(&self, host: &str) {
        let (now, told) = (now().mono, self.0.told.load(Ordering::Relaxed));
        let refused = self.0.refused.fetch_add(1, Ordering::Relaxed) + 1;
        if told != 0 && now.since(Mono(told)) < TELL_EVERY {
            return;
        }
        self.0.told.store(now.0, Ordering::Relaxed);
        self.0.refused.fetch_sub(refused, Ordering::Relaxed);
        info!(host, refused, "refused: requests for another host");
    }

    /// Refuses a request that was meant for somebody else.
    #[expect(clippy::result_large_err, reason = "it is what the handler answers")]
    pub(crate) fn check(&self, request: &Request) -> Result<(), Response> {
        let host = request.uri().authority().map(|to| to.as_str().to_owned());
        let host = host.or_else(|| Some(request.headers().get(HOST)?.to_str().ok()?.to_owned()));
        match host {
            // HTTP/1.0 needs none, and no browser speaks it.
            None if request.headers().get(HOST).is_none() => Ok(()),
            Some(host) if self.holds(&host) => Ok(()),
            host => {
                let host = lubdub_shared::text::clip(host.unwrap_or_default().into());
                self.tell(&host);
                let why = "this is not the host that the request names; add its name to \
                           http_names in the collector's file\n";
                Err((StatusCode::MISDIRECTED_REQUEST, why).into_response())
            }
        }
    }

    fn holds(&self, authority: &str) -> bool {
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        bare.parse::<IpAddr>().is_ok() || self.0.names.contains(&host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_shared_out() {
        let shares = |grpc, sidecars, http| Shares { grpc, sidecars, http };
        let table = [
            (0, shares(2, 1, 2)),
            (64, shares(28, 21, 4)),
            (1024, shares(854, 790, 122)),
            (65_536, shares(64_464, 64_400, 1024)),
        ];
        for (limit, expected) in table {
            assert_eq!(Shares::of(limit), expected, "{limit}");
        }
        assert!(Shares::of(u64::MAX).sidecars > 1_000_000);
    }

    #[test]
    fn names_by_which_it_may_be_called() {
        let names = Names::new(&["Status.example.org".to_owned()]);
        let table = [
            ("localhost", true),
            ("LOCALHOST:7412", true),
            ("localhost.", true),
            ("127.0.0.1:7412", true),
            ("10.1.2.3", true),
            ("[::1]:7412", true),
            ("status.example.org:80", true),
            ("evil.example.org", false),
            ("localhost.evil.example.org", false),
            ("evil.example.org:7412", false),
            ("127.0.0.1.evil.example.org", false),
            ("", false),
        ];
        for (host, holds) in table {
            assert_eq!(names.holds(host), holds, "{host}");
        }
    }
}
