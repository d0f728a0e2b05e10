//! Lines that go where nobody may read: a thread of their own writes them, so that a full pipe, a
//! stopped terminal or a dead reader holds up nobody but that thread. What does not fit into the
//! queue is lost, and counted in a line of its own.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::stdio::{stderr, stdout};

use crate::time;

/// Lines that wait: at a hundred bytes each, some hundred kilobytes.
const LINES_MAX: usize = 1024;
/// A pipe that says it has room takes so many bytes at once (`PIPE_BUF`).
const PIECE: usize = 4096;
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Where lines go.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// For whoever reads along.
    Stdout,
    /// For logs.
    Stderr,
}

impl Target {
    fn descriptor(self) -> BorrowedFd<'static> {
        match self {
            Self::Stdout => stdout(),
            Self::Stderr => stderr(),
        }
    }
}

/// A queue of lines, and the thread that writes them.
#[derive(Debug, Clone)]
pub struct Lines {
    target: Target,
    /// `None` where the system gave no thread.
    queue: Option<SyncSender<Vec<u8>>>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicUsize,
    lost: AtomicU64,
}

impl Lines {
    /// Starts the thread. Where there is none to be had, lines are written at once where that does
    /// not block, and lost where it would.
    pub fn to(target: Target) -> Self {
        let (queue, lines) = sync_channel(LINES_MAX);
        let counts = Arc::new(Counts::default());
        let counted = Arc::clone(&counts);
        let thread = std::thread::Builder::new().name("lubdub-lines".to_owned());
        let started = thread.spawn(move || write_all(target, &lines, &counted));
        Self { target, queue: started.is_ok().then_some(queue), counts }
    }

    /// Adds whole lines. Never waits.
    pub fn put(&self, lines: Vec<u8>) {
        let Some(queue) = &self.queue else { return self.put_now(&lines) };
        self.counts.waiting.fetch_add(1, Ordering::AcqRel);
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send(lines) {
            self.counts.waiting.fetch_sub(1, Ordering::AcqRel);
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn put_now(&self, lines: &[u8]) {
        let target = self.target.descriptor();
        for piece in lines.chunks(PIECE) {
            let mut room = [PollFd::new(&target, PollFlags::OUT)];
            let ready = matches!(poll(&mut room, Some(&Timespec::default())), Ok(1..));
            if !ready || rustix::io::write(target, piece).is_err() {
                return;
            }
        }
    }

    /// Waits until everything is written, but not longer than this.
    pub fn flush(&self, within: Duration) {
        let until = time::now().mono.after(within);
        while self.counts.waiting.load(Ordering::Acquire) > 0 && time::now().mono < until {
            time::pause(LOOK_EVERY);
        }
    }
}

fn write_all(target: Target, lines: &Receiver<Vec<u8>>, counts: &Counts) {
    while let Ok(line) = lines.recv() {
        write(target.descriptor(), &line);
        let lost = counts.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let text = format!("{lost} lines before this one were lost: nobody read them\n");
            write(target.descriptor(), text.as_bytes());
        }
        counts.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Waits as long as it takes. What nobody will ever read is forgotten.
fn write(target: BorrowedFd<'_>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(target, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut room = [PollFd::new(&target, PollFlags::OUT)];
                let (Ok(_) | Err(_)) = poll(&mut room, None);
            }
            Err(_) => return,
        }
    }
}

/// Of one event: what is written is put at once.
impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
