//! The verbs, their flags, and the exit codes: 0 done; 1 refused or failed; 3 the collector is
//! unreachable or its data stale; 4 no such agent; 64 usage or configuration.

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use lubdub_shared::command::CommandKind;
use lubdub_shared::id::AgentId;
use lubdub_shared::telemetry;
use lubdub_sidecar::config::DEFAULT_COLLECTOR;

use crate::client::Failed;
use crate::{command, explain, incidents, render, status, up};

const USAGE: u8 = 64;

/// Keeps fleets of long-running agents alive and honest.
#[derive(Debug, Parser)]
#[command(name = "lubdub", version, about)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run an agent with a collector and a sidecar in one process.
    Up(Box<up::Up>),
    /// Show all agents.
    Status(status::Args),
    /// Why an agent's status is what it is, and what comes next.
    Explain(explain::Args),
    /// List incidents; open ones unless --all.
    Incidents(incidents::Args),
    /// Stop an agent's whole tree and start it anew.
    Restart(command::Args),
    /// Stop an agent and hold it down.
    Stop(command::Args),
    /// End a stop or a quarantine.
    Start(command::Args),
    /// End an agent for good, gracefully, with a tombstone.
    Apoptosis(command::Args),
    /// End an apoptosis.
    Revive(command::Args),
}

/// Where the collector is, and how to print.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// Address of the collector.
    #[arg(long, env = "LUBDUB_COLLECTOR", default_value = DEFAULT_COLLECTOR, value_name = "URL")]
    pub(crate) collector: String,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs; the contract is in the README.
    Json,
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { USAGE } else { 0 };
            let (Ok(()) | Err(_)) = error.print();
            return ExitCode::from(code);
        }
    };
    let done = match cli.verb {
        Verb::Up(args) => {
            telemetry::init(Some(std::env::var("LUBDUB_LOG").as_deref().unwrap_or("warn")));
            return up::run(*args);
        }
        Verb::Status(args) => block_on(status::run(args)),
        Verb::Explain(args) => block_on(explain::run(args)),
        Verb::Incidents(args) => block_on(incidents::run(args)),
        Verb::Restart(args) => block_on(command::run(args, CommandKind::Restart)),
        Verb::Stop(args) => block_on(command::run(args, CommandKind::Stop)),
        Verb::Start(args) => block_on(command::run(args, CommandKind::Start)),
        Verb::Apoptosis(args) => block_on(command::run(args, CommandKind::Apoptosis)),
        Verb::Revive(args) => block_on(command::run(args, CommandKind::Revive)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => render::failed(&failed),
    }
}

fn block_on(future: impl Future<Output = Result<(), Failed>>) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failed::refused(format!("cannot start: {error}")))?;
    runtime.block_on(future)
}

/// An agent's id, as clap reads it.
pub(crate) fn parse_agent(text: &str) -> Result<AgentId, String> {
    text.parse().map_err(|why: lubdub_shared::id::InvalidAgentId| why.to_string())
}
