//! `lubdub policy check FILE [--against URL]` and `lubdub policy push FILE`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Subcommand;
use lubdub_collector::config::Policies;
use lubdub_engine::explain;
use lubdub_shared::beat::{Phase, Report};
use lubdub_shared::pb;
use lubdub_shared::policy::{Limits, Policy, VersionedPolicy};
use lubdub_shared::schedule;
use lubdub_shared::time::{self, words};
use lubdub_shared::view::AgentView;
use lubdub_sidecar::config::DEFAULT_COLLECTOR;

use crate::client::{Client, Failed};
use crate::flags::{Common, Output};
use crate::{command, render};

/// What to do with a policy file.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Validate a policy file, and print what it comes to.
    Check(Check),
    /// Put a policy file in place of the policies that hold in a collector.
    Push(Push),
}

/// Flags of `policy check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// The file: `[policy.NAME]` and `[[assign]]`.
    file: PathBuf,
    /// Also list who would be late under it, of the agents of this collector.
    /// Without an address that of LUBDUB_COLLECTOR.
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    against: Option<String>,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Flags of `policy push`.
#[derive(Debug, clap::Args)]
pub(crate) struct Push {
    /// The file: `[policy.NAME]` and `[[assign]]`.
    file: PathBuf,
    /// Say how many agents would get another policy, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    common: Common,
}

/// Does it.
///
/// # Errors
/// The file holds a mistake, or the collector did not answer.
pub(crate) async fn run(verb: Verb) -> Result<(), Failed> {
    match verb {
        Verb::Check(args) => check(args).await,
        Verb::Push(args) => push(args).await,
    }
}

async fn check(args: Check) -> Result<(), Failed> {
    let policies = Policies::read(&args.file).map_err(Failed::usage)?;
    let late = match &args.against {
        Some(address) if address.is_empty() => {
            let address = std::env::var("LUBDUB_COLLECTOR").ok();
            let address = address.filter(|address| !address.is_empty());
            let address = address.unwrap_or_else(|| DEFAULT_COLLECTOR.to_owned());
            Some(late_under(&policies, &address).await?)
        }
        Some(address) => Some(late_under(&policies, address).await?),
        None => None,
    };
    match args.output {
        Output::Table => {
            let mut lines: Vec<String> =
                policies.all().flat_map(|policy| described(policy)).collect();
            lines.extend(policies.assigned().into_iter().map(|rule| format!("assign  {rule}")));
            if let Some((all, late)) = &late {
                lines.push(format!("{} of {all} agents would be told otherwise", late.len()));
                lines.extend(late.iter().map(Late::line));
            }
            lines.iter().try_for_each(|line| render::line(&render::clean(line)))
        }
        Output::Json => {
            let of = |policy: &VersionedPolicy| {
                serde_json::json!({
                    "name": policy.name,
                    "mode": policy.mode,
                    "deadlines": deadlines(policy).into_iter().collect::<BTreeMap<_, _>>(),
                    "restarts_at_s": restarts(policy).iter().map(std::time::Duration::as_secs_f64)
                        .collect::<Vec<_>>(),
                    "exhausted": policy.restart.exhausted,
                })
            };
            let late = late.map(|(_, late)| late.iter().map(Late::json).collect::<Vec<_>>());
            render::json(&serde_json::json!({
                "schema": 1,
                "policies": policies.all().map(of).collect::<Vec<_>>(),
                "assign": policies.assigned(),
                "late": late,
            }))
        }
    }
}

/// What a policy comes to: deadlines of each phase, and its restart schedule.
fn described(policy: &Policy) -> Vec<String> {
    let mut lines = vec![format!("policy {} ({})", policy.name, policy.mode)];
    let width = deadlines(policy).iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    lines.extend(deadlines(policy).iter().map(|(name, clock)| format!("  {name:width$}  {clock}")));
    let at = restarts(policy);
    let stops: Vec<String> = at.iter().map(|at| words(*at)).collect();
    let limit = format!("at most {} in 24 hours", policy.restart.per_day_max);
    let refilled = words(policy.restart.stable_after);
    lines.push(format!(
        "  restarts, when each new life fails at once: t = {}; then {} ({limit}; refilled by \
         {refilled} of proven stability)",
        if stops.is_empty() { "never".to_owned() } else { stops.join(", ") },
        policy.restart.exhausted,
    ));
    lines
}

/// Each phase's clock of beats, and the other clocks.
fn deadlines(policy: &Policy) -> Vec<(String, String)> {
    let misses = policy.failures_before_critical.get();
    let beat = |phase: Option<Phase>| match policy.beat_deadline(phase) {
        None => "no clock".to_owned(),
        Some(after) => {
            let progress = words(policy.progress_deadline(phase));
            let owed = phase.is_some_and(Phase::owes_progress);
            let owes = if owed { format!(", progress within {progress}") } else { String::new() };
            format!(
                "Warning at {}, Critical at {}{owes}",
                words(after),
                words(after.saturating_mul(misses))
            )
        }
    };
    let phases = Phase::ALL.iter().map(|phase| (format!("phase {phase}"), beat(Some(*phase))));
    let mut clocks = vec![("undeclared".to_owned(), beat(None))];
    clocks.extend(phases);
    let task = policy.task_timeout.map_or_else(|| "none".to_owned(), words);
    clocks.extend([
        ("busy_cap".to_owned(), words(policy.busy_cap)),
        ("lease_max".to_owned(), words(policy.lease_max)),
        ("inactive_after".to_owned(), words(policy.inactive_after)),
        ("human_after".to_owned(), words(policy.human_after)),
        ("task_timeout".to_owned(), task),
        ("startup_grace".to_owned(), words(policy.startup_grace)),
    ]);
    clocks.extend(limits(policy));
    let hours = policy.limits.quiet_hours.iter().map(ToString::to_string);
    clocks.extend(hours.map(|hours| ("quiet".to_owned(), hours)));
    let checks = policy.limits.check.iter();
    clocks.extend(checks.map(|(name, expected)| {
        let grace = words(expected.grace);
        (format!("check {name}"), format!("{}, grace {grace}", expected.due))
    }));
    clocks
}

/// What is held against no clock.
fn limits(policy: &Policy) -> Vec<(String, String)> {
    let Limits { looping, energy, memory, response, failures, flapping, .. } = &policy.limits;
    let slow = response.slow.map_or_else(|| "no bound".to_owned(), words);
    let limit = memory.limit.map_or_else(|| "the machine's or cgroup's".to_owned(), render::bytes);
    let exempt = if looping.exempt.is_empty() { "none".into() } else { looping.exempt.join(", ") };
    let acts = policy.act.iter().map(|(cause, act)| (format!("act {cause}"), act.to_string()));
    let named = [
        (
            "loop",
            format!(
                "{} equal results, {} equal errors, {} in turns, {} without a result; exempt: \
                 {exempt}",
                looping.same_result, looping.same_error, looping.alternating, looping.monologue
            ),
        ),
        (
            "energy",
            format!(
                "low at {}, gone at {}{}, or gone within {}; burn {} tokens or {} USD without \
                 progress",
                energy.low,
                energy.gone,
                if energy.hard { " (the end)" } else { "" },
                words(energy.empty_within),
                energy.burn_tokens,
                energy.burn_cost_usd
            ),
        ),
        (
            "memory",
            format!(
                "limit {limit}: Warning at {}, Critical at {}; a leak above {} that reaches it \
                 within {}",
                memory.high,
                memory.critical,
                memory.leak_above,
                words(memory.leak_within)
            ),
        ),
        ("response", format!("p95 {slow}; z above {}", response.anomaly)),
        ("failures", format!("{} of the last 20, at least {}", failures.share, failures.least)),
        (
            "flapping",
            format!(
                "on at {}, off at {}, a sample each {}; restarts held for {}",
                flapping.on,
                flapping.off,
                words(flapping.every),
                words(flapping.hold_max)
            ),
        ),
    ];
    named.map(|(name, text)| (name.to_owned(), text)).into_iter().chain(acts).collect()
}

/// When the restarts come if each new life fails as soon as it begins, without jitter.
fn restarts(policy: &Policy) -> Vec<std::time::Duration> {
    let mut at = std::time::Duration::ZERO;
    (0..policy.restart.attempts.min(32))
        .map(|used| {
            at += schedule::nominal_delay(used, &policy.restart);
            at
        })
        .collect()
}

/// An agent that would be told otherwise.
struct Late {
    agent: String,
    policy: String,
    now: String,
    then: String,
}

impl Late {
    fn line(&self) -> String {
        format!("  {} (policy {}): now {}, then {}", self.agent, self.policy, self.now, self.then)
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "agent": self.agent, "policy": self.policy, "now": self.now, "then": self.then,
        })
    }
}

/// How many agents there are, and which of them the detectors would judge otherwise.
async fn late_under(policies: &Policies, address: &str) -> Result<(usize, Vec<Late>), Failed> {
    let mut client = Client::connect(address).await?;
    let (_, agents) = client.agents().await?;
    let count = agents.len();
    let would = |view: AgentView| {
        let report = view.report.filter(|report| report.pid.is_some())?;
        let policy = policies.of(&view.agent, &view.labels);
        let held = Report { ages: report.ages.held_to(&policy), ..report };
        let then = explain::says(&held, &policy, time::now().wall.before(view.report_age));
        let mut now: Vec<String> =
            view.findings.iter().map(|f| format!("{} {}", f.level, f.cause)).collect();
        now.sort();
        let now = if now.is_empty() { "ok".to_owned() } else { now.join(", ") };
        let agent = view.agent.to_string();
        (now != then).then(|| Late { agent, policy: policy.name.clone(), now, then })
    };
    Ok((count, agents.into_iter().filter_map(would).collect()))
}

async fn push(args: Push) -> Result<(), Failed> {
    // Read here first: a mistake is told with the name of the file.
    Policies::read(&args.file).map_err(Failed::usage)?;
    let text = std::fs::read_to_string(&args.file)
        .map_err(|error| Failed::usage(format!("{}: {error}", args.file.display())))?;
    let mut client = Client::connect(&args.common.collector).await?;
    let requested_by = command::person();
    let request = pb::PushPolicyRequest { text, requested_by, dry_run: args.dry_run };
    let changed = client.push_policy(request).await?;
    match args.common.output {
        Output::Json => render::json(&serde_json::json!({
            "schema": 1, "changed": changed, "dry_run": args.dry_run,
        })),
        Output::Table if args.dry_run => {
            render::line(&format!("{changed} agents would get another policy; nothing was changed"))
        }
        Output::Table => render::line(&format!(
            "{changed} agents have another policy now; it holds until another is pushed, or the \
             collector reads its file again (SIGHUP)"
        )),
    }
}
