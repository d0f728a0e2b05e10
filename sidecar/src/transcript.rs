//! A transcript that an agent writes anyway: a log, or the JSON lines of a session. Its growth is
//! progress, and its tool calls and their results are steps for the loop detector, of an agent that
//! knows nothing of us.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lubdub_shared::line::{Message, Step};
use lubdub_shared::time;
use tokio::sync::mpsc;

mod entry;

/// Files that are followed: those that were written last.
const FILES_MAX: usize = 16;
/// Read of one file at one look. A line that is longer is skipped.
const PIECE: usize = 256 * 1024;

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How long a start waits for the first look.
const FIRST_LOOK: Duration = Duration::from_millis(500);
/// Looks whose messages may wait for the driver.
const NEWS_DEPTH: usize = 4;

/// A transcript that is followed on a thread of its own, until this is dropped: file systems hang.
#[derive(Debug)]
pub(crate) struct Transcript {
    said: mpsc::Receiver<Vec<Message>>,
}

impl Transcript {
    /// Follows the files of a pattern. `None` where there is no thread for it.
    pub(crate) fn follow(pattern: String) -> Option<Self> {
        let (sender, said) = mpsc::channel(NEWS_DEPTH);
        let mut files = Files::new(pattern);
        let (looked, first_look) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("lubdub-read".to_owned()).spawn(move || {
            while !sender.is_closed() {
                let said = files.look();
                // Nobody waits for any but the first.
                let (Ok(()) | Err(_)) = looked.try_send(());
                if !said.is_empty() && sender.blocking_send(said).is_err() {
                    return;
                }
                time::pause(EVERY);
            }
        });
        // What is there before the agent starts is not its own: that must be known first.
        let (Ok(()) | Err(_)) = first_look.recv_timeout(FIRST_LOOK);
        thread.ok().map(|_| Self { said })
    }

    /// What was written since, as the agent itself would have said it.
    pub(crate) fn take(&mut self) -> Vec<Message> {
        let mut all = Vec::new();
        while let Ok(said) = self.said.try_recv() {
            all.extend(said);
        }
        all
    }
}

/// Files that match, and how far each was read.
#[derive(Debug)]
struct Files {
    pattern: String,
    readings: HashMap<u64, Reading>,
    /// What was there before the first look belongs to earlier lives.
    begun: bool,
    /// Lines so far.
    turns: u64,
}

#[derive(Debug)]
struct Reading {
    path: PathBuf,
    at: u64,
    /// The beginning of the line that lies before `at` was thrown away.
    torn: bool,
    entries: entry::Entries,
}

impl Files {
    fn new(pattern: String) -> Self {
        Self { pattern, readings: HashMap::new(), begun: false, turns: 0 }
    }

    /// What was written since the last look, as the agent itself would have said it.
    fn look(&mut self) -> Vec<Message> {
        let newest = newest(&self.pattern);
        self.readings.retain(|inode, _| newest.iter().any(|(newest, ..)| newest == inode));
        for (inode, path, len) in newest {
            // A file that appears while the agent runs is its own from the first byte.
            let at = if self.begun { 0 } else { len };
            let new = || Reading {
                path: PathBuf::new(),
                at,
                torn: false,
                entries: entry::Entries::default(),
            };
            // It may have been renamed.
            self.readings.entry(inode).or_insert_with(new).path = path;
        }
        self.begun = true;
        let mut said = Vec::new();
        for (inode, reading) in &mut self.readings {
            // What cannot be read now may be the next time.
            let Ok((lines, steps)) = reading.read(*inode) else { continue };
            if lines > 0 {
                self.turns += lines;
                said.push(Message { cycle: Some(self.turns), ..Message::default() });
            }
            let step = |step| Message { step: Some(step), ..Message::default() };
            said.extend(steps.into_iter().map(step));
        }
        for message in &mut said {
            message.source = Some("transcript".to_owned());
        }
        said
    }
}

impl Reading {
    /// Whole lines that are new, and the steps among them.
    fn read(&mut self, inode: u64) -> io::Result<(u64, Vec<Step>)> {
        // The name may be another's by now, and may be a pipe's.
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = File::options().read(true).custom_flags(flags).open(&self.path)?;
        let about = file.metadata()?;
        if about.ino() != inode || !about.is_file() {
            return Ok((0, Vec::new()));
        }
        let len = about.len();
        if len < self.at {
            // It was emptied, as logs are that are copied away.
            self.at = 0;
        }
        let mut piece = vec![0; PIECE.min(usize::try_from(len - self.at).unwrap_or(PIECE))];
        let count = file.read_at(&mut piece, self.at)?;
        piece.truncate(count);
        let Some(end) = piece.iter().rposition(|byte| *byte == b'\n') else {
            if piece.len() == PIECE {
                (self.at, self.torn) = (self.at + PIECE as u64, true);
            }
            return Ok((0, Vec::new()));
        };
        self.at += end as u64 + 1;
        let torn = std::mem::take(&mut self.torn);
        let lines: Vec<&[u8]> = piece[..end].split(|byte| *byte == b'\n').collect();
        let whole = lines.iter().skip(usize::from(torn));
        let steps = whole.flat_map(|line| self.entries.take(line)).collect();
        Ok((lines.len() as u64, steps))
    }
}

/// The matching files that were written last: inode, path and length.
fn newest(pattern: &str) -> Vec<(u64, PathBuf, u64)> {
    let Ok(paths) = glob::glob(pattern) else { return Vec::new() };
    let about = |path: PathBuf| {
        let about = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
        Some((about.modified().ok()?, about.ino(), path, about.len()))
    };
    let mut found: Vec<_> = paths.flatten().filter_map(about).collect();
    found.sort_by_key(|found| std::cmp::Reverse(found.0));
    found.into_iter().take(FILES_MAX).map(|(_, inode, path, len)| (inode, path, len)).collect()
}

/// Whether files can be looked for by this.
///
/// # Errors
/// It is no glob; where it breaks.
pub(crate) fn check(pattern: &str) -> Result<(), String> {
    glob::Pattern::new(pattern).map_err(|error| error.to_string())?;
    if Path::new(pattern).is_absolute() { Ok(()) } else { Err("not an absolute path".to_owned()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn append(path: &Path, text: &str) {
        let mut file = File::options().create(true).append(true).open(path).expect("a file");
        file.write_all(text.as_bytes()).expect("written");
    }

    #[test]
    fn growth_is_read_once_in_whole_lines() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = directory.path().join("a.log");
        append(&log, "of an earlier life\n");
        let pattern = directory.path().join("*.log").display().to_string();
        let mut transcript = Files::new(pattern);
        let turns = |transcript: &mut Files| {
            let said = transcript.look();
            said.iter().filter_map(|message| message.cycle).collect::<Vec<_>>()
        };
        assert_eq!(turns(&mut transcript), Vec::<u64>::new(), "what was there is not new");
        append(&log, "one\ntw");
        assert_eq!(turns(&mut transcript), [1]);
        assert_eq!(turns(&mut transcript), Vec::<u64>::new());
        append(&log, "o\nthree\n");
        assert_eq!(turns(&mut transcript), [3]);
        append(&directory.path().join("b.log"), "another\n");
        assert_eq!(turns(&mut transcript), [4], "from its first byte");
        fs::remove_file(&log).expect("there");
        append(&log, "anew\n");
        assert_eq!(turns(&mut transcript), [5], "rotated");
        append(&log, &"x".repeat(PIECE));
        append(&log, "rest\nlast\n");
        let mut all = turns(&mut transcript);
        all.extend(turns(&mut transcript));
        assert_eq!(all, [7], "a line that is too long is skipped, and what follows is read");
    }

    #[test]
    fn patterns() {
        assert!(check("/a/**/*.jsonl").is_ok());
        assert!(check("a/*.jsonl").is_err());
        assert!(check("/a/[").is_err());
    }
}
