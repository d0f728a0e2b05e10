//! Two threads for one stream: one takes out of the pipe, one writes wherever the sidecar's own
//! output goes, which may block.

use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lubdub_shared::time;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, tee};

use super::{Kept, Stream, TAIL};

/// Copied at once, bytes.
const PIECE: usize = 64 * 1024;
/// A piece that is not written within this time is taken out of the pipe, so that the agent goes
/// on.
const STALLED: Duration = Duration::from_millis(200);
/// How often the end is looked for.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
/// How soon a full disk is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Starts both.
///
/// # Errors
/// The system gives no pipe or no thread.
pub(super) fn start(stream: &Arc<Stream>, target: BorrowedFd<'static>) -> io::Result<()> {
    let (scratch, to_scratch) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let taker = Taker {
        stream: Arc::clone(stream),
        scratch: scratch.into(),
        to_scratch: to_scratch.into(),
        piece: vec![0; PIECE],
    };
    let writer = Arc::clone(stream);
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
    thread("lubdub-write").spawn(move || write_on(&writer, target))?;
    thread("lubdub-output").spawn(move || taker.run())?;
    Ok(())
}

/// Takes out of the pipe.
struct Taker {
    stream: Arc<Stream>,
    /// Where a piece is copied to, to be seen before it is taken.
    scratch: std::fs::File,
    to_scratch: std::fs::File,
    piece: Vec<u8>,
}

impl Taker {
    fn run(mut self) {
        loop {
            let ending = self.stream.ending.load(Ordering::Acquire);
            match self.pass_on() {
                Ok(true) => {}
                Ok(false) if ending => return,
                Ok(false) => self.wait(),
                Err(_) if ending => return,
                // Out of memory, for a moment: who did not read on would have the agent wait.
                Err(_) => time::pause(RETRY_AFTER),
            }
        }
    }

    fn wait(&self) {
        let mut news = [PollFd::new(&self.stream.pipe, PollFlags::IN)];
        let (Ok(_) | Err(_)) = poll(&mut news, Some(&LOOK_EVERY));
    }

    /// Passes a piece on; false when there was none.
    fn pass_on(&mut self) -> io::Result<bool> {
        let kept = self.stream.kept();
        let idle = kept.queue.is_empty() && kept.writing == 0 && !kept.broken;
        drop(kept);
        // While something waits in memory, what comes goes behind it.
        if !idle {
            return self.take();
        }
        let count = self.look()?;
        if count == 0 {
            return Ok(false);
        }
        let mut kept = self.stream.kept();
        kept.queue.extend(&self.piece[..count]);
        kept.keep_tail(&self.piece[..count]);
        self.stream.changed.notify_all();
        let written = |kept: &mut Kept| !kept.queue.is_empty() || kept.writing > 0;
        let waited = self.stream.changed.wait_timeout_while(kept, STALLED, written);
        drop(waited);
        // It is written, or waits in memory.
        let mut left = count;
        while left > 0 {
            let most = left.min(PIECE);
            left -= match self.stream.take_out(&mut self.piece[..most])? {
                0 => return Ok(false),
                taken => taken,
            };
        }
        Ok(true)
    }

    /// Copies what is in the pipe, and leaves it there.
    fn look(&mut self) -> io::Result<usize> {
        let flags = SpliceFlags::NONBLOCK;
        let count = match tee(&self.stream.pipe, &self.to_scratch, PIECE, flags) {
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        self.scratch.read_exact(&mut self.piece[..count])?;
        Ok(count)
    }

    /// Takes what is in the pipe into memory.
    fn take(&mut self) -> io::Result<bool> {
        let taken = self.stream.take_out(&mut self.piece)?;
        if taken > 0 {
            self.stream.kept().keep_tail(&self.piece[..taken]);
            self.stream.keep(&self.piece[..taken]);
        }
        Ok(taken > 0)
    }
}

impl Stream {
    /// Takes out of the pipe; one that is empty is no error.
    fn take_out(&self, bytes: &mut [u8]) -> io::Result<usize> {
        match rustix::io::read(self.pipe.as_fd(), bytes) {
            Ok(count) => Ok(count),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn lose(&self, bytes: usize) {
        self.dropped.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Behind what waits. Beyond the bound the older half goes.
    fn keep(&self, bytes: &[u8]) {
        let mut kept = self.kept();
        if kept.broken {
            drop(kept);
            return self.lose(bytes.len());
        }
        kept.queue.extend(bytes);
        if kept.queue.len() > self.max {
            let over = kept.queue.len() - self.max / 2;
            kept.queue.drain(..over);
            self.lose(over);
        }
        drop(kept);
        self.changed.notify_all();
    }
}

impl Kept {
    fn keep_tail(&mut self, bytes: &[u8]) {
        self.tail.extend(bytes);
        let over = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..over);
    }
}

/// Writes what is kept, as fast as somebody takes it.
fn write_on(stream: &Stream, target: BorrowedFd<'_>) {
    let mut piece = Vec::with_capacity(PIECE);
    loop {
        let mut kept = stream.kept();
        while kept.queue.is_empty() {
            if stream.ending.load(Ordering::Acquire) {
                if kept.broken {
                    return;
                }
                let waited = stream.changed.wait_timeout(kept, RETRY_AFTER);
                kept = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
            } else {
                let waited = stream.changed.wait(kept);
                kept = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
            }
        }
        let count = kept.queue.len().min(PIECE);
        piece.clear();
        piece.extend(kept.queue.drain(..count));
        kept.writing = count;
        drop(kept);
        let written = write_all(target, &piece);
        let mut kept = stream.kept();
        kept.writing = 0;
        if let Err(left) = written {
            kept.broken = true;
            stream.lose(left + kept.queue.len());
            kept.queue = std::collections::VecDeque::new();
        }
        drop(kept);
        stream.changed.notify_all();
    }
}

/// Writes everything. A full disk is waited for: how long at the end, who waits for that decides.
///
/// # Errors
/// Nobody will ever read it; how much is left, bytes.
fn write_all(target: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), usize> {
    while !bytes.is_empty() {
        match rustix::io::write(target, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::PIPE | Errno::BADF) => return Err(bytes.len()),
            // Somebody else's flag on what we were given.
            Err(Errno::AGAIN) => {
                let mut full = [PollFd::new(&target, PollFlags::OUT)];
                let (Ok(_) | Err(_)) = poll(&mut full, Some(&LOOK_EVERY));
            }
            Err(_) => time::pause(RETRY_AFTER),
        }
    }
    Ok(())
}
