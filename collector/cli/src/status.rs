//! `lubdub status`.

use std::time::Duration;

use lubdub_shared::status::Status;
use lubdub_shared::time::{self, Wall};
use lubdub_shared::view::{AgentView, CollectorView, StatusJson};

use crate::client::{Client, Failed};
use crate::flags::{Common, Output};
use crate::render::{self, bytes, clean, or_dash};

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
    /// Exit as a monitoring plugin: 0 ok, 1 warning, 2 critical, 3 unknown or no agents; the worst
    /// of all.
    #[arg(long, conflicts_with = "watch")]
    exit_code: bool,
}

/// Shows all agents; the exit code.
///
/// # Errors
/// The collector did not answer.
pub(crate) async fn run(args: Args) -> Result<u8, Failed> {
    let mut client = Client::connect(&args.common.collector).await?;
    let mut worst = 0;
    render::watch(args.watch, async || {
        let (collector, agents) = client.agents().await?;
        let now = client.now();
        worst = plugin_code(&agents);
        Ok(match args.common.output {
            // One line a look, for programs that read along.
            Output::Json => {
                render::json_text(&StatusJson::new(&collector, &agents, now), args.watch)
            }
            Output::Table => text(&collector, &agents, now),
        })
    })
    .await?;
    Ok(if args.exit_code { worst } else { 0 })
}

/// As monitoring plugins exit: the worst of critical, warning, unknown, ok.
fn plugin_code(agents: &[AgentView]) -> u8 {
    let worst = agents.iter().map(|agent| agent.status).max_by_key(|status| status.severity());
    match worst {
        Some(Status::Ok) => 0,
        Some(Status::Warning) => 1,
        Some(Status::Critical) => 2,
        Some(Status::Unknown) | None => 3,
    }
}

pub(crate) fn text(collector: &CollectorView, agents: &[AgentView], now: Wall) -> String {
    let degraded = match collector.degraded.as_str() {
        "" => String::new(),
        why => format!("collector degraded: {}\n", clean(why)),
    };
    if agents.is_empty() {
        return degraded + "no agents yet: start one with lubdub-sidecar run, or lubdub up\n";
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
    let rows = agents.iter().map(|agent| (agent.status, row(agent, now))).collect();
    degraded + &render::table(head, rows)
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
