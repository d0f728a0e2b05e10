//! The verbs, their flags, and the exit codes: 0 done; 1 refused or failed; 3 the collector is
//! unreachable or its data stale; 4 no such agent; 64 usage or configuration.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lubdub_shared::command::CommandKind;
use lubdub_shared::telemetry;

use crate::client::Failed;
use crate::flags::OneAgent;
use crate::{
    command, demo, events, explain, forget, incident, incidents, policy, render, replay, show,
    status, store, up,
};

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
    /// Show one agent.
    Show(OneAgent),
    /// Why an agent's status is what it is, and what comes next.
    Explain(OneAgent),
    /// List incidents; open ones unless --all.
    Incidents(incidents::Args),
    /// Show one incident, with its evidence.
    Incident {
        #[command(subcommand)]
        verb: incident::Verb,
    },
    /// List what happened; -f goes on as it happens.
    Events(events::Args),
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
    /// Tell an agent something through its long poll or its hook; nothing is stopped.
    Nudge(command::Args),
    /// Gather evidence of how an agent is now; nothing is stopped.
    Capture(command::Args),
    /// Check or push a policy file.
    Policy {
        #[command(subcommand)]
        verb: policy::Verb,
    },
    /// Judge a recording (`lubdub-collector --record`) again, with its policies or others.
    Replay(replay::Args),
    /// Verify, back up or restore the files of a store, on its host.
    Store {
        #[command(subcommand)]
        verb: store::Verb,
    },
    /// Take an agent that is gone for good out of sight.
    Forget(forget::Args),
    /// Watch five sample agents misbehave, and what becomes of them; in less than two minutes, in
    /// a directory that is taken away afterwards.
    Demo(demo::Args),
    /// The sidecar of a sample agent.
    #[command(hide = true)]
    DemoSidecar(Box<lubdub_sidecar::cli::Run>),
    /// A sample agent.
    #[command(hide = true)]
    DemoAgent(demo::agent::Args),
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let (Ok(()) | Err(_)) = error.print();
            return ExitCode::from(usage_code(&error));
        }
    };
    let done = match cli.verb {
        Verb::Up(args) => {
            lubdub_shared::inherited::take();
            telemetry::init(Some(std::env::var("LUBDUB_LOG").as_deref().unwrap_or("warn")));
            let code = up::run(*args);
            telemetry::flush();
            return code;
        }
        Verb::Demo(args) => return demo::run(&args),
        Verb::DemoSidecar(args) => return demo::sidecar(*args),
        Verb::DemoAgent(args) => return demo::agent::run(&args),
        Verb::Status(args) => match block_on(status::run(args)) {
            Ok(code) => return ExitCode::from(code),
            Err(failed) => Err(failed),
        },
        Verb::Show(args) => block_on(show::run(args)),
        Verb::Events(args) => block_on(events::run(args)),
        Verb::Nudge(args) => block_on(command::run(args, CommandKind::Nudge)),
        Verb::Replay(args) => replay::run(&args),
        Verb::Store { verb } => store::run(verb),
        Verb::Policy { verb } => block_on(policy::run(verb)),
        Verb::Forget(args) => block_on(forget::run(args)),
        Verb::Explain(args) => block_on(explain::run(args)),
        Verb::Incidents(args) => block_on(incidents::run(args)),
        Verb::Incident { verb } => block_on(incident::run(verb)),
        Verb::Capture(args) => block_on(command::run(args, CommandKind::Capture)),
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

/// Help and version are asked for. A monitoring plugin knows no other mistake than "unknown".
fn usage_code(error: &clap::Error) -> u8 {
    match error.use_stderr() {
        false => 0,
        true if std::env::args_os().any(|word| word == "--exit-code") => 3,
        true => USAGE,
    }
}

fn block_on<T>(future: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failed::refused(format!("cannot start: {error}")))?;
    runtime.block_on(future)
}
