//! What must be on disk before the driver goes on, and what it does when that does not come.
//!
//! A start waits until its life is on disk, so that a crash can never lead to a second process; a
//! command waits until its intent is. A disk that is sick or slow costs a start its guarantee, not
//! the agent its life: it begins after [`START_PATIENCE`]. Remote destruction is refused then.

use std::collections::VecDeque;
use std::time::Duration;

use lubdub_shared::id::{Life, SpoolId};
use lubdub_shared::time::Mono;
use tokio::sync::watch;
use tracing::warn;

use crate::link::outbox::Outbox;
use crate::state::Memory;
use crate::worker::{Job, Progress, Worker};

/// How long a start waits for the disk.
const START_PATIENCE: Duration = Duration::from_secs(2);
/// How long a command waits for the disk.
const INTENT_PATIENCE: Duration = Duration::from_secs(5);
/// How soon a sick disk is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// A disk that does not answer for so long is as sick as one that refuses.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// Waits for a generation of the state.
#[derive(Debug, Clone, Copy)]
struct Barrier {
    generation: u64,
    until: Mono,
}

/// The writing thread, and what waits for it.
#[derive(Debug)]
pub(super) struct Disk {
    worker: Worker,
    progress: watch::Receiver<Progress>,
    /// Of the state as it is to be.
    wanted: u64,
    /// Of the state that was handed over last.
    queued: u64,
    retry_at: Mono,
    /// Since when something is on its way to the disk without a break.
    asked_at: Option<Mono>,
    hangs: bool,
    /// Jobs that the thread was given, and how many of them it had done when it was last looked at.
    asked: u64,
    answers: u64,
    spool_failures: u64,
    /// Writes of the spool, each with the state that was handed over behind it.
    followed: VecDeque<(u64, u64)>,
    /// Of the spool's newest write, where no state has followed yet.
    unfollowed: Option<u64>,
    /// How far the spool is, as the state file is to say.
    reached: Option<(SpoolId, u64)>,
    start: Option<(Life, Barrier)>,
    intent: Option<Barrier>,
    /// A write of the spool that found the queue full.
    unqueued: Option<Job>,
    given_up: bool,
    /// What the tombstone's file was last to hold.
    tombstone: Option<Option<Vec<u8>>>,
}

impl Disk {
    pub(super) fn new(worker: Worker, progress: watch::Receiver<Progress>) -> Self {
        Self {
            worker,
            progress,
            wanted: 1,
            queued: 0,
            retry_at: Mono::default(),
            asked_at: None,
            hangs: false,
            asked: 0,
            answers: 0,
            spool_failures: 0,
            followed: VecDeque::new(),
            unfollowed: None,
            reached: None,
            start: None,
            intent: None,
            unqueued: None,
            given_up: false,
            tombstone: None,
        }
    }

    /// Something was written, or could not be.
    pub(super) async fn moved(&mut self) {
        if self.progress.changed().await.is_err() {
            // The thread is gone: nothing will ever be written.
            std::future::pending::<()>().await;
        }
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    pub(super) fn persist(&mut self) {
        self.wanted += 1;
    }

    /// The life is to start once what was persisted so far is on disk.
    pub(super) fn start_after(&mut self, life: Life, now: Mono) {
        let barrier = Barrier { generation: self.wanted, until: now.after(START_PATIENCE) };
        self.start = Some((life, barrier));
    }

    /// The command is to go on once what was persisted so far is on disk.
    pub(super) fn intend(&mut self, now: Mono) {
        let barrier = Barrier { generation: self.wanted, until: now.after(INTENT_PATIENCE) };
        self.intent = Some(barrier);
    }

    /// The life that may start now.
    pub(super) fn may_start(&mut self, now: Mono) -> Option<Life> {
        let (life, barrier) = self.start?;
        let reached = self.reached(barrier, now)?;
        if let Err(why) = reached {
            warn!(why, "the life starts though it could not be written down");
        }
        self.start = None;
        Some(life)
    }

    /// Whether the intent that was to be written down is.
    pub(super) fn intended(&mut self, now: Mono) -> Option<Result<(), String>> {
        let reached = self.reached(self.intent?, now)?;
        self.intent = None;
        Some(reached)
    }

    fn reached(&self, barrier: Barrier, now: Mono) -> Option<Result<(), String>> {
        let progress = self.progress.borrow();
        if progress.state >= barrier.generation {
            return Some(Ok(()));
        }
        let why = progress.sick.clone();
        if progress.state_tried >= barrier.generation {
            return Some(Err(why.unwrap_or_else(|| "the state cannot be written".to_owned())));
        }
        let slow = || "the disk is too slow".to_owned();
        (now >= barrier.until).then(|| Err(why.unwrap_or_else(slow)))
    }

    /// Hands over what has changed: facts first, so that a crash between two files can only repeat
    /// one, never lose it. No fact is told before the state behind it was written as well: whoever
    /// was told that a command is done never sees it done again. `fresh` names a new spool.
    pub(super) fn hand_over(
        &mut self,
        outbox: &mut Outbox,
        now: Mono,
        memory: &Memory,
        mut fresh: impl FnMut() -> SpoolId,
    ) {
        if self.given_up {
            return;
        }
        let progress = self.progress();
        while let Some((ticket, generation)) = self.followed.front().copied()
            && progress.state_tried >= generation
        {
            outbox.written(ticket.min(progress.spool));
            self.followed.pop_front();
        }
        if progress.spool_failures != self.spool_failures {
            self.spool_failures = progress.spool_failures;
            self.retry_at = now.after(RETRY_AFTER);
            outbox.fail(fresh());
        }
        if self.note_hanging(&progress, now) {
            outbox.fail(fresh());
        }
        if self.hangs {
            return;
        }
        let ails = progress.sick.is_some() || outbox.is_in_memory();
        let failed = ails && progress.state_tried >= self.queued;
        if failed && now >= self.retry_at {
            // All are tried again, whichever it was.
            self.retry_at = now.after(RETRY_AFTER);
            self.wanted += 1;
            outbox.rewrite();
            if let Some(content) = self.tombstone.clone() {
                self.write(Job::Tombstone(content));
            }
        }
        if let Some(job) = self.unqueued.take() {
            self.unqueued = self.queue(job).err();
        }
        while self.unqueued.is_none()
            && let Some(write) = outbox.next_write()
        {
            self.unfollowed = write.ticket().or(self.unfollowed);
            self.unqueued = self.queue(Job::Spool(write)).err();
        }
        let reached = outbox.reached();
        if self.reached != Some((reached.spool, reached.last)) {
            // Behind the facts themselves: what it says is there was there.
            self.reached = Some((reached.spool, reached.last));
            self.wanted += 1;
        }
        if self.unfollowed.is_some() && self.wanted == self.queued {
            self.wanted += 1;
        }
        if self.wanted > self.queued && self.unqueued.is_none() {
            let memory = Memory { reached: Some(reached), ..memory.clone() };
            let job = Job::State { generation: self.wanted, bytes: memory.render() };
            if self.queue(job).is_ok() {
                self.queued = self.wanted;
                let followed = self.unfollowed.take().map(|ticket| (ticket, self.queued));
                self.followed.extend(followed);
            }
        }
    }

    /// Notes since when the disk owes an answer; true when it is taken for hanging just now.
    fn note_hanging(&mut self, progress: &Progress, now: Mono) -> bool {
        let owes = self.asked > progress.answers;
        if !owes || self.answers != progress.answers {
            (self.asked_at, self.answers) = (owes.then_some(now), progress.answers);
        } else {
            self.asked_at.get_or_insert(now);
        }
        let hangs = self.asked_at.is_some_and(|at| now.since(at) >= ANSWER_PATIENCE);
        let before = std::mem::replace(&mut self.hangs, hangs);
        hangs && !before
    }

    fn queue(&mut self, job: Job) -> Result<(), Job> {
        self.worker.queue(job)?;
        self.asked += 1;
        Ok(())
    }

    /// Why the state directory cannot be written now.
    pub(super) fn sick(&self) -> Option<String> {
        if self.given_up {
            return Some("another sidecar has taken the agent's directory".to_owned());
        }
        let hangs = self.hangs.then(|| "the disk does not answer".to_owned());
        hangs.or_else(|| self.progress.borrow().sick.clone())
    }

    /// Everything that was handed over is written.
    pub(super) fn is_well(&self) -> bool {
        let progress = self.progress.borrow();
        progress.sick.is_none() && progress.state == self.queued && self.unqueued.is_none()
    }

    /// The files are somebody else's now: nothing more is written to them.
    pub(super) fn give_up(&mut self) {
        self.given_up = true;
    }

    /// The tombstone, or none; tried again with the rest while the disk is sick.
    pub(super) fn set_tombstone(&mut self, content: Option<Vec<u8>>) {
        self.tombstone = Some(content.clone());
        self.write(Job::Tombstone(content));
    }

    /// Files for others; what does not fit into the queue is not written.
    pub(super) fn write(&mut self, job: Job) {
        if self.queue(job).is_err() {
            warn!("the disk is too slow: a file was not written");
        }
    }
}

#[cfg(test)]
mod tests {
    use lubdub_shared::id::AgentId;
    use lubdub_shared::session::Happening;
    use lubdub_shared::time::Wall;

    use super::*;
    use crate::link::spool::Contents;

    fn fresh(seed: u64) -> SpoolId {
        SpoolId::random(&mut fastrand::Rng::with_seed(seed))
    }

    #[test]
    fn a_disk_that_does_not_answer_is_sick_and_well_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let (worker, progress) = Worker::start(directory.path()).expect("a thread");
        let (told, seen) = watch::channel(progress.borrow().clone());
        let mut disk = Disk::new(worker, seen);
        let mut outbox = Outbox::new(Contents::default(), fresh(1));
        let agent: AgentId = "a1".parse().expect("an id");
        let memory = Memory::empty(agent, String::new());
        let at = |seconds| Mono(0).after(Duration::from_secs(seconds));
        let hand_over = |disk: &mut Disk, outbox: &mut Outbox, seconds| {
            disk.hand_over(outbox, at(seconds), &memory, || fresh(seconds));
        };
        outbox.push(Wall(0), None, Happening::Note { text: "n".to_owned() });
        // Its answers do not arrive: `told` stays as it was.
        for seconds in 1..=10 {
            hand_over(&mut disk, &mut outbox, seconds);
            assert_eq!(disk.sick(), None, "at {seconds} s");
            assert!(outbox.next(at(seconds)).is_none(), "nothing goes before it is on disk");
        }
        hand_over(&mut disk, &mut outbox, 12);
        assert_eq!(disk.sick(), Some("the disk does not answer".to_owned()));
        assert!(outbox.next(at(12)).is_some(), "it goes on from memory");
        assert_eq!(outbox.spool(), fresh(12));
        let answered = Progress { state: 2, state_tried: 2, answers: 2, ..Progress::default() };
        told.send_replace(answered);
        hand_over(&mut disk, &mut outbox, 13);
        assert_eq!(disk.sick(), None);
        assert!(outbox.is_in_memory(), "until all of it is written again");
        let spooled = Progress { spool: 2, answers: 3, ..disk.progress() };
        told.send_replace(spooled.clone());
        hand_over(&mut disk, &mut outbox, 14);
        assert!(outbox.is_in_memory(), "the state behind it is not written yet");
        told.send_replace(Progress { state_tried: disk.queued, answers: 4, ..spooled });
        hand_over(&mut disk, &mut outbox, 15);
        assert!(!outbox.is_in_memory());
    }
}
