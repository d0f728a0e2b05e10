//! `lubdub-sidecar`: arguments, logs, a runtime, signals, and the agent's exit code.

use std::process::ExitCode;

use clap::Parser as _;
use lubdub_shared::telemetry;
use lubdub_sidecar::cli::{Cli, Verb};
use lubdub_sidecar::{Config, Sidecar};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Exit code of usage and configuration mistakes (sysexits' `EX_USAGE`).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    telemetry::init(std::env::var("LUBDUB_LOG").ok().as_deref());
    match cli.command {
        Verb::Beat(beat) => match beat.send() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error, 1),
        },
        Verb::Run(run) => match run.config() {
            Ok(config) => supervise(config),
            Err(error) => failed(&error, USAGE),
        },
    }
}

fn supervise(config: Config) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into(), 1),
    };
    runtime.block_on(async {
        let sidecar = match Sidecar::begin(config) {
            Ok(sidecar) => sidecar,
            Err(error) => return failed(&error.into(), 1),
        };
        let (sender, shutdown) = mpsc::channel(4);
        if let Err(error) = forward_signals(sender) {
            return failed(&error.into(), 1);
        }
        ExitCode::from(sidecar.run(shutdown).await)
    })
}

/// TERM and INT end the sidecar, and go on to its agent.
fn forward_signals(sender: mpsc::Sender<i32>) -> std::io::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        loop {
            let number = tokio::select! {
                _ = term.recv() => SignalKind::terminate().as_raw_value(),
                _ = int.recv() => SignalKind::interrupt().as_raw_value(),
            };
            if sender.send(number).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

#[expect(clippy::print_stderr, reason = "the one line that a person reads")]
fn failed(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("lubdub-sidecar: {error:#}");
    ExitCode::from(code)
}

fn usage(error: &clap::Error) -> ExitCode {
    // Help and version are asked for; everything else is a mistake.
    let code = if error.use_stderr() { USAGE } else { 0 };
    let (Ok(()) | Err(_)) = error.print();
    ExitCode::from(code)
}
