//! Flags that verbs share: where the collector is, how to print, which agent.

use clap::{Args, ValueEnum};
use lubdub_shared::id::AgentId;
use lubdub_sidecar::config::DEFAULT_COLLECTOR;

/// Where the collector is, and how to print.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// Address of the collector.
    #[arg(long, env = "LUBDUB_COLLECTOR", default_value = DEFAULT_COLLECTOR, value_name = "URL",
          value_parser = parse_collector)]
    pub(crate) collector: String,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

/// Which agent, and how often to look.
#[derive(Debug, Args)]
pub(crate) struct OneAgent {
    /// Which agent.
    #[arg(value_parser = parse_agent)]
    pub(crate) agent: AgentId,
    /// Look again each second until interrupted.
    #[arg(short, long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs; the contract is in the README.
    Json,
}

/// An address; an empty one, as of a variable that a script left empty, is as good as none.
#[expect(clippy::unnecessary_wraps, reason = "the shape that clap asks for")]
fn parse_collector(text: &str) -> Result<String, std::convert::Infallible> {
    Ok(if text.is_empty() { DEFAULT_COLLECTOR.to_owned() } else { text.to_owned() })
}

/// An agent's id, as clap reads it.
pub(crate) fn parse_agent(text: &str) -> Result<AgentId, String> {
    text.parse().map_err(|why: lubdub_shared::id::InvalidAgentId| why.to_string())
}
