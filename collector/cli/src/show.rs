//! `lubdub show AGENT`: one agent, everything that `status` knows of it.

use lubdub_shared::time::Wall;
use lubdub_shared::view::{AgentView, StatusJson};

use crate::client::{Client, Failed};
use crate::explain;
use crate::flags::{OneAgent, Output};
use crate::render::{self, clean};

/// Shows one agent.
///
/// # Errors
/// There is no such agent, or the collector did not answer.
pub(crate) async fn run(args: OneAgent) -> Result<(), Failed> {
    let mut client = Client::connect(&args.common.collector).await?;
    render::watch(args.watch, async || {
        let (collector, view) = client.agent(&args.agent).await?;
        let now = client.now();
        Ok(match args.common.output {
            Output::Json => {
                let agents = std::slice::from_ref(&view);
                render::json_text(&StatusJson::new(&collector, agents, now), args.watch)
            }
            Output::Table => lines(&view, now).iter().map(|line| clean(line) + "\n").collect(),
        })
    })
    .await
}

fn lines(view: &AgentView, now: Wall) -> Vec<String> {
    let link = if view.connected { "connected" } else { "lost" };
    let mut lines = vec![
        format!("{}: {}, {}, link {link}", view.agent, view.status, view.lifecycle),
        format!("  host       {}", view.host),
        format!("  policy     {} ({})", view.policy, view.mode),
    ];
    if !view.labels.is_empty() {
        let labels = view.labels.iter().map(|(key, value)| format!("{key}={value}"));
        lines.push(format!("  labels     {}", labels.collect::<Vec<_>>().join(" ")));
    }
    if let Some(life) = view.life {
        let since = view.started.map(|at| format!(", began {} ago", render::ago(at, now)));
        lines.push(format!(
            "  life       {} {}{}",
            life.ordinal,
            life.id,
            since.unwrap_or_default()
        ));
    }
    lines.extend(explain::apart(view));
    lines.push(format!("  restarts   {} used", view.ledger.share()));
    explain::seen(view, &mut lines);
    let said = view.report.as_ref().map(|report| report.vitals.text.as_str());
    if let Some(said) = said.filter(|said| !said.is_empty()) {
        lines.push(format!("  says       {said}"));
    }
    if let Some(held) = &view.held {
        lines.push(format!("  held down  {held}"));
    }
    for finding in &view.findings {
        lines.push(format!("  {} {}: {}", finding.level, finding.cause, finding.detail));
    }
    if let Some(next) = &view.next {
        lines.push(format!("  next       {next}"));
    }
    lines
}
