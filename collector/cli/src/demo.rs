//! `lubdub demo`: five sample agents that misbehave on cue, and what becomes of them.
//!
//! Everything is real: a collector in this process, a sidecar process for each agent, deadlines of
//! seconds instead of minutes. All of it lies in a temporary directory and ends with the command.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lubdub_collector::Transitions;
use lubdub_collector::config::{Config, Flags};
use lubdub_shared::fs::{Durability, write_atomic};
use lubdub_shared::time::{self, Mono, words};
use rustix::process::{Pid, Signal};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use crate::client::{Client, Failed};
use crate::embedded::Embedded;
use crate::{render, status, up};

pub(crate) mod agent;
mod cast;

use cast::Role;

/// It ends by itself after this, whatever was seen.
const TWO_MINUTES: Duration = Duration::from_secs(120);
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Lines of the story that stay in sight.
const STORY_LINES: usize = 10;
/// How long a sidecar has to end its agent.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// Deadlines of seconds: a demonstration, not a policy for anybody's agents.
const POLICY: &str = r#"
[policy.default]
heartbeat_deadline = "3s"
failures_before_critical = 1
startup_grace = "15s"
progress_window = "4s"
[policy.default.restart]
attempts = 2
delay = { initial = "1s", factor = 1.0, max = "1s", jitter = 0.0 }
term_grace = "2s"
"#;

/// Flags of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the demonstration; 0 when everything was seen.
pub(crate) fn run(_: &Args) -> ExitCode {
    lubdub_shared::telemetry::init(Some(std::env::var("LUBDUB_LOG").as_deref().unwrap_or("error")));
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => render::failed(&failed),
    }
}

/// The sidecar of a sample agent. It ends when the demonstration does, however that ends.
pub(crate) fn sidecar(args: lubdub_sidecar::cli::Run) -> ExitCode {
    lubdub_shared::telemetry::init(Some("error"));
    let config = match args.config() {
        Ok(config) => config,
        Err(error) => return render::failed(&Failed::refused(format!("{error:#}"))),
    };
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::TERM)) {
        return render::failed(&Failed::refused(format!("cannot be tied to the demo: {error}")));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        runtime.block_on(async {
            let sidecar = lubdub_sidecar::Sidecar::begin(config)?;
            let signals = lubdub_sidecar::signals()?;
            Ok(sidecar.run(signals).await)
        })
    });
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => render::failed(&Failed::refused(format!("{error:#}"))),
    }
}

fn start() -> Result<(), Failed> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        Failed::refused(format!("cannot {what}: {error}"))
    };
    let directory = tempfile::Builder::new().prefix("lubdub-demo-").tempdir();
    let directory = directory.map_err(|error| failed("make a directory", &error))?;
    let config = config(directory.path())?;
    let story = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&story);
    let mut collector = Embedded::start(config, move |t| tell(t, told), |_| {})?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed("start", &error))?;
    let done = runtime.block_on(async {
        let Ok(standing) = collector.stands().await else { return Ok(None) };
        let collector = format!("http://{}", standing.grpc);
        let mut stop = lubdub_sidecar::terminations().map_err(|e| failed("hear signals", &e))?;
        let cast = Troupe::start(directory.path(), &collector)?;
        let seen = watch(&collector, &story, &mut stop).await;
        cast.end().await;
        seen.map(Some)
    });
    let collected = collector.stop()?;
    match (done?, collected) {
        (Some(()), _) => Ok(()),
        (None, Err(error)) => Err(Failed::refused(format!("{error:#}"))),
        (None, Ok(())) => Err(Failed::refused("the collector did not start")),
    }
}

fn config(directory: &Path) -> Result<Config, Failed> {
    let policy = directory.join("policy.toml");
    let write = |path: &Path, text: &str| {
        write_atomic(path, text.as_bytes(), 0o600, Durability::Visible)
            .map_err(|error| Failed::refused(format!("cannot write {}: {error}", path.display())))
    };
    write(&policy, POLICY)?;
    write(&directory.join("sidecar.toml"), "die_with_sidecar = true\n")?;
    let free = || Some("127.0.0.1:0".parse().expect("a constant address"));
    let flags = Flags {
        policy: Some(policy),
        listen: free(),
        http: free(),
        data_dir: Some(directory.join("collector")),
        record: None,
    };
    Config::load(None, flags, None).map_err(|error| Failed::refused(error.to_string()))
}

/// The sidecars, one process each.
struct Troupe(Vec<Child>);

impl Troupe {
    #[expect(clippy::disallowed_methods, reason = "the demonstration's own sidecars")]
    fn start(directory: &Path, collector: &str) -> Result<Self, Failed> {
        let me = std::env::current_exe()
            .map_err(|error| Failed::refused(format!("cannot find myself: {error}")))?;
        let mut troupe = Self(Vec::new());
        for role in Role::ALL {
            let child = Command::new(&me)
                .args(["demo-sidecar", "--id", role.as_str(), "--collector", collector])
                .arg("--state-dir")
                .arg(directory)
                .arg("--config")
                .arg(directory.join("sidecar.toml"))
                .arg("--")
                .arg(&me)
                .args(["demo-agent", role.as_str()])
                .env_remove("XDG_RUNTIME_DIR")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .map_err(|error| Failed::refused(format!("cannot start {role}: {error}")))?;
            troupe.0.push(child);
        }
        Ok(troupe)
    }

    /// Asks all to end, and waits; who does not is killed, and its agent with it.
    async fn end(mut self) {
        for child in &self.0 {
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            if let Some(pid) = pid
                && let Err(error) = rustix::process::kill_process(pid, Signal::TERM)
            {
                tracing::debug!(%error, "it has ended already");
            }
        }
        let began = time::now().mono;
        self.0.retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_))));
        while !self.0.is_empty() && time::now().mono.since(began) < END_PATIENCE {
            tokio::time::sleep(Duration::from_millis(50)).await;
            self.0.retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_))));
        }
    }
}

impl Drop for Troupe {
    fn drop(&mut self) {
        for child in &mut self.0 {
            if let Err(error) = child.kill().and_then(|()| child.wait().map(drop)) {
                tracing::error!(%error, "a sample agent's sidecar could not be ended");
            }
        }
    }
}

type Story = Arc<Mutex<Vec<String>>>;

async fn tell(mut transitions: Transitions, story: Story) {
    loop {
        let line = match transitions.recv().await {
            Ok(transition) => up::sentence(&transition),
            Err(RecvError::Lagged(missed)) => format!("{missed} changes were not shown"),
            Err(RecvError::Closed) => return,
        };
        let mut story = story.lock().expect("nobody panics while telling");
        story.push(line);
    }
}

/// Shows what happens until everything was seen, the time is over, or somebody has enough.
async fn watch(
    collector: &str,
    story: &Story,
    stop: &mut mpsc::Receiver<i32>,
) -> Result<(), Failed> {
    let began = time::now().mono;
    let mut client = Client::connect(collector).await?;
    let mut hangup = signal(SignalKind::hangup())
        .map_err(|error| Failed::refused(format!("cannot hear signals: {error}")))?;
    let mut shown = 0;
    loop {
        let (info, agents) = client.agents().await?;
        let incidents = client.incidents(true, None).await?;
        let missing = cast::missing(&agents, &incidents);
        let over = missing.is_empty() || time::now().mono.since(began) >= TWO_MINUTES;
        let told = story.lock().expect("nobody panics while telling").clone();
        if render::is_terminal() {
            let mut screen = title(began);
            screen += &status::text(&info, &agents, time::now().wall);
            screen.push('\n');
            let recent = told.len().saturating_sub(STORY_LINES);
            told[recent..].iter().for_each(|line| screen += &format!("{line}\n"));
            if over {
                screen.push('\n');
                screen += &cast::summary(&agents, &incidents);
            }
            render::try_screen(&screen).map_err(unread)?;
        } else {
            let lines: String = told[shown..].iter().map(|line| format!("{line}\n")).collect();
            render::try_put(&lines).map_err(unread)?;
            shown = told.len();
            if over {
                render::try_put(&cast::summary(&agents, &incidents)).map_err(unread)?;
            }
        }
        if over && missing.is_empty() {
            return Ok(());
        }
        if over {
            let why = format!("not seen in {}: {}", words(TWO_MINUTES), missing.join("; "));
            return Err(Failed::refused(why));
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = hangup.recv() => return Err(Failed::refused("the terminal is gone")),
            _ = stop.recv() => return Err(Failed::refused("interrupted; everything was ended")),
        }
    }
}

fn unread(error: std::io::Error) -> Failed {
    Failed::refused(format!("nobody reads any more ({error}); everything was ended"))
}

fn title(began: Mono) -> String {
    let mut title = String::new();
    let age = words(time::now().mono.since(began));
    writeln!(title, "lubdub demo, {age}: deadlines of 3 s; Ctrl-C ends everything\n")
        .expect("a string takes it");
    title
}
