//! `lubdub store verify|backup|restore`: what is done with the files of a store, on its host.

use std::path::PathBuf;

use clap::Subcommand;
use lubdub_collector::{Examined, Hole, Spoilt, maintain};
use lubdub_shared::fs::state_root;
use lubdub_shared::telemetry::chain;
use serde::Serialize;

use crate::client::Failed;
use crate::flags::Output;
use crate::{command, render};

/// What to do with a store.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Check that everything that was acked is there, as it was written; exit code 1 where it is
    /// not, and no earlier start said so.
    Verify(Verify),
    /// Copy a store, used or not, as it is at one moment.
    Backup(Backup),
    /// Put a backup in the place of a store that no collector uses.
    Restore(Restore),
}

/// Flags of `store verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// A backup, in place of a store.
    #[arg(conflicts_with = "data_dir")]
    file: Option<PathBuf>,
    #[command(flatten)]
    whose: Whose,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Flags of `store backup`.
#[derive(Debug, clap::Args)]
pub(crate) struct Backup {
    /// The new file; one that is there is not replaced.
    file: PathBuf,
    #[command(flatten)]
    whose: Whose,
}

/// Flags of `store restore`.
#[derive(Debug, clap::Args)]
pub(crate) struct Restore {
    /// A file that `lubdub store backup` made.
    file: PathBuf,
    #[command(flatten)]
    whose: Whose,
}

/// Which store.
#[derive(Debug, clap::Args)]
struct Whose {
    /// Directory of the store. [default: $XDG_STATE_HOME/lubdub/collector]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Whose {
    fn directory(self) -> Result<PathBuf, Failed> {
        let default = || state_root().map(|root| root.join("collector"));
        self.data_dir.or_else(default).ok_or_else(|| {
            Failed::usage("neither XDG_STATE_HOME nor HOME is set; name a --data-dir")
        })
    }
}

/// Does it.
///
/// # Errors
/// What was wrong, and with which file.
pub(crate) fn run(verb: Verb) -> Result<(), Failed> {
    match verb {
        Verb::Verify(args) => verify(args),
        Verb::Backup(args) => {
            let directory = args.whose.directory()?;
            let made = maintain::backup(&directory, &args.file).map_err(failed)?;
            render::line(&format!(
                "{}: {} bytes, everything up to event {}",
                args.file.display(),
                made.bytes,
                made.newest
            ))
        }
        Verb::Restore(args) => {
            let directory = args.whose.directory()?;
            let by = command::person();
            let restored = maintain::restore(&directory, &args.file, &by).map_err(failed)?;
            let mut said = format!("restored up to event {}", restored.newest);
            if let Some((first, last)) = restored.missing {
                said += &format!(
                    "; the events {first} to {last} are not in the backup: sidecars that still \
                     have them send them again"
                );
            }
            if let Some(kept) = restored.kept {
                said += &format!("; what was there is kept in {}", kept.display());
            }
            render::line(&said)
        }
    }
}

fn failed(error: maintain::Failed) -> Failed {
    Failed::refused(chain(&error))
}

#[derive(Serialize)]
struct VerifyJson<'a> {
    schema: u8,
    sound: bool,
    events: u64,
    newest: u64,
    others: u64,
    missing: Vec<HoleJson<'a>>,
    damaged: Vec<SpoiltJson<'a>>,
    unreadable: Vec<SpoiltJson<'a>>,
    file: &'a [String],
}

#[derive(Serialize)]
struct HoleJson<'a> {
    first: u64,
    last: u64,
    why: &'a str,
    /// Found at an earlier start, and written down.
    known: bool,
}

#[derive(Serialize)]
struct SpoiltJson<'a> {
    table: &'a str,
    row: i64,
    name: String,
    why: &'a str,
}

fn spoilt(rows: &[Spoilt]) -> Vec<SpoiltJson<'_>> {
    let row = |row: &'_ Spoilt| (row.table, row.row, render::clean(&row.name));
    rows.iter()
        .map(|spoilt| {
            let (table, number, name) = row(spoilt);
            SpoiltJson { table, row: number, name, why: &spoilt.why }
        })
        .collect()
}

fn holes(holes: &[Hole], known: bool) -> impl Iterator<Item = HoleJson<'_>> {
    holes.iter().map(move |hole| {
        let Hole { first, last, why } = hole;
        HoleJson { first: *first, last: *last, why, known }
    })
}

fn verify(args: Verify) -> Result<(), Failed> {
    let path = match args.file {
        Some(file) => file,
        None => args.whose.directory()?,
    };
    let examined = maintain::verify(&path).map_err(failed)?;
    let text = match args.output {
        Output::Json => render::json_text(
            &VerifyJson {
                schema: 1,
                sound: examined.is_sound(),
                events: examined.events,
                newest: examined.newest,
                others: examined.others,
                missing: holes(&examined.holes, false)
                    .chain(holes(&examined.known, true))
                    .collect(),
                damaged: spoilt(&examined.damaged),
                unreadable: spoilt(&examined.unreadable),
                file: &examined.file,
            },
            false,
        ),
        Output::Table => told(&examined),
    };
    // That nobody reads it does not make it sound.
    let (Ok(()) | Err(_)) = render::try_put(&text);
    if examined.is_sound() {
        return Ok(());
    }
    let faults = examined.faults().count();
    Err(Failed::refused(format!("{} is damaged: {faults} faults", path.display())))
}

fn told(examined: &Examined) -> String {
    let Examined { events, newest, others, .. } = examined;
    let count = std::iter::once(format!("{events} events up to {newest}, {others} other rows"));
    let known = examined.known.iter().map(|hole| format!("known: {hole}"));
    let strange = examined.unreadable.iter().map(|row| format!("not understood: {row}"));
    let faults = examined.faults().map(|fault| format!("damaged: {fault}"));
    let lines = count.chain(known).chain(strange).chain(faults);
    lines.map(|line| render::clean(&line) + "\n").collect()
}
