//! `lubdub events`: the record of what happened, oldest first.

use std::time::Duration;

use lubdub_shared::id::{AgentId, StoreId};
use lubdub_shared::pb::ListEventsRequest;
use lubdub_shared::session::EventKind;
use lubdub_shared::time::millis;
use lubdub_shared::view::{EventJson, EventView};
use serde_json::Value;

use crate::client::{Client, EventPage, Failed};
use crate::flags::{Common, Output, parse_agent};
use crate::render::{self, clean};

/// How long one question waits for news.
const WAIT: Duration = Duration::from_secs(30);

/// Flags of `events`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only of this agent.
    #[arg(value_parser = parse_agent)]
    agent: Option<AgentId>,
    /// Go on with each event as it is stored, until interrupted.
    #[arg(short, long)]
    follow: bool,
    /// Begin with the newest this many, at most 1,000.
    #[arg(long, value_name = "COUNT", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    last: u32,
    /// Begin behind the event with this number instead; with the id of its store before it, where
    /// that is to be the same one. Both stand in each line of -o json.
    #[arg(long, value_name = "[STORE:]SEQ", conflicts_with = "last", value_parser = parse_cursor)]
    after: Option<Cursor>,
    #[command(flatten)]
    common: Common,
}

/// Lists events; with -f for ever.
///
/// # Errors
/// The collector did not answer.
pub(crate) async fn run(args: Args) -> Result<(), Failed> {
    let mut client = Client::connect(&args.common.collector).await?;
    let agent = args.agent.as_ref().map_or_else(String::new, AgentId::to_string);
    let cursor = args.after.unwrap_or_default();
    let mut request = ListEventsRequest {
        agent,
        after: cursor.seq,
        store: cursor.store.map(|store| store.as_bytes().to_vec()).unwrap_or_default(),
        newest: if args.after.is_some() { 0 } else { args.last },
        wait_ms: 0,
    };
    loop {
        let EventPage { events, last, store } = client.events(request.clone()).await?;
        if let (Some(agent), true, false) = (&args.agent, events.is_empty(), args.follow) {
            // The record of one that was forgotten stays; of one that never was there is none.
            let newest = ListEventsRequest { after: 0, newest: 1, ..request.clone() };
            if client.events(newest).await?.events.is_empty() {
                client.agent(agent).await?;
            }
        }
        let page: String =
            events.iter().map(|event| line(event, store, args.common.output)).collect();
        render::put(&page)?;
        // Pages behind a number go on until one is empty.
        let more = args.after.is_some() && !events.is_empty();
        if !args.follow && !more {
            return Ok(());
        }
        let wait_ms = if args.follow { millis(WAIT) } else { 0 };
        let store = store.map_or(request.store, |store| store.as_bytes().to_vec());
        request = ListEventsRequest { after: last, newest: 0, wait_ms, store, ..request };
    }
}

/// A place in the record of a store.
#[derive(Debug, Clone, Copy, Default)]
struct Cursor {
    /// `None`: whichever store this is.
    store: Option<StoreId>,
    seq: u64,
}

fn parse_cursor(text: &str) -> Result<Cursor, String> {
    let (store, seq) = match text.rsplit_once(':') {
        Some((store, seq)) => {
            let store = store.parse().map_err(|_| format!("{store:?} is not the id of a store"))?;
            (Some(store), seq)
        }
        None => (None, text),
    };
    let seq = seq.parse().map_err(|_| format!("{seq:?} is not the number of an event"))?;
    Ok(Cursor { store, seq })
}

fn line(event: &EventView, store: Option<StoreId>, output: Output) -> String {
    match output {
        Output::Json => render::json_text(&EventJson::new(event, store), true),
        Output::Table => {
            let whose = event.agent.as_ref().map_or("(collector)", AgentId::as_str);
            let life = event.incarnation.map_or_else(String::new, |life| format!(" life {life}"));
            let said = words(event);
            clean(&format!("{} {whose}{life} {}: {said}", event.at, event.kind)) + "\n"
        }
    }
}

/// What a person wants to read of an event; the JSON has the rest.
fn words(event: &EventView) -> String {
    let detail: Value = serde_json::from_str(&event.detail).unwrap_or(Value::Null);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    // A sidecar's facts stand under the name of their kind.
    let fact = detail.as_object().and_then(|fields| fields.values().next()).unwrap_or(&detail);
    match event.kind {
        EventKind::Status => {
            let (from, to) = (text(&detail["from"]), text(&detail["to"]));
            let change = if from == to { to } else { format!("{from} -> {to}") };
            let why = text(&detail["why"]);
            let why = if why.is_empty() { why } else { format!(": {why}") };
            format!("{change} ({}){why}", text(&detail["lifecycle"]))
        }
        EventKind::Evidence => {
            format!("{} ({} bytes): {}", text(&fact["id"]), fact["bytes"], text(&fact["reason"]))
        }
        EventKind::Note => {
            text(if detail["text"].is_string() { &detail["text"] } else { &fact["text"] })
        }
        EventKind::Command => {
            let dry = if detail["dry_run"] == true { " (dry run)" } else { "" };
            let (kind, by) = (text(&detail["kind"]), text(&detail["requested_by"]));
            format!("{kind} by {by}: {}{dry}", text(&detail["reason"]))
        }
        EventKind::Answer => format!("{}: {}", text(&detail["outcome"]), text(&detail["detail"])),
        EventKind::Other => "of a kind that this version does not know".to_owned(),
        EventKind::Started => format!("pid {}", fact["process"]["pid"]),
        EventKind::Exited => {
            let clean = if fact["clean"] == true { "clean" } else { "failed" };
            format!("{clean}, {}, then {}", fact["exit"]["how"], text(&fact["next"]))
        }
        EventKind::Held => {
            let (how, by) = (text(&fact["lifecycle"]), text(&fact["requested_by"]));
            format!("{how} by {by}: {}", text(&fact["reason"]))
        }
        EventKind::Outcome => format!("{}: {}", fact["ending"], text(&fact["detail"])),
    }
}
