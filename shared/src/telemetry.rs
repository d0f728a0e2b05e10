//! Logs of our own: one line each, on stderr, so that stdout stays the agent's and the reader's.
//! Nobody waits for them to be read.

use std::io::{self, IsTerminal as _};
use std::sync::OnceLock;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::SubscriberExt as _;

mod lines;

pub use lines::{Lines, Target};

use crate::text::clean;

/// How long an end waits for the last lines to be read.
const FLUSH_PATIENCE: Duration = Duration::from_millis(500);

/// One for the process: two daemons in one share it.
static LOG: OnceLock<Lines> = OnceLock::new();

fn log() -> &'static Lines {
    LOG.get_or_init(|| Lines::to(Target::Stderr))
}

/// Starts logging to stderr. `level` comes from `LUBDUB_LOG` (`error`, `warn`, `info`, `debug`,
/// `trace`, `off`); anything else means `info`. Libraries say no more than warnings.
pub fn init(level: Option<&str>) {
    let level = level.and_then(|word| word.parse().ok()).unwrap_or(LevelFilter::INFO);
    let filter =
        Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("lubdub", level);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| log().clone())
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .fmt_fields(fields())
        .with_filter(filter);
    // A second call (two daemons in one process) keeps the first subscriber.
    if tracing::subscriber::set_global_default(tracing_subscriber::registry().with(lines)).is_err()
    {
        tracing::debug!("logging was set up already");
    }
}

/// What an event says: whatever stands in it, it is one line and says what it seems to say.
fn fields() -> impl for<'w> FormatFields<'w> + Send + Sync + 'static {
    debug_fn(|writer, field, value| match field.name() {
        "message" => write!(writer, "{}", clean(&format!("{value:?}"))),
        name => write!(writer, "{name}={}", clean(&format!("{value:?}"))),
    })
    .delimited(" ")
}

/// A line, or a few, for the person who started the process, behind what was logged.
pub fn say(text: &str) {
    let lines: Vec<_> = text.lines().map(clean).collect();
    log().put(format!("{}\n", lines.join("\n")).into_bytes());
}

/// The process ends: the last lines are written, where somebody reads them.
pub fn flush() {
    if let Some(log) = LOG.get() {
        log.flush(FLUSH_PATIENCE);
    }
}

/// An error and what caused it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}
