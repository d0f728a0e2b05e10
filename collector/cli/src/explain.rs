//! `lubdub explain AGENT`: what is known, what it means, what comes next, what would stop it.

use std::collections::BTreeMap;
use std::time::Duration;

use lubdub_shared::beat::Health;
use lubdub_shared::status::Lifecycle;
use lubdub_shared::time::{Wall, words};
use lubdub_shared::view::{AgentView, ExplainJson, Explanation};

use crate::client::{Client, Failed};
use crate::flags::{OneAgent, Output};
use crate::render::{self, bytes, clean};

/// Explains one agent.
///
/// # Errors
/// There is no such agent, or the collector did not answer.
pub(crate) async fn run(args: OneAgent) -> Result<(), Failed> {
    let mut client = Client::connect(&args.common.collector).await?;
    render::watch(args.watch, async || {
        let explanation = client.explain(&args.agent).await?;
        Ok(match args.common.output {
            Output::Json => render::json_text(&ExplainJson::new(&explanation), args.watch),
            Output::Table => {
                let lines = lines(&explanation, client.now());
                lines.iter().map(|line| clean(line) + "\n").collect()
            }
        })
    })
    .await
}

/// Clocks that differ by less than this are as good as one.
const APART: Duration = Duration::from_secs(2);

/// How far the clock of an agent's host is from the collector's, where it matters.
pub(crate) fn apart(view: &AgentView) -> Option<String> {
    let ahead = view.clock_ahead?;
    let span = Duration::from_millis(ahead.unsigned_abs());
    let way = if ahead < 0 { "behind" } else { "ahead of" };
    let said = || format!("  clock      its host's is {} {way} the collector's", words(span));
    (span >= APART).then(said)
}

fn lines(explanation: &Explanation, now: Wall) -> Vec<String> {
    let view = &explanation.agent;
    let mut lines = vec![format!("{}: {}, {}", view.agent, view.status, view.lifecycle)];
    lines.push(format!("  policy     {} ({})", view.policy, view.mode));
    if let Some(life) = view.life {
        let since = view.started.map(|at| format!(", began {} ago", render::ago(at, now)));
        lines.push(format!("  life       {}{}", life.ordinal, since.unwrap_or_default()));
    }
    let link = if view.connected { "connected" } else { "lost" };
    let seen_at = match view.report {
        Some(_) => format!("{} ago", words(view.report_age)),
        None => "never since the collector started".to_owned(),
    };
    lines.push(format!("  link       {link}, host {}, last report {seen_at}", view.host));
    lines.extend(apart(view));
    if let Some(held) = &view.held {
        lines.push(format!("  held down  {held}; {}", way_back(view)));
    }
    if let Some((at, act)) = &view.last_act {
        lines.push(format!("  last act   {act}, {} ago", render::ago(*at, now)));
    }
    seen(view, &mut lines);
    lines.push(match view.ledger.spent.as_str() {
        "" => format!("  restarts   {} used", view.ledger.share()),
        spent => format!("  restarts   {} used; spent: {spent}", view.ledger.share()),
    });
    if view.findings.is_empty() {
        lines.push("nothing is wrong that anybody knows of".to_owned());
    }
    for finding in &view.findings {
        let since = render::ago(finding.since, now);
        lines.push(format!("{} {} for {since}: {}", finding.level, finding.cause, finding.detail));
        let facts = finding.evidence.iter().map(|(name, value)| format!("{name} {value}"));
        lines.push(format!("  evidence   {}", facts.collect::<Vec<_>>().join(", ")));
        lines.push(format!("  rule       {}", finding.rule));
        lines.push(format!("  ends with  {}", finding.cancelled_by));
    }
    lines.push(match &view.next {
        Some(next) => format!("next: {next}, if nothing changes"),
        None => "next: nothing is due".to_owned(),
    });
    listed("clocks in force", &explanation.deadlines, &mut lines);
    listed("settings behind it", &explanation.configured, &mut lines);
    if !explanation.what_if.is_empty() {
        lines.push("with other settings".to_owned());
        let with = explanation.what_if.iter().map(|w| (format!("{} = {}", w.key, w.value), w));
        let width = with.clone().map(|(with, _)| with.len()).max().unwrap_or(0);
        lines.extend(with.map(|(with, w)| format!("  {with:width$}  {}", w.says)));
    }
    lines.extend(explanation.suggestions.iter().map(|text| format!("learned: {text}")));
    lines
}

fn listed(title: &str, of: &BTreeMap<String, String>, lines: &mut Vec<String>) {
    if of.is_empty() {
        return;
    }
    lines.push(title.to_owned());
    let width = of.keys().map(String::len).max().unwrap_or(0);
    lines.extend(of.iter().map(|(name, value)| format!("  {name:width$}  {value}")));
}

/// What ends a hold.
fn way_back(view: &AgentView) -> String {
    let verb = if view.lifecycle == Lifecycle::Terminated { "revive" } else { "start" };
    format!("lubdub {verb} {} ends that", view.agent)
}

/// What the newest report says; its ages are as old as the report.
pub(crate) fn seen(view: &AgentView, lines: &mut Vec<String>) {
    let Some(report) = &view.report else { return };
    let (ages, vitals, health) = (&report.ages, &report.vitals, &report.health);
    if let Some(pid) = view.pid {
        let phase = ages.phase.map_or("undeclared", |phase| phase.as_str());
        lines.push(format!("  process    pid {pid}, phase {phase} for {}", words(ages.phase_age)));
        let beat =
            ages.beat.map_or_else(|| "never".to_owned(), |age| format!("{} ago", words(age)));
        lines.push(format!("  beats      {}, the last {beat}", ages.beats));
        let activity = ages.activity.map_or_else(
            || "none in this life".to_owned(),
            |last| format!("{} {} ago", last.kind, words(last.age)),
        );
        lines.push(format!("  activity   {activity}"));
    }
    let progress = ages.progress;
    if let Some(frozen) = progress.frozen {
        let owed = words(frozen);
        lines.push(format!("  progress   {}, not moved in {owed} that counts", progress.counter));
    }
    let energy = vitals.energy.map_or_else(|| "-".to_owned(), |e| format!("{:.0} %", e * 100.0));
    let memory = vitals.memory_bytes.map_or_else(|| "-".to_owned(), bytes);
    let tasks = vitals.tasks;
    let response = vitals.response.map_or_else(
        || "-".to_owned(),
        |r| {
            let [p50, p95, max] = [r.p50, r.p95, r.max].map(render::millis);
            format!("p50 {p50}, p95 {p95}, max {max}")
        },
    );
    lines.push(format!(
        "  vitals     energy {energy}; memory {memory}; tasks {} done, {} failed, {} open; \
         response {response}",
        tasks.done, tasks.failed, tasks.open
    ));
    let Health { datagrams_dropped, writes_failed, events_dropped, .. } = health;
    if [datagrams_dropped, writes_failed, events_dropped] != [&0; 3] {
        lines.push(format!(
            "  sidecar    {} datagrams dropped, {} writes failed, {} events dropped",
            health.datagrams_dropped, health.writes_failed, health.events_dropped
        ));
    }
}
