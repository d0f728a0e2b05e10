//! `lubdub forget AGENT --reason TEXT`.

use lubdub_shared::id::AgentId;
use lubdub_shared::pb;

use crate::client::{Client, Failed};
use crate::flags::{Common, Output, parse_agent};
use crate::{command, render};

/// Flags of `forget`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which agent; its sidecar must not be connected.
    #[arg(value_parser = parse_agent)]
    agent: AgentId,
    /// Why; it is written down.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    common: Common,
}

/// Forgets an agent.
///
/// # Errors
/// There is no such agent, it is connected, or the collector did not answer.
pub(crate) async fn run(args: Args) -> Result<(), Failed> {
    let mut client = Client::connect(&args.common.collector).await?;
    let agent = args.agent.to_string();
    let requested_by = command::person();
    let request = pb::ForgetRequest { agent: agent.clone(), reason: args.reason, requested_by };
    client.forget(request).await?;
    match args.common.output {
        Output::Json => render::json(&serde_json::json!({ "schema": 1, "forgotten": agent })),
        Output::Table => render::line(&format!("forgot {agent}; what happened stays in events")),
    }
}
