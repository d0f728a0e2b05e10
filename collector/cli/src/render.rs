//! Prints. Agents' strings are hostile: control characters never reach a terminal. A reader that
//! closes the pipe ends the command quietly.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use lubdub_shared::status::Status;
use lubdub_shared::time::{Wall, words};
use serde::Serialize;

use crate::client::Failed;

/// One line of text from anywhere, fit for a terminal.
pub(crate) fn clean(text: &str) -> String {
    lubdub_shared::text::clean(text).into_owned()
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
    put(&json_text(value, false))
}

/// A value as JSON: for one look on lines of its own, for one of many on one line.
pub(crate) fn json_text(value: &impl Serialize, one_line: bool) -> String {
    let text =
        if one_line { serde_json::to_string(value) } else { serde_json::to_string_pretty(value) };
    text.expect("views are plain data") + "\n"
}

/// Somebody looks at a screen.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Colours are wanted: somebody looks, and has not said no (no-color.org).
fn is_coloured() -> bool {
    let says = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    is_terminal() && says("NO_COLOR").is_none() && says("TERM").is_some_and(|t| t != "dumb")
}

/// The colour of a status, when colours are wanted: red, yellow, and dim for what is not known.
fn paint(line: &str, status: Status) -> String {
    let colour = match status {
        Status::Ok => return line.to_owned(),
        Status::Warning => "33",
        Status::Critical => "31",
        Status::Unknown => "2",
    };
    format!("\x1b[{colour}m{line}\x1b[0m")
}

/// How often `--watch` looks.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Looks once, or each second until interrupted: on a screen over what stood there, else below.
///
/// # Errors
/// The first look that failed.
pub(crate) async fn watch(
    watch: bool,
    mut look: impl AsyncFnMut() -> Result<String, Failed>,
) -> Result<(), Failed> {
    loop {
        let text = look().await?;
        if watch && is_terminal() {
            screen(&text)?;
        } else {
            put(&text)?;
        }
        if !watch {
            return Ok(());
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

/// Shows a text over what stood on the screen, each line cut to its width.
///
/// # Errors
/// Nobody reads any more.
pub(crate) fn screen(text: &str) -> Result<(), Failed> {
    put(&on_screen(text))
}

/// The same, where the end of its reader is no reason to end at once.
///
/// # Errors
/// Nobody reads any more.
pub(crate) fn try_screen(text: &str) -> io::Result<()> {
    try_put(&on_screen(text))
}

fn on_screen(text: &str) -> String {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
    let width = size.map(|size| usize::from(size.ws_col)).filter(|width| *width > 0);
    // Home, each line to its end, then clear what follows: no flicker.
    let mut out = String::from("\x1b[H");
    for line in text.lines() {
        out += &cut(line, width.unwrap_or(usize::MAX));
        out += "\x1b[K\n";
    }
    out + "\x1b[J"
}

/// A line cut to so many columns; our own colours take none.
fn cut(line: &str, width: usize) -> String {
    let (mut out, mut columns, mut escape) = (String::new(), 0, false);
    for c in line.chars() {
        escape |= c == '\x1b';
        if escape || columns < width {
            out.push(c);
        }
        columns += usize::from(!escape);
        escape &= c != 'm';
    }
    out
}

/// A text cut to what a table's last column may hold; `explain` shows it whole.
pub(crate) fn short(text: &str) -> String {
    const LEN_MAX: usize = 90;
    if text.chars().count() <= LEN_MAX {
        return text.to_owned();
    }
    text.chars().take(LEN_MAX - 1).chain(['…']).collect()
}

/// Rows under a head, in columns, each in the colour of its status.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: Vec<(Status, [String; N])>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(head);
    let (statuses, rows): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    table.add_rows(rows.into_iter().map(|row| row.map(|cell| clean(&cell))));
    let coloured = is_coloured();
    // A row is one line: cells hold no line breaks.
    let statuses = std::iter::once(Status::Ok).chain(statuses);
    let lines = table.lines().zip(statuses).map(|(line, status)| {
        let line = line.trim_end().trim_start_matches(' ');
        if coloured { paint(line, status) } else { line.to_owned() }
    });
    lines.map(|line| line + "\n").collect()
}

/// Prints text as it is.
///
/// # Errors
/// Nobody reads any more.
pub(crate) fn put(text: &str) -> Result<(), Failed> {
    match try_put(text) {
        Ok(()) => Ok(()),
        // `lubdub status | head` is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failed::refused(format!("cannot print: {error}"))),
    }
}

/// Prints text, where the end of its reader is no reason to end.
///
/// # Errors
/// Nobody reads any more.
pub(crate) fn try_put(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

/// Prints why a command failed; its exit code.
pub(crate) fn failed(failed: &Failed) -> ExitCode {
    // Where nobody reads it, the code still says it.
    let (Ok(()) | Err(_)) = writeln!(io::stderr(), "lubdub: {}", clean(&failed.why));
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
