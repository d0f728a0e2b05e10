//! A collector with 100,000 streams within its process, each of which reports every 5 s: how long a
//! message waits for the driver, and what memory it takes, with and without people who read.
//!
//! `cargo build --profile dist --workspace --bins && cargo bench -p tests --bench readers`
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark starts processes, reads clocks and prints"
)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::sample;
use lubdub_collector::config::Policies;
use lubdub_collector::{Collector, Config, Local, LocalStream};
use lubdub_shared::id::Life;
use lubdub_shared::session::FromSidecar;
use tokio::sync::watch;

const AGENTS: usize = 100_000;
/// Between two reports of one agent.
const EVERY: Duration = Duration::from_secs(5);
/// Agents that report at one time; so many make one round in `EVERY`.
const AT_ONCE: usize = 200;
/// Of each of the phases, which take turns.
const PHASE: Duration = Duration::from_secs(20);
const ROUNDS: usize = 3;

struct Sidecar {
    stream: LocalStream,
    life: Life,
}

/// What one phase showed.
#[derive(Default)]
struct Seen {
    delays: Vec<Duration>,
    peak_kib: u64,
    /// Reports a second.
    reports: f64,
}

impl Seen {
    fn delay(&self, share: f64) -> Duration {
        let mut sorted = self.delays.clone();
        sorted.sort();
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "small")]
        #[expect(clippy::cast_sign_loss, reason = "a share")]
        let place = (sorted.len() as f64 * share) as usize;
        sorted[place.min(sorted.len() - 1)]
    }
}

fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/dist").join(name)
}

/// A shell's loop, until it is dropped; each turn of it is written down with its time.
struct Reader(Child);

impl Reader {
    fn start(directory: &Path, name: &str, command: &str) -> Self {
        let turns = directory.join(name);
        let line = format!(
            "while :; do a=$(date +%s%N); {command} >/dev/null 2>&1; b=$(date +%s%N); \
             echo $(( (b - a) / 1000000 )) >> {}; done",
            turns.display()
        );
        // In earnest they are on other machines: here they take what is left of this one.
        let mut shell = Command::new("nice");
        std::os::unix::process::CommandExt::process_group(&mut shell, 0);
        let child = shell
            .args(["-n", "19", "sh", "-c", &line])
            .stdin(Stdio::null())
            .spawn()
            .expect("a shell");
        Self(child)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.0);
        let (Ok(()) | Err(_)) =
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        self.0.wait().expect("it ends");
    }
}

fn peak() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("it runs");
    let line = text.lines().find(|line| line.starts_with("VmHWM")).expect("the kernel says");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("KiB")
}

/// Reports at their pace, and what waits for the driver meanwhile.
async fn phase(local: &Local, sidecars: &[Sidecar], number: &mut u64, seen: &mut Seen) {
    std::fs::write("/proc/self/clear_refs", "5").expect("the peak begins anew");
    let (begin, local) = (Instant::now(), local.clone());
    let probe = tokio::spawn(async move {
        let mut delays = Vec::new();
        while begin.elapsed() < PHASE {
            tokio::time::sleep(Duration::from_millis(2)).await;
            delays.push(local.delay().await.expect("it runs"));
        }
        delays
    });
    let turns = u32::try_from(AGENTS / AT_ONCE).expect("few");
    let mut pace = tokio::time::interval(EVERY / turns);
    let mut said = 0_u32;
    'phase: loop {
        *number += 1;
        for some in sidecars.chunks(AT_ONCE) {
            if begin.elapsed() >= PHASE {
                break 'phase;
            }
            pace.tick().await;
            for Sidecar { stream, life } in some {
                let report = Arc::new(sample::report(*life, *number));
                stream.say(FromSidecar::Report(report)).await.expect("it runs");
                said += 1;
            }
        }
    }
    seen.reports = f64::from(said) / begin.elapsed().as_secs_f64();
    seen.delays.extend(probe.await.expect("it ends"));
    seen.peak_kib = seen.peak_kib.max(peak());
}

fn readers(directory: &Path, http: SocketAddr, grpc: SocketAddr) -> Vec<Reader> {
    let lubdub = program("lubdub");
    let lubdub = lubdub.display();
    let collector = format!("--collector http://{grpc}");
    vec![
        Reader::start(directory, "metrics", &format!("curl -s http://{http}/metrics")),
        Reader::start(directory, "api-status", &format!("curl -s http://{http}/api/status")),
        Reader::start(directory, "status", &format!("{lubdub} status -o json {collector}")),
        Reader::start(directory, "events", &format!("{lubdub} events -f {collector}")),
    ]
}

fn row(what: &str, figure: &str) {
    println!("{what:48} {figure}");
}

fn told(directory: &Path, alone: &Seen, read: &Seen) {
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        let [a, b] = [alone, read].map(|seen| seen.delay(share));
        let ratio = b.as_secs_f64() / a.as_secs_f64();
        row(
            &format!("a message waits for the driver, {name}"),
            &format!("{a:.0?} alone, {b:.0?} with readers: {ratio:.2} x"),
        );
    }
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let ratio = read.peak_kib as f64 / alone.peak_kib as f64;
    let [a, b] = [alone, read].map(|seen| seen.peak_kib / 1024);
    row("peak of memory", &format!("{a} MiB alone, {b} MiB with readers: {ratio:.2} x"));
    let [a, b] = [alone, read].map(|seen| seen.reports);
    row("reports", &format!("{a:.0} a second alone, {b:.0} with readers"));
    for name in ["metrics", "api-status", "status"] {
        let text = std::fs::read_to_string(directory.join(name)).unwrap_or_default();
        let mut turns: Vec<u64> = text.lines().filter_map(|line| line.parse().ok()).collect();
        turns.sort_unstable();
        let median = turns.get(turns.len() / 2).copied().unwrap_or_default();
        row(&format!("{name}: answers, median"), &format!("{}, {median} ms", turns.len()));
    }
}

async fn measure(directory: &Path) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config {
        listen: any,
        http: any,
        data_dir: directory.join("data"),
        reports_per_second: 20_000,
        http_names: Vec::new(),
        policies: Policies::parse("none", "").expect("the default"),
        record: None,
        source: None,
    };
    let collector = Collector::begin(config).await.expect("it begins");
    let [grpc, http] = [collector.grpc_address(), collector.http_address()];
    let (grpc, http) = (grpc.expect("bound"), http.expect("bound"));
    let local = collector.local();
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(collector.run(stopped));
    let rng = &mut fastrand::Rng::with_seed(1);
    let mut sidecars = Vec::with_capacity(AGENTS);
    for number in 0..AGENTS {
        let (hello, life) = sample::hello(number, rng);
        let mut stream = local.attach(hello).await.expect("admitted");
        drop(stream.hear().await.expect("Welcome"));
        sidecars.push(Sidecar { stream, life });
    }
    let (mut alone, mut read, mut number) = (Seen::default(), Seen::default(), 1);
    // What an attachment leaves behind is given back in the first round.
    phase(&local, &sidecars, &mut number, &mut Seen::default()).await;
    for _ in 0..ROUNDS {
        phase(&local, &sidecars, &mut number, &mut alone).await;
        let readers = readers(directory, http, grpc);
        phase(&local, &sidecars, &mut number, &mut read).await;
        drop(readers);
    }
    told(directory, &alone, &read);
    stop.send(true).expect("it listens");
    running.await.expect("it ends").expect("well");
}

fn main() {
    let directory = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(measure(directory.path()));
}
