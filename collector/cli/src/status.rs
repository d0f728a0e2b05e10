//! `lubdub status`.

use std::time::Duration;

use lubdub_shared::time::{self, Wall};
use lubdub_shared::view::{AgentView, CollectorView, StatusJson};

use crate::cli::{Common, Output};
use crate::client::{Client, Failed};
use crate::render::{self, bytes, clean, or_dash};

/// How often `--watch` looks.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// A report younger than this is as good as now.
const FRESH: Duration = Duration::from_secs(10);

/// Flags of `status`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// Look again each second until interrupted.
    #[arg(short, long)]
    watch: bool,
}

/// Shows all agents.
///
/// # Errors
/// The collector did not answer.
pub(crate) async fn run(args: Args) -> Result<(), Failed> {
    let mut client = Client::connect(&args.common.collector).await?;
    loop {
        let (collector, agents) = client.agents().await?;
        let now = time::now().wall;
        if args.watch && args.common.output == Output::Table && render::is_terminal() {
            // Home, then clear what follows: no flicker.
            render::line("\x1b[H\x1b[J\x1b[A")?;
        }
        match args.common.output {
            // One line a look, for programs that read along.
            Output::Json if args.watch => {
                render::json_line(&StatusJson::new(&collector, &agents, now))?;
            }
            Output::Json => render::json(&StatusJson::new(&collector, &agents, now))?,
            Output::Table => show(&collector, &agents, now)?,
        }
        if !args.watch {
            return Ok(());
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

fn show(collector: &CollectorView, agents: &[AgentView], now: Wall) -> Result<(), Failed> {
    if !collector.degraded.is_empty() {
        render::line(&format!("collector degraded: {}", clean(&collector.degraded)))?;
    }
    if agents.is_empty() {
        return render::line("no agents yet: start one with lubdub-sidecar run, or lubdub up");
    }
    let head = [
        "AGENT",
        "STATUS",
        "LIFECYCLE",
        "PHASE",
        "LIFE",
        "UP",
        "BEAT",
        "ENERGY",
        "MEMORY",
        "TASKS",
        "RESTARTS",
        "WHY",
    ];
    render::table(head, agents.iter().map(|agent| row(agent, now)).collect())
}

fn row(view: &AgentView, now: Wall) -> [String; 12] {
    let report = view.report.as_ref();
    let ages = report.map(|report| &report.ages);
    let vitals = report.map(|report| &report.vitals);
    let alive = view.pid.is_some();
    let tasks = vitals.map(|v| v.tasks).filter(|tasks| tasks.started + tasks.done > 0);
    let why = match view.findings.first() {
        Some(finding) => format!("{}: {}", finding.cause, finding.detail),
        None if view.held.is_some() => view.held.clone().unwrap_or_default(),
        None => vitals.map(|vitals| vitals.text.clone()).unwrap_or_default(),
    };
    // A healthy sidecar reports every 5 s; only beyond that the report's own age matters.
    let stale = Some(view.report_age).filter(|age| *age > FRESH).unwrap_or_default();
    let age = |age: Duration| time::words(age + stale);
    [
        view.agent.to_string(),
        view.status.to_string(),
        view.lifecycle.to_string(),
        or_dash(ages.and_then(|ages| ages.phase).map(|phase| phase.to_string())),
        or_dash(view.life.map(|life| life.ordinal.to_string())),
        or_dash(view.started.filter(|_| alive).map(|started| render::ago(started, now))),
        or_dash(ages.filter(|_| alive).and_then(|ages| ages.beat).map(age)),
        or_dash(vitals.and_then(|v| v.energy).map(|energy| format!("{:.0} %", energy * 100.0))),
        or_dash(vitals.filter(|_| alive).and_then(|v| v.memory_bytes).map(bytes)),
        or_dash(tasks.map(|tasks| format!("{} done, {} open", tasks.done, tasks.open))),
        view.ledger.share(),
        render::short(&why),
    ]
}
