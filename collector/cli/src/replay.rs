//! `lubdub replay TRACE…`: the engine of this version on recorded inputs, in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader, IsTerminal as _};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use lubdub_collector::config::Policies;
use lubdub_engine::trace::{
    Assign, Change, Header, Line, OutOfTime, Replay, Told, VERSION, WouldAct, v1,
};
use lubdub_shared::id::AgentId;
use lubdub_shared::policy::{Policy, VersionedPolicy};
use serde_json::json;

use crate::client::Failed;
use crate::flags::Output;
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
    let assign = |agent: &AgentId, labels: &BTreeMap<String, String>| -> VersionedPolicy {
        let default = || Policy::default().into();
        policies.map_or_else(default, |policies| policies.of(agent, labels))
    };
    let instead: Option<Assign<'_>> = if policies.is_some() { Some(&assign) } else { None };
    let mut replayed = Replayed::default();
    let mut running: Option<(Header, Replay<'_>)> = None;
    for path in &args.traces {
        let mut file = Trace::open(path)?;
        while let Some(read) = file.next() {
            replayed.lines += 1;
            let taken = read.and_then(|read| match read {
                Read::Header(header) => begin(*header, &mut running, &mut replayed, instead),
                Read::Line(line) => apply(*line, &mut running, &mut replayed),
            });
            match taken {
                Ok(()) => {}
                Err(_) if args.lenient => replayed.skipped += 1,
                Err(why) => return Err(Failed::refused(format!("{}: {why}", file.place()))),
            }
        }
        file.bar.finish_and_clear();
    }
    let Some((_, last)) = running else {
        return Err(Failed::refused("nothing was judged: no file begins with a trace's header"));
    };
    replayed.changes.extend(last.changes());
    Ok(replayed)
}

/// A file begins. It goes on with the recording of the one before, or, where the collector was
/// started anew in between, with another fleet.
fn begin<'p>(
    header: Header,
    running: &mut Option<(Header, Replay<'p>)>,
    replayed: &mut Replayed,
    instead: Option<Assign<'p>>,
) -> Result<(), String> {
    match running {
        Some((before, _)) if header.wall < before.wall => {
            return Err("the recording was begun before the one that was read: give the files \
                        oldest first"
                .to_owned());
        }
        Some((before, _)) if header.identity.epoch == before.identity.epoch => {
            *before = header;
            return Ok(());
        }
        Some(_) | None => {}
    }
    let next = Replay::new(&header, instead);
    if let Some((_, over)) = running.replace((header, next)) {
        replayed.changes.extend(over.changes());
    }
    Ok(())
}

fn apply(
    line: Line,
    running: &mut Option<(Header, Replay<'_>)>,
    replayed: &mut Replayed,
) -> Result<(), String> {
    let (_, replay) = running.as_mut().ok_or("no header of a trace comes before it")?;
    if let v1::Input::Dropped(lost) = line.input {
        replayed.lost += lost;
    }
    replay.apply(line).map_err(|why| match why {
        OutOfTime::Back => "its moment is before the line before it: the files are given twice, \
                            or not oldest first"
            .to_owned(),
        OutOfTime::Ahead => "its moment is more than 30 days after the line before it".to_owned(),
    })
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

    /// Where it was read last.
    fn place(&self) -> String {
        format!("{}:{}", self.path.display(), self.number)
    }

    /// The next line; or what is wrong with it.
    fn next(&mut self) -> Option<Result<Read, String>> {
        self.text.clear();
        self.number += 1;
        match self.lines.read_line(&mut self.text) {
            Ok(0) => return None,
            Ok(len) => self.bar.inc(len as u64),
            Err(error) => return Some(Err(error.to_string())),
        }
        if !self.text.ends_with('\n') {
            return Some(Err("the line is torn".to_owned()));
        }
        let foreign = |error: serde_json::Error| {
            format!("not a line of a trace: {error} (skip such lines with --lenient)")
        };
        if !self.text.starts_with("{\"trace\"") {
            let line = serde_json::from_str(&self.text).map_err(foreign);
            return Some(line.map(|line| Read::Line(Box::new(line))));
        }
        Some(match serde_json::from_str::<Header>(&self.text) {
            Ok(header) if header.trace == VERSION => Ok(Read::Header(Box::new(header))),
            Ok(header) => Err(format!(
                "version {} of the format is not known here ({VERSION} is)",
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
            "lifecycle": t.lifecycle, "cause": t.cause, "why": t.why,
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
