//! `lubdub restart|stop|start|apoptosis|revive AGENT --reason TEXT [--wait]`.

use std::time::Duration;

use lubdub_shared::command::CommandKind;
use lubdub_shared::convert::command_id;
use lubdub_shared::id::AgentId;
use lubdub_shared::incident::ActionOutcome;
use lubdub_shared::pb;
use lubdub_shared::time::millis;
use serde::Serialize;

use crate::cli::{Common, Output, parse_agent};
use crate::client::{Client, Failed};
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
    let mut client = Client::connect(&args.common.collector).await?;
    let wait = if args.wait { WAIT } else { Duration::ZERO };
    let request = pb::ActRequest {
        agent: args.agent.to_string(),
        kind: pb::CommandKind::from(kind).into(),
        reason: args.reason,
        requested_by: person(),
        wait_ms: millis(wait),
    };
    let response = client.act(request).await?;
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
        ActionOutcome::Refused | ActionOutcome::Expired | ActionOutcome::Failed => {
            Err(Failed::refused(said))
        }
        ActionOutcome::Accepted | ActionOutcome::Done | ActionOutcome::Pending => {
            if args.common.output == Output::Table { render::line(&said) } else { Ok(()) }
        }
    }
}

/// Who asks, for the record: what the environment says, since nobody signs in here yet.
fn person() -> String {
    let name = |key| std::env::var(key).ok().filter(|name| !name.is_empty());
    let uid = || format!("uid {}", rustix::process::getuid().as_raw());
    name("SUDO_USER").or_else(|| name("USER")).unwrap_or_else(uid)
}
