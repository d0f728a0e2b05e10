//! The two daemons as processes: memory and CPU of an idle sidecar, memory of a collector for each
//! connected sidecar, messages and durable events in a second, beside floors of the same run.
//!
//! `cargo build --profile dist --workspace --bins && cargo bench -p tests --bench daemons`, or some
//! of it: `-- memory durable sidecar`.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark starts processes, reads clocks and prints"
)]

use std::sync::Arc;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::sample;
use lubdub_shared::id::{Life, SpoolId};
use lubdub_shared::pb;
use lubdub_shared::pb::query_service_client::QueryServiceClient;
use lubdub_shared::pb::sidecar_service_client::SidecarServiceClient;
use lubdub_shared::session::{Event, FromSidecar, Happening, ToSidecar};
use lubdub_shared::time::Wall;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// Streams of the collector's memory test; a process may hold 20,000 descriptors.
const STREAMS: usize = 2_000;
/// Events of each stream, each acked, before its memory is looked at again.
const ACKED: u64 = 100;
const MEASURED: Duration = Duration::from_secs(60);

fn program(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/dist");
    let path = root.join(name);
    assert!(path.exists(), "{} is missing: cargo build --profile dist", path.display());
    path
}

/// Ends with the benchmark.
struct Daemon(Child);

impl Daemon {
    fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Self(child.expect("it starts"))
    }

    fn status(&self, key: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()));
        let text = text.expect("it runs");
        let line = text.lines().find(|line| line.starts_with(key)).expect("the kernel says");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("KiB")
    }

    /// Time on a CPU of all its threads.
    fn cpu(&self) -> Duration {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.0.id())).expect("it runs");
        threads.map(|thread| on_cpu(&thread.expect("a thread").path())).sum()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn free_port() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

fn collector(directory: &Path) -> (Daemon, SocketAddr) {
    let (grpc, http) = (free_port(), free_port());
    let mut command = Command::new(program("lubdub-collector"));
    command
        .args(["--listen", &grpc.to_string(), "--http", &http.to_string(), "--data-dir"])
        .arg(directory)
        .env("LUBDUB_LOG", "error");
    let daemon = Daemon::start(&mut command);
    let start = Instant::now();
    while std::net::TcpStream::connect(grpc).is_err() {
        assert!(start.elapsed() < Duration::from_secs(20), "a collector");
        std::thread::sleep(Duration::from_millis(20));
    }
    (daemon, grpc)
}

/// Time on a CPU, in nanoseconds: the first field of `schedstat`. What `stat` says is counted in
/// clock ticks of 10 ms, and who wakes by a timer is found running at too many of them.
fn on_cpu(thread: &Path) -> Duration {
    let text = std::fs::read_to_string(thread.join("schedstat")).expect("it runs");
    let nanoseconds = text.split(' ').next().and_then(|field| field.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

/// A thread that wakes at each tick of a sidecar, and does nothing: what it costs in the span.
fn bare_ticks(span: Duration) -> Duration {
    let thread = std::thread::spawn(move || {
        let start = Instant::now();
        while start.elapsed() < span {
            std::thread::sleep(lubdub_shared::time::TICK);
        }
        on_cpu(Path::new("/proc/thread-self"))
    });
    thread.join().expect("it ends")
}

/// What the sidecar's memory and CPU are beside an agent that beats each second.
fn idle_sidecar(directory: &Path) {
    let (_collector, address) = collector(&directory.join("idle"));
    let mut command = Command::new(program("lubdub-sidecar"));
    command
        .args(["run", "--id", "idle", "--collector", &format!("http://{address}")])
        .arg("--state-dir")
        .arg(directory)
        .args(["--", "python3", "-c"])
        .arg(
            "import os,socket,time\ns=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)\n\
             while True:\n s.sendto(b'WATCHDOG=1',os.environ['NOTIFY_SOCKET']);time.sleep(1)",
        )
        .env("LUBDUB_LOG", "error");
    let sidecar = Daemon::start(&mut command);
    std::thread::sleep(Duration::from_secs(5));
    let before = sidecar.cpu();
    let floor = bare_ticks(MEASURED);
    let spent = sidecar.cpu().saturating_sub(before);
    let per_hour = |span: Duration| span.as_secs_f64() * 3600.0 / MEASURED.as_secs_f64();
    row("sidecar RSS, one beat a second", format!("{} KiB", sidecar.status("VmRSS")));
    row("sidecar anonymous memory", format!("{} KiB", sidecar.status("RssAnon")));
    row("sidecar CPU", format!("{:.1} s/h", per_hour(spent)));
    row("  floor: a bare wake at each tick", format!("{:.1} s/h", per_hour(floor)));
    let size = std::fs::metadata(program("lubdub-sidecar")).expect("there").len();
    row("sidecar binary, dist profile", format!("{} KiB", size / 1024));
}

struct Stream {
    up: mpsc::Sender<pb::FromSidecar>,
    down: Streaming<pb::ToSidecar>,
    spool: SpoolId,
    life: Life,
}

/// Connects as a sidecar does: a connection of its own.
async fn attach(address: SocketAddr, number: usize, rng: &mut fastrand::Rng) -> Stream {
    let (hello, life) = sample::hello(number, rng);
    let spool = hello.spool;
    let client = SidecarServiceClient::connect(format!("http://{address}")).await;
    let (up, messages) = mpsc::channel(64);
    let first = FromSidecar::Hello(Box::new(hello));
    up.send(first.into()).await.expect("room");
    let attached = client.expect("a collector").attach(ReceiverStream::new(messages)).await;
    let mut down = attached.expect("attached").into_inner();
    down.message().await.expect("a stream").expect("Welcome");
    Stream { up, down, spool, life }
}

async fn collector_memory(directory: &Path, rng: &mut fastrand::Rng) {
    let (daemon, address) = collector(&directory.join("memory"));
    let empty = daemon.status("VmRSS");
    let mut streams = Vec::new();
    for number in 0..STREAMS {
        streams.push(attach(address, number, rng).await);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let full = daemon.status("VmRSS");
    let each = (full - empty) * 1024 / STREAMS as u64;
    row("collector RSS, empty", format!("{empty} KiB"));
    row("collector RSS for each connected sidecar", format!("{each} bytes of {STREAMS} streams"));
    // One after the other, as they come.
    for stream in &mut streams {
        events(stream, ACKED, 1).await;
    }
    let acked = (daemon.status("VmRSS") - empty) * 1024 / STREAMS as u64;
    row("  after 100 acked events of each", format!("{acked} bytes"));
    reports(&daemon, &mut streams).await;
}

/// Reports of all streams in turn, as fast as the collector takes them.
async fn reports(daemon: &Daemon, streams: &mut [Stream]) {
    const ROUNDS: u64 = 20;
    let (before, start) = (daemon.cpu(), Instant::now());
    for round in 0..ROUNDS {
        for stream in streams.iter_mut() {
            let report = FromSidecar::Report(Arc::new(sample::report(stream.life, round + 2)));
            stream.up.send(report.into()).await.expect("it stands");
        }
    }
    // An event behind the reports is acked after them.
    let last = streams.last_mut().expect("there are some");
    events_after(last, ACKED, 1, 1).await;
    let count =
        u32::try_from(ROUNDS).expect("small") * u32::try_from(streams.len()).expect("small");
    let cpu = daemon.cpu().saturating_sub(before);
    row("reports taken", per_second(count, start.elapsed()));
    row(
        "collector CPU for each report",
        format!("{:.1} us", cpu.as_secs_f64() * 1e6 / f64::from(count)),
    );
}

/// Batches of events, each acked before the next: durable ones.
async fn events(stream: &mut Stream, batches: u64, size: u64) {
    events_after(stream, 0, batches, size).await;
}

/// The same, behind the event of this number.
async fn events_after(stream: &mut Stream, mut number: u64, batches: u64, size: u64) {
    for _ in 0..batches {
        let event = |number| Event {
            number,
            at: Wall(1),
            life: Some(stream.life),
            what: Happening::Note { text: "a note".to_owned() },
        };
        let batch = (number + 1..=number + size).map(event).collect();
        number += size;
        let batch = FromSidecar::Events { spool: stream.spool, events: batch };
        stream.up.send(batch.into()).await.expect("it stands");
        loop {
            let message = stream.down.message().await.expect("a stream").expect("an ack");
            let message = ToSidecar::try_from(message).expect("well-formed");
            if matches!(message, ToSidecar::Ack { number: acked, .. } if acked == number) {
                break;
            }
        }
    }
}

async fn durable_events(directory: &Path, rng: &mut fastrand::Rng) {
    let (_daemon, address) = collector(&directory.join("events"));
    for (batches, size) in [(500_u32, 1_u32), (200, 100)] {
        let mut stream = attach(address, usize::try_from(size).expect("small"), rng).await;
        let start = Instant::now();
        events(&mut stream, u64::from(batches), u64::from(size)).await;
        let what = format!("durable events, batches of {size}, one stream");
        row(&what, per_second(batches * size, start.elapsed()));
        row(&format!("  floor: bare SQLite, {size} a commit"), floor(directory, batches, size));
    }
    round_trips(address).await;
    waiting_together(address, rng).await;
}

/// What one stream that waits pays besides the commit: a question that the driver answers at once.
async fn round_trips(address: SocketAddr) {
    const TIMES: u32 = 500;
    let client = QueryServiceClient::connect(format!("http://{address}")).await;
    let mut client = client.expect("a collector");
    let start = Instant::now();
    for _ in 0..TIMES {
        let (text, requested_by) = ("?".to_owned(), "a bench".to_owned());
        let request = pb::PushPolicyRequest { text, requested_by, dry_run: true };
        client.push_policy(request).await.expect_err("it holds a mistake");
    }
    row("  floor: a round trip through the driver", per_second(TIMES, start.elapsed()));
}

/// Eight streams, each of which waits for its acks: they share commits.
async fn waiting_together(address: SocketAddr, rng: &mut fastrand::Rng) {
    const TOGETHER: usize = 8;
    const EACH: u64 = 250;
    let mut streams = Vec::new();
    for number in 0..TOGETHER {
        streams.push(attach(address, 1000 + number, rng).await);
    }
    let start = Instant::now();
    let all: Vec<_> = streams
        .into_iter()
        .map(|mut stream| tokio::spawn(async move { events(&mut stream, EACH, 1).await }))
        .collect();
    for one in all {
        one.await.expect("it ends");
    }
    let count = u32::try_from(TOGETHER as u64 * EACH).expect("small");
    row("durable events, eight streams that each wait", per_second(count, start.elapsed()));
}

/// The same rows in a table of the same shape, the chain's column too, by bare SQLite: WAL,
/// synchronous=FULL.
fn floor(directory: &Path, batches: u32, size: u32) -> String {
    let path = directory.join(format!("floor-{size}.sqlite3"));
    let mut connection = rusqlite::Connection::open(path).expect("opens");
    connection.pragma_update(None, "journal_mode", "WAL").expect("WAL");
    connection.pragma_update(None, "synchronous", "FULL").expect("FULL");
    let table = "CREATE TABLE events (seq INTEGER PRIMARY KEY, spool BLOB, number INTEGER,
        at INTEGER NOT NULL, agent TEXT NOT NULL, incarnation INTEGER, kind TEXT NOT NULL,
        detail TEXT NOT NULL, sum BLOB NOT NULL, UNIQUE (agent, spool, number)) STRICT";
    connection.execute_batch(table).expect("a table");
    let start = Instant::now();
    for batch in 0..batches {
        let transaction = connection.transaction().expect("begins");
        for number in 0..size {
            transaction
                .prepare_cached(
                    "INSERT INTO events VALUES (NULL, ?1, ?2, 1, 'a', 1, 'note', ?3, ?4)",
                )
                .and_then(|mut insert| {
                    insert.execute((
                        "0123456789abcdef".as_bytes(),
                        batch * size + number,
                        "{\"text\":\"a note\"}",
                        [7_u8; 32],
                    ))
                })
                .expect("inserts");
        }
        transaction.commit().expect("commits");
    }
    per_second(batches * size, start.elapsed())
}

fn per_second(count: u32, span: Duration) -> String {
    format!("{:.0} a second", f64::from(count) / span.as_secs_f64())
}

fn row(what: &str, figure: String) {
    println!("{what:48} {figure}");
}

fn main() {
    let directory = tempfile::tempdir().expect("a directory");
    let rng = &mut fastrand::Rng::with_seed(7);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let chosen: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|choice| choice == name);
    runtime.expect("a runtime").block_on(async {
        if wanted("memory") {
            collector_memory(directory.path(), rng).await;
        }
        if wanted("durable") {
            durable_events(directory.path(), rng).await;
        }
    });
    if wanted("sidecar") {
        idle_sidecar(directory.path());
    }
}
