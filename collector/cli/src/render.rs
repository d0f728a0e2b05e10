//! Prints. Agents' strings are hostile: control characters never reach a terminal. A reader that
//! closes the pipe ends the command quietly.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use lubdub_shared::time::{Wall, words};
use serde::Serialize;

use crate::client::Failed;

/// One line of text from anywhere, fit for a terminal.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Prints a line.
///
/// # Errors
/// Nobody reads any more.
pub(crate) fn line(text: &str) -> Result<(), Failed> {
    put(&format!("{text}\n"))
}

/// Prints a value as JSON, on lines of its own.
///
/// # Errors
/// Nobody reads any more.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failed> {
    let text = serde_json::to_string_pretty(value).expect("views are plain data");
    put(&format!("{text}\n"))
}

/// Prints a value as JSON on one line.
///
/// # Errors
/// Nobody reads any more.
pub(crate) fn json_line(value: &impl Serialize) -> Result<(), Failed> {
    let text = serde_json::to_string(value).expect("views are plain data");
    put(&format!("{text}\n"))
}

/// Somebody looks at a screen.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// A text cut to what a table's last column may hold; `explain` shows it whole.
pub(crate) fn short(text: &str) -> String {
    const LEN_MAX: usize = 90;
    if text.chars().count() <= LEN_MAX {
        return text.to_owned();
    }
    text.chars().take(LEN_MAX - 1).chain(['…']).collect()
}

/// Prints rows under a head, in columns.
///
/// # Errors
/// Nobody reads any more.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>) -> Result<(), Failed> {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(head);
    table.add_rows(rows.into_iter().map(|row| row.map(|cell| clean(&cell))));
    let lines: Vec<String> =
        table.lines().map(|line| line.trim_end().trim_start_matches(' ').to_owned()).collect();
    put(&format!("{}\n", lines.join("\n")))
}

fn put(text: &str) -> Result<(), Failed> {
    let mut out = io::stdout().lock();
    let done = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match done {
        Ok(()) => Ok(()),
        // `lubdub status | head` is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failed::refused(format!("cannot print: {error}"))),
    }
}

/// Prints why a command failed; its exit code.
#[expect(clippy::print_stderr, reason = "the one line that a person reads")]
pub(crate) fn failed(failed: &Failed) -> ExitCode {
    eprintln!("lubdub: {}", clean(&failed.why));
    ExitCode::from(failed.code)
}

/// How long ago, in words.
pub(crate) fn ago(then: Wall, now: Wall) -> String {
    words(then.until(now))
}

/// A size in binary units.
pub(crate) fn bytes(count: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let mut size = count as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for next in units {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{count} B") } else { format!("{size:.1} {unit}") }
}

/// A value that may be absent; `-` then.
pub(crate) fn or_dash(value: Option<String>) -> String {
    value.unwrap_or_else(|| "-".to_owned())
}

/// Milliseconds in words.
pub(crate) fn millis(ms: u64) -> String {
    words(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_never_reach_a_terminal() {
        assert_eq!(clean("a\x1b[31mb\r\nc\u{9b}d"), "a\u{fffd}[31mb\u{fffd}\u{fffd}c\u{fffd}d");
        assert_eq!(clean("café"), "café");
    }

    #[test]
    fn sizes() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(5 << 30), "5.0 GiB");
    }
}
