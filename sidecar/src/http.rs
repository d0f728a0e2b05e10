//! The local door for those who have no datagrams: HTTP/1.1 on a stream socket in the same private
//! directory (`LUBDUB_HTTP`).
//!
//! ```text
//! POST /v1/beat                      the JSON of the datagram door
//! GET  /v1/commands[?wait=SECONDS]   what the agent is asked, as soon as there is something
//! POST /v1/commands/ID               it was taken; a text says what came of it
//! GET|POST|HEAD /ping[/CHECK][/start|/fail|/log|/0..255]   as healthchecks.io has it
//! ```
//!
//! What arrives goes to the driver through a bounded queue: a handler waits while that is full,
//! and so does its client. Nothing that is said here is stored.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{any, get, post};
use lubdub_shared::id::CommandId;
use lubdub_shared::line::{self, Check, DATAGRAM_LEN_MAX, Message, TaskStep};
use lubdub_shared::time::{millis, now};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tracing::warn;

use crate::socket::{PATH_LEN_MAX, allowed_uids};
use crate::supervisor::Notice;

/// What may wait for the driver.
const QUEUE_DEPTH: usize = 64;
/// Connections at one time; further ones wait at the socket.
const CONNECTIONS_MAX: usize = 128;
/// A connection on which nothing moves for so long ends: longer than any poll.
const IDLE_MAX: Duration = Duration::from_secs(90);
/// Notices that wait to be taken; the oldest is forgotten.
const NOTICES_MAX: usize = 16;
/// Started pings that are remembered.
const STARTED_MAX: usize = 32;
/// How long a poll lasts when it does not say, and at most.
const POLL_DEFAULT: Duration = Duration::from_secs(30);
const POLL_MAX: Duration = Duration::from_secs(60);
/// Check of a ping without a name.
const PING: &str = "ping";

/// What came through this door.
#[derive(Debug)]
pub(crate) enum Heard {
    /// As through the other door.
    Said(Box<Message>),
    /// Somebody asks what the agent is to do.
    Polled,
    /// A notice was taken, and what came of it.
    Taken(CommandId, String),
}

/// The door; it closes when this is dropped.
#[derive(Debug)]
pub(crate) struct HttpDoor {
    /// What came.
    pub(crate) heard: mpsc::Receiver<Heard>,
    notices: watch::Sender<Vec<Notice>>,
    started: Arc<Mutex<BTreeSet<String>>>,
    /// Bytes that came, since they were last asked for.
    read: Arc<AtomicUsize>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for HttpDoor {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl HttpDoor {
    /// Opens the door at a path whose directory is private. Must be called within a runtime.
    ///
    /// # Errors
    /// The path is too long, or the system refuses.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() > PATH_LEN_MAX {
            let why = format!("{} is longer than {PATH_LEN_MAX} bytes", path.display());
            return Err(io::Error::other(why));
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = Listener {
            socket: UnixListener::bind(path)?,
            places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            read: Arc::default(),
        };
        let (read, started) = (Arc::clone(&listener.read), Arc::default());
        let (to_driver, heard) = mpsc::channel(QUEUE_DEPTH);
        let (notices, board) = watch::channel(Vec::new());
        let shop = Shop { to_driver, board, started: Arc::clone(&started) };
        let router = Router::new()
            .route("/v1/beat", post(beat))
            .route("/v1/commands", get(commands))
            .route("/v1/commands/{id}", post(taken))
            .route("/ping", any(ping))
            .route("/ping/", any(ping))
            .route("/ping/{*rest}", any(ping))
            .fallback(async || problem(StatusCode::NOT_FOUND, "no such path"))
            .method_not_allowed_fallback(async || {
                problem(StatusCode::METHOD_NOT_ALLOWED, "no such method here")
            })
            .layer(DefaultBodyLimit::max(DATAGRAM_LEN_MAX))
            .with_state(shop);
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                warn!(%error, "the HTTP door is closed");
            }
        });
        Ok(Self { heard, notices, started, read, serving })
    }

    /// Bytes that came through this door since the last question.
    pub(crate) fn take_read(&self) -> usize {
        self.read.swap(0, Ordering::Relaxed)
    }

    /// Hangs a notice out for whoever polls.
    pub(crate) fn post(&self, notice: Notice) {
        self.notices.send_modify(|board| {
            if board.len() == NOTICES_MAX {
                board.remove(0);
            }
            board.push(notice);
        });
    }

    /// Takes a notice away; false when it does not hang there.
    pub(crate) fn take(&self, id: CommandId) -> bool {
        self.notices.send_if_modified(|board| {
            let before = board.len();
            board.retain(|notice| notice.id != id);
            board.len() < before
        })
    }

    /// The life that everything here was for is over.
    pub(crate) fn clear(&self) {
        self.started.lock().expect("nothing panics while it is held").clear();
        self.notices.send_if_modified(|board| !std::mem::take(board).is_empty());
    }
}

/// What the handlers share.
#[derive(Debug, Clone)]
struct Shop {
    to_driver: mpsc::Sender<Heard>,
    board: watch::Receiver<Vec<Notice>>,
    /// Names of pings that were started and not ended. A lock, because handlers run beside each
    /// other on one thread; it is never held across an await.
    started: Arc<Mutex<BTreeSet<String>>>,
}

impl Shop {
    async fn say(&self, message: Message) -> Response {
        self.tell(Heard::Said(Box::new(message))).await
    }

    async fn tell(&self, heard: Heard) -> Response {
        match self.to_driver.send(heard).await {
            Ok(()) => (StatusCode::OK, "OK\n").into_response(),
            Err(_) => problem(StatusCode::SERVICE_UNAVAILABLE, "the sidecar ends"),
        }
    }

    /// Notes a started ping; for one that ends, whether it was started.
    fn note(&self, name: &str, starts: bool) -> bool {
        let mut started = self.started.lock().expect("nothing panics while it is held");
        if starts {
            started.len() < STARTED_MAX && started.insert(name.to_owned())
        } else {
            started.remove(name)
        }
    }
}

fn problem(status: StatusCode, detail: &str) -> Response {
    #[derive(Serialize)]
    struct Problem<'a> {
        status: u16,
        detail: &'a str,
    }
    (status, Json(Problem { status: status.as_u16(), detail })).into_response()
}

async fn beat(State(shop): State<Shop>, body: Bytes) -> Response {
    if !body.trim_ascii_start().starts_with(b"{") {
        return problem(StatusCode::BAD_REQUEST, "not a JSON object");
    }
    match line::parse(&body) {
        // The connection counts what was written, head and all.
        Ok(message) => shop.say(Message { size: 0, ..message }).await,
        Err(why) => problem(StatusCode::BAD_REQUEST, &why.to_string()),
    }
}

#[derive(Deserialize)]
struct Wait {
    wait: Option<f64>,
}

#[derive(Serialize)]
struct CommandsJson {
    v: u8,
    commands: Vec<NoticeJson>,
}

#[derive(Serialize)]
struct NoticeJson {
    id: String,
    kind: &'static str,
    cause: Option<&'static str>,
    reason: String,
    grace_ms: Option<u64>,
}

async fn commands(State(shop): State<Shop>, Query(Wait { wait }): Query<Wait>) -> Response {
    let Ok(wait) = wait.map_or(Ok(POLL_DEFAULT), Duration::try_from_secs_f64) else {
        return problem(StatusCode::BAD_REQUEST, "wait: not a number of seconds");
    };
    let mut board = shop.board.clone();
    if shop.to_driver.send(Heard::Polled).await.is_err() {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "the sidecar ends");
    }
    let something = board.wait_for(|board| !board.is_empty());
    let found = tokio::time::timeout(wait.min(POLL_MAX), something).await;
    let notices = match found {
        Ok(Ok(board)) => board.clone(),
        Ok(Err(_)) => return problem(StatusCode::SERVICE_UNAVAILABLE, "the sidecar ends"),
        // Nothing is asked: an empty list, so that every answer has one shape.
        Err(_) => Vec::new(),
    };
    let commands = notices.into_iter().map(|notice| NoticeJson {
        id: notice.id.to_string(),
        kind: notice.kind.as_str(),
        cause: notice.cause.map(|cause| cause.as_str()),
        reason: notice.reason,
        grace_ms: notice.grace.map(millis),
    });
    Json(CommandsJson { v: 1, commands: commands.collect() }).into_response()
}

async fn taken(
    State(shop): State<Shop>,
    axum::extract::Path(id): axum::extract::Path<String>,
    body: Bytes,
) -> Response {
    let Ok(id) = id.parse::<CommandId>() else {
        return problem(StatusCode::BAD_REQUEST, "not the id of a command");
    };
    if !shop.board.borrow().iter().any(|notice| notice.id == id) {
        return problem(StatusCode::NOT_FOUND, "no such command waits");
    }
    let said = line::clip(String::from_utf8_lossy(&body).trim().into());
    shop.tell(Heard::Taken(id, said)).await
}

/// What a ping says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ping {
    Success,
    Start,
    Fail,
    Log,
}

async fn ping(
    State(shop): State<Shop>,
    path: Option<axum::extract::Path<String>>,
    body: Bytes,
) -> Response {
    let path = path.map(|axum::extract::Path(rest)| rest).unwrap_or_default();
    let Some((name, what)) = read_ping(&path) else {
        return problem(StatusCode::BAD_REQUEST, "not /ping[/CHECK][/start|/fail|/log|/0..255]");
    };
    let check = match line::name("check", name.unwrap_or(PING).into()) {
        Ok(check) => check,
        Err(why) => return problem(StatusCode::BAD_REQUEST, &why.to_string()),
    };
    let text = line::clip(String::from_utf8_lossy(&body).trim().into());
    let task = match what {
        // Only what will be known when it ends.
        Ping::Start if shop.note(&check, true) => Some(TaskStep::Start),
        // Only what was started is a task: a ping now and then is no work done.
        Ping::Success if shop.note(&check, false) => Some(TaskStep::Done),
        Ping::Fail if shop.note(&check, false) => Some(TaskStep::Fail),
        Ping::Start | Ping::Success | Ping::Fail | Ping::Log => None,
    };
    let ok = match what {
        Ping::Success => Some(true),
        Ping::Fail => Some(false),
        Ping::Start | Ping::Log => None,
    };
    shop.say(Message {
        beat: what != Ping::Log,
        task: task.map(|step| line::Task { id: check.clone(), step, took: None }),
        check: ok.map(|ok| Check { name: check, ok, trigger: false, message: text.clone() }),
        text: Some(text).filter(|text| !text.is_empty()),
        ..Message::default()
    })
    .await
}

/// `[CHECK][/start|/fail|/log|/0..255]`.
fn read_ping(path: &str) -> Option<(Option<&str>, Ping)> {
    let word = |word: &str| match word {
        "start" => Some(Ping::Start),
        "fail" => Some(Ping::Fail),
        "log" => Some(Ping::Log),
        "0" => Some(Ping::Success),
        number => number.parse::<u8>().ok().map(|_| Ping::Fail),
    };
    let path = path.trim_matches('/');
    let (name, what) = match path.rsplit_once('/') {
        Some((name, last)) => (Some(name), word(last)?),
        None if path.is_empty() => (None, Ping::Success),
        None => match word(path) {
            Some(what) => (None, what),
            None => (Some(path), Ping::Success),
        },
    };
    name.is_none_or(|name| !name.contains('/')).then_some((name, what))
}

/// Takes connections of the agent's user and of root only, so many at a time.
struct Listener {
    socket: UnixListener,
    places: Arc<Semaphore>,
    read: Arc<AtomicUsize>,
}

impl axum::serve::Listener for Listener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let place = Arc::clone(&self.places).acquire_owned().await;
            let place = place.expect("it is never closed");
            let (stream, address) = match self.socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: those that are open go on.
                    warn!(%error, "could not accept a connection");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            match stream.peer_cred() {
                Ok(peer) if allowed_uids().contains(&peer.uid()) => {
                    let idle = Box::pin(tokio::time::sleep(IDLE_MAX));
                    let read = Arc::clone(&self.read);
                    return (Connection { stream, idle, read, _place: place }, address);
                }
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.socket.local_addr()
    }
}

/// A connection that holds its place, counts what comes, and ends when nothing moves for long.
struct Connection {
    stream: UnixStream,
    idle: Pin<Box<tokio::time::Sleep>>,
    read: Arc<AtomicUsize>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn moved(&mut self) {
        let deadline = lubdub_shared::time::instant_at(now().mono.after(IDLE_MAX));
        self.idle.as_mut().reset(deadline.into());
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if Pin::new(&mut self.stream).poll_read(context, buffer)?.is_ready() {
            self.read.fetch_add(buffer.filled().len() - before, Ordering::Relaxed);
            self.moved();
            return Poll::Ready(Ok(()));
        }
        // Nothing more is read from who says nothing: the connection ends.
        self.idle.as_mut().poll(context).map(Ok)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.moved();
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_are_read_as_healthchecks_has_them() {
        for (path, read) in [
            ("", Some((None, Ping::Success))),
            ("start", Some((None, Ping::Start))),
            ("7", Some((None, Ping::Fail))),
            ("backup", Some((Some("backup"), Ping::Success))),
            ("backup/", Some((Some("backup"), Ping::Success))),
            ("backup/start", Some((Some("backup"), Ping::Start))),
            ("backup/fail", Some((Some("backup"), Ping::Fail))),
            ("backup/log", Some((Some("backup"), Ping::Log))),
            ("backup/0", Some((Some("backup"), Ping::Success))),
            ("backup/255", Some((Some("backup"), Ping::Fail))),
            ("backup/256", None),
            ("backup/restart", None),
            ("a/b/start", None),
        ] {
            assert_eq!(read_ping(path), read, "{path}");
        }
    }
}
