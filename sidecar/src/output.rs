//! Captured output (`[output] capture = true`): the agent writes into a pipe for each stream, the
//! sidecar passes it on to its own stdout and stderr and keeps the newest for evidence.
//!
//! The agent holds its pipe for reading and writing at once, so that the death of the sidecar
//! breaks nobody's pipe: what is written meanwhile waits in it, up to its size (1 MiB where the
//! system allows that), and the next sidecar opens the same pipe through `/proc/PID/fd`. A program
//! may open `/dev/stdout` anew, and empty it, as often as it likes: a pipe cannot be cut, and has
//! no position.
//!
//! A piece is copied out of the pipe, written, and only then taken out of it: a sidecar that is
//! killed says a piece again and loses none. Where nobody takes what the sidecar writes, it is kept
//! in memory instead, so that the agent never waits for a slow reader; of more than `max` the older
//! half is dropped, at whatever speed it comes.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use lubdub_shared::fs::{Durability, read_own, write_atomic};
use lubdub_shared::time::{self, Mono};
use rustix::fs::OFlags;
use rustix::io::ioctl_fionread;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

mod pump;

/// The newest of each stream, kept for evidence, bytes.
const TAIL: usize = 64 * 1024;
/// What a pipe is asked to hold, bytes; what the system refuses stays at 64 KiB.
const PIPE_SIZE: usize = 1 << 20;
/// Name of the file that says which pipes are the streams, by inode.
const PIPES: &str = "output.pipes";
/// How long the end waits for somebody to take something.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long evidence waits for what lies in the pipes: more than a piece that stalls does.
const CATCH_UP: Duration = Duration::from_millis(500);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const TELL_EVERY: Duration = Duration::from_secs(60);

/// How output is captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// For the lives to come.
    pub wanted: bool,
    /// Where it is remembered which pipes are the streams.
    pub state: PathBuf,
    /// Of one stream, bytes that may wait in memory; beyond it the oldest are dropped.
    pub max: u64,
}

/// One stream: its pipe, and what was taken out of it.
#[derive(Debug)]
struct Stream {
    /// Reads without waiting. Another description than the agent's, so that its flags are ours.
    pipe: File,
    max: usize,
    kept: Mutex<Kept>,
    /// Something in `kept` has changed.
    changed: Condvar,
    dropped: AtomicU64,
    ending: AtomicBool,
}

/// What one thread takes out of the pipe and another writes. A lock, because both are threads that
/// may block for long elsewhere; neither holds it while it reads or writes.
#[derive(Debug, Default)]
struct Kept {
    /// Waits to be written.
    queue: VecDeque<u8>,
    /// Is being written now, bytes.
    writing: usize,
    /// Nobody will ever read it again.
    broken: bool,
    tail: VecDeque<u8>,
}

/// Captured output, followed until the process ends.
#[derive(Debug)]
pub(crate) struct Output {
    streams: [Arc<Stream>; 2],
    /// What the agent is given.
    ends: [File; 2],
    /// Bytes that were told as dropped, and when.
    told: (u64, Option<Mono>),
}

impl Output {
    /// Pipes for all lives that this sidecar starts: what one wrote comes out before the next.
    ///
    /// # Errors
    /// The kernel gives none.
    pub(crate) fn new(capture: &Capture) -> io::Result<Self> {
        Self::follow(capture, [pipe()?, pipe()?])
    }

    /// Writes down which pipes the streams are. Without it the next sidecar finds none to follow:
    /// this one goes on.
    pub(crate) fn remember(&self, capture: &Capture) {
        let inode = |end: &File| end.metadata().map_or(0, |about| about.ino());
        let text = format!("{} {}\n", inode(&self.ends[0]), inode(&self.ends[1]));
        let path = capture.state.join(PIPES);
        if let Err(error) = write_atomic(&path, text.as_bytes(), 0o600, Durability::Visible) {
            let path = path.display();
            tracing::warn!(%error, %path, "a next sidecar will not find the output");
        }
    }

    /// What an agent writes into, as its stdout and its stderr: descriptions of its own, whose
    /// flags end with it.
    ///
    /// # Errors
    /// There are too many open files.
    pub(crate) fn ends(&self) -> io::Result<[OwnedFd; 2]> {
        let fresh =
            |end: &File| Ok::<_, io::Error>(open(&path_of(end), true, OFlags::empty())?.into());
        let [out, err] = &self.ends;
        Ok([fresh(out)?, fresh(err)?])
    }

    /// The pipes of a life that an earlier sidecar started: found among the descriptors of its
    /// processes. `None` where its output was not captured. A stream that it has sent elsewhere
    /// gets a new pipe, for the lives to come.
    pub(crate) fn reopen(capture: &Capture, pids: &[u32]) -> Option<Self> {
        let text = String::from_utf8(read_own(&capture.state.join(PIPES)).ok()??).ok()?;
        let mut inodes = text.split_ascii_whitespace().map(str::parse::<u64>);
        let paths = [(); 2].map(|()| find(inodes.next()?.ok()?, pids));
        if paths.iter().all(Option::is_none) {
            return None;
        }
        let [out, err] = paths.map(|path| path.map_or_else(pipe, |path| both_ends(&path)));
        let followed = out.and_then(|out| Self::follow(capture, [out, err?]));
        if let Err(error) = &followed {
            tracing::error!(%error, "nobody takes what the agent writes: it will wait");
        }
        followed.ok()
    }

    fn follow(capture: &Capture, pipes: [(File, File); 2]) -> io::Result<Self> {
        let [(out, out_end), (err, err_end)] = pipes;
        let max = usize::try_from(capture.max).unwrap_or(usize::MAX);
        let stream = |pipe| {
            Arc::new(Stream {
                pipe,
                max,
                kept: Mutex::default(),
                changed: Condvar::new(),
                dropped: AtomicU64::new(0),
                ending: AtomicBool::new(false),
            })
        };
        let output =
            Self { streams: [out, err].map(stream), ends: [out_end, err_end], told: (0, None) };
        for (index, stream) in output.streams.iter().enumerate() {
            if let Err(error) = pump::start(stream, own(index)) {
                output.streams.iter().for_each(|stream| stream.give_up());
                return Err(error);
            }
        }
        output.remember(capture);
        Ok(output)
    }

    /// How many bytes were dropped so far, when that has grown: at once, then once a minute.
    pub(crate) fn dropped(&mut self, now: Mono) -> Option<u64> {
        let dropped = self.lost();
        let (told, at) = self.told;
        let due = at.is_none_or(|at| now.since(at) >= TELL_EVERY);
        (due && dropped > told).then(|| {
            self.told = (dropped, Some(now));
            dropped
        })
    }

    fn lost(&self) -> u64 {
        self.streams.iter().map(|stream| stream.dropped.load(Ordering::Relaxed)).sum()
    }

    /// The newest output, to be read on a thread that may wait.
    pub(crate) fn tail(&self) -> Tail {
        Tail([Arc::clone(&self.streams[0]), Arc::clone(&self.streams[1])])
    }

    /// Waits until the rest is passed on, as long as somebody takes it. What nobody took and was
    /// not told yet, bytes.
    pub(crate) fn finish(self) -> u64 {
        let left = || self.streams.iter().map(|stream| stream.left()).sum::<u64>();
        for stream in &self.streams {
            stream.ending.store(true, Ordering::Release);
            stream.changed.notify_all();
        }
        let mut before = left();
        let mut moved = time::now().mono;
        while before > 0 && time::now().mono.since(moved) < PATIENCE {
            time::pause(LOOK_EVERY);
            let now = left();
            if now < before {
                (before, moved) = (now, time::now().mono);
            }
        }
        left() + self.lost().saturating_sub(self.told.0)
    }
}

/// The newest output of an agent.
#[derive(Debug)]
pub(crate) struct Tail([Arc<Stream>; 2]);

impl Tail {
    /// Its stdout, then its stderr. What lies in the pipes now is in it: the last words of an agent
    /// that has ended above all. Waits for that, but not for long.
    pub(crate) fn read(&self) -> Vec<u8> {
        let until = time::now().mono.after(CATCH_UP);
        while self.0.iter().any(|stream| stream.is_ahead()) && time::now().mono < until {
            time::pause(LOOK_EVERY);
        }
        let [mut tail, errors] = [&self.0[0], &self.0[1]].map(|stream| stream.tail());
        if !errors.is_empty() {
            tail.extend_from_slice(b"\n--- stderr ---\n");
            tail.extend(errors);
        }
        tail
    }
}

impl Stream {
    /// Something lies in the pipe that is not in the tail.
    fn is_ahead(&self) -> bool {
        ioctl_fionread(self.pipe.as_fd()).is_ok_and(|bytes| bytes > 0)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Whoever panicked left bytes in order.
        self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Its threads end: nothing of it is in use.
    fn give_up(&self) {
        self.kept().broken = true;
        self.ending.store(true, Ordering::Release);
        self.changed.notify_all();
    }

    /// Written by the agent and not passed on, bytes.
    fn left(&self) -> u64 {
        let kept = self.kept();
        if kept.broken {
            return 0;
        }
        let waits = (kept.queue.len() + kept.writing) as u64;
        drop(kept);
        // A piece that is being written is in the pipe as well, until it is taken out.
        waits.max(ioctl_fionread(self.pipe.as_fd()).unwrap_or(0))
    }

    fn tail(&self) -> Vec<u8> {
        self.kept().tail.iter().copied().collect()
    }
}

/// The sidecar's own stdout or stderr.
fn own(index: usize) -> rustix::fd::BorrowedFd<'static> {
    [rustix::stdio::stdout(), rustix::stdio::stderr()][index]
}

/// A pipe: our end for reading, and the agent's for both.
fn pipe() -> io::Result<(File, File)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    let (Ok(_) | Err(_)) = fcntl_setpipe_size(&write, PIPE_SIZE);
    both_ends(&path_of(&read))
}

fn both_ends(path: &Path) -> io::Result<(File, File)> {
    Ok((open(path, false, OFlags::NONBLOCK)?, open(path, true, OFlags::empty())?))
}

/// Who opens it gets a description of its own.
fn path_of(file: &impl AsRawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// A description of its own of a pipe that is open elsewhere.
fn open(path: &Path, write: bool, flags: OFlags) -> io::Result<File> {
    let flags = (flags | OFlags::CLOEXEC).bits().cast_signed();
    File::options().read(true).write(write).custom_flags(flags).open(path)
}

/// The pipe with this inode among the descriptors of these processes.
fn find(inode: u64, pids: &[u32]) -> Option<PathBuf> {
    let wanted = PathBuf::from(format!("pipe:[{inode}]"));
    let of = |pid: &u32| {
        let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        paths.find(|path| std::fs::read_link(path).is_ok_and(|target| target == wanted))
    };
    pids.iter().find_map(of)
}
