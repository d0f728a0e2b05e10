//! `--record FILE`: every input of the engine, written by a thread of its own.
//!
//! Files rotate: `FILE` is the newest, `FILE.1` to `FILE.3` are older ones, and what is older than
//! that is gone. A start goes on in the newest. Whatever else goes by one of these names is left
//! alone, and the start refused. A slow or full disk holds up nobody: what the thread cannot take
//! is counted, and the count is written where the lines are missing. The format stands in
//! `lubdub_engine::trace`.

use std::fs::{File, TryLockError};
use std::io::{self, BufWriter, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use lubdub_engine::trace::v1::AgentState;
use lubdub_engine::trace::{Header, Line, VERSION, v1};
use lubdub_engine::{Fleet, Identity, Input};
use lubdub_shared::time::Now;
use tracing::{error, info};

/// Lines that may wait for the thread.
const QUEUE_DEPTH: usize = 8192;
/// A file is rotated when it is larger than this, and than four times what it began with.
const FILE_LEN_MAX: u64 = 256 * 1024 * 1024;
/// Files that are kept beside the newest.
const OLDER_MAX: u32 = 3;
/// How long lines may stay in memory.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// What the thread is told.
#[derive(Debug)]
enum Told {
    /// A file begins here, with these agents.
    Begin(Box<Header>, Vec<Line>),
    Line(Box<Line>),
}

/// The recorder's handle.
#[derive(Debug)]
pub(crate) struct Recorder {
    lines: Option<SyncSender<Told>>,
    thread: Option<JoinHandle<()>>,
    /// The thread asks for a new file.
    full: Arc<AtomicBool>,
    dropped: u64,
    identity: Identity,
}

impl Recorder {
    /// Begins to record into a file; one that is there is gone on in.
    ///
    /// # Errors
    /// It cannot be made or is no recording, or the system gives no thread.
    pub(crate) fn start(path: &Path, identity: Identity) -> io::Result<Self> {
        let file = Rotating::take_up(path)?;
        let full = Arc::new(AtomicBool::new(false));
        let (lines, queue) = sync_channel(QUEUE_DEPTH);
        let asks = Arc::clone(&full);
        let thread = std::thread::Builder::new()
            .name("lubdub-record".to_owned())
            .spawn(move || write(file, &queue, &asks))?;
        Ok(Self { lines: Some(lines), thread: Some(thread), full, dropped: 0, identity })
    }

    /// Begins a file: a replay of it needs no older one.
    pub(crate) fn begin(&mut self, fleet: &Fleet, now: Now) {
        let header = Header {
            trace: VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            wall: now.wall.0,
            identity: self.identity.into(),
        };
        let standing = fleet.ids_after(None).map(|(id, index)| {
            let state = Box::new(AgentState::of(fleet.agent(index)));
            Line::new(now, Some(id.clone()), v1::Input::Standing(state))
        });
        self.send(Told::Begin(Box::new(header), standing.collect()));
    }

    /// Records an input, before it is applied.
    pub(crate) fn note(&mut self, fleet: &Fleet, input: &Input, now: Now) {
        let Some(line) = Line::of(fleet, input, now) else { return };
        if self.full.swap(false, Ordering::Relaxed) {
            self.begin(fleet, now);
        }
        if self.dropped > 0 {
            let dropped = Line::new(now, None, v1::Input::Dropped(self.dropped));
            if !self.send(Told::Line(Box::new(dropped))) {
                self.dropped += 1;
                return;
            }
            self.dropped = 0;
        }
        self.dropped += u64::from(!self.send(Told::Line(Box::new(line))));
    }

    fn send(&self, told: Told) -> bool {
        let Some(lines) = &self.lines else { return false };
        match lines.try_send(told) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

impl Drop for Recorder {
    /// Waits until what was queued is written.
    fn drop(&mut self) {
        self.lines = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the recorder's thread had panicked");
        }
    }
}

fn write(mut file: Rotating, queue: &Receiver<Told>, full: &AtomicBool) {
    loop {
        let told = match queue.recv_timeout(FLUSH_EVERY) {
            Ok(told) => told,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                if let Err(why) = file.out.flush() {
                    return error!(%why, path = %file.path.display(), "the recording ends");
                }
                continue;
            }
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
        };
        let written = match told {
            Told::Begin(header, standing) => file.begin(&header, &standing),
            Told::Line(line) => file.put(&line),
        };
        match written {
            Ok(()) if file.asks_for_another() => full.store(true, Ordering::Relaxed),
            Ok(()) => {}
            // A full disk costs the recording, and nothing else.
            Err(why) => return error!(%why, path = %file.path.display(), "the recording ends"),
        }
    }
    if let Err(why) = file.out.flush() {
        error!(%why, path = %file.path.display(), "the end of the recording is lost");
    }
}

/// The newest file.
#[derive(Debug)]
struct Rotating {
    path: PathBuf,
    out: BufWriter<File>,
    len: u64,
    /// Of what the file began with.
    began: u64,
    /// Something was written to it.
    used: bool,
    /// Another was asked for.
    asked: bool,
}

impl Rotating {
    /// Goes on in the file that is there, or makes one.
    fn take_up(path: &Path) -> io::Result<Self> {
        for number in 0..=OLDER_MAX {
            check_own(&numbered(path, number))?;
        }
        let mut file = File::options().read(true).append(true).create(true).open(path)?;
        keep_others_out(&file, path)?;
        let len = whole_lines(&mut file)?;
        // What a kill cut short would spoil the line behind it.
        file.set_len(len)?;
        let out = BufWriter::new(file);
        Ok(Self { path: path.to_owned(), out, len, began: 0, used: false, asked: false })
    }

    fn open(path: &Path) -> io::Result<Self> {
        rotate(path)?;
        let file = File::create_new(path)?;
        keep_others_out(&file, path)?;
        let out = BufWriter::new(file);
        Ok(Self { path: path.to_owned(), out, len: 0, began: 0, used: false, asked: false })
    }

    fn begin(&mut self, header: &Header, standing: &[Line]) -> io::Result<()> {
        if self.used {
            self.out.flush()?;
            *self = Self::open(&self.path)?;
            info!(path = %self.path.display(), "the recording goes on in a new file");
        }
        self.used = true;
        let before = self.len;
        self.put(header)?;
        for line in standing {
            self.put(line)?;
        }
        self.began = self.len - before;
        Ok(())
    }

    fn put<T: serde::Serialize>(&mut self, line: &T) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.len += text.len() as u64;
        self.out.write_all(&text)
    }

    /// It is full. True once: what is queued already is still its own.
    fn asks_for_another(&mut self) -> bool {
        let full = self.len > FILE_LEN_MAX.max(4 * self.began);
        full && !std::mem::replace(&mut self.asked, true)
    }
}

/// One recorder a file, as long as it is open.
fn keep_others_out(file: &File, path: &Path) -> io::Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(io::Error::other(format!(
            "another collector records into {}: name another file",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// `FILE`, `FILE.1`, …
fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    if number > 0 {
        name.push(format!(".{number}"));
    }
    name.into()
}

/// What goes by the name of a recording is one, or is not there.
fn check_own(path: &Path) -> io::Result<()> {
    const HEADER_MAX: u64 = 4096;
    let other = |why: &str| {
        let path = path.display();
        Err(io::Error::other(format!("{path} {why}; it is left alone: name another file")))
    };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(about) if !about.is_file() => return other("is no file"),
        Ok(about) if about.len() == 0 => return Ok(()),
        Ok(_) => {}
    }
    let mut begin = Vec::new();
    File::open(path)?.take(HEADER_MAX).read_to_end(&mut begin)?;
    let line = begin.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match serde_json::from_slice::<Header>(line) {
        Ok(header) if header.trace == VERSION => Ok(()),
        Ok(_) => other("is a recording of another version"),
        Err(_) => other("holds something else than a recording"),
    }
}

/// Bytes up to the end of the last whole line.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    const PIECE: u64 = 64 * 1024;
    let mut end = file.metadata()?.len();
    let mut piece = Vec::new();
    while end > 0 {
        let begin = end.saturating_sub(PIECE);
        file.seek(io::SeekFrom::Start(begin))?;
        piece.clear();
        io::Read::by_ref(file).take(end - begin).read_to_end(&mut piece)?;
        if let Some(at) = piece.iter().rposition(|byte| *byte == b'\n') {
            return Ok(begin + at as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

/// Moves each file one on; the oldest is gone.
fn rotate(path: &Path) -> io::Result<()> {
    let older = |number: u32| numbered(path, number);
    for number in (0..OLDER_MAX).rev() {
        match std::fs::rename(older(number), older(number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_rotate_and_the_oldest_goes() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("trace.ndjson");
        for number in 0..6 {
            let mut file = Rotating::open(&path).expect("a file");
            file.put(&number).expect("a line");
            file.out.flush().expect("written");
        }
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).ok();
        assert_eq!(read("trace.ndjson").as_deref(), Some("5\n"));
        assert_eq!(read("trace.ndjson.3").as_deref(), Some("2\n"));
        assert_eq!(read("trace.ndjson.4"), None);
    }

    fn identity() -> Identity {
        let store = lubdub_shared::id::StoreId::random(&mut fastrand::Rng::with_seed(1));
        Identity { store, epoch: 1, interval: FLUSH_EVERY, reports_per_second: 1 }
    }

    #[test]
    fn a_start_goes_on_where_the_last_one_was_cut() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("trace.ndjson");
        let fleet = Fleet::new(identity(), 1, lubdub_shared::time::Mono(0));
        for _ in 0..3 {
            let mut recorder = Recorder::start(&path, identity()).expect("it is ours");
            recorder.begin(&fleet, Now::default());
            drop(recorder);
            let mut file = File::options().append(true).open(&path).expect("there");
            file.write_all(b"{\"m\":1,\"w\"").expect("torn by a kill");
        }
        let text = std::fs::read_to_string(&path).expect("there");
        assert_eq!(text.matches("\"trace\":1").count(), 3);
        assert_eq!(text.matches("{\"m\":1,\"w\"").count(), 1, "only the last is torn: {text}");
        assert!(!numbered(&path, 1).exists(), "nothing was rotated");
    }

    #[test]
    fn two_do_not_record_into_one_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("trace.ndjson");
        let first = Recorder::start(&path, identity()).expect("it is ours");
        let refused = Recorder::start(&path, identity()).expect_err("taken").to_string();
        assert!(refused.contains("another collector records into"), "{refused}");
        drop(first);
        Recorder::start(&path, identity()).expect("free again");
    }

    #[test]
    fn what_is_no_recording_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir(at("folder")).expect("made");
        let put = |name: &str, text: &str| {
            File::create(at(name)).and_then(|mut f| f.write_all(text.as_bytes())).expect("made");
        };
        put("notes", "dear diary\n");
        put("beside.2", "somebody's\n");
        let table = [("folder", "is no file"), ("notes", "something else"), ("beside", "beside.2")];
        for (name, why) in table {
            let refused = Recorder::start(&at(name), identity()).expect_err(why).to_string();
            assert!(refused.contains(why), "{refused}");
        }
        assert!(at("folder").is_dir() && !at("beside").exists());
        assert_eq!(std::fs::read_to_string(at("notes")).expect("there"), "dear diary\n");
    }
}
