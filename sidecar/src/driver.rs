//! The owner task: what happened goes to the supervisor, what it answers is done.
//!
//! Its loop is wait → apply → flush. The socket is drained before anything is judged, so that a
//! sidecar that slept finds the beats that waited before it looks at a clock.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lubdub_shared::id::{InstanceId, SpoolId};
use lubdub_shared::line::Message;
use lubdub_shared::session::{Happening, Hold};
use lubdub_shared::time::{self, Mono, Now, words};
use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::config::Config;
use crate::heartbeat::Pace;
use crate::link::outbox::Outbox;
use crate::link::{FromLink, Link};
use crate::lock::Lock;
use crate::place::Place;
use crate::process::{Process, Sweep, Turn};
use crate::socket::{DRAIN_MAX, Door, Heard};
use crate::speaker::{NotHeard, Speaker};
use crate::state::Tombstone;
use crate::supervisor::{Action, Event, Supervisor};
use crate::ticks::Ticks;
use crate::transcript::Transcript;
use crate::upward::Upward;
use crate::worker::{Job, Worker};

mod ailments;
mod begin;
mod disk;
mod farewell;
mod gather;
mod mend;
mod notices;
mod recall;
mod signals;
mod start;
mod stream;

use ailments::Ailments;
use disk::Disk;
use notices::{News, Notices};
use start::Awaited;
use stream::LinkState;

/// How often a tree that is being swept is looked at.
const SWEEP_EVERY: Duration = Duration::from_millis(20);
/// How often a tree is looked at when nothing calls for more.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Datagrams that are drained before a destructive command is checked.
const DRAIN_BEFORE_COMMAND: usize = 4096;
/// Events that were sent and not acked for this long go again.
const RESEND_AFTER: Duration = Duration::from_secs(15);

/// Owns one agent.
#[derive(Debug)]
pub(crate) struct Driver {
    config: Config,
    host: String,
    instance: InstanceId,
    supervisor: Supervisor,
    process: Process,
    place: Place,
    door: Door,
    disk: Disk,
    outbox: Outbox,
    pace: Pace,
    link: LinkState,
    notices: Notices,
    from_link: mpsc::Receiver<FromLink>,
    children: Signal,
    ticks: Ticks,
    looked: Mono,
    looked_closely: Mono,
    mended: Mono,
    beats: u64,
    beats_looked: u64,
    acked_at: Mono,
    told_unmended: bool,
    awaited: Awaited,
    /// Bundles that are being made.
    gathering: usize,
    transcript: Option<Transcript>,
    /// What the running life must do without.
    complaints: Vec<String>,
    /// What the sidecar itself cannot do now.
    ailments: Ailments,
    /// Why the agent cannot be heard now.
    deaf: Option<String>,
    upward: Option<Upward>,
    rng: fastrand::Rng,
    asked_to_end: bool,
    ended: Option<u8>,
    events: VecDeque<Event>,
    actions: Vec<Action>,
    lock: Lock,
    /// Goes last: everything else may still write there.
    _scratch: Option<Arc<TempDir>>,
}

/// What woke the driver.
enum Wake {
    Door,
    Tick,
    Sweep,
    Child,
    Link(Option<FromLink>),
    Signal(Option<i32>),
    Disk,
    News(News),
}

impl Driver {
    /// Where its agent is heard.
    pub(crate) fn socket(&self) -> &Path {
        self.door.path()
    }

    pub(crate) async fn run(mut self, mut signals: mpsc::Receiver<i32>) -> u8 {
        let mut listening = true;
        if let Some(patience) = self.supervisor.waits_for_policy() {
            info!(
                collectors = ?self.config.collectors,
                "the first start waits {} for a policy, or half a second once none answers",
                words(patience)
            );
        }
        loop {
            let sweeping = self.supervisor.is_sweeping_fast();
            let wake = tokio::select! {
                ready = self.door.ready() => { log_broken(ready, "socket"); Wake::Door }
                ticked = self.ticks.tick() => { log_broken(ticked, "timer"); Wake::Tick }
                () = tokio::time::sleep(SWEEP_EVERY), if sweeping => Wake::Sweep,
                _ = self.children.recv() => Wake::Child,
                () = self.process.foreign_ended() => Wake::Child,
                from_link = self.from_link.recv() => Wake::Link(from_link),
                () = self.disk.moved() => Wake::Disk,
                news = self.notices.news() => Wake::News(news),
                number = signals.recv(), if listening => Wake::Signal(number),
            };
            let now = time::now();
            self.hear(DRAIN_MAX, now);
            match wake {
                Wake::Door | Wake::Disk => {}
                Wake::Tick => self.tick(now),
                Wake::Sweep => self.sweep(now),
                Wake::Child => self.reap(now),
                Wake::News(news) => self.on_news(news, now),
                Wake::Link(heard) => self.on_link(heard, now),
                Wake::Signal(Some(number)) => self.on_signal(number, now),
                Wake::Signal(None) => listening = false,
            }
            self.settle(now);
            if let Some(code) = self.ended {
                return Box::pin(self.finish(code)).await;
            }
        }
    }

    /// Takes what the agent said.
    fn hear(&mut self, at_most: usize, now: Now) {
        for _ in 0..at_most {
            let said = match self.door.take(now.mono) {
                Heard::Said(said) => said,
                Heard::Dropped => continue,
                Heard::Nothing => return,
            };
            // Looked up before the next datagram is taken, and before a barrier's sender goes on.
            if let Err(why) = self.hear_from(said.speaker, said.message, now) {
                self.door.refuse(&why, now.mono);
            }
        }
    }

    /// Applies what somebody said, as far as that one may say it.
    fn hear_from(&mut self, speaker: Speaker, message: Message, now: Now) -> Result<(), NotHeard> {
        let standing = self.process.standing(speaker.pid);
        let message = speaker.says(message, standing)?;
        self.beats += u64::from(message.beat);
        if let Some(process) = message.main_pid.and_then(|pid| self.process.move_main(pid)) {
            self.supervisor.handle(Event::MainMoved(process), now, &mut self.actions);
        }
        self.supervisor.say(message, now, &mut self.actions);
        Ok(())
    }

    fn tick(&mut self, now: Now) {
        self.reap(now);
        self.go_on_starting(now);
        let idle = self.beats == self.beats_looked && now.mono.since(self.looked) < LOOK_EVERY;
        if !idle || self.supervisor.looks_at_each_tick() {
            self.look(now);
        }
        self.process.follow_job();
        self.tell_dropped_output(now);
        self.sweep(now);
        self.note_health(now);
        if let Some(upward) = &mut self.upward {
            upward.tell(self.supervisor.standing(), now.mono);
        }
        self.note_listeners(now);
        if now.mono.since(self.mended) >= LOOK_EVERY {
            self.mended = now.mono;
            self.mend_directory(now);
        }
        self.events.push_back(Event::Tick);
        if !self.outbox.is_settled() && now.mono.since(self.acked_at) >= RESEND_AFTER {
            self.acked_at = now.mono;
            self.outbox.resume();
        }
    }

    fn look(&mut self, now: Now) {
        let closely = now.mono.since(self.looked_closely) >= LOOK_EVERY;
        self.looked = now.mono;
        self.beats_looked = self.beats;
        if closely {
            self.looked_closely = now.mono;
        }
        self.hear_door();
        let every = self.supervisor.costly_looks_every();
        if let Some(sample) = self.process.look(closely, every, now.mono) {
            self.supervisor.observe(sample, now.mono, &mut self.actions);
        }
        if closely {
            self.supervisor.set_orphans(self.process.orphans(), &mut self.actions);
            self.read_transcript(now);
        }
    }

    fn reap(&mut self, now: Now) {
        self.process.reap();
        match self.process.turn(now.mono) {
            Some(Turn::Ended(exit)) => {
                info!(%exit, "the agent's process ended");
                let left = self.process.still_running();
                self.events.push_back(Event::MainExited(exit, left));
            }
            Some(Turn::Nobody(why)) => self.events.push_back(Event::NobodyLaunched(why)),
            Some(Turn::Moved(process)) => self.events.push_back(Event::MainMoved(process)),
            None => {}
        }
    }

    fn sweep(&mut self, now: Now) {
        if !self.supervisor.is_sweeping() {
            return;
        }
        self.reap(now);
        match self.process.sweep(now.mono) {
            Sweep::NotYet => {}
            Sweep::Gone(survivors) => {
                self.name_the_kept(now);
                self.events.push_back(Event::TreeGone(survivors));
            }
            Sweep::Stuck(survivors, plight) => {
                self.events.push_back(Event::Unkillable(survivors, plight));
            }
        }
    }

    /// Applies events until none is left, does what they led to, and sends what waits.
    fn settle(&mut self, now: Now) {
        loop {
            for action in std::mem::take(&mut self.actions) {
                self.act(action, now);
            }
            if let Some(event) = self.events.pop_front() {
                self.supervisor.handle(event, now, &mut self.actions);
                continue;
            }
            self.write_files(now);
            self.pass_barriers(now);
            if self.events.is_empty() && self.actions.is_empty() {
                break;
            }
        }
        self.send(now);
    }

    fn act(&mut self, action: Action, now: Now) {
        match action {
            Action::Start(life) => self.disk.start_after(life, now.mono),
            Action::Intend => self.disk.intend(now.mono),
            Action::Tell(notice) => self.tell(notice),
            Action::Untell(id) => self.untell(id),
            Action::Gather(order) => self.gather(order, now),
            Action::Checkpoint => self.checkpoint(),
            Action::RestartElsewhere => self.run_restart_command(),
            Action::SignalMain(number) => self.process.ask_main_to_end(number),
            Action::SignalTree(number) => self.process.ask_tree_to_end(number),
            Action::KillTree => self.process.kill_tree(now.mono),
            // An answer that waits already is not told twice.
            Action::Emit(_, Happening::Outcome(outcome))
                if self.outbox.holds_the_outcome_of(outcome.command) =>
            {
                info!(command = %outcome.command, "asked again; its answer is on its way");
            }
            Action::Emit(life, what) => {
                log(&what);
                self.outbox.push(now.wall, life, what);
            }
            Action::Report => {
                let report = self.supervisor.report(now.mono);
                self.outbox.report(report);
            }
            Action::Persist => self.disk.persist(),
            Action::Tombstone(hold) => self.tombstone(hold, now),
            Action::End(code) => self.ended = Some(code),
        }
    }

    fn tombstone(&mut self, hold: Option<Hold>, now: Now) {
        let Some(hold) = hold else { return self.disk.set_tombstone(None) };
        let tombstone = Tombstone {
            v: 1,
            agent: self.config.agent.to_string(),
            life: self.supervisor.life(),
            ended: now.wall,
            hold,
            restarts: self.supervisor.memory().ledger.used(),
            last_words: self.supervisor.report(now.mono).vitals.text,
        };
        let bytes = serde_json::to_vec_pretty(&tombstone).expect("keys are strings");
        self.disk.set_tombstone(Some(bytes));
    }

    fn write_files(&mut self, now: Now) {
        let memory = self.supervisor.memory();
        let fresh = || SpoolId::random(&mut self.rng);
        self.disk.hand_over(&mut self.outbox, now.mono, memory, fresh);
        // Its content is made only when it is due: this runs after every datagram.
        if self.pace.is_due(self.supervisor.beats(), now.mono)
            && let Some(heartbeat) = self.supervisor.heartbeat(now)
        {
            let path = self.config.heartbeat_file.clone();
            let (bytes, mode) = (heartbeat.render(), self.config.heartbeat_mode);
            self.disk.write(Job::Heartbeat { path, bytes, mode });
        }
    }

    /// What waited for the disk goes on.
    fn pass_barriers(&mut self, now: Now) {
        if let Some(life) = self.disk.may_start(now.mono) {
            self.start(life, now);
        }
        if let Some(written) = self.disk.intended(now.mono) {
            self.look_closely(now);
            self.events.push_back(Event::Intended(written));
        }
    }
}

fn log(what: &Happening) {
    match what {
        Happening::Started { process, .. } => info!(pid = process.pid, "started"),
        Happening::Exited { exit, next, survivors, left, .. } => {
            let left: Vec<String> =
                left.iter().map(|left| format!("{} ({})", left.pid, left.comm)).collect();
            info!(%exit, %next, survivors = survivors.len(), ended_with_it = ?left, "ended");
        }
        Happening::Outcome(outcome) => {
            info!(command = %outcome.command, ending = ?outcome.ending, detail = outcome.detail,
                "outcome");
        }
        Happening::Held(hold) => warn!("held down: {hold}"),
        Happening::Evidence(bundle) => info!(path = bundle.path, "evidence"),
        Happening::Note { text } => warn!("{text}"),
        Happening::Other => {}
    }
}

fn log_broken(ready: std::io::Result<()>, what: &str) {
    if let Err(error) = ready {
        error!(%error, "the {what} is broken");
    }
}

/// A moment ago enough that everything is due.
fn long_ago() -> Mono {
    Mono(0)
}
