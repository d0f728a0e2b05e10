//! `lubdub restart|stop|start|apoptosis|revive AGENT --reason TEXT [--wait] [--dry-run]`.
//!
//! Each carries an id of its own: when the answer is lost on its way, the same question is put once
//! more, and the collector answers it without doing anything twice.

use std::time::Duration;

use lubdub_shared::command::CommandKind;
use lubdub_shared::convert::command_id;
use lubdub_shared::id::{AgentId, CommandId};
use lubdub_shared::incident::ActionOutcome;
use lubdub_shared::pb;
use lubdub_shared::strict_toml::parse_span;
use lubdub_shared::time::{self, millis};
use serde::Serialize;

use crate::client::{Client, Failed, UNREACHABLE};
use crate::flags::{Common, Output, parse_agent};
use crate::render;

/// How long `--wait` waits.
const WAIT: Duration = Duration::from_secs(600);

/// Flags of an act.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which agent.
    #[arg(value_parser = parse_agent)]
    agent: AgentId,
    /// Why; it is written down.
    #[arg(long)]
    reason: String,
    /// Wait for the outcome (at most 10 minutes).
    #[arg(long)]
    wait: bool,
    /// Check everything and say what would be done; do nothing.
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// How long stop, start and revive may wait for a sidecar that is not connected, at most 30
    /// days. [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = parse_expiry)]
    expires: Option<Duration>,
    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct ActJson<'a> {
    schema: u8,
    command: String,
    agent: &'a str,
    kind: CommandKind,
    outcome: ActionOutcome,
    detail: String,
}

/// Asks for an act.
///
/// # Errors
/// It was refused or failed, or the collector did not answer.
pub(crate) async fn run(args: Args, kind: CommandKind) -> Result<(), Failed> {
    let id = CommandId::ordered(time::now().wall, &mut fastrand::Rng::new());
    let wait = if args.wait { WAIT } else { Duration::ZERO };
    let request = pb::ActRequest {
        agent: args.agent.to_string(),
        kind: pb::CommandKind::from(kind).into(),
        reason: args.reason,
        requested_by: person(),
        wait_ms: millis(wait),
        command: id.as_bytes().to_vec(),
        dry_run: args.dry_run,
        expires_ms: args.expires.map(millis).unwrap_or_default(),
    };
    let response = ask(&args.common.collector, request).await?;
    let outcome = ActionOutcome::try_from(response.outcome())?;
    let command = command_id(&response.command)?.to_string();
    match args.common.output {
        Output::Json => render::json(&ActJson {
            schema: 1,
            command,
            agent: args.agent.as_str(),
            kind,
            outcome,
            detail: response.detail.clone(),
        })?,
        Output::Table => {}
    }
    let said = format!("{kind} {}: {outcome}: {}", args.agent, render::clean(&response.detail));
    match outcome {
        ActionOutcome::Refused
        | ActionOutcome::Expired
        | ActionOutcome::Failed
        | ActionOutcome::Other => Err(Failed::refused(said)),
        ActionOutcome::Accepted | ActionOutcome::Done | ActionOutcome::Pending => {
            if args.common.output == Output::Table { render::line(&said) } else { Ok(()) }
        }
    }
}

async fn ask(collector: &str, request: pb::ActRequest) -> Result<pb::ActResponse, Failed> {
    let mut client = Client::connect(collector).await?;
    match client.act(request.clone()).await {
        Err(lost) if lost.code == UNREACHABLE => {
            let gone = |_| Failed {
                code: UNREACHABLE,
                why: format!(
                    "the collector at {collector} went away before it answered ({}); the act may \
                     have been carried out: lubdub events {} will tell",
                    lost.why, request.agent
                ),
            };
            let mut again = Client::connect(collector).await.map_err(gone)?;
            again.act(request.clone()).await.map_err(gone)
        }
        answer => answer,
    }
}

const EXPIRY_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

fn parse_expiry(text: &str) -> Result<Duration, String> {
    let span = parse_span(text)?;
    if span.is_zero() || span > EXPIRY_MAX {
        return Err("between 1ms and 30 days".to_owned());
    }
    Ok(span)
}

/// Who asks, for the record: what the environment says, since nobody signs in here yet.
pub(crate) fn person() -> String {
    let name = |key| std::env::var(key).ok().filter(|name| !name.is_empty());
    let uid = || format!("uid {}", rustix::process::getuid().as_raw());
    name("SUDO_USER").or_else(|| name("USER")).unwrap_or_else(uid)
}
