//! The agent's process and its tree: the only place that starts or signals it.
//!
//! `Process` owns one life at a time: started by [`Process::start`] or taken over by
//! [`Process::adopt`] or [`Process::attach`], seen to end by [`Process::turn`], swept by
//! [`Process::sweep`] until nothing of it is left.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use lubdub_shared::beat::{Exit, ExitHow};
use lubdub_shared::command::Survivor;
use lubdub_shared::id::{Life, ProcessId};
use lubdub_shared::policy::{ExpectBeats, Policy};
use lubdub_shared::time::Mono;

use crate::evidence::Whom;
use crate::output::{Output, Tail};
use crate::reserve;
use crate::speaker::Standing;
use crate::vitals::groups::oom_kills;
use crate::vitals::network::Network;
use crate::vitals::{self, Groups, TreeSample};

mod activation;
mod claim;
mod daemon;
mod exit;
mod leaf;
mod leftovers;
mod selector;
mod signal;
mod spawn;
mod sweep;
pub mod terminal;
mod tree;

use claim::Claim;
pub use claim::owner_of;
use daemon::Launched;
pub use daemon::{Kind, Turn};
use exit::Foreign;
use leaf::Leaf;
pub use leaf::Limits;
pub use leftovers::{Marked, door_of, find_marked, main_of, sweep_leftovers};
pub use selector::{NotOne, Selector};
pub use spawn::{Spec, StartError};
pub use sweep::Sweep;
use sweep::{Killing, SURVIVORS_MAX, survivors};
use tree::Tree;

/// How often the limit of memory is looked for: it rarely changes.
const LIMIT_EVERY: Duration = Duration::from_secs(60);

/// The agent's process.
#[derive(Debug)]
pub struct Process {
    spec: Spec,
    tree: Tree,
    leaf: Option<Leaf>,
    output: Option<Output>,
    main: Option<Main>,
    /// Counts kills for want of memory in the group of this life, and what it said at its start.
    oom: Option<(PathBuf, u64)>,
    /// When the life was begun here; `None`: by somebody else.
    began: Option<Mono>,
    /// A launcher has ended, and its daemon is looked for.
    launched: Option<Launched>,
    network: Network,
    /// When the limit of memory was last looked for.
    limit_looked: Option<Mono>,
    /// Looks that could not see everything: what they missed may have been active.
    blind_looks: u64,
    /// As the last close look found it.
    frozen: bool,
    killing: Killing,
    /// As the terminal was, where the agent gets it.
    terminal: Option<terminal::Settings>,
}

/// The main process.
#[derive(Debug)]
struct Main {
    process: ProcessId,
    /// It is what we started ourselves: of a forking command, the launcher.
    launches: bool,
    /// Not our child: an earlier sidecar started it, or another supervisor.
    foreign: Option<Foreign>,
    claim: Claim,
}

impl Main {
    fn new(process: ProcessId, launches: bool, foreign: Option<Foreign>) -> Self {
        Self { process, launches, foreign, claim: Claim::on(process) }
    }
}

impl Process {
    /// Nothing runs yet. From here on this process adopts orphans.
    ///
    /// # Errors
    /// The kernel knows no subreaper.
    pub fn new(spec: Spec) -> io::Result<Self> {
        // Any pid means "yes" to prctl(PR_SET_CHILD_SUBREAPER).
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        Ok(Self {
            tree: Tree::new(spec.interactive || spec.attaches),
            terminal: spec.interactive.then(terminal::Settings::save).flatten(),
            spec,
            leaf: None,
            output: None,
            main: None,
            oom: None,
            began: None,
            launched: None,
            network: Network::default(),
            limit_looked: None,
            blind_looks: 0,
            frozen: false,
            killing: Killing::default(),
        })
    }

    /// Where the next life is told to speak.
    pub(crate) fn set_doors(&mut self, socket: PathBuf, http: Option<PathBuf>) {
        (self.spec.socket, self.spec.http) = (socket, http);
    }

    /// What the next life's tree may use.
    pub fn set_limits(&mut self, limits: Limits) {
        self.spec.limits = limits;
    }

    /// What the next life is told of its deadline.
    pub fn expect_beats(&mut self, policy: &Policy) {
        let expected = policy.expect_beats != ExpectBeats::Never;
        self.spec.watchdog = expected.then_some(policy.heartbeat_deadline);
    }

    /// Starts the command as a life. What it must do without is told in words.
    ///
    /// # Errors
    /// It cannot be started, with the exit code that a shell would give.
    pub fn start(&mut self, life: Life, now: Mono) -> Result<(ProcessId, Vec<String>), StartError> {
        let (leaf, mut complaints) = Leaf::create(&self.spec.agent, life.id, &self.spec.limits);
        let ends = self.captured().unwrap_or_else(|error| {
            complaints.push(format!("its output is not captured: {error}"));
            None
        });
        let main = reserve::with_room(|| spawn::spawn(&self.spec, life, &leaf, ends))?;
        self.begin(life, Main::new(main, true, None), leaf);
        self.began = Some(now);
        Ok((main, complaints))
    }

    /// What the next life writes into, where its output is captured.
    fn captured(&mut self) -> io::Result<Option<[OwnedFd; 2]>> {
        if !self.spec.capture.wanted {
            return Ok(None);
        }
        if self.output.is_none() {
            self.output = Some(Output::new(&self.spec.capture)?);
        }
        self.output.as_ref().map(Output::ends).transpose()
    }

    /// Takes over a life that an earlier sidecar started.
    ///
    /// # Errors
    /// Its main process is gone.
    pub fn adopt(
        &mut self,
        life: Life,
        process: ProcessId,
        orphans: &[ProcessId],
    ) -> io::Result<()> {
        let foreign = Some(Foreign::open(process)?);
        let leaf = Leaf::reopen(&self.spec.agent, life.id);
        self.begin(life, Main::new(process, false, foreign), leaf);
        // Those whose parents are gone are found by their marker, or were remembered.
        self.tree.remember(orphans);
        let members = self.tree.marked_members();
        let pids: Vec<u32> = members.iter().map(|member| member.pid).collect();
        // Captured once, it must be taken out of the pipes whatever holds for the lives to come.
        self.output = Output::reopen(&self.spec.capture, &pids);
        Ok(())
    }

    /// The state directory was made anew.
    pub(crate) fn remember_output(&self) {
        if let Some(output) = &self.output {
            output.remember(&self.spec.capture);
        }
    }

    fn begin(&mut self, life: Life, main: Main, leaf: Leaf) {
        self.tree.begin(main.process, life.id);
        let counter = Groups::of(main.process.pid.get()).and_then(|groups| groups.oom_file());
        self.oom = counter.and_then(|file| oom_kills(&file).map(|before| (file, before)));
        self.main = Some(main);
        self.leaf = Some(leaf);
        (self.began, self.launched) = (None, None);
        self.network = Network::default();
        self.frozen = false;
        self.limit_looked = None;
        self.killing = Killing::default();
    }

    /// Waits for the end of a main process that is not our child: a child's comes as SIGCHLD. Safe
    /// to cancel.
    pub async fn foreign_ended(&self) {
        match self.main.as_ref().and_then(|main| main.foreign.as_ref()) {
            Some(foreign) => foreign.ended().await,
            None => std::future::pending().await,
        }
    }

    /// Takes hold of a process that somebody else started, as a life.
    ///
    /// # Errors
    /// It is gone, or another sidecar's agent.
    pub fn attach(&mut self, life: Life, process: ProcessId) -> io::Result<()> {
        if let Some(owner) = owner_of(process) {
            return Err(io::Error::other(format!(
                "it is the agent of the sidecar with pid {owner}"
            )));
        }
        let foreign = Some(Foreign::open(process)?);
        self.begin(life, Main::new(process, false, foreign), Leaf::none());
        Ok(())
    }

    /// How the main process ended, or who it is now.
    pub fn turn(&mut self, now: Mono) -> Option<Turn> {
        if self.launched.is_some() {
            return self.find_daemon(now);
        }
        let launches = self.main.as_ref().is_some_and(|main| main.launches);
        let is_early = self.began.is_some_and(|began| now.since(began) < daemon::PATIENCE);
        let exit = self.try_exit()?;
        let forking = matches!(self.spec.kind, Kind::Forking(_));
        if forking && (launches || is_early) && exit.how == ExitHow::Code(0) {
            self.launched = Some(Launched { since: now, exit: (!launches).then_some(exit) });
            return self.find_daemon(now);
        }
        self.tree.main_is_gone();
        Some(Turn::Ended(exit))
    }

    fn try_exit(&mut self) -> Option<Exit> {
        let main = self.main.as_ref()?;
        let exit = match &main.foreign {
            Some(foreign) => foreign.try_exit()?,
            None => exit::try_wait(main.process.pid)?,
        };
        if self.spec.interactive {
            terminal::take_back(main.process);
        }
        if let Some(terminal) = &self.terminal {
            terminal.restore();
        }
        self.main = None;
        let oom = self.was_out_of_memory(&exit);
        Some(Exit { oom, ..exit })
    }

    /// The kernel killed in this group for want of memory, and the main process ended as one that
    /// was killed, or that passes on the end of its child as shells do.
    fn was_out_of_memory(&self, exit: &Exit) -> bool {
        let killed = matches!(exit.how, ExitHow::Signal(9) | ExitHow::Code(137));
        let grew = |(file, before): &(PathBuf, u64)| oom_kills(file).is_some_and(|n| n > *before);
        killed && self.oom.as_ref().is_some_and(grew)
    }

    /// One look at the tree. `closely` also counts what is costly, and an agent that looks quiet
    /// otherwise may be reading from the network, which is looked at every so often.
    pub fn look(
        &mut self,
        closely: bool,
        network: Option<Duration>,
        now: Mono,
    ) -> Option<TreeSample> {
        let main = self.main()?;
        self.main.iter().for_each(|main| main.claim.drain());
        let members = self.tree.members();
        let due = self.limit_looked.is_none_or(|looked| now.since(looked) >= LIMIT_EVERY);
        let groups = closely.then(|| Groups::of(main.pid.get())).flatten();
        if let Some(groups) = &groups {
            self.frozen = groups.is_frozen();
        }
        let mut sample = vitals::look(&members, main.pid.get(), self.tree.churn(), self.frozen);
        if let Some(every) = network {
            self.network.look_if_due(&members, every, now);
        }
        sample.counters.network = self.network.total();
        if let Some(groups) = groups.filter(|_| due) {
            self.limit_looked = Some(now);
            sample.memory_limit = groups.memory_limit();
        }
        sample.fds = closely.then(|| vitals::count_fds(main.pid.get())).flatten();
        self.blind_looks +=
            u64::from(self.tree.blind().is_some() || vitals::take_unread().is_some());
        sample.counters.unreadable += self.blind_looks;
        Some(sample)
    }

    /// Why the newest look may have missed somebody.
    pub(crate) fn blind(&self) -> Option<String> {
        self.main.as_ref()?;
        self.tree.blind().map(str::to_owned)
    }

    /// A person may have stopped the job in the terminal: then the sidecar stops with it, and
    /// both go on when the shell says so.
    pub fn follow_job(&mut self) {
        let Some(main) = self.main().filter(|_| self.spec.interactive) else { return };
        let stopped = vitals::stat(main.pid.get()).is_some_and(|stat| stat.state == 'T');
        if stopped && terminal::stop_with(main) {
            self.signal_tree(signal::CONT);
        }
    }

    /// What the process with this pid is to the agent.
    pub(crate) fn standing(&mut self, pid: u32) -> Standing {
        self.tree.standing(pid)
    }

    /// The main process, while it lives.
    fn main(&self) -> Option<ProcessId> {
        self.main.as_ref().map(|main| main.process)
    }

    /// Reaps orphans of the tree that have ended.
    pub fn reap(&mut self) {
        self.tree.reap(self.main());
    }

    /// Signals the main process.
    pub fn signal_main(&self, number: i32) {
        if let Some(main) = self.main() {
            drop(signal::send(main, number));
        }
    }

    /// Signals every member.
    pub fn signal_tree(&mut self, number: i32) {
        let mut members = self.tree.members();
        self.tree.let_go(&mut members);
        for member in members {
            drop(signal::send_to(&member, number));
        }
    }

    /// Asks the main process to end. One that is stopped goes on for that: it could not hear.
    pub fn ask_main_to_end(&self, number: i32) {
        self.signal_main(number);
        let stat = self.main().and_then(|main| vitals::stat(main.pid.get()));
        if stat.is_some_and(|stat| stat.state == 'T') {
            self.signal_main(signal::CONT);
        }
    }

    /// Asks every member to end, likewise.
    pub fn ask_tree_to_end(&mut self, number: i32) {
        self.signal_tree(number);
        let stopped = self.tree.members().into_iter().filter(|member| member.state == 'T');
        stopped.for_each(|member| drop(signal::send_to(&member, signal::CONT)));
    }

    /// Who of the tree still runs.
    pub(crate) fn still_running(&mut self) -> Vec<Survivor> {
        let mut members = self.tree.members();
        members.retain(|member| !self.tree.is_known_kept(member));
        survivors(&members)
    }

    /// Who lives on because the agent keeps it on purpose.
    pub fn kept(&self) -> Vec<Survivor> {
        survivors(&self.tree.kept())
    }

    /// Members that a new sidecar would find neither by descent nor, perhaps, by their marker, as
    /// the newest look found them.
    pub(crate) fn orphans(&self) -> Vec<ProcessId> {
        self.tree.orphans().iter().copied().take(SURVIVORS_MAX).collect()
    }

    /// How many bytes of captured output were dropped so far, when that has grown.
    pub(crate) fn dropped_output(&mut self, now: Mono) -> Option<u64> {
        self.output.as_mut()?.dropped(now)
    }

    /// The sidecar ends: what was captured is to be passed on before.
    pub(crate) fn take_output(&mut self) -> Option<Output> {
        self.output.take()
    }

    /// The newest output, where it is captured.
    pub(crate) fn output_tail(&self) -> Option<Tail> {
        self.output.as_ref().map(Output::tail)
    }

    /// Whom evidence is about: the members, the main process first, and the files of their groups.
    pub(crate) fn whom(&mut self) -> Whom {
        let pids = self.tree.members().iter().map(|member| member.pid).collect();
        Whom { pids, groups: self.oom.iter().map(|(file, _)| file.clone()).collect() }
    }
}
