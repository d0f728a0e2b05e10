//! `lubdub incidents`.

use lubdub_shared::id::AgentId;
use lubdub_shared::incident::{Action, Incident};
use lubdub_shared::status::Status;
use lubdub_shared::time::Wall;
use lubdub_shared::view::{IncidentView, IncidentsJson};

use crate::client::{Client, Failed};
use crate::flags::{Common, Output, parse_agent};
use crate::render;

/// Flags of `incidents`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Resolved ones too.
    #[arg(short, long)]
    all: bool,
    /// Only of this agent.
    #[arg(value_parser = parse_agent)]
    agent: Option<AgentId>,
    /// Look again each second until interrupted.
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    common: Common,
}

/// Lists incidents, newest first.
///
/// # Errors
/// The collector did not answer.
pub(crate) async fn run(args: Args) -> Result<(), Failed> {
    let mut client = Client::connect(&args.common.collector).await?;
    render::watch(args.watch, async || {
        let incidents = client.incidents(args.all, args.agent.as_ref()).await?;
        if let (Some(agent), true) = (&args.agent, incidents.is_empty()) {
            client.agent(agent).await?;
        }
        Ok(match args.common.output {
            Output::Json => render::json_text(&IncidentsJson::new(&incidents), args.watch),
            Output::Table if incidents.is_empty() && args.all => "no incidents\n".to_owned(),
            Output::Table if incidents.is_empty() => "no open incidents\n".to_owned(),
            Output::Table => {
                let head = [
                    "ID", "OPENED", "AGENT", "CAUSE", "LEVEL", "STATE", "LIFE", "SUMMARY",
                    "ACTIONS",
                ];
                let now = client.now();
                let rows = incidents.iter().map(|view| (colour(view), row(view, now))).collect();
                render::table(head, rows)
            }
        })
    })
    .await
}

/// Enough of an id to tell incidents apart that were not opened in the same millisecond.
const ID_SHOWN: usize = 13;

/// How long it has been open, or was.
pub(crate) fn state(incident: &Incident, now: Wall) -> String {
    match incident.resolved {
        Some(resolved) => format!("resolved after {}", render::ago(incident.opened, resolved)),
        None => format!("open for {}", render::ago(incident.opened, now)),
    }
}

/// What is over is no trouble any more.
fn colour(view: &IncidentView) -> Status {
    if view.incident.resolved.is_some() { Status::Ok } else { view.incident.level }
}

fn row(view: &IncidentView, now: Wall) -> [String; 9] {
    let incident = &view.incident;
    let action = |action: &Action| format!("{} {}", action.kind, action.outcome);
    let actions: Vec<String> = incident.actions.iter().map(action).collect();
    [
        incident.id.to_string().chars().take(ID_SHOWN).collect(),
        incident.opened.to_string(),
        view.agent.as_ref().map_or_else(|| "(collector)".to_owned(), AgentId::to_string),
        incident.cause.to_string(),
        incident.level.to_string(),
        state(incident, now),
        incident.incarnation.to_string(),
        render::short(&incident.summary),
        render::short(&actions.join("; ")),
    ]
}
