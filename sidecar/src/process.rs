//! The agent's process and its tree: the only place that starts or signals it.
//!
//! `Process` owns one life at a time: started by [`Process::start`], seen to end by
//! [`Process::try_exit`], swept by [`Process::sweep`] until nothing of it is left.

use std::io;
use std::time::Duration;

use lubdub_shared::beat::Exit;
use lubdub_shared::command::Survivor;
use lubdub_shared::id::{Life, ProcessId};
use lubdub_shared::line::clip;
use lubdub_shared::policy::{ExpectBeats, Policy};
use lubdub_shared::time::Mono;

use crate::vitals::procfs::Stat;
use crate::vitals::{self, TreeSample};

mod exit;
mod leaf;
mod signal;
mod spawn;
mod tree;

use leaf::Leaf;
pub use spawn::{Spec, StartError};
use tree::Tree;
pub use tree::{find_agent, find_main, sweep_leftovers};

/// How long a kill is repeated before what is left is called unkillable.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// Survivors that are named at most.
const SURVIVORS_MAX: usize = 64;
/// How often the limit of memory is looked for: it rarely changes.
const LIMIT_EVERY: Duration = Duration::from_secs(60);

/// How far a sweep got.
#[derive(Debug, PartialEq)]
pub enum Sweep {
    /// Members are left.
    NotYet,
    /// Nothing is left but these, which fit no rule of membership or do not die.
    Gone(Vec<Survivor>),
    /// The main process does not end.
    Stuck(Vec<Survivor>),
}

/// The agent's process.
#[derive(Debug)]
pub struct Process {
    spec: Spec,
    tree: Tree,
    leaf: Option<Leaf>,
    main: Option<ProcessId>,
    /// When the limit of memory was last looked for.
    limit_looked: Option<Mono>,
    /// As the last close look found it.
    frozen: bool,
    killing_since: Option<Mono>,
    told_stuck: bool,
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
            spec,
            tree: Tree::new(),
            leaf: None,
            main: None,
            limit_looked: None,
            frozen: false,
            killing_since: None,
            told_stuck: false,
        })
    }

    /// What the next life is told of its deadline.
    pub fn expect_beats(&mut self, policy: &Policy) {
        let expected = policy.expect_beats != ExpectBeats::Never;
        self.spec.watchdog = expected.then_some(policy.heartbeat_deadline);
    }

    /// Starts the command as a life.
    ///
    /// # Errors
    /// It cannot be started, with the exit code that a shell would give.
    pub fn start(&mut self, life: Life) -> Result<ProcessId, StartError> {
        self.leaf = Leaf::create(&self.spec.agent, life.id);
        let main = spawn::spawn(&self.spec, life, self.leaf.as_ref())?;
        self.tree.begin(main, life.id);
        self.main = Some(main);
        self.frozen = false;
        self.limit_looked = None;
        self.killing_since = None;
        self.told_stuck = false;
        Ok(main)
    }

    /// How the main process ended, if it has.
    pub fn try_exit(&mut self) -> Option<Exit> {
        let main = self.main?;
        let exit = exit::try_wait(main.pid)?;
        self.main = None;
        self.tree.main_is_gone();
        Some(exit)
    }

    /// One look at the tree. `closely` also counts what is costly.
    pub fn look(&mut self, closely: bool, now: Mono) -> Option<TreeSample> {
        let main = self.main?;
        let members = self.tree.members();
        if closely {
            self.frozen = vitals::is_frozen(main.pid.get());
        }
        let mut sample = vitals::look(&members, main.pid.get(), self.tree.churn(), self.frozen);
        let due = self.limit_looked.is_none_or(|looked| now.since(looked) >= LIMIT_EVERY);
        if closely && due {
            self.limit_looked = Some(now);
            sample.memory_limit = vitals::memory_limit(main.pid.get());
        }
        sample.fds = closely.then(|| vitals::count_fds(main.pid.get())).flatten();
        Some(sample)
    }

    /// Reaps orphans of the tree that have ended.
    pub fn reap(&mut self) {
        self.tree.reap(self.main);
    }

    /// Signals the main process.
    pub fn signal_main(&self, number: i32) {
        if let Some(main) = self.main {
            signal::send(main, number);
        }
    }

    /// Signals every member.
    pub fn signal_tree(&mut self, number: i32) {
        for member in self.tree.members() {
            signal::send_to(&member, number);
        }
    }

    /// From now on each [`Process::sweep`] kills what is left.
    pub fn kill_tree(&mut self, now: Mono) {
        self.killing_since.get_or_insert(now);
        if let Some(leaf) = &self.leaf {
            leaf.kill();
        }
    }

    /// One step of a sweep: looks for members, and kills them once that was ordered.
    pub fn sweep(&mut self, now: Mono) -> Sweep {
        self.reap();
        let mut left = self.tree.members();
        if left.is_empty() && self.main.is_none() {
            // The walk from the main process found nobody; what hides elsewhere has the marker,
            // or sits in the leaf.
            left = self.tree.marked_members();
        }
        let populated = self.leaf.as_ref().is_some_and(Leaf::is_populated);
        if left.is_empty() && self.main.is_none() && !populated {
            let escaped = self.tree.strays();
            self.leaf = None;
            return Sweep::Gone(survivors(&escaped));
        }
        let Some(since) = self.killing_since else { return Sweep::NotYet };
        // A main process whose first thread has ended looks dead in /proc while others run.
        if let Some(main) = self.main {
            signal::send(main, signal::KILL);
        }
        for member in &left {
            signal::send_to(member, signal::KILL);
        }
        if let Some(leaf) = self.leaf.as_ref().filter(|_| populated) {
            leaf.kill();
        }
        if now.since(since) >= KILL_PATIENCE { self.out_of_patience(&left) } else { Sweep::NotYet }
    }

    fn out_of_patience(&mut self, left: &[Stat]) -> Sweep {
        if self.main.is_none() {
            self.leaf = None;
            return Sweep::Gone(survivors(left));
        }
        if std::mem::replace(&mut self.told_stuck, true) {
            Sweep::NotYet
        } else {
            Sweep::Stuck(survivors(left))
        }
    }
}

/// Names what is left, up to a bound: the list travels in one message.
fn survivors(left: &[Stat]) -> Vec<Survivor> {
    let survivor = |stat: &Stat| Survivor {
        pid: stat.pid,
        comm: clip(stat.comm.as_str().into()),
        start_time: stat.start_time,
    };
    left.iter().take(SURVIVORS_MAX).map(survivor).collect()
}
