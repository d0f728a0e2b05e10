//! `lubdub-sidecar`: arguments, logs, a runtime, signals, and the agent's exit code.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;
use lubdub_shared::telemetry;
use lubdub_sidecar::cli::{Cli, NoPlace, Verb};
use lubdub_sidecar::{BeginError, CANNOT_BEGIN, Config, Sidecar};

/// Exit code of usage and configuration mistakes (sysexits' `EX_USAGE`).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    lubdub_shared::inherited::take();
    let code = run();
    telemetry::flush();
    code
}

fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let level = std::env::var("LUBDUB_LOG").ok();
    let quiet = matches!(&cli.command, Verb::Run(run) if run.is_nameless()).then_some("warn");
    telemetry::init(level.as_deref().or(quiet));
    match cli.command {
        Verb::Beat(beat) => match beat.send() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error, 1),
        },
        Verb::Run(run) => begin(run.config()),
        Verb::Attach(attach) => match attach.find() {
            Ok(config) => supervise(config),
            Err(error) => failed(&error, USAGE),
        },
    }
}

fn begin(config: anyhow::Result<Config>) -> ExitCode {
    match config {
        Ok(config) => supervise(config),
        Err(error) if error.is::<NoPlace>() => failed(&error, CANNOT_BEGIN),
        Err(error) => failed(&error, USAGE),
    }
}

fn supervise(config: Config) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into(), CANNOT_BEGIN),
    };
    let code = runtime.block_on(async {
        let sidecar = match Sidecar::begin(config) {
            Ok(sidecar) => sidecar,
            Err(error @ BeginError::Address(_)) => return failed(&error.into(), USAGE),
            Err(error) => return failed(&error.into(), CANNOT_BEGIN),
        };
        match lubdub_sidecar::signals() {
            Ok(signals) => ExitCode::from(sidecar.run(signals).await),
            Err(error) => failed(&error.into(), CANNOT_BEGIN),
        }
    });
    // What still hangs somewhere is not waited for.
    runtime.shutdown_background();
    code
}

/// The one line that a person reads.
fn failed(error: &anyhow::Error, code: u8) -> ExitCode {
    telemetry::say(&format!("lubdub-sidecar: {error:#}"));
    ExitCode::from(code)
}

fn usage(error: &clap::Error) -> ExitCode {
    // A beat with --quiet never fails the script it is in, not even by a wrong option.
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let quiet =
        words.first().is_some_and(|verb| verb == "beat") && words.iter().any(|w| w == "--quiet");
    // Help and version are asked for; everything else is a mistake.
    let code = if error.use_stderr() && !quiet { USAGE } else { 0 };
    let (Ok(()) | Err(_)) = error.print();
    ExitCode::from(code)
}
