//! `lubdub-collector`: arguments, configuration, ports, signals.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use lubdub_collector::config::Flags;
use lubdub_collector::{Collector, Config};
use lubdub_shared::telemetry;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Exit code of usage and configuration mistakes (sysexits' `EX_USAGE`).
const USAGE: u8 = 64;

/// The central half: hears all sidecars, finds who is stuck, decides what follows.
#[derive(Debug, Parser)]
#[command(name = "lubdub-collector", version, about)]
struct Cli {
    /// The collector's file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

fn main() -> ExitCode {
    lubdub_shared::inherited::take();
    let code = start();
    telemetry::flush();
    code
}

fn start() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { USAGE } else { 0 };
            let (Ok(()) | Err(_)) = error.print();
            return ExitCode::from(code);
        }
    };
    telemetry::init(std::env::var("LUBDUB_LOG").ok().as_deref());
    let root = lubdub_shared::fs::state_root();
    match Config::load(cli.config.as_deref(), cli.flags, root.as_deref()) {
        Ok(config) => match run(config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error, 1),
        },
        Err(refused) => failed(&refused.into(), USAGE),
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let collector = Collector::begin(config).await?;
        let (stop, stopped) = watch::channel(false);
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        tokio::spawn(async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            stop.send_replace(true);
        });
        collector.run(stopped).await
    })
}

/// The one line that a person reads.
fn failed(error: &anyhow::Error, code: u8) -> ExitCode {
    telemetry::say(&format!("lubdub-collector: {error:#}"));
    ExitCode::from(code)
}
