//! `lubdub incident show ID`: one incident, and the evidence that was gathered in its time.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Read as _;

use flate2::read::GzDecoder;
use lubdub_shared::id::AgentId;
use lubdub_shared::incident::Incident;
use lubdub_shared::pb;
use lubdub_shared::session::{Bundle, EventKind, Happening};
use lubdub_shared::time::Wall;
use lubdub_shared::view::{EventView, IncidentView, IncidentsJson};
use serde_json::{Value, json};

use crate::client::{Client, Failed};
use crate::flags::{Common, Output};
use crate::incidents::state;
use crate::render::{self, clean};

/// Least of an id that names an incident.
const PREFIX_MIN: usize = 8;
/// A bundle holds less than this; what holds more was not made by a sidecar.
const BUNDLE_MAX: u64 = 16 << 20;

/// What to do with incidents one by one.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Show one incident.
    Show(Show),
}

/// Flags of `show`.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// Its id, or the beginning of it, as `lubdub incidents --all` prints it.
    id: String,
    /// Print the evidence too: from the collector where it was sent, else from this host.
    #[arg(long)]
    evidence: bool,
    #[command(flatten)]
    common: Common,
}

/// A bundle, and what is in it as far as it can be had.
struct Piece {
    event: EventView,
    bundle: Bundle,
    content: Result<Value, String>,
}

/// Shows one incident.
///
/// # Errors
/// There is none such, or the collector did not answer.
pub(crate) async fn run(verb: Verb) -> Result<(), Failed> {
    let Verb::Show(args) = verb;
    let mut client = Client::connect(&args.common.collector).await?;
    let view = find(&mut client, &args.id).await?;
    let mut pieces = Vec::new();
    if let Some(agent) = &view.agent {
        let mut others = client.incidents(true, Some(agent)).await?;
        others.retain(|other| other.incident.id != view.incident.id);
        let of = Belongs::new(&view, &others);
        for (event, bundle) in gathered(&mut client, agent, &of).await? {
            let content = match args.evidence {
                true => read(&mut client, agent, &bundle).await?,
                false => Err(String::new()),
            };
            pieces.push(Piece { event, bundle, content });
        }
    }
    match args.common.output {
        Output::Json => render::json(&as_json(&view, &pieces, args.evidence)),
        Output::Table => render::put(&text(&view, &pieces, args.evidence, client.now())),
    }
}

async fn find(client: &mut Client, prefix: &str) -> Result<IncidentView, Failed> {
    if prefix.len() < PREFIX_MIN {
        let why = format!("{prefix:?} is too short: give at least {PREFIX_MIN} characters");
        return Err(Failed { code: 64, why });
    }
    let all = client.incidents(true, None).await?;
    let mut named = all.into_iter().filter(|view| view.incident.id.to_string().starts_with(prefix));
    let Some(view) = named.next() else {
        return Err(Failed::refused(format!(
            "no incident {prefix:?} among the newest 1,000; lubdub incidents --all lists them"
        )));
    };
    if let Some(other) = named.next() {
        return Err(Failed::refused(format!(
            "{prefix:?} is the beginning of {} and of {}",
            view.incident.id, other.incident.id
        )));
    }
    Ok(view)
}

/// Which evidence belongs to an incident.
struct Belongs<'a> {
    incident: &'a Incident,
    /// By the answer to an act of another: from before bundles named their command.
    elsewhere: BTreeSet<&'a str>,
}

impl<'a> Belongs<'a> {
    fn new(view: &'a IncidentView, others: &'a [IncidentView]) -> Self {
        let acts = others.iter().flat_map(|other| &other.incident.actions);
        let elsewhere = acts.filter_map(|action| action.evidence.as_deref()).collect();
        Self { incident: &view.incident, elsewhere }
    }

    /// It was gathered for an act of the incident; `None`: no act of any is known to have asked.
    fn is_named(&self, bundle: &Bundle) -> Option<bool> {
        let acts = &self.incident.actions;
        let of_act = |command| acts.iter().any(|act| act.command == command);
        let answered = acts.iter().any(|act| act.evidence.as_ref() == Some(&bundle.id));
        match bundle.command {
            Some(command) => Some(of_act(command)),
            None if answered => Some(true),
            None => self.elsewhere.contains(&*bundle.id).then_some(false),
        }
    }
}

/// Bundles that were gathered for acts of the incident, and those of the time in which it was open
/// that no command asked for, oldest first. A sidecar dates what it gathers by a clock of its own;
/// when it came is told by what the collector itself wrote around it.
async fn gathered(
    client: &mut Client,
    agent: &AgentId,
    of: &Belongs<'_>,
) -> Result<Vec<(EventView, Bundle)>, Failed> {
    let incident = of.incident;
    let mut found = Vec::new();
    let mut waiting = Vec::new();
    let mut before = Wall::default();
    let mut after = 0;
    loop {
        let agent = agent.to_string();
        let request = pb::ListEventsRequest { agent, after, ..Default::default() };
        let page = client.events(request).await?;
        let end = page.events.is_empty();
        for event in page.events {
            if is_the_collectors(event.kind) {
                // What came since the collector last wrote something was there by now.
                let over = event.at < incident.opened;
                found.extend(std::mem::take(&mut waiting).into_iter().filter(|_| !over));
                before = event.at;
            } else if event.kind == EventKind::Evidence
                && let Ok(Happening::Evidence(bundle)) = serde_json::from_str(&event.detail)
            {
                let named = of.is_named(&bundle);
                if named == Some(true) {
                    found.push((event, bundle));
                } else if named.is_none()
                    && incident.resolved.is_none_or(|resolved| before <= resolved)
                    && event.incarnation.is_none_or(|life| life >= incident.incarnation)
                {
                    waiting.push((event, bundle));
                }
            }
        }
        if end {
            found.extend(waiting);
            found.sort_by_key(|(event, _)| event.seq);
            return Ok(found);
        }
        after = page.last;
    }
}

/// It is dated by the collector's clock.
fn is_the_collectors(kind: EventKind) -> bool {
    matches!(kind, EventKind::Status | EventKind::Command | EventKind::Answer)
}

/// What a bundle holds: from the collector, else from this host's disk.
async fn read(
    client: &mut Client,
    agent: &AgentId,
    bundle: &Bundle,
) -> Result<Result<Value, String>, Failed> {
    let sent = client.evidence(agent, bundle.id.clone()).await?;
    Ok(match sent {
        Some(bytes) => unpacked(&bytes),
        None => on_this_host(&bundle.path)
            .map_err(|error| format!("it stayed on the agent's host, and {}: {error}", bundle.path))
            .and_then(|bytes| unpacked(&bytes)),
    })
}

/// The path came over the wire: only a plain file is read, and not without end.
fn on_this_host(path: &str) -> std::io::Result<Vec<u8>> {
    let path = std::path::Path::new(path);
    if !std::fs::symlink_metadata(path)?.is_file() {
        return Err(std::io::Error::other("not a plain file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(BUNDLE_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unpacked(bytes: &[u8]) -> Result<Value, String> {
    let mut text = String::new();
    let read = GzDecoder::new(bytes).take(BUNDLE_MAX).read_to_string(&mut text);
    read.map_err(|error| format!("not a bundle: {error}"))?;
    serde_json::from_str(&text).map_err(|error| format!("not a bundle: {error}"))
}

fn as_json(view: &IncidentView, pieces: &[Piece], evidence: bool) -> Value {
    let incidents = serde_json::to_value(IncidentsJson::new(std::slice::from_ref(view)));
    let mut incidents = incidents.expect("keys are strings, numbers are finite");
    let pieces = pieces.iter().map(|piece| {
        let Bundle { id, reason, path, bytes, .. } = &piece.bundle;
        let mut one = json!({
            "id": id, "at": piece.event.at, "reason": reason, "path": path, "bytes": bytes,
        });
        match &piece.content {
            _ if !evidence => {}
            Ok(content) => one["content"] = content.clone(),
            Err(why) => one["missing"] = json!(why),
        }
        one
    });
    let pieces: Vec<Value> = pieces.collect();
    json!({"schema": 1, "incident": incidents["incidents"][0].take(), "evidence": pieces})
}

fn text(view: &IncidentView, pieces: &[Piece], evidence: bool, now: Wall) -> String {
    let incident = &view.incident;
    let whose = view.agent.as_ref().map_or("(collector)", AgentId::as_str);
    let mut out = format!(
        "{}: {whose}, {}, {}, {}\n  opened     {}\n  life       {}\n  summary    {}\n",
        incident.id,
        incident.cause,
        incident.level,
        state(incident, now),
        incident.opened,
        incident.incarnation,
        clean(&incident.summary),
    );
    let mut line = |text: String| writeln!(out, "{text}").expect("a string takes it");
    for action in &incident.actions {
        let evidence = action.evidence.as_deref().map(|id| format!(", evidence {}", clean(id)));
        let evidence = evidence.unwrap_or_default();
        line(format!("  action     {} {} {}{evidence}", action.at, action.kind, action.outcome));
    }
    for piece in pieces {
        let Bundle { id, reason, path, bytes, .. } = &piece.bundle;
        line(format!("  evidence   {id}: {}", clean(reason)));
        line(format!("             {} at {}", render::bytes(*bytes), clean(path)));
        match &piece.content {
            _ if !evidence => {}
            Ok(content) => put(&mut line, content, 4),
            Err(why) => line(format!("    {}", clean(why))),
        }
    }
    out
}

/// Any JSON, readable: texts of several lines as they are.
fn put(line: &mut impl FnMut(String), value: &Value, indent: usize) {
    let margin = " ".repeat(indent);
    let named: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (clean(name), value)).collect(),
        Value::Array(items) => {
            items.iter().enumerate().map(|(at, value)| (format!("#{}", at + 1), value)).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return,
    };
    for (name, value) in named {
        match value {
            Value::Object(_) | Value::Array(_) => {
                line(format!("{margin}{name}"));
                put(line, value, indent + 2);
            }
            Value::String(text) if text.contains('\n') => {
                line(format!("{margin}{name}"));
                text.lines().for_each(|text| line(format!("{margin}  {}", clean(text))));
            }
            Value::String(text) => line(format!("{margin}{name}: {}", clean(text))),
            Value::Null | Value::Bool(_) | Value::Number(_) => {
                line(format!("{margin}{name}: {value}"));
            }
        }
    }
}
