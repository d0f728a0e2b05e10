//! `lubdub up -- COMMAND`: a collector with its store and a sidecar around a real agent, in one
//! process.
//!
//! Two threads, one runtime each, as if they were two processes: the halves meet over the loopback
//! stream and nowhere else. The sidecar's thread is the main one, because the agent dies with the
//! thread that started it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::Context as _;
use lubdub_collector::config::Flags;
use lubdub_collector::{Config, Transitions};
use lubdub_shared::fs::state_root;
use lubdub_shared::id::AgentId;
use lubdub_shared::status::Lifecycle;
use lubdub_shared::telemetry::{Lines, Target};
use lubdub_shared::view::TransitionView;
use lubdub_sidecar::config::{File, name_of};
use lubdub_sidecar::{Config as SidecarConfig, Sidecar};
use tokio::runtime::Builder;
use tokio::sync::broadcast::error::RecvError;

use crate::client::Failed;
use crate::embedded::{Embedded, Standing};
use crate::flags::parse_agent;
use crate::render;

/// Flags of `up`.
#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    /// Name of the agent. [default: the stem of the script, else of the program]
    #[arg(long, value_parser = parse_agent)]
    id: Option<AgentId>,
    /// Directory of the sidecar's state. [default: $XDG_STATE_HOME/lubdub]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The sidecar's file: labels, heartbeat directory, budget.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    collector: Flags,
    /// The agent's program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// How long the end waits for its last lines to be read.
const FLUSH_PATIENCE: Duration = Duration::from_millis(500);

/// Runs both halves; the agent's exit code.
pub(crate) fn run(args: Up) -> ExitCode {
    let done = start(args);
    said().flush(FLUSH_PATIENCE);
    match done {
        Ok(code) => ExitCode::from(code),
        Err(failed) => render::failed(&failed),
    }
}

fn usage(why: impl Into<String>) -> Failed {
    Failed { code: 64, why: why.into() }
}

fn start(args: Up) -> Result<u8, Failed> {
    let root = args.state_dir.or_else(state_root);
    let homeless = || usage("neither XDG_STATE_HOME nor HOME is set; name a --state-dir");
    let root = absolute(root.ok_or_else(homeless)?)?;
    let agent = args
        .id
        .or_else(|| name_of(&args.command))
        .ok_or_else(|| usage("no agent name can be made of the command; give one with --id"))?;
    let config =
        Config::load(None, args.collector, Some(&root)).map_err(|e| usage(e.to_string()))?;
    let file = match &args.config {
        Some(path) => File::read(path).map_err(|e| usage(e.to_string()))?,
        None => File::default(),
    };
    let mut collector = Embedded::start(config, tell, told_of_its_end)?;
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failed::refused(format!("cannot start: {error}")))?;
    let code = runtime.block_on(async {
        let Ok(standing) = collector.stands().await else { return Ok(None) };
        supervise(agent, args.command, &root, file, &standing).await.map(Some)
    });
    let collected = collector.stop()?;
    match (code?, collected) {
        // The agent ran: its code counts, whatever became of the collector.
        (Some(code), _) => Ok(code),
        (None, Err(error)) => Err(Failed::refused(format!("{error:#}"))),
        (None, Ok(())) => Err(Failed::refused("the collector did not start")),
    }
}

/// The collector's thread has ended before the agent did.
fn told_of_its_end(error: &anyhow::Error) {
    let words = render::clean(&format!("{error:#}"));
    say(&format!("the collector has ended, nobody judges: {words}"));
}

/// The sidecar's half.
async fn supervise(
    agent: AgentId,
    command: Vec<OsString>,
    root: &Path,
    file: File,
    standing: &Standing,
) -> Result<u8, Failed> {
    let file = File {
        collectors: vec![format!("http://{}", standing.grpc)],
        die_with_sidecar: true,
        ..file
    };
    let config = SidecarConfig::new(agent, command, root, file);
    let heartbeat = config.heartbeat_file.clone();
    let begun = Sidecar::begin(config).context("cannot begin");
    let sidecar = begun.map_err(|error| Failed::refused(format!("{error:#}")))?;
    let places = [
        format!("grpc http://{}", standing.grpc),
        format!("http http://{}", standing.http),
        format!("socket {}", sidecar.socket().display()),
        format!("heartbeat {}", heartbeat.display()),
    ];
    places.iter().for_each(|place| say(place));
    let signals = lubdub_sidecar::signals()
        .map_err(|error| Failed::refused(format!("no signals: {error}")))?;
    Ok(sidecar.run(signals).await)
}

/// One line for each change of status.
async fn tell(mut transitions: Transitions) {
    loop {
        match transitions.recv().await {
            Ok(transition) => say(&sentence(&transition)),
            Err(RecvError::Lagged(missed)) => say(&format!("{missed} changes were not shown")),
            Err(RecvError::Closed) => return,
        }
    }
}

pub(crate) fn sentence(transition: &Arc<TransitionView>) -> String {
    let TransitionView { at, agent, to, lifecycle, why, .. } = &**transition;
    let after = match (why.as_str(), lifecycle) {
        ("", Lifecycle::Terminated) => format!("; lubdub revive {agent} ends that"),
        ("", Lifecycle::Quarantined) => format!("; lubdub start {agent} ends that"),
        ("", _) => String::new(),
        (why, _) => format!(": {}", render::clean(why)),
    };
    format!("{at} {agent} {to} ({lifecycle}){after}")
}

/// Whoever read along may have gone, or not read any more; the agent goes on.
fn say(text: &str) {
    said().put(format!("lubdub: {text}\n").into_bytes());
}

fn said() -> &'static Lines {
    static SAID: LazyLock<Lines> = LazyLock::new(|| Lines::to(Target::Stdout));
    &SAID
}

fn absolute(path: PathBuf) -> Result<PathBuf, Failed> {
    let why = |error| usage(format!("{}: {error}", path.display()));
    std::path::absolute(&path).map_err(why)
}
