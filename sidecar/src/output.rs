//! Captured output (`[output] capture = true`): the agent writes into memory, the sidecar copies it
//! to its own stdout and stderr and keeps the newest for evidence.
//!
//! Each stream is a memfd that is only appended to. A write there never blocks and never fails for
//! want of a reader: a sidecar that is stopped or gone, a full disk and a slow terminal hurt no
//! agent. What was copied is freed by punching holes; a new sidecar opens the same memory through
//! `/proc/PID/fd` and goes on where the last one stood.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{FallocateFlags, MemfdFlags, OFlags, fallocate, fcntl_setfl, memfd_create};

mod follower;

use follower::Follower;

/// The newest of each stream, kept for evidence.
const TAIL: u64 = 64 * 1024;
/// Name of the file that says how far each stream was copied.
const POSITIONS: &str = "output.at";

/// stdout and stderr.
const NAMES: [&str; 2] = ["lubdub-stdout", "lubdub-stderr"];

/// How output is captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// Where the positions are kept.
    pub state: PathBuf,
    /// Of one stream, bytes that may wait to be copied; beyond it the oldest are dropped.
    pub max: u64,
}

/// One stream.
#[derive(Debug)]
struct Stream {
    memory: File,
    /// Copied up to here.
    at: AtomicU64,
    /// What lies before this was dropped.
    floor: AtomicU64,
    dropped: AtomicU64,
    /// Holes reach up to here.
    freed: AtomicU64,
}

/// Captured output, followed until this is dropped.
#[derive(Debug)]
pub(crate) struct Output {
    streams: Arc<[Stream; 2]>,
    ending: Arc<AtomicBool>,
    max: u64,
    told: u64,
    follower: Option<Follower>,
}

impl Output {
    /// Memory for all lives that this sidecar starts: what one wrote comes out before the next.
    ///
    /// # Errors
    /// The kernel gives none.
    pub(crate) fn new(capture: &Capture) -> io::Result<Self> {
        let memory = |name| {
            let memory = memfd_create(name, MemfdFlags::CLOEXEC)?;
            // Several processes write to it: none may write over another.
            fcntl_setfl(&memory, OFlags::APPEND)?;
            Ok::<_, io::Error>(File::from(memory))
        };
        // Positions in another memory are none in this one.
        drop(std::fs::remove_file(capture.state.join(POSITIONS)));
        Self::follow(capture, [memory(NAMES[0])?, memory(NAMES[1])?], [0, 0])
    }

    /// What an agent writes into, as its stdout and its stderr.
    ///
    /// # Errors
    /// There are too many open files.
    pub(crate) fn ends(&self) -> io::Result<[OwnedFd; 2]> {
        let [out, err] = &*self.streams;
        Ok([out.memory.try_clone()?.into(), err.memory.try_clone()?.into()])
    }

    /// The memory of a life that an earlier sidecar started: found among the descriptors of its
    /// processes. `None` where its output was not captured.
    pub(crate) fn reopen(capture: &Capture, pids: &[u32]) -> Option<Self> {
        let memories = [find(NAMES[0], pids)?, find(NAMES[1], pids)?];
        let mut at = [0; 2];
        if let Ok(bytes) = std::fs::read(capture.state.join(POSITIONS)) {
            for (at, word) in at.iter_mut().zip(bytes.chunks_exact(8)) {
                *at = u64::from_le_bytes(word.try_into().expect("eight bytes"));
            }
        }
        Self::follow(capture, memories, at).ok()
    }

    fn follow(capture: &Capture, memories: [File; 2], at: [u64; 2]) -> io::Result<Self> {
        let positions = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(capture.state.join(POSITIONS))?;
        let [out, err] = memories;
        let stream = |memory: File, at: u64| {
            let at = at.min(memory.metadata().map_or(0, |about| about.len()));
            let (at, floor) = (AtomicU64::new(at), AtomicU64::new(0));
            Stream { memory, at, floor, dropped: AtomicU64::new(0), freed: AtomicU64::new(0) }
        };
        let streams = Arc::new([stream(out, at[0]), stream(err, at[1])]);
        let ending = Arc::new(AtomicBool::new(false));
        let follower = Follower::start(Arc::clone(&streams), Arc::clone(&ending), positions)?;
        Ok(Self { streams, ending, max: capture.max, told: 0, follower: Some(follower) })
    }

    /// Frees what was copied, drops what is too much, and says how many bytes were dropped so far,
    /// when that has grown. Never blocks: nobody may read what the follower writes.
    pub(crate) fn trim(&mut self) -> Option<u64> {
        for stream in self.streams.iter() {
            stream.trim(self.max);
        }
        let dropped = self.streams.iter().map(|s| s.dropped.load(Ordering::Relaxed)).sum();
        (std::mem::replace(&mut self.told, dropped) < dropped).then_some(dropped)
    }

    /// The newest output: stdout, then stderr.
    pub(crate) fn tail(&self) -> Vec<u8> {
        let mut tail = self.streams[0].tail();
        let errors = self.streams[1].tail();
        if !errors.is_empty() {
            tail.extend_from_slice(b"\n--- stderr ---\n");
            tail.extend(errors);
        }
        tail
    }

    /// Waits until the rest is passed on, as long as somebody takes it. What nobody took, bytes.
    pub(crate) fn finish(mut self) -> u64 {
        self.ending.store(true, Ordering::Release);
        let left = |streams: &[Stream; 2]| -> u64 {
            streams.iter().map(|s| s.len().saturating_sub(s.at.load(Ordering::Acquire))).sum()
        };
        if let Some(follower) = self.follower.take() {
            let mut before = left(&self.streams);
            while !follower.is_done_soon() {
                let now = left(&self.streams);
                if now >= before {
                    break;
                }
                before = now;
            }
        }
        left(&self.streams)
    }
}

impl Stream {
    fn len(&self) -> u64 {
        self.memory.metadata().map_or(0, |about| about.len())
    }

    fn trim(&self, max: u64) {
        let len = self.len();
        let at = self.at.load(Ordering::Acquire).max(self.floor.load(Ordering::Acquire)).min(len);
        let mut free = at.min(len.saturating_sub(TAIL));
        if len.saturating_sub(at) > max {
            // Nobody takes it fast enough: half of what is kept is the newest.
            let floor = len - max / 2;
            self.floor.store(floor, Ordering::Release);
            free = floor;
        }
        // Whole pages, each once.
        let free = free & !0xfff;
        if free > self.freed.swap(free, Ordering::Relaxed) {
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let (Ok(()) | Err(_)) = fallocate(self.memory.as_fd(), hole, 0, free);
        }
    }

    fn tail(&self) -> Vec<u8> {
        let len = self.len();
        let start = len.saturating_sub(TAIL).max(self.floor.load(Ordering::Acquire).min(len));
        let mut tail = vec![0; usize::try_from(len - start).unwrap_or(0)];
        // The memory only grows: what was there is still there.
        match self.memory.read_exact_at(&mut tail, start) {
            Ok(()) => tail,
            Err(_) => Vec::new(),
        }
    }
}

/// One of our memories, by its name, among the descriptors of these processes.
fn find(name: &str, pids: &[u32]) -> Option<File> {
    let wanted = PathBuf::from(format!("/memfd:{name} (deleted)"));
    let of = |pid: &u32| {
        let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        entries.filter_map(|entry| Some(entry.ok()?.path())).find(|path| is_link(path, &wanted))
    };
    let path = pids.iter().find_map(of)?;
    File::options().read(true).write(true).open(path).ok()
}

fn is_link(path: &Path, to: &Path) -> bool {
    std::fs::read_link(path).is_ok_and(|target| target == to)
}
