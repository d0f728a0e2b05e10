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
//! and so does its client. The driver knows who may speak (a stranger gets 403). Nothing that is
//! said here is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequest, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use lubdub_shared::id::CommandId;
use lubdub_shared::line::{self, DATAGRAM_LEN_MAX, Message};
use lubdub_shared::text::clip;
use lubdub_shared::time::{Mono, millis, now};
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_stream::StreamExt as _;
use tower::ServiceExt as _;

use crate::reserve;
use crate::socket::{self, PATH_LEN_MAX};
use crate::speaker::{NotHeard, Speaker};
use crate::supervisor::Notice;

mod listener;
mod ping;

use listener::Peer;
use ping::ping;

/// What may wait for the driver.
const QUEUE_DEPTH: usize = 64;
/// Notices that wait to be taken; the oldest is forgotten.
const NOTICES_MAX: usize = 16;
/// Started pings that are remembered.
const STARTED_MAX: usize = 32;
/// How long a poll lasts when it does not say, and at most.
const POLL_DEFAULT: Duration = Duration::from_secs(30);
const POLL_MAX: Duration = Duration::from_secs(60);
/// What is not taken is offered again after this.
const OFFER_EVERY: Duration = Duration::from_secs(5);

/// What came through this door, from whom, and where the answer goes.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) speaker: Speaker,
    pub(crate) what: What,
    pub(crate) answer: oneshot::Sender<Result<(), NotHeard>>,
}

/// What somebody wants.
#[derive(Debug)]
pub(crate) enum What {
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
    path: PathBuf,
    inode: u64,
}

impl Drop for HttpDoor {
    fn drop(&mut self) {
        self.serving.abort();
        let there = std::fs::symlink_metadata(&self.path);
        if there.is_ok_and(|there| there.ino() == self.inode) {
            socket::remove(&self.path);
        }
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
        let socket = UnixListener::bind(path)?;
        let places = reserve::door_share();
        let (read, started) = (Arc::default(), Arc::default());
        let (to_driver, heard) = mpsc::channel(QUEUE_DEPTH);
        let (notices, board) = watch::channel(Vec::new());
        let shop = Shop {
            to_driver,
            board,
            started: Arc::clone(&started),
            offered: Arc::default(),
            // The others are for who says something.
            polls: Arc::new(Semaphore::new((places / 2).max(1))),
        };
        let serving =
            tokio::spawn(listener::serve(socket, places, Arc::clone(&read), router(shop)));
        let inode = std::fs::symlink_metadata(path)?.ino();
        Ok(Self { heard, notices, started, read, serving, path: path.to_owned(), inode })
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

/// All paths.
fn router(shop: Shop) -> Router {
    Router::new()
        .route("/v1/beat", post(beat))
        .route("/v1/commands", get(commands).head(no_such_method))
        .route("/v1/commands/{id}", post(taken))
        .route("/ping", get(ping).post(ping))
        .route("/ping/", get(ping).post(ping))
        .route("/ping/{*rest}", get(ping).post(ping))
        .fallback(async || problem(StatusCode::NOT_FOUND, "no such path"))
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(DATAGRAM_LEN_MAX))
        .with_state(shop)
}

/// What the door answers to one request, without a socket and with a driver that hears everybody:
/// for tests that feed it anything. `None` where it is no request at all.
pub async fn answer(method: &str, path: &str, body: Vec<u8>) -> Option<u16> {
    let request =
        Request::builder().method(method).uri(path).body(axum::body::Body::from(body)).ok()?;
    let (to_driver, mut heard) = mpsc::channel::<Heard>(QUEUE_DEPTH);
    let (notices, board) = watch::channel(Vec::new());
    let shop = Shop {
        to_driver,
        board,
        started: Arc::default(),
        offered: Arc::default(),
        polls: Arc::new(Semaphore::new(1)),
    };
    let speaker = Peer(Speaker { pid: 1, uid: 0 });
    let router = router(shop).layer(Extension(ConnectInfo(speaker)));
    let hears = async {
        while let Some(heard) = heard.recv().await {
            // Whoever asked may have gone.
            let (Ok(()) | Err(_)) = heard.answer.send(Ok(()));
        }
    };
    // A poll would wait: there is nothing to be had.
    drop(notices);
    tokio::select! {
        biased;
        answered = router.oneshot(request) => answered.ok().map(|answer| answer.status().as_u16()),
        () = hears => None,
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
    /// When each notice was last offered; locked likewise.
    offered: Arc<Mutex<BTreeMap<CommandId, Mono>>>,
    /// Who may wait at one time.
    polls: Arc<Semaphore>,
}

impl Shop {
    async fn say(&self, peer: Peer, message: Message) -> Response {
        self.tell(peer, What::Said(Box::new(message))).await
    }

    async fn tell(&self, peer: Peer, what: What) -> Response {
        match self.ask(peer, what).await {
            Ok(()) => fine(),
            Err(refused) => refused,
        }
    }

    /// The driver knows who may speak.
    async fn ask(&self, Peer(speaker): Peer, what: What) -> Result<(), Response> {
        let ends = || problem(StatusCode::SERVICE_UNAVAILABLE, "the sidecar ends");
        let (answer, answered) = oneshot::channel();
        let heard = Heard { speaker, what, answer };
        self.to_driver.send(heard).await.map_err(|_| ends())?;
        let heard = answered.await.map_err(|_| ends())?;
        heard.map_err(|why| problem(StatusCode::FORBIDDEN, &why.to_string()))
    }

    /// What hangs there, without what was offered a moment ago.
    fn offer(&self, board: &[Notice]) -> Vec<Notice> {
        let now = now().mono;
        let mut offered = self.offered.lock().expect("nothing panics while it is held");
        offered.retain(|id, _| board.iter().any(|notice| notice.id == *id));
        let fresh = |notice: &&Notice| {
            offered.get(&notice.id).is_none_or(|at| now.since(*at) >= OFFER_EVERY)
        };
        let due: Vec<Notice> = board.iter().filter(fresh).cloned().collect();
        offered.extend(due.iter().map(|notice| (notice.id, now)));
        due
    }

    fn started(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.started.lock().expect("nothing panics while it is held")
    }

    /// A ping of this name may begin.
    fn can_start(&self, name: &str) -> bool {
        let started = self.started();
        started.len() < STARTED_MAX && !started.contains(name)
    }

    fn was_started(&self, name: &str) -> bool {
        self.started().contains(name)
    }

    /// A ping of this name has begun, or ended.
    fn note(&self, name: String, starts: bool) {
        let mut started = self.started();
        if !starts {
            started.remove(&name);
        } else if started.len() < STARTED_MAX {
            started.insert(name);
        }
    }
}

fn fine() -> Response {
    (StatusCode::OK, "OK\n").into_response()
}

fn problem(status: StatusCode, detail: &str) -> Response {
    #[derive(Serialize)]
    struct Problem<'a> {
        status: u16,
        detail: &'a str,
    }
    (status, Json(Problem { status: status.as_u16(), detail })).into_response()
}

async fn no_such_method() -> Response {
    problem(StatusCode::METHOD_NOT_ALLOWED, "no such method here")
}

/// What came, or the answer to what could not be read.
type Body = Result<Bytes, BytesRejection>;

/// What may come behind the part of a text that is kept: it is read and let go.
const REST_MAX: usize = 64 << 20;

/// The beginning of a text of any length, as healthchecks.io takes it: a script's output that is
/// too long is no reason to lose its ping.
struct Text(String);

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<Self, Response> {
        let (mut kept, mut rest) = (Vec::new(), 0);
        let mut pieces = request.into_body().into_data_stream();
        while let Some(piece) = pieces.next().await {
            // Whoever breaks off has said what came.
            let Ok(piece) = piece else { break };
            let room = DATAGRAM_LEN_MAX.saturating_sub(kept.len()).min(piece.len());
            kept.extend_from_slice(&piece[..room]);
            rest += piece.len() - room;
            if rest > REST_MAX {
                break;
            }
        }
        Ok(Self(clip(String::from_utf8_lossy(&kept).trim().into())))
    }
}

async fn beat(
    State(shop): State<Shop>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    body: Body,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(why) => return problem(why.status(), &why.body_text()),
    };
    if !body.trim_ascii_start().starts_with(b"{") {
        return problem(StatusCode::BAD_REQUEST, "not a JSON object");
    }
    match line::parse(&body) {
        // The connection counts what was written, head and all.
        Ok(message) => shop.say(peer, Message { size: 0, ..message }).await,
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

async fn commands(
    State(shop): State<Shop>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    query: Result<Query<Wait>, QueryRejection>,
) -> Response {
    let wait = match query {
        Ok(Query(Wait { wait })) => wait.map_or(Ok(POLL_DEFAULT), Duration::try_from_secs_f64),
        Err(why) => return problem(why.status(), &why.body_text()),
    };
    let Ok(wait) = wait else {
        return problem(StatusCode::BAD_REQUEST, "wait: not a number of seconds");
    };
    if let Err(refused) = shop.ask(peer, What::Polled).await {
        return refused;
    }
    let Ok(_place) = shop.polls.try_acquire() else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "too many wait already");
    };
    let mut board = shop.board.clone();
    let end = now().mono.after(wait.min(POLL_MAX));
    let notices = loop {
        // Nothing is asked: an empty list, so that every answer has one shape.
        let notices = shop.offer(&board.borrow_and_update());
        if !notices.is_empty() || now().mono >= end {
            break notices;
        }
        // What was offered and not taken is offered again, but not at once.
        let again = now().mono.after(OFFER_EVERY).min(end);
        let pause = tokio::time::sleep_until(lubdub_shared::time::instant_at(again).into());
        tokio::select! {
            changed = board.changed() => if changed.is_err() {
                return problem(StatusCode::SERVICE_UNAVAILABLE, "the sidecar ends");
            },
            () = pause => {}
        }
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
    ConnectInfo(peer): ConnectInfo<Peer>,
    axum::extract::Path(id): axum::extract::Path<String>,
    Text(said): Text,
) -> Response {
    let Ok(id) = id.parse::<CommandId>() else {
        return problem(StatusCode::BAD_REQUEST, "not the id of a command");
    };
    if !shop.board.borrow().iter().any(|notice| notice.id == id) {
        return problem(StatusCode::NOT_FOUND, "no such command waits");
    }
    shop.tell(peer, What::Taken(id, said)).await
}
