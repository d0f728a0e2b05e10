//! `lubdub replay TRACE…`: the engine of this version on recorded inputs, in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use lubdub_collector::config::Policies;
use lubdub_engine::trace::{Change, Header, Line, Replay, Told, VERSION, WouldAct};
use lubdub_shared::id::AgentId;
use lubdub_shared::policy::Policy;
use lubdub_shared::time::Mono;
use serde_json::json;

use crate::cli::Output;
use crate::client::Failed;
use crate::render;

/// Flags of `replay`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files of one recording, oldest first.
    #[arg(required = true, value_name = "TRACE")]
    traces: Vec<PathBuf>,
    /// Policy file, instead of the policies of the recording.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Another policy file: print only what the two would have done differently.
    #[arg(long, value_name = "OTHER")]
    compare: Option<PathBuf>,
    /// Count and skip lines that are torn or foreign.
    #[arg(long)]
    lenient: bool,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// What a replay came to.
#[derive(Debug, Default)]
struct Replayed {
    changes: Vec<Change>,
    lines: u64,
    skipped: u64,
    /// Inputs that the recording itself had lost.
    lost: u64,
}

/// Replays, and prints.
///
/// # Errors
/// A file cannot be read, or holds a line that is none; file and line are named.
pub(crate) fn run(args: &Args) -> Result<(), Failed> {
    let read = |path: &PathBuf| Policies::read(path).map_err(Failed::usage);
    let policy = args.policy.as_ref().map(read).transpose()?;
    let other = args.compare.as_ref().map(read).transpose()?;
    let first = replay(args, policy.as_ref())?;
    match other {
        None => print(&first, args.output),
        Some(other) => {
            let second = replay(args, Some(&other))?;
            let name = |path: &Option<PathBuf>| {
                path.as_ref()
                    .map_or_else(|| "the recording's".to_owned(), |path| path.display().to_string())
            };
            let names = [name(&args.policy), name(&args.compare)];
            compare(&[first, second], &names, args.output)
        }
    }
}

fn replay(args: &Args, policies: Option<&Policies>) -> Result<Replayed, Failed> {
    let assign = |agent: &AgentId, labels: &BTreeMap<String, String>| -> Arc<Policy> {
        policies.map_or_else(Arc::default, |policies| policies.of(agent, labels))
    };
    let instead: Option<lubdub_engine::trace::Assign<'_>> =
        if policies.is_some() { Some(&assign) } else { None };
    let mut replayed = Replayed::default();
    let mut running: Option<Replay<'_>> = None;
    for path in &args.traces {
        let mut file = Trace::open(path)?;
        while let Some(read) = file.next() {
            replayed.lines += 1;
            let line = match read {
                Ok(Read::Header(header)) => {
                    // A later file of the same recording goes on where the one before ended.
                    if running.is_none() {
                        running = Some(Replay::new(&header, Mono::default(), instead));
                    }
                    continue;
                }
                Ok(Read::Line(line)) => *line,
                Err(_) if args.lenient => {
                    replayed.skipped += 1;
                    continue;
                }
                Err(why) => return Err(Failed::refused(why)),
            };
            if let lubdub_engine::trace::Input::Dropped(lost) = line.input {
                replayed.lost += lost;
            }
            match &mut running {
                Some(replay) => replay.apply(line),
                None if args.lenient => replayed.skipped += 1,
                None => {
                    return Err(Failed::refused(format!(
                        "{}:1: no header of a trace",
                        path.display()
                    )));
                }
            }
        }
        file.bar.finish_and_clear();
    }
    replayed.changes = running.map(Replay::changes).unwrap_or_default();
    Ok(replayed)
}

/// A file of a recording.
struct Trace {
    path: PathBuf,
    lines: BufReader<File>,
    text: String,
    number: u64,
    bar: ProgressBar,
}

enum Read {
    Header(Box<Header>),
    Line(Box<Line>),
}

impl Trace {
    fn open(path: &Path) -> Result<Self, Failed> {
        let cannot = |error| Failed::usage(format!("{}: cannot read it: {error}", path.display()));
        let file = File::open(path).map_err(cannot)?;
        let len = file.metadata().map_err(cannot)?.len();
        let bar = if std::io::stderr().is_terminal() {
            let style = "{wide_bar} {bytes}/{total_bytes} {eta}";
            let style = ProgressStyle::with_template(style).expect("a constant template");
            ProgressBar::new(len).with_style(style)
        } else {
            ProgressBar::hidden()
        };
        let lines = BufReader::with_capacity(1 << 20, file);
        Ok(Self { path: path.to_owned(), lines, text: String::new(), number: 0, bar })
    }

    /// The next line; what is wrong with it names file and line.
    fn next(&mut self) -> Option<Result<Read, String>> {
        self.text.clear();
        self.number += 1;
        let at = format!("{}:{}", self.path.display(), self.number);
        match self.lines.read_line(&mut self.text) {
            Ok(0) => return None,
            Ok(len) => self.bar.inc(len as u64),
            Err(error) => return Some(Err(format!("{at}: {error}"))),
        }
        if !self.text.ends_with('\n') {
            return Some(Err(format!("{at}: the line is torn")));
        }
        let foreign = |error: serde_json::Error| {
            format!("{at}: not a line of a trace: {error} (skip such lines with --lenient)")
        };
        if !self.text.starts_with("{\"trace\"") {
            let line = serde_json::from_str(&self.text).map_err(foreign);
            return Some(line.map(|line| Read::Line(Box::new(line))));
        }
        Some(match serde_json::from_str::<Header>(&self.text) {
            Ok(header) if header.trace == VERSION => Ok(Read::Header(Box::new(header))),
            Ok(header) => Err(format!(
                "{at}: version {} of the format is not known here ({VERSION} is)",
                header.trace
            )),
            Err(error) => Err(foreign(error)),
        })
    }
}

impl Replayed {
    fn acts(&self) -> impl Iterator<Item = (&Change, &WouldAct)> {
        self.changes.iter().filter_map(|change| match &change.what {
            Told::Act(act) => Some((change, act)),
            Told::Transition(_) => None,
        })
    }

    /// Acts that would have ended a life, and those of lives that went on by themselves.
    fn ended(&self) -> (usize, usize) {
        let ended = || self.acts().filter(|(_, act)| act.kind.is_destructive());
        (ended().count(), ended().filter(|(_, act)| act.healthy).count())
    }

    fn summary(&self) -> String {
        let (ended, healthy) = self.ended();
        let skipped = match self.skipped {
            0 => String::new(),
            skipped => format!(", {skipped} lines skipped"),
        };
        let lost = match self.lost {
            0 => String::new(),
            lost => format!(", {lost} inputs missing in the recording"),
        };
        format!(
            "{} lines{skipped}{lost}: would have ended {ended}, {healthy} of them healthy",
            self.lines
        )
    }
}

fn line_of(change: &Change) -> String {
    let (at, agent) = (change.at, &change.agent);
    match &change.what {
        Told::Transition(transition) => format!("{at} {agent} {transition}"),
        Told::Act(act) => {
            let healthy = match act.healthy && act.kind.is_destructive() {
                true => "; it went on by itself",
                false => "",
            };
            format!("{at} {agent} would {}: {}{healthy}", act.kind, act.reason)
        }
    }
}

fn json_of(change: &Change) -> serde_json::Value {
    let (at, agent) = (change.at, &change.agent);
    match &change.what {
        Told::Transition(t) => json!({
            "at": at, "agent": agent, "kind": "status", "from": t.from, "to": t.to,
            "lifecycle": t.lifecycle, "why": t.why,
        }),
        Told::Act(act) => json!({
            "at": at, "agent": agent, "kind": "act", "act": act.kind, "cause": act.cause,
            "reason": act.reason, "healthy": act.healthy,
        }),
    }
}

fn print(replayed: &Replayed, output: Output) -> Result<(), Failed> {
    let (ended, healthy) = replayed.ended();
    match output {
        Output::Table => {
            for change in &replayed.changes {
                render::line(&render::clean(&line_of(change)))?;
            }
            render::line(&replayed.summary())
        }
        Output::Json => render::json(&json!({
            "schema": 1,
            "changes": replayed.changes.iter().map(json_of).collect::<Vec<_>>(),
            "lines": replayed.lines,
            "skipped": replayed.skipped,
            "lost": replayed.lost,
            "would_have_ended": ended,
            "of_them_healthy": healthy,
        })),
    }
}

/// What makes an act the same under both policies.
fn key(change: &Change, act: &WouldAct) -> (AgentId, &'static str, Option<&'static str>) {
    (change.agent.clone(), act.kind.as_str(), act.cause.map(|cause| cause.as_str()))
}

fn compare(both: &[Replayed; 2], names: &[String; 2], output: Output) -> Result<(), Failed> {
    let keys = |of: &Replayed| of.acts().map(|(c, act)| key(c, act)).collect::<BTreeSet<_>>();
    let known = [keys(&both[0]), keys(&both[1])];
    let only = |this: usize| {
        let other = &known[1 - this];
        both[this].acts().filter(|(change, act)| !other.contains(&key(change, act)))
    };
    match output {
        Output::Table => {
            for (this, name) in names.iter().enumerate() {
                render::line(&format!("only under {name}:"))?;
                for (change, _) in only(this) {
                    render::line(&render::clean(&format!("  {}", line_of(change))))?;
                }
            }
            for (this, name) in names.iter().enumerate() {
                render::line(&format!("{name}: {}", both[this].summary()))?;
            }
            Ok(())
        }
        Output::Json => {
            let of = |this: usize| {
                let (ended, healthy) = both[this].ended();
                json!({
                    "policy": names[this],
                    "only_here": only(this).map(|(change, _)| json_of(change)).collect::<Vec<_>>(),
                    "would_have_ended": ended,
                    "of_them_healthy": healthy,
                })
            };
            render::json(&json!({ "schema": 1, "policies": [of(0), of(1)] }))
        }
    }
}
